//! Violations of Pod Security levels by injected containers and volumes, so that a user learns which SidecarSet causes
//! them.
//!
//! Source: `k8s.io/pod-security-admission/policy` of Kubernetes 1.37. Only fields of containers and volumes are checked.
//! Inherited values and exemptions are looked up in the Pod.

use crate::api::keys;
use crate::api::pod::PodSecurityContextView;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// The level that a Namespace enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Enforced {
    pub level: Level,
    /// The Kubernetes version 1.x of the rules; the newest if none is named.
    version: u32,
}

/// The fields of a Pod that affect its containers.
#[derive(Debug, Default)]
pub(super) struct PodSecurity<'a> {
    pub context: Option<&'a PodSecurityContextView<'a>>,
    /// `hostUsers: false`
    pub has_own_users: bool,
    /// `os: {name: windows}`
    pub is_windows: bool,
}

/// A level that a Namespace enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Baseline,
    Restricted,
}

/// A violation of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The lowest level that is violated.
    pub level: Level,
    /// What must change.
    pub text: Cow<'static, str>,
    /// The versions 1.x whose rules are violated.
    versions: Range<u32>,
    /// The settings of the Pod that permit it.
    excuses: &'static [Excuse],
}

/// A setting of the Pod that makes up for one missing in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    /// All containers run as non-root.
    RunAsNonRoot,
    /// All containers have a seccomp profile.
    SeccompProfile,
    /// It is a Windows Pod; known to the rules since 1.25.
    Windows,
    /// The Pod has its own user namespace; known to the rules since 1.35.
    OwnUsers,
    /// The same, but not at the level `restricted`.
    OwnUsersAtBaseline,
}

const ALL_VERSIONS: Range<u32> = 0..u32::MAX;

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
const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", SELINUX_TYPE_1_31];
/// Allowed since 1.31.
const SELINUX_TYPE_1_31: &str = "container_engine_t";
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
    /// The level's name in Kubernetes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl Enforced {
    /// Reads a Namespace's labels. The level `privileged` enforces nothing. An unknown level counts as the strictest
    /// one.
    pub fn of(labels: &BTreeMap<String, String>) -> Option<Self> {
        let level = match labels.get(keys::POD_SECURITY_ENFORCE)?.as_str() {
            "privileged" => return None,
            "baseline" => Level::Baseline,
            _ => Level::Restricted,
        };
        let version = labels.get(keys::POD_SECURITY_ENFORCE_VERSION);
        let version = version.and_then(|version| version.strip_prefix("v1.")?.parse().ok()).unwrap_or(u32::MAX - 1);
        Some(Self { level, version })
    }
}

impl Excuse {
    fn counts(self, enforced: Enforced, pod: &PodSecurity<'_>) -> bool {
        match self {
            Self::RunAsNonRoot => pod.context.and_then(|context| context.run_as_non_root) == Some(true),
            Self::SeccompProfile => {
                let profile = pod.context.and_then(|context| context.seccomp_profile.as_ref()?.profile.as_deref());
                matches!(profile, Some("RuntimeDefault" | "Localhost"))
            }
            Self::Windows => pod.is_windows && enforced.version >= 25,
            Self::OwnUsers => pod.has_own_users && enforced.version >= 35,
            Self::OwnUsersAtBaseline => enforced.level == Level::Baseline && Self::OwnUsers.counts(enforced, pod),
        }
    }
}

impl Finding {
    fn new(level: Level, text: impl Into<Cow<'static, str>>) -> Self {
        Self { level, text: text.into(), versions: ALL_VERSIONS, excuses: &[] }
    }

    /// Whether this violates the enforced level in this Pod.
    pub fn breaks(&self, enforced: Enforced, pod: &PodSecurity<'_>) -> bool {
        self.level <= enforced.level
            && self.versions.contains(&enforced.version)
            && !self.excuses.iter().any(|excuse| excuse.counts(enforced, pod))
    }
}

/// Returns the violations of a container.
pub(super) fn of_container(container: &Map<String, Value>) -> Vec<Finding> {
    let empty = Map::new();
    let context = container.get("securityContext").and_then(Value::as_object).unwrap_or(&empty);
    let text = |path: &[&str]| lookup(context, path).and_then(Value::as_str);
    let flag = |path: &[&str]| lookup(context, path).and_then(Value::as_bool);
    let names = |path: &[&str]| {
        let list = lookup(context, path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
    let added = names(&["capabilities", "add"]);
    let seccomp = text(&["seccompProfile", "type"]);
    let non_root = flag(&["runAsNonRoot"]);
    let selinux = |field| text(&["seLinuxOptions", field]).unwrap_or_default();
    let rules = [
        rule(flag(&["privileged"]) == Some(true), "securityContext.privileged must not be true"),
        rule(
            ports.filter_map(|port| port.get("hostPort")?.as_i64()).any(|port| port != 0),
            "ports[*].hostPort must not be set",
        ),
        rule(
            added.iter().any(|name| !BASELINE_CAPABILITIES.contains(name)),
            "securityContext.capabilities.add must hold only the default capabilities",
        ),
        Rule {
            versions: 19..u32::MAX,
            ..rule(seccomp == Some("Unconfined"), "securityContext.seccompProfile.type must not be Unconfined")
        },
        rule(
            text(&["appArmorProfile", "type"]) == Some("Unconfined"),
            "securityContext.appArmorProfile.type must not be Unconfined",
        ),
        Rule {
            excuses: &[Excuse::OwnUsersAtBaseline],
            ..rule(
                text(&["procMount"]).is_some_and(|mount| mount != "Default"),
                "securityContext.procMount must be Default",
            )
        },
        rule(
            flag(&["windowsOptions", "hostProcess"]) == Some(true),
            "securityContext.windowsOptions.hostProcess must not be true",
        ),
        Rule {
            versions: 34..u32::MAX,
            ..rule(names_host(container), "the host of a probe or lifecycle hook must not be set")
        },
        rule(
            !SELINUX_TYPES.contains(&selinux("type")) || !selinux("user").is_empty() || !selinux("role").is_empty(),
            "securityContext.seLinuxOptions must not set user, role or a special type",
        ),
        Rule {
            versions: 0..31,
            ..rule(selinux("type") == SELINUX_TYPE_1_31, "securityContext.seLinuxOptions must not set a special type")
        },
        Rule {
            level: Level::Restricted,
            versions: 8..u32::MAX,
            excuses: &[Excuse::Windows],
            ..rule(
                flag(&["allowPrivilegeEscalation"]) != Some(false),
                "securityContext.allowPrivilegeEscalation must be false",
            )
        },
        Rule {
            level: Level::Restricted,
            versions: 22..u32::MAX,
            excuses: &[Excuse::Windows],
            ..rule(
                !names(&["capabilities", "drop"]).contains(&"ALL")
                    || added.iter().any(|name| *name != "NET_BIND_SERVICE"),
                "securityContext.capabilities must drop ALL and add at most NET_BIND_SERVICE",
            )
        },
        Rule {
            level: Level::Restricted,
            excuses: if non_root.is_none() { &[Excuse::RunAsNonRoot, Excuse::OwnUsers] } else { &[Excuse::OwnUsers] },
            ..rule(non_root != Some(true), "securityContext.runAsNonRoot must be true")
        },
        Rule {
            level: Level::Restricted,
            versions: 23..u32::MAX,
            excuses: &[Excuse::OwnUsers],
            ..rule(
                lookup(context, &["runAsUser"]).and_then(Value::as_i64) == Some(0),
                "securityContext.runAsUser must not be 0",
            )
        },
        Rule {
            level: Level::Restricted,
            versions: 19..u32::MAX,
            excuses: &[Excuse::SeccompProfile, Excuse::Windows],
            ..rule(seccomp.is_none(), "securityContext.seccompProfile.type must be RuntimeDefault or Localhost")
        },
    ];
    let broken = rules.into_iter().filter(|rule| rule.broken);
    broken
        .map(|Rule { level, text, versions, excuses, .. }| Finding { level, text: text.into(), versions, excuses })
        .collect()
}

/// A rule, and whether a container breaks it.
struct Rule {
    broken: bool,
    level: Level,
    text: &'static str,
    versions: Range<u32>,
    excuses: &'static [Excuse],
}

/// A rule of the level `baseline` in all versions.
fn rule(broken: bool, text: &'static str) -> Rule {
    Rule { broken, level: Level::Baseline, text, versions: ALL_VERSIONS, excuses: &[] }
}

/// Whether a probe or lifecycle hook has a `host` (a rule since Kubernetes 1.34).
fn names_host(container: &Map<String, Value>) -> bool {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].iter().filter_map(|probe| container.get(*probe));
    let hooks = ["postStart", "preStop"].iter().filter_map(|hook| container.get("lifecycle")?.get(hook));
    let mut hosts = probes.chain(hooks).flat_map(|handler| {
        ["httpGet", "tcpSocket"].iter().filter_map(|action| handler.get(action)?.get("host")?.as_str())
    });
    hosts.any(|host| !host.is_empty())
}

/// Returns the violations of a volume.
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

    fn enforced(level: Level) -> Enforced {
        let labels = BTreeMap::from([(keys::POD_SECURITY_ENFORCE.to_owned(), level.name().to_owned())]);
        Enforced::of(&labels).unwrap()
    }

    /// Returns the violations of the newest rules by a container in a Pod with this securityContext.
    fn broken(container: &Value, level: Level, pod: &Value) -> Vec<String> {
        let pod: String = pod.to_string();
        let context: PodSecurityContextView<'_> = serde_json::from_str(&pod).unwrap();
        broken_in(container, enforced(level), &PodSecurity { context: Some(&context), ..PodSecurity::default() })
    }

    fn broken_in(container: &Value, enforced: Enforced, pod: &PodSecurity<'_>) -> Vec<String> {
        let findings = of_container(container.as_object().unwrap());
        let findings = findings.into_iter().filter(|finding| finding.breaks(enforced, pod));
        findings.map(|finding| finding.text.into_owned()).collect()
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
    fn a_label_that_is_no_level_or_version_enforces_the_strictest_and_newest() {
        let of = |level: &str, version: Option<&str>| {
            let mut labels = BTreeMap::from([(keys::POD_SECURITY_ENFORCE.to_owned(), level.to_owned())]);
            labels.extend(version.map(|version| (keys::POD_SECURITY_ENFORCE_VERSION.to_owned(), version.to_owned())));
            Enforced::of(&labels)
        };
        assert_eq!(Enforced::of(&BTreeMap::new()), None);
        assert_eq!(of("privileged", None), None);
        assert_eq!(of("baseline", None), Some(enforced(Level::Baseline)));
        assert_eq!(of("typo", Some("1.25")), Some(enforced(Level::Restricted)));
        assert_eq!(of("baseline", Some("latest")), Some(enforced(Level::Baseline)));
        assert_eq!(of("baseline", Some("v1.24")), Some(Enforced { level: Level::Baseline, version: 24 }));
    }

    #[test]
    fn a_pod_of_windows_and_one_with_users_of_its_own_are_excused_since_the_rules_know_them() {
        let root = json!({"securityContext": {"runAsUser": 0, "procMount": "Unmasked"}});
        let own_users = PodSecurity { has_own_users: true, ..PodSecurity::default() };
        let windows = PodSecurity { is_windows: true, ..PodSecurity::default() };
        let restricted = |version| Enforced { level: Level::Restricted, version };
        let of = |enforced, pod: &PodSecurity<'_>| broken_in(&root, enforced, pod).len();
        let all = of(restricted(37), &PodSecurity::default());
        assert_eq!(all, 6);
        assert_eq!(of(restricted(35), &own_users), all - 2, "runAsNonRoot and runAsUser");
        assert_eq!(of(restricted(34), &own_users), all);
        assert_eq!(of(Enforced { level: Level::Baseline, version: 35 }, &own_users), 0);
        assert_eq!(of(Enforced { level: Level::Baseline, version: 34 }, &own_users), 1);
        assert_eq!(of(restricted(25), &windows), all - 3, "escalation, capabilities and seccomp");
        assert_eq!(of(restricted(24), &windows), all);
    }

    #[test]
    fn a_rule_counts_since_its_version() {
        let of = |container: &Value, version| {
            broken_in(container, Enforced { level: Level::Restricted, version }, &PodSecurity::default()).len()
        };
        let plain = json!({});
        assert_eq!([7, 8, 19, 22, 37].map(|version| of(&plain, version)), [1, 2, 3, 4, 4]);
        let root = json!({"securityContext": {"runAsUser": 0}});
        assert_eq!([22, 23].map(|version| of(&root, version)), [4, 5]);
        let engine = json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}});
        assert_eq!([30, 31].map(|version| of(&engine, version)), [5, 4]);
        let probe = json!({"livenessProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}});
        assert_eq!([33, 34].map(|version| of(&probe, version)), [4, 5]);
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
