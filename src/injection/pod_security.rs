//! Where an injected container or volume breaks a Pod Security level, so that a user learns which SidecarSet it comes from.
//!
//! Source: the Pod Security Standards of the Kubernetes documentation. Only fields of containers and volumes are looked at;
//! what a container may inherit from the Pod is looked up there.

use crate::api::pod::PodSecurityContextView;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A level that a Namespace enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Baseline,
    Restricted,
}

/// Something that breaks a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The lowest level that it breaks.
    pub level: Level,
    /// What would have to be otherwise.
    pub text: Cow<'static, str>,
    /// Whether the Pod's own setting makes it right.
    inherited: Option<Inherited>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inherited {
    RunAsNonRoot,
    SeccompProfile,
}

const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const RESTRICTED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

impl Level {
    /// Reads the value of the label `pod-security.kubernetes.io/enforce`; `privileged` enforces nothing, and a value that is no
    /// level the strictest one.
    pub fn parse(label: &str) -> Option<Self> {
        match label {
            "privileged" => None,
            "baseline" => Some(Self::Baseline),
            _ => Some(Self::Restricted),
        }
    }

    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl Finding {
    fn new(level: Level, text: impl Into<Cow<'static, str>>) -> Self {
        Self { level, text: text.into(), inherited: None }
    }

    /// Whether this breaks `level` in a Pod with these settings.
    pub fn breaks(&self, level: Level, pod: &PodSecurityContextView<'_>) -> bool {
        let excused = match self.inherited {
            None => false,
            Some(Inherited::RunAsNonRoot) => pod.run_as_non_root == Some(true),
            Some(Inherited::SeccompProfile) => {
                let profile = pod.seccomp_profile.as_ref().and_then(|profile| profile.profile.as_deref());
                matches!(profile, Some("RuntimeDefault" | "Localhost"))
            }
        };
        self.level <= level && !excused
    }
}

/// What in a container breaks which level.
pub(super) fn of_container(container: &Map<String, Value>) -> Vec<Finding> {
    let empty = Map::new();
    let context = container.get("securityContext").and_then(Value::as_object).unwrap_or(&empty);
    let text = |path: &[&str]| lookup(context, path).and_then(Value::as_str);
    let flag = |path: &[&str]| lookup(context, path).and_then(Value::as_bool);
    let names = |path: &[&str]| {
        let list = lookup(context, path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let mut findings = Vec::new();
    let mut baseline = |broken: bool, text: &'static str| {
        if broken {
            findings.push(Finding::new(Level::Baseline, text));
        }
    };
    let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
    let added = names(&["capabilities", "add"]);
    baseline(flag(&["privileged"]) == Some(true), "securityContext.privileged must not be true");
    baseline(
        ports.filter_map(|port| port.get("hostPort")?.as_i64()).any(|port| port != 0),
        "ports[*].hostPort must not be set",
    );
    baseline(
        added.iter().any(|name| !BASELINE_CAPABILITIES.contains(name)),
        "securityContext.capabilities.add must hold only the default capabilities",
    );
    let seccomp = text(&["seccompProfile", "type"]);
    baseline(seccomp == Some("Unconfined"), "securityContext.seccompProfile.type must not be Unconfined");
    baseline(
        text(&["appArmorProfile", "type"]) == Some("Unconfined"),
        "securityContext.appArmorProfile.type must not be Unconfined",
    );
    baseline(text(&["procMount"]).is_some_and(|mount| mount != "Default"), "securityContext.procMount must be Default");
    baseline(
        flag(&["windowsOptions", "hostProcess"]) == Some(true),
        "securityContext.windowsOptions.hostProcess must not be true",
    );
    baseline(names_host(container), "the host of a probe or lifecycle hook must not be set");
    let selinux = |field| text(&["seLinuxOptions", field]).unwrap_or_default();
    baseline(
        !SELINUX_TYPES.contains(&selinux("type")) || !selinux("user").is_empty() || !selinux("role").is_empty(),
        "securityContext.seLinuxOptions must not set user, role or a special type",
    );

    let mut restricted = |broken: bool, text: &'static str, inherited: Option<Inherited>| {
        if broken {
            findings.push(Finding { inherited, ..Finding::new(Level::Restricted, text) });
        }
    };
    restricted(
        flag(&["allowPrivilegeEscalation"]) != Some(false),
        "securityContext.allowPrivilegeEscalation must be false",
        None,
    );
    restricted(
        !names(&["capabilities", "drop"]).contains(&"ALL") || added.iter().any(|name| *name != "NET_BIND_SERVICE"),
        "securityContext.capabilities must drop ALL and add at most NET_BIND_SERVICE",
        None,
    );
    let non_root = flag(&["runAsNonRoot"]);
    restricted(
        non_root != Some(true),
        "securityContext.runAsNonRoot must be true",
        non_root.is_none().then_some(Inherited::RunAsNonRoot),
    );
    restricted(
        lookup(context, &["runAsUser"]).and_then(Value::as_i64) == Some(0),
        "securityContext.runAsUser must not be 0",
        None,
    );
    restricted(
        seccomp.is_none(),
        "securityContext.seccompProfile.type must be RuntimeDefault or Localhost",
        Some(Inherited::SeccompProfile),
    );
    findings
}

/// Whether a probe or lifecycle hook goes to a host of its own (a rule since Kubernetes 1.34).
fn names_host(container: &Map<String, Value>) -> bool {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].iter().filter_map(|probe| container.get(*probe));
    let hooks = ["postStart", "preStop"].iter().filter_map(|hook| container.get("lifecycle")?.get(hook));
    let mut hosts = probes.chain(hooks).flat_map(|handler| {
        ["httpGet", "tcpSocket"].iter().filter_map(|action| handler.get(action)?.get("host")?.as_str())
    });
    hosts.any(|host| !host.is_empty())
}

/// What in a volume breaks which level.
pub(super) fn of_volume(volume: &Map<String, Value>) -> Vec<Finding> {
    let sources = volume.iter().filter(|(key, value)| *key != "name" && !value.is_null());
    let findings = sources.filter_map(|(source, _)| match source.as_str() {
        "hostPath" => Some(Finding::new(Level::Baseline, "hostPath is not allowed")),
        source if RESTRICTED_VOLUMES.contains(&source) => None,
        source => Some(Finding::new(Level::Restricted, format!("{source} is not allowed"))),
    });
    findings.collect()
}

fn lookup<'v>(context: &'v Map<String, Value>, path: &[&str]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(context.get(*first)?, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn broken(container: &Value, level: Level, pod: &Value) -> Vec<String> {
        let pod: String = pod.to_string();
        let pod: PodSecurityContextView<'_> = serde_json::from_str(&pod).unwrap();
        let findings = of_container(container.as_object().unwrap());
        findings
            .into_iter()
            .filter(|finding| finding.breaks(level, &pod))
            .map(|finding| finding.text.into_owned())
            .collect()
    }

    #[test]
    fn a_plain_container_meets_baseline_and_breaks_restricted() {
        let plain = json!({"name": "c"});
        assert!(broken(&plain, Level::Baseline, &json!({})).is_empty());
        assert_eq!(broken(&plain, Level::Restricted, &json!({})).len(), 4);
    }

    #[test]
    fn what_the_pod_sets_is_inherited() {
        let container =
            json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
        assert_eq!(broken(&container, Level::Restricted, &json!({})).len(), 2);
        let pod = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        assert!(broken(&container, Level::Restricted, &pod).is_empty());
        let root = json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": false}});
        assert_eq!(broken(&root, Level::Restricted, &pod), ["securityContext.runAsNonRoot must be true"]);
    }

    #[test]
    fn each_baseline_rule_is_seen() {
        for context in [
            json!({"privileged": true}),
            json!({"capabilities": {"add": ["NET_ADMIN"]}}),
            json!({"seccompProfile": {"type": "Unconfined"}}),
            json!({"appArmorProfile": {"type": "Unconfined"}}),
            json!({"procMount": "Unmasked"}),
            json!({"windowsOptions": {"hostProcess": true}}),
            json!({"seLinuxOptions": {"user": "x"}}),
        ] {
            assert_eq!(broken(&json!({"securityContext": context}), Level::Baseline, &json!({})).len(), 1, "{context}");
        }
        assert_eq!(broken(&json!({"ports": [{"hostPort": 80}]}), Level::Baseline, &json!({})).len(), 1);
        let probe = json!({"livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 80}}});
        assert_eq!(broken(&probe, Level::Baseline, &json!({})).len(), 1);
        let hook = json!({"lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}});
        assert_eq!(broken(&hook, Level::Baseline, &json!({})).len(), 1);
    }

    #[test]
    fn a_label_that_is_no_level_enforces_the_strictest() {
        assert_eq!(Level::parse("privileged"), None);
        assert_eq!(Level::parse("baseline"), Some(Level::Baseline));
        assert_eq!(Level::parse("typo"), Some(Level::Restricted));
    }

    #[test]
    fn volumes_are_judged_by_their_source() {
        let of =
            |volume: Value| of_volume(volume.as_object().unwrap()).into_iter().map(|f| f.level).collect::<Vec<_>>();
        assert_eq!(of(json!({"name": "a", "emptyDir": {}})), []);
        assert_eq!(of(json!({"name": "a", "hostPath": {"path": "/"}})), [Level::Baseline]);
        assert_eq!(of(json!({"name": "a", "nfs": {}})), [Level::Restricted]);
    }
}
