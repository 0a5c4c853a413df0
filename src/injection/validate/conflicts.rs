//! Conflicts between SidecarSets that may match the same Pod: container names, volumes and annotations.
//!
//! Source: OpenKruise's rules. OpenKruise compares each kind of container separately. Here names conflict across both kinds,
//! because a Pod has both. A hot upgrade also uses the names of its two containers.

use super::kind;
use super::node::{FieldPlace, Report};
use super::other_set::{OtherSet, Selectors, base_of, patched};
use super::world::World;
use crate::api::sidecarset::{SidecarContainer, SidecarSet, SidecarSetSpec};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn check(set: &SidecarSet, world: &World<'_>, report: &Report) {
    let name = set.metadata.name.as_deref();
    let containers: Vec<_> = kind::all(&set.spec, report)
        .map(|(kind, container, place)| (names_of(kind, container), container.name(), place.field("name")))
        .collect();
    let selectors = Selectors::of(&set.spec);
    for other in world.others.unwrap_or_default() {
        let replaces = |canary_of: Option<&str>, base: Option<&str>| canary_of.is_some() && canary_of == base;
        let other_name = Some(&*other.name);
        if other_name == name || replaces(base_of(set), other_name) || replaces(other.canary_of.as_deref(), name) {
            continue;
        }
        let mut conflicts = Vec::new();
        container_names(&containers, other, &mut conflicts);
        volumes(&set.spec, other, report, &mut conflicts);
        annotations(&set.spec, other, report, &mut conflicts);
        // Collisions are rare, so the selectors are compared only after one.
        if !conflicts.is_empty() && selectors.overlap(&other.selectors) {
            for Conflict { place, value, message } in conflicts {
                place.invalid(value, &message);
            }
        }
    }
}

/// A collision with another set, if a Pod can match both.
struct Conflict<'a> {
    place: FieldPlace<'a>,
    value: &'a str,
    message: String,
}

/// All names of a container: its own and those in Pods.
fn names_of(kind: kind::ContainerKind, container: &SidecarContainer) -> BTreeSet<String> {
    let mut names: BTreeSet<_> = kind::injected_names(kind, container).into_iter().collect();
    names.insert(container.name().to_owned());
    names
}

/// Iterates over each container of each other set without allocating.
fn container_names<'a>(
    own: &[(BTreeSet<String>, &'a str, FieldPlace<'a>)],
    other: &OtherSet,
    conflicts: &mut Vec<Conflict<'a>>,
) {
    for (names, value, place) in own {
        for taken in names {
            if other.containers.iter().any(|theirs| theirs.is(taken)) {
                let message = format!("container {taken} already exist in {}", other.name);
                conflicts.push(Conflict { place: place.clone(), value, message });
            }
        }
    }
}

fn volumes<'a>(spec: &'a SidecarSetSpec, other: &OtherSet, report: &'a Report, conflicts: &mut Vec<Conflict<'a>>) {
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let Some(name) = volume.get("name").and_then(Value::as_str) else { continue };
        if other.has_other_volume(name, volume) {
            let place = report.root("spec").field("volumes").item(index, name).field("name");
            let message = format!("volume {name} is in conflict with sidecarset {}", other.name);
            conflicts.push(Conflict { place, value: name, message });
        }
    }
}

/// Annotations that both sets patch, if one of them overwrites what the other merged or wrote.
fn annotations<'a>(spec: &'a SidecarSetSpec, other: &OtherSet, report: &'a Report, conflicts: &mut Vec<Conflict<'a>>) {
    for (index, key, overwrites) in patched(spec) {
        if other.overwrites(key).is_some_and(|theirs| overwrites || theirs) {
            let place = report.root("spec").field("patchPodMetadata").item(index, "").field("annotations").entry(key);
            let message = format!("annotation {key} is in conflict with sidecarset {}", other.name);
            conflicts.push(Conflict { place, value: key, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::set;
    use super::super::{World, validate};
    use super::*;
    use serde_json::json;

    fn conflicts(one: &Value, other: &Value) -> Vec<String> {
        let (one, other) = (set(&json!({"name": "one"}), one), set(&json!({"name": "other"}), other));
        let others = [&OtherSet::of(&one), &OtherSet::of(&other)];
        let world = World { others: Some(&others), ..World::default() };
        validate(&one, None, &world).iter().map(ToString::to_string).collect()
    }

    fn container(name: &str) -> Value {
        json!([{"name": name, "image": "x"}])
    }

    #[test]
    fn container_names_conflict_across_both_kinds() {
        let app = json!({"containers": container("c")});
        let init = json!({"containers": container("d"), "initContainers": container("c")});
        let text = "Invalid value: \"c\": container c already exist in other";
        assert_eq!(conflicts(&app, &app), [format!("spec.containers[0].name: {text}")]);
        assert_eq!(conflicts(&app, &init), [format!("spec.containers[0].name: {text}")]);
        assert_eq!(conflicts(&init, &app), [format!("spec.initContainers[0].name: {text}")]);
        assert!(conflicts(&app, &json!({"containers": container("e")})).is_empty());
    }

    #[test]
    fn a_hot_upgrade_takes_two_names_more() {
        let strategy = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
        let hot = json!({"containers": [{"name": "c", "image": "x", "upgradeStrategy": strategy}]});
        assert_eq!(conflicts(&hot, &json!({"containers": container("c-1")})).len(), 1);
        assert_eq!(conflicts(&hot, &json!({"containers": container("c")})).len(), 1);
        assert!(conflicts(&hot, &json!({"containers": container("c-3")})).is_empty());
    }

    #[test]
    fn only_sets_that_may_match_the_same_pod_conflict() {
        let of = |selector: Value, namespaces: Value| json!({"selector": selector, "namespaceSelector": namespaces, "containers": container("c")});
        let labels = |key: &str, value: &str| json!({"matchLabels": {key: value}});
        let exists = json!({"matchExpressions": [{"key": "b", "operator": "Exists"}]});
        let a = of(labels("a", "1"), Value::Null);
        assert_eq!(conflicts(&a, &of(labels("a", "2"), Value::Null)).len(), 0);
        assert_eq!(conflicts(&a, &of(exists, Value::Null)).len(), 1, "Exists against an absent key overlaps");
        assert_eq!(conflicts(&a, &of(labels("a", "1"), labels("team", "x"))).len(), 1);
        let (x, y) = (of(labels("a", "1"), labels("team", "x")), of(labels("a", "1"), labels("team", "y")));
        assert_eq!(conflicts(&x, &y).len(), 0);
    }

    #[test]
    fn volumes_of_one_name_are_the_same() {
        let of = |name: &str, source: Value| {
            let mut volume = json!({"name": "v"});
            volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
            json!({"containers": container(name), "volumes": [volume]})
        };
        let secret = |name: &str| json!({"secret": {"secretName": name}});
        assert!(conflicts(&of("c", secret("s")), &of("d", secret("s"))).is_empty());
        assert_eq!(
            conflicts(&of("c", secret("s")), &of("d", secret("t"))),
            ["spec.volumes[0].name: Invalid value: \"v\": volume v is in conflict with sidecarset other"]
        );
    }

    #[test]
    fn annotations_conflict_where_one_set_overwrites() {
        let of = |name: &str, policy: &str| json!({"containers": container(name), "patchPodMetadata": [{"annotations": {"k": "{}"}, "patchPolicy": policy}]});
        for (one, other, expected) in [
            ("Retain", "Overwrite", 0),
            ("Overwrite", "Retain", 0),
            ("MergePatchJson", "MergePatchJson", 0),
            ("Overwrite", "Overwrite", 1),
            ("Overwrite", "MergePatchJson", 1),
            ("MergePatchJson", "Overwrite", 1),
        ] {
            let found = conflicts(&of("c", one), &of("d", other));
            assert_eq!(found.len(), expected, "{one} {other}");
            if let Some(found) = found.first() {
                let text = "Invalid value: \"k\": annotation k is in conflict with sidecarset other";
                assert_eq!(found, &format!("spec.patchPodMetadata[0].annotations[k]: {text}"));
            }
        }
    }
}
