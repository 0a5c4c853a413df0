//! Container names that several SidecarSets inject, found over all of them at once: a Pod that two of them match is refused.

use super::overlap;
use crate::injection::InjectableSet;
use std::collections::BTreeMap;

/// A sentence for each name that two sets inject into Pods which both may match.
#[must_use]
pub fn shared_names<'s>(sets: impl Iterator<Item = &'s InjectableSet>) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&InjectableSet>> = BTreeMap::new();
    for set in sets {
        for name in set.content.container_names() {
            by_name.entry(name).or_default().push(set);
        }
    }
    let mut sentences = Vec::new();
    for (name, sets) in by_name {
        for (index, set) in sets.iter().enumerate() {
            let conflict = sets[..index].iter().find(|other| may_both_match(set, other));
            sentences.extend(conflict.map(|other| {
                let (one, other) = (&other.name, &set.name);
                format!("SidecarSets {one:?} and {other:?} both inject a container {name:?}: Pods that both match are denied")
            }));
        }
    }
    sentences
}

fn may_both_match(one: &InjectableSet, other: &InjectableSet) -> bool {
    let replaces = |canary: &InjectableSet, base: &InjectableSet| canary.canary_of.as_ref() == Some(&base.name);
    let namespaces = match (&one.namespace_selector, &other.namespace_selector) {
        (Some(one), Some(other)) => overlap::overlap(one, other),
        _ => true,
    };
    !replaces(one, other) && !replaces(other, one) && namespaces && overlap::overlap(&one.selector, &other.selector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use serde_json::{Value, json};

    fn set(name: &str, app: &str, container: &str, annotations: &Value) -> InjectableSet {
        let object = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name, "annotations": annotations},
            "spec": {"selector": {"matchLabels": {"app": app}}, "containers": [{"name": container, "image": "x:1"}]}
        });
        InjectableSet::new(decode::sidecarset(object).unwrap()).unwrap()
    }

    #[test]
    fn only_sets_that_may_match_one_pod_share_a_name() {
        let none = json!({});
        let (a, b) = (set("a", "web", "c", &none), set("b", "web", "c", &none));
        let (elsewhere, other) = (set("x", "db", "c", &none), set("y", "web", "d", &none));
        let canary = json!({"apps.kruise.io/sidecarset-canary": "true", "apps.kruise.io/sidecarset-base": "a"});
        let canary = set("z", "web", "c", &canary);
        assert_eq!(
            shared_names([&a, &b, &elsewhere, &other].into_iter()),
            ["SidecarSets \"a\" and \"b\" both inject a container \"c\": Pods that both match are denied"]
        );
        assert!(shared_names([&a, &canary].into_iter()).is_empty());
    }
}
