//! What a change leaves is what a check of everything finds.

use super::objects;
use crate::mesh_integrity::{Change, Engine, Object, Options};
use proptest::prelude::*;

/// Objects that refer to each other in all ways, each right or wrong by itself.
fn any_object() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let namespace = || prop::sample::select(vec!["one", "two"]);
    let port = || prop::sample::select(vec![80, 81]);
    let header = |kind: &str, namespace: &str, name: &str| {
        let group = match kind {
            "Service" | "Pod" | "Namespace" => "v1",
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
        (name(), namespace(), name()).prop_map(move |(n, ns, host)| {
            header("ServiceEntry", ns, n) + &format!("spec: {{hosts: ['{host}.com', '*.{host}.svc.cluster.local'], ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n")
        }),
    ]
}

fn one(text: &str) -> Object {
    objects(text).remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_mesh_that_changed_is_judged_as_one_that_was_always_so(
        texts in prop::collection::vec((any_object(), any::<bool>()), 1..24),
    ) {
        let mut engine = Engine::new(Options::default(), []).unwrap();
        let mut now: std::collections::BTreeMap<_, String> = std::collections::BTreeMap::new();
        for (text, deletes) in &texts {
            let key = one(text).key().clone();
            if *deletes && now.remove(&key).is_some() {
                engine.change([Change::Deleted(key)]).unwrap();
            } else {
                engine.change([Change::Applied(Box::new(one(text)))]).unwrap();
                now.insert(key, text.clone());
            }
            let rebuilt = Engine::new(Options::default(), now.values().map(|text| one(text))).unwrap();
            prop_assert_eq!(engine.findings(), rebuilt.findings(), "{:#?}", now);
        }
    }
}
