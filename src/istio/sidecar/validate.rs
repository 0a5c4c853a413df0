//! Whether Istio accepts a Sidecar: the rules of its `CustomResourceDefinition` and of istiod's webhook for the fields
//! that outrigger writes.
//!
//! Source: `pkg/config/validation` of Istio 1.32.

use super::{CaptureMode, EgressListener, NOTHING, Sidecar, SidecarPort, WorkloadSelector};
use crate::api::decode::FieldError;
use crate::istio::Findings;
use crate::istio::names;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Returns all problems of a Sidecar in this namespace. Fields are relative to `spec`, such as `egress[1].hosts[0]`.
#[must_use]
pub fn validate(sidecar: &Sidecar, namespace: &str) -> Findings {
    let mut findings = Findings::default();
    if let Some(selector) = &sidecar.workload_selector {
        findings.selector(selector);
    }
    if sidecar.egress.is_empty() {
        findings.error("egress", "must have a listener: Istio refuses a Sidecar without any configuration");
    }
    findings.listeners(&sidecar.egress);
    for (index, listener) in sidecar.egress.iter().enumerate() {
        findings.hosts(&format!("egress[{index}].hosts"), &listener.hosts, namespace);
    }
    findings
}

/// Returns excluded hosts, which Istio before 1.31 interprets differently.
#[must_use]
pub fn exclusions(sidecar: &Sidecar) -> Vec<FieldError> {
    let problem = "is an exclusion: older versions of Istio refuse it or then import nothing";
    let hosts = |(listener, one): (usize, &EgressListener)| {
        let excluded = one.hosts.iter().enumerate().filter(|(_, host)| host.starts_with('~') && *host != NOTHING);
        let told = excluded.map(|(index, _)| FieldError::new(format!("egress[{listener}].hosts[{index}]"), problem));
        told.collect::<Vec<_>>()
    };
    sidecar.egress.iter().enumerate().flat_map(hosts).collect()
}

/// Returns all problems of a selector. Fields are relative to `spec`, as in [`validate`].
#[must_use]
pub fn validate_selector(selector: &WorkloadSelector) -> Findings {
    let mut findings = Findings::default();
    findings.selector(selector);
    findings
}

impl Findings {
    fn selector(&mut self, selector: &WorkloadSelector) {
        if selector.labels.is_empty() {
            self.warning("workloadSelector", "has no labels: the Sidecar is for all Pods of the namespace");
        }
        if selector.labels.len() > 256 {
            self.error("workloadSelector.labels", "must have at most 256 labels");
        }
        for (key, value) in &selector.labels {
            let field = format!("workloadSelector.labels[{key}]");
            if key.is_empty() {
                self.error(&field, "must have a key");
            }
            if key.contains('*') || value.contains('*') {
                self.error(&field, "must have no '*' in key or value");
            }
            if value.chars().count() > 63 {
                self.error(&field, "must have a value of at most 63 characters");
            }
        }
    }

    /// Checks the ports and addresses of listeners.
    fn listeners(&mut self, listeners: &[EgressListener]) {
        let (mut ports, mut sockets) = (HashSet::new(), HashSet::new());
        for (index, listener) in listeners.iter().enumerate() {
            let field = format!("egress[{index}]");
            match &listener.port {
                None if index + 1 < listeners.len() => {
                    self.error(field, "must be the last listener of the list, and the only such one: it has no port");
                }
                None => {}
                Some(port) => {
                    self.port(&field, port, listener);
                    if port.number == 0 && !sockets.insert(&listener.bind) {
                        self.error(format!("{field}.bind"), "must be unique among the listeners on Unix sockets");
                    }
                    if port.number != 0 && !ports.insert(port.number) {
                        self.error(format!("{field}.port.number"), "must be unique among the listeners on ports");
                    }
                }
            }
        }
    }

    fn port(&mut self, field: &str, port: &SidecarPort, EgressListener { bind, capture_mode, .. }: &EgressListener) {
        if port.number == 0 {
            if !is_unix_socket(bind) {
                self.error(
                    format!("{field}.bind"),
                    "must be unix:// and an absolute path, or unix://@ and a name, for port.number is 0 or absent",
                );
            }
            if *capture_mode == CaptureMode::Iptables {
                self.error(format!("{field}.captureMode"), "must be DEFAULT or NONE for a Unix socket");
            }
        } else {
            if port.number > 65_535 {
                self.error(format!("{field}.port.number"), "must be 1 to 65535");
            }
            if !bind.is_empty() && bind.parse::<IpAddr>().is_err() {
                self.error(format!("{field}.bind"), "must be an IP address");
            }
        }
        if !port.protocol.is_empty() {
            self.check(format!("{field}.port.protocol"), names::protocol(&port.protocol));
        }
        if !port.name.is_empty() {
            self.check(format!("{field}.port.name"), names::dns_label(&port.name));
        }
        if port.target_port > 0 {
            self.error(format!("{field}.port.targetPort"), "must not be set: it has no meaning in a Sidecar");
        }
    }

    /// Checks the hosts of one listener.
    fn hosts(&mut self, field: &str, hosts: &[String], namespace: &str) {
        if hosts.is_empty() {
            self.error(field, "must have a host");
        }
        // DNS names and the position of `*`, by namespace. `.` is the Sidecar's own.
        let mut earlier: HashMap<&str, Named<'_>> = HashMap::new();
        for (index, host) in hosts.iter().enumerate() {
            let at = || format!("{field}[{index}]");
            let (of, name) = match host_parts(host) {
                Ok(parts) => parts,
                Err(problem) => {
                    self.error(at(), problem);
                    continue;
                }
            };
            if of.starts_with('~') {
                continue;
            }
            let named = earlier.entry(if of == "." { namespace } else { of }).or_default();
            if let Some(place) = named.covers(name) {
                self.warning(at(), format!("has no effect: hosts[{place}] covers it"));
            } else if name == "*" && !named.hosts.is_empty() {
                self.warning(at(), "covers earlier hosts of its namespace");
            }
            named.add(name, index);
        }
        if earlier.len() > 1
            && let Some(place) = earlier.get("*").and_then(|any| any.wildcard)
        {
            self.warning(format!("{field}[{place}]"), "selects everything: no other host has an effect");
        }
    }
}

/// The hosts of one listener in one namespace.
#[derive(Default)]
struct Named<'a> {
    /// DNS names with their first positions.
    hosts: HashMap<&'a str, usize>,
    /// The first position of `*`.
    wildcard: Option<usize>,
}

impl<'a> Named<'a> {
    /// Returns the position of a host that covers this DNS name.
    fn covers(&self, name: &str) -> Option<usize> {
        self.wildcard.or_else(|| self.hosts.get(name).copied())
    }

    fn add(&mut self, name: &'a str, index: usize) {
        if name == "*" {
            self.wildcard.get_or_insert(index);
        }
        self.hosts.entry(name).or_insert(index);
    }
}

/// Splits a host into namespace and DNS name.
fn host_parts(host: &str) -> Result<(&str, &str), &'static str> {
    let (of, name) = host.split_once('/').ok_or("must be of the form namespace/dnsName")?;
    if of.is_empty() || name.is_empty() {
        return Err("must have a namespace before the '/' and a DNS name after it");
    }
    let bare = of.strip_prefix('~').unwrap_or(of);
    if !matches!(bare, "" | "*" | ".") && names::dns_label(bare).is_err() {
        return Err("must have '*', '.', '~' or the name of a namespace before the '/'");
    }
    if name == "*" {
        return Ok((of, name));
    }
    if !name.contains('.') {
        return Err("must have '*' or a full DNS name after the '/', not a short one");
    }
    names::wildcard_domain(name)?;
    if name.starts_with('*') && !name.starts_with("*.") {
        return Err("must have a DNS name after the '/' whose wildcard is a part of its own: '*.'");
    }
    Ok((of, name))
}

fn is_unix_socket(bind: &str) -> bool {
    bind.strip_prefix("unix://").is_some_and(|path| path.starts_with(['/', '@']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Returns the findings about a spec in the namespace `own`, as text.
    fn findings(spec: &Value) -> (Vec<String>, Vec<String>) {
        let findings = validate(&Sidecar::read(spec).unwrap(), "own");
        let texts = |findings: Vec<FieldError>| findings.iter().map(ToString::to_string).collect();
        (texts(findings.errors), texts(findings.warnings))
    }

    fn of_hosts(hosts: &[&str]) -> Value {
        json!({"egress": [{"hosts": hosts}]})
    }

    #[track_caller]
    fn accepts(spec: &Value) {
        assert_eq!(findings(spec), (vec![], vec![]), "{spec}");
    }

    #[track_caller]
    fn rejects(spec: &Value, error: &str) {
        let (errors, _) = findings(spec);
        assert!(matches!(&errors[..], [only] if only.starts_with(error)), "{spec}: {errors:?}");
    }

    #[track_caller]
    fn warns(spec: &Value, expected: &[&str]) {
        let (errors, warnings) = findings(spec);
        assert_eq!(errors, Vec::<String>::new(), "{spec}");
        assert_eq!(warnings, expected, "{spec}");
    }

    #[test]
    fn a_sidecar_says_something() {
        rejects(&json!({}), "egress: must have a listener");
        rejects(&json!({"egress": [{}]}), "egress[0].hosts: must have a host");
        rejects(&json!({"workloadSelector": {"labels": {"a": "b"}}}), "egress: must have a listener");
    }

    #[test]
    fn hosts_are_a_namespace_and_a_full_name() {
        for host in [
            "*/*",
            "./*",
            "~/*",
            "ns/*",
            "Ns-1/*",
            "ns/a.b",
            "ns/A.b.",
            "*/*.b",
            "./*.b.c",
            "ns/a.",
            "*/xn--a.b",
            "ns/1.a",
        ] {
            accepts(&of_hosts(&[host]));
        }
        for (host, problem) in [
            ("", "must be of the form namespace/dnsName"),
            ("a.b", "must be of the form"),
            ("/", "must have a namespace before"),
            ("/a.b", "must have a namespace before"),
            ("ns/", "must have a namespace before"),
            ("n_s/*", "must have '*', '.', '~' or the name"),
            ("a.b/*", "must have '*', '.', '~' or the name"),
            ("**/*", "must have '*', '.', '~' or the name"),
            ("~~/*", "must have '*', '.', '~' or the name"),
            ("ns/a", "must have '*' or a full DNS name"),
            ("ns/**", "must have '*' or a full DNS name"),
            ("ns/*a.b", "must have a DNS name after the '/' whose wildcard"),
            ("ns/*-a.b", "must have a DNS name after the '/' whose wildcard"),
            ("ns/a.*", "must be a DNS name"),
            ("ns/a..b", "must be a DNS name"),
            ("ns/10.0.0.1", "must be a DNS name: its top level"),
            ("ns/a.b/c", "must be a DNS name"),
            ("ns/a.b:80", "must be a DNS name"),
        ] {
            rejects(&of_hosts(&["./*", host]), &format!("egress[0].hosts[1]: {problem}"));
        }
    }

    #[test]
    fn listeners_have_ports_of_their_own_and_the_one_without_is_last() {
        let on = |port: Value| json!({"port": port, "hosts": ["./*"]});
        let rest = json!({"hosts": ["*/*"]});
        accepts(
            &json!({"egress": [on(json!({"number": 80})), on(json!({"number": 65535, "protocol": "grpc", "name": "A-1"})), rest]}),
        );
        rejects(&json!({"egress": [rest, on(json!({"number": 80}))]}), "egress[0]: must be the last listener");
        rejects(&json!({"egress": [rest, rest]}), "egress[0]: must be the last listener");
        rejects(
            &json!({"egress": [on(json!({"number": 80})), on(json!({"number": 80, "name": "b"}))]}),
            "egress[1].port.number: must be unique",
        );
        for (port, problem) in [
            (json!({"number": 65536}), "number: must be 1 to 65535"),
            (json!({"number": 1, "protocol": "SCTP"}), "protocol: must be one of HTTP"),
            (json!({"number": 1, "name": "a_b"}), "name: must be a DNS label"),
            (json!({"number": 1, "targetPort": 2}), "targetPort: must not be set"),
        ] {
            rejects(&json!({"egress": [on(port)]}), &format!("egress[0].port.{problem}"));
        }
    }

    #[test]
    fn addresses_fit_the_port() {
        let bound = |number: u32, bind: &str, mode: &str| json!({"port": {"number": number}, "bind": bind, "captureMode": mode, "hosts": ["./*"]});
        for listener in [
            bound(80, "", "NONE"),
            bound(80, "0.0.0.0", "IPTABLES"),
            bound(80, "::1", "DEFAULT"),
            bound(0, "unix:///a", "DEFAULT"),
            bound(0, "unix://@a", "NONE"),
        ] {
            accepts(&json!({"egress": [listener]}));
        }
        for (listener, problem) in [
            (bound(80, "localhost", "NONE"), "bind: must be an IP address"),
            (bound(80, "unix:///a", "NONE"), "bind: must be an IP address"),
            (bound(80, "10.0.0.0/8", "NONE"), "bind: must be an IP address"),
            (bound(0, "", "NONE"), "bind: must be unix://"),
            (bound(0, "unix://a", "NONE"), "bind: must be unix://"),
            (bound(0, "127.0.0.1", "NONE"), "bind: must be unix://"),
            (bound(0, "unix:///a", "IPTABLES"), "captureMode: must be DEFAULT or NONE"),
        ] {
            rejects(&json!({"egress": [listener]}), &format!("egress[0].{problem}"));
        }
        let socket = bound(0, "unix:///a", "NONE");
        rejects(&json!({"egress": [socket, socket]}), "egress[1].bind: must be unique");
    }

    #[test]
    fn a_selector_has_labels_without_wildcards() {
        let selecting = |labels: Value| json!({"workloadSelector": {"labels": labels}, "egress": [{"hosts": ["./*"]}]});
        accepts(&selecting(json!({"a.b/c": "", "not a label": "é"})));
        let (long, longer) = ("é".repeat(63), "a".repeat(64));
        accepts(&selecting(json!({"a": long})));
        for (labels, problem) in [
            (json!({"": "a"}), "workloadSelector.labels[]: must have a key"),
            (json!({"a*": "b"}), "workloadSelector.labels[a*]: must have no '*'"),
            (json!({"a": "*"}), "workloadSelector.labels[a]: must have no '*'"),
            (json!({"a": longer}), "workloadSelector.labels[a]: must have a value of at most 63"),
        ] {
            rejects(&selecting(labels), problem);
        }
        let many = |count: usize| (0..count).map(|n| (n.to_string(), Value::from("a"))).collect();
        accepts(&selecting(Value::Object(many(256))));
        rejects(&selecting(Value::Object(many(257))), "workloadSelector.labels: must have at most 256");
        let whole = "workloadSelector: has no labels: the Sidecar is for all Pods of the namespace";
        warns(&selecting(json!({})), &[whole]);
    }

    #[test]
    fn hosts_without_effect_are_told() {
        for (hosts, warnings) in [
            (&["a/*", "b/*", "./c.d", "own/e.f"][..], &[][..]),
            (&["a/b.c", "a/d.e", "a/b.c"], &["[2]: has no effect: hosts[0] covers it"]),
            (&["own/b.c", "./b.c"], &["[1]: has no effect: hosts[0] covers it"]),
            (&["a/*", "a/b.c"], &["[1]: has no effect: hosts[0] covers it"]),
            (&["a/*", "a/*"], &["[1]: has no effect: hosts[0] covers it"]),
            (&["a/b.c", "a/*"], &["[1]: covers earlier hosts of its namespace"]),
            (&["*/*", "a/*"], &["[0]: selects everything: no other host has an effect"]),
            (&["a/*", "*/*", "~/*"], &["[1]: selects everything: no other host has an effect"]),
            (&["*/*", "~a/*", "~/a.b"], &[]),
            (&["*/a.b", "a/*"], &[]),
        ] {
            let warnings: Vec<_> = warnings.iter().map(|warning| format!("egress[0].hosts{warning}")).collect();
            warns(&of_hosts(hosts), &warnings.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    #[test]
    fn exclusions_are_told_for_older_versions() {
        let sidecar = Sidecar::read(&of_hosts(&["*/*", "~a/*", "~/a.b", "~/*"])).unwrap();
        let fields: Vec<_> = exclusions(&sidecar).into_iter().map(|told| told.field).collect();
        assert_eq!(fields, ["egress[0].hosts[1]", "egress[0].hosts[2]"]);
    }

    #[test]
    fn every_fault_is_found() {
        let spec = json!({"egress": [{"hosts": ["a", "b"]}, {"port": {}, "hosts": []}]});
        let fields: Vec<_> =
            validate(&Sidecar::read(&spec).unwrap(), "own").errors.into_iter().map(|e| e.field).collect();
        assert_eq!(
            fields,
            ["egress[0]", "egress[1].bind", "egress[0].hosts[0]", "egress[0].hosts[1]", "egress[1].hosts"]
        );
    }
}
