//! The index finds exactly the sets that match a Pod, after any sequence of events.

use super::{Index, Options, decide, ready, set};
use crate::api::pod::PodView;
use crate::injection::snapshot::Labels;
use crate::injection::{Injection, PodRequest};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NAMESPACES: [&str; 3] = ["shop", "staging", "prod"];
const SETS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// An event for the index.
#[derive(Clone, Debug)]
enum Event {
    Set(Value),
    SetGone(&'static str),
    Namespace(&'static str, Labels),
    NamespaceGone(&'static str),
}

fn labels() -> impl Strategy<Value = Labels> {
    let value = || select(vec![None, Some("web"), Some("db")]);
    (value(), value()).prop_map(|(app, tier)| {
        let labels = [("app", app), ("tier", tier)];
        labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
    })
}

fn selector(name_key: bool) -> impl Strategy<Value = Value> {
    let keys = if name_key { vec!["app", "tier", "kubernetes.io/metadata.name"] } else { vec!["app", "tier"] };
    let requirement = (select(keys), select(vec!["In", "NotIn", "Exists", "DoesNotExist", "Equals"])).prop_flat_map(
        |(key, operator)| {
            let pool = if key.contains('/') { &NAMESPACES[..] } else { &["web", "db", ""] };
            subsequence(pool, 1..=2).prop_map(move |values| (key, operator, values))
        },
    );
    vec(requirement, 1..=3).prop_map(|requirements| {
        let mut selector = json!({});
        let mut expressions = Vec::new();
        for (key, operator, values) in requirements {
            match operator {
                "Equals" => selector["matchLabels"][key] = json!(values[0]),
                "In" | "NotIn" => expressions.push(json!({"key": key, "operator": operator, "values": values})),
                _ => expressions.push(json!({"key": key, "operator": operator})),
            }
        }
        selector["matchExpressions"] = json!(expressions);
        selector
    })
}

fn event() -> impl Strategy<Value = Event> {
    let spec =
        (select(&SETS[..]), selector(false), proptest::option::of(selector(true)), proptest::bool::weighted(0.1));
    let spec = spec.prop_map(|(name, selector, namespaces, paused)| {
        let container = json!({"name": name, "image": "x:1"});
        let mut spec =
            json!({"selector": selector, "containers": [container], "injectionStrategy": {"paused": paused}});
        if let Some(namespaces) = namespaces {
            spec["namespaceSelector"] = namespaces;
        }
        Event::Set(set(name, spec))
    });
    prop_oneof![
        8 => spec,
        1 => select(&SETS[..]).prop_map(Event::SetGone),
        3 => (select(&NAMESPACES[..]), labels()).prop_map(|(name, labels)| Event::Namespace(name, labels)),
        1 => select(&NAMESPACES[..]).prop_map(Event::NamespaceGone),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pod_gets_exactly_the_sets_without_a_mismatch(
        events in vec(event(), 0..12), pods in vec((labels(), select(&NAMESPACES[..])), 1..6)
    ) {
        let mut index = Index::new(Options::default());
        let (mut sets, mut namespaces) = (BTreeMap::new(), BTreeMap::new());
        for event in &events {
            match event {
                Event::Set(set) => {
                    index.apply_set(ready(set));
                    sets.insert(set["metadata"]["name"].as_str().unwrap_or_default().to_owned(), set.clone());
                }
                Event::SetGone(name) => {
                    index.delete_set(name);
                    sets.remove(*name);
                }
                Event::Namespace(name, labels) => {
                    index.apply_namespace((*name).to_owned(), labels.clone());
                    namespaces.insert(*name, labels.clone());
                }
                Event::NamespaceGone(name) => {
                    index.delete_namespace(name);
                    namespaces.remove(name);
                }
            }
        }
        let snapshot = index.snapshot();
        let known: Vec<&str> = snapshot.sets().map(|set| set.name.as_str()).collect();
        prop_assert_eq!(known, sets.keys().collect::<Vec<_>>());

        for (labels, namespace) in &pods {
            let pod = json!({"metadata": {"namespace": namespace, "labels": labels}, "spec": {"containers": []}});
            let found = match decide(&index, &pod) {
                Ok(Injection::Matched(injected)) => injected.sets.into_iter().map(|set| set.name).collect(),
                Ok(Injection::NotMatched) => Vec::new(),
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            let text = pod.to_string();
            let view: PodView<'_> = serde_json::from_str(&text).expect("a Pod");
            let request = PodRequest::create(namespace, Timestamp::UNIX_EPOCH);
            let unmatched = |set: &Value| snapshot.mismatch(&ready(set), &view, &request).is_some();
            let expected: Vec<String> =
                sets.iter().filter(|(_, set)| !unmatched(set)).map(|(name, _)| name.clone()).collect();
            prop_assert_eq!(&found, &expected, "of {}", pod);

            let mut in_namespace = namespaces.get(namespace).cloned().unwrap_or_default();
            in_namespace.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| (*namespace).to_owned());
            let plain = sets.iter().filter(|(_, set)| {
                let spec = &set["spec"];
                spec["injectionStrategy"]["paused"] == false
                    && selects(&spec["selector"], labels)
                    && selects(&spec["namespaceSelector"], &in_namespace)
            });
            prop_assert_eq!(&found, &plain.map(|(name, _)| name.clone()).collect::<Vec<_>>(), "of {}", pod);
        }
    }
}

/// Whether a selector matches labels, by Kubernetes' definition.
fn selects(selector: &Value, labels: &Labels) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    equal.into_iter().all(|(key, value)| labels.get(key).is_some_and(|label| value == label))
        && expressions.all(|expression| {
            let label = expression["key"].as_str().and_then(|key| labels.get(key));
            let values = expression["values"].as_array();
            let among = label.is_some_and(|label| values.into_iter().flatten().any(|value| value == label));
            match expression["operator"].as_str() {
                Some("In") => among,
                Some("NotIn") => !among,
                Some("Exists") => label.is_some(),
                _ => label.is_none(),
            }
        })
}

#[test]
fn a_reset_replaces_all_that_was_known() {
    let by_team = |name: &str| {
        let selectors = json!({"selector": {"matchLabels": {"app": "web"}}, "containers": [{"name": name, "image": "x:1"}],
                               "namespaceSelector": {"matchLabels": {"team": "blue"}}});
        ready(&set(name, selectors))
    };
    let team = |name: &str| BTreeMap::from([("team".to_owned(), name.to_owned())]);
    let mut index = Index::new(Options::default());
    index.apply_set(by_team("old"));
    index.apply_namespace("shop".to_owned(), team("blue"));
    let before = index.snapshot();
    let found = |index: &Index| match decide(index, &super::bare()) {
        Ok(Injection::Matched(injected)) => injected.sets.into_iter().map(|set| set.name).collect(),
        _ => Vec::new(),
    };
    assert_eq!(found(&index), ["old"]);
    index.reset_sets([by_team("new").into()]);
    assert_eq!((found(&index), index.sets()), (vec!["new".to_owned()], 1));
    index.reset_namespaces([("staging".to_owned(), team("blue"))]);
    assert_eq!(found(&index), [""; 0]);
    assert_eq!(before.sets().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["old"], "a snapshot stays as it is");
}

#[test]
fn a_namespace_that_is_not_known_yet_matches_by_its_name_only() {
    let options = Options { all_namespaces_are_known: true, ..Options::default() };
    let mut index = Index::new(options);
    let named = json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}});
    let not_db = json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]});
    for (name, namespaces) in [("by-name", &named), ("by-label", &not_db)] {
        let selector = json!({"matchLabels": {"app": "web"}});
        index.apply_set(ready(&set(name, json!({"selector": selector, "namespaceSelector": namespaces, "containers": [{"name": "c", "image": "x:1"}]}))));
    }
    let pod: PodView<'_> =
        serde_json::from_str(r#"{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[]}}"#).unwrap();
    let request = PodRequest::create("shop", Timestamp::UNIX_EPOCH);
    let matching = |index: &Index| {
        let snapshot = index.snapshot();
        let sets = snapshot.sets().filter(|set| snapshot.mismatch(set, &pod, &request).is_none());
        sets.map(|set| set.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(matching(&index), ["by-name"]);
    index.apply_namespace("shop".to_owned(), Labels::new());
    assert_eq!(matching(&index), ["by-label", "by-name"]);
}
