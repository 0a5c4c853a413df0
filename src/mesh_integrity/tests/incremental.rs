//! Tests that the findings after a change equal those of a full check.

use super::objects;
use crate::mesh_integrity::{Change, Engine, Object, Options};
use proptest::prelude::*;
use std::sync::Arc;

/// Returns objects with all kinds of references, each correct or wrong by itself.
fn any_object() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let namespace = || prop::sample::select(vec!["one", "two"]);
    let port = || prop::sample::select(vec![80, 81]);
    let header = |kind: &str, namespace: &str, name: &str| {
        let group = match kind {
            "Service" | "Pod" | "Namespace" | "Secret" => "v1",
            "Deployment" => "apps/v1",
            "RequestAuthentication" => "security.istio.io/v1",
            _ => "networking.istio.io/v1",
        };
        format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n")
    };
    prop_oneof![
        (name(), namespace(), port(), any::<bool>()).prop_map(move |(n, ns, p, two)| {
            let second = if two { ", {name: tcp-two, port: 82}" } else { "" };
            header("Service", ns, n) + &format!("spec: {{selector: {{app: {n}}}, ports: [{{name: http, port: {p}}}{second}]}}\n")
        }),
        (name(), namespace(), name()).prop_map(move |(n, ns, app)| {
            header("Pod", ns, n).replace("metadata: {", &format!("metadata: {{labels: {{app: {app}}}, "))
        }),
        (namespace()).prop_map(move |n| header("Namespace", "", n)),
        (name(), namespace(), name(), namespace(), name()).prop_map(move |(n, ns, to, of, subset)| {
            header("VirtualService", ns, n)
                + &format!("spec: {{hosts: [{to}], gateways: [mesh, {of}/{n}], exportTo: [{of}], http: [{{route: [{{destination: {{host: {to}.{of}.svc.cluster.local, subset: {subset}}}}}]}}]}}\n")
        }),
        (name(), namespace(), name(), namespace()).prop_map(move |(n, ns, to, of)| {
            header("VirtualService", ns, n) + &format!("spec: {{hosts: [{to}.com], http: [{{route: [{{destination: {{host: {to}.{of}, port: {{number: 80}}}}}}]}}]}}\n")
        }),
        (name(), namespace(), name(), name()).prop_map(move |(n, ns, to, subset)| {
            header("DestinationRule", ns, n) + &format!("spec: {{host: {to}, subsets: [{{name: {subset}, labels: {{app: {n}}}}}]}}\n")
        }),
        (name(), namespace(), name()).prop_map(move |(n, ns, host)| {
            header("Gateway", ns, n) + &format!("spec: {{selector: {{app: {n}}}, servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{host}.com, '*.org']}}]}}\n")
        }),
        (name(), namespace(), name(), namespace()).prop_map(move |(n, ns, host, of)| {
            header("Sidecar", ns, n) + &format!("spec: {{egress: [{{hosts: [{of}/{host}.{of}.svc.cluster.local, {of}/*, '*/*.{of}.svc.cluster.local']}}]}}\n")
        }),
        (name(), namespace(), name(), any::<bool>()).prop_map(move |(n, ns, host, tcp)| {
            let protocol = if tcp { "TCP" } else { "HTTP" };
            header("ServiceEntry", ns, n) + &format!("spec: {{hosts: ['{host}.com', '*.{host}.svc.cluster.local'], ports: [{{number: 80, name: http, protocol: {protocol}}}]}}\n")
        }),
        (name(), namespace(), name(), name()).prop_map(move |(n, ns, app, port)| {
            header("Deployment", ns, n) + &format!("spec: {{template: {{metadata: {{labels: {{app: {app}, of: {port}}}}}, spec: {{containers: [{{name: app, ports: [{{name: {port}, containerPort: 80}}]}}]}}}}}}\n")
        }),
        (name(), namespace(), name(), name()).prop_map(move |(n, ns, app, target)| {
            header("Service", ns, n) + &format!("spec: {{selector: {{app: {app}}}, ports: [{{name: tcp, port: 80, targetPort: {target}}}]}}\n")
        }),
        (name(), namespace(), name(), any::<bool>()).prop_map(move |(n, ns, app, of)| {
            let label = if of { "of" } else { "app" };
            header("Sidecar", ns, n) + &format!("spec: {{workloadSelector: {{labels: {{{label}: {app}}}}}, egress: [{{hosts: [./*]}}]}}\n")
        }),
        (name(), namespace(), name(), namespace(), name()).prop_map(move |(n, ns, to, of, app)| {
            header("VirtualService", ns, n) + &format!("spec: {{hosts: [{to}], exportTo: [.], http: [{{match: [{{sourceNamespace: {of}, sourceLabels: {{app: {app}}}}}], route: [{{destination: {{host: {to}}}}}]}}]}}\n")
        }),
        (name(), namespace(), name(), namespace()).prop_map(move |(n, ns, to, of)| {
            header("VirtualService", ns, n) + &format!("spec: {{hosts: [{to}.com], gateways: [{of}/{to}], http: [{{match: [{{headers: {{'@request.auth.claims.sub': {{exact: a}}}}}}], delegate: {{name: {to}, namespace: {of}}}}}]}}\n")
        }),
        (name(), namespace(), name()).prop_map(move |(n, ns, to)| {
            header("VirtualService", ns, n) + &format!("spec: {{http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}\n")
        }),
        (name(), namespace(), name()).prop_map(move |(n, ns, app)| {
            header("RequestAuthentication", ns, n) + &format!("spec: {{selector: {{matchLabels: {{app: {app}}}}}}}\n")
        }),
        (name(), namespace()).prop_map(move |(n, ns)| header("Secret", ns, n)),
        (name(), namespace(), name(), name()).prop_map(move |(n, ns, app, secret)| {
            header("Gateway", ns, n) + &format!("spec: {{selector: {{app: {app}}}, servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['{app}.com'], tls: {{mode: SIMPLE, credentialName: {secret}}}}}]}}\n")
        }),
        (name(), namespace(), name(), any::<bool>()).prop_map(move |(n, ns, host, all)| {
            let host = if all { "'*.one.svc.cluster.local'" } else { host };
            header("DestinationRule", ns, n) + &format!("spec: {{host: {host}, exportTo: [two], subsets: [{{name: a, labels: {{of: b}}}}]}}\n")
        }),
        (name(), any::<bool>()).prop_map(move |(host, ambient)| {
            let label = if ambient { "ambient" } else { "none" };
            let sidecar = header("Sidecar", "istio-system", "a") + &format!("spec: {{egress: [{{hosts: ['*/{host}.one.svc.cluster.local']}}]}}\n");
            if ambient { header("Namespace", "", "one").replace("metadata: {", &format!("metadata: {{labels: {{istio.io/dataplane-mode: {label}}}, ")) } else { sidecar }
        }),
    ]
}

fn one(text: &str) -> Object {
    objects(text).remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_mesh_that_changed_is_judged_as_one_that_was_always_so(
        texts in prop::collection::vec((any_object(), any::<bool>()), 1..32),
    ) {
        let mut engine = Engine::new(Options::default(), []).unwrap();
        let mut now: std::collections::BTreeMap<_, String> = std::collections::BTreeMap::new();
        for (text, deletes) in &texts {
            let key = one(text).key().clone();
            if *deletes && now.remove(&key).is_some() {
                engine.change([Change::Deleted(key)]).unwrap();
            } else {
                engine.change([Change::Applied(Arc::new(one(text)))]).unwrap();
                now.insert(key, text.clone());
            }
            let rebuilt = Engine::new(Options::default(), now.values().map(|text| one(text))).unwrap();
            prop_assert_eq!(engine.findings(), rebuilt.findings(), "{:#?}", now);
        }
    }
}
