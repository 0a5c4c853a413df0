//! Canary SidecarSets: an annotated set that replaces its base in Pods that both match.

use super::node::Report;
use super::other_set::base_of;
use super::world::World;
use crate::api::keys;
use crate::api::sidecarset::{SidecarSet, UpdateStrategyType};

/// OpenKruise's rules for canaries.
pub(super) fn check(set: &SidecarSet, old: Option<&SidecarSet>, world: &World<'_>, report: &Report) {
    let Some(base) = base_of(set) else { return };
    let place = report.root("metadata").field("annotations").entry(keys::CANARY_BASE);
    if set.metadata.name.as_deref() == Some(base) {
        place.invalid(base, "base sidecarSet cannot be itself");
    } else if let Some(others) = world.others {
        match others.iter().find(|other| *other.name == *base) {
            None => place.invalid(base, &format!("fetch base sidecarSet[{base}] failed: there is no such SidecarSet")),
            Some(other) if other.canary_of.is_some() => place.invalid(base, "base sidecarSet cannot be canary"),
            Some(_) => {}
        }
    }
    let former = |set: &SidecarSet| set.metadata.annotations.as_ref()?.get(keys::CANARY_BASE).cloned();
    if old.is_some_and(|old| former(old).as_deref() != Some(base)) {
        place.invalid(base, &format!("annotations[{}] is immutable", keys::CANARY_BASE));
    }
    if set.spec.update_strategy.strategy != Some(UpdateStrategyType::NotUpdate) {
        let place = report.root("spec").field("updateStrategy").field("type");
        place.invalid("RollingUpdate", "RollingUpdate is not supported for canary sidecarSet: use NotUpdate");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{causes, set};
    use super::super::{OtherSet, World, validate};
    use crate::api::sidecarset::SidecarSet;
    use serde_json::json;

    const BASE: &str = "metadata.annotations[apps.kruise.io/sidecarset-base]";

    fn canary(name: &str, base: &str, strategy: &str) -> SidecarSet {
        let annotations = json!({"apps.kruise.io/sidecarset-canary": "true", "apps.kruise.io/sidecarset-base": base});
        set(&json!({"name": name, "annotations": annotations}), &json!({"updateStrategy": {"type": strategy}}))
    }

    fn messages(set: &SidecarSet, old: Option<&SidecarSet>, others: &[&SidecarSet]) -> Vec<String> {
        let others: Vec<OtherSet> = others.iter().map(|other| OtherSet::of(other)).collect();
        let others: Vec<&OtherSet> = others.iter().collect();
        validate(set, old, &World { others: Some(&others), ..World::default() })
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_canary_has_an_existing_base_and_is_never_updated() {
        let base = set(&json!({"name": "base"}), &json!({}));
        let good = canary("next", "base", "NotUpdate");
        assert!(messages(&good, None, &[&base]).is_empty());
        assert!(messages(&good, Some(&good), &[&base]).is_empty());
        assert!(messages(&base, Some(&base), &[&good]).is_empty(), "a base does not conflict with its canary");
        assert_eq!(
            messages(&canary("next", "base", "RollingUpdate"), None, &[&base]),
            [
                "spec.updateStrategy.type: Invalid value: \"RollingUpdate\": RollingUpdate is not supported for canary sidecarSet: use NotUpdate"
            ]
        );
        for (set, others, message) in [
            (canary("next", "next", "NotUpdate"), vec![], "base sidecarSet cannot be itself"),
            (
                canary("next", "gone", "NotUpdate"),
                vec![],
                "fetch base sidecarSet[gone] failed: there is no such SidecarSet",
            ),
            (canary("last", "next", "NotUpdate"), vec![&base, &good], "base sidecarSet cannot be canary"),
        ] {
            let found = messages(&set, None, &others);
            assert!(found[0].starts_with(BASE) && found[0].ends_with(message), "{found:?}");
        }
    }

    #[test]
    fn a_base_is_not_looked_up_where_the_other_sets_are_not_known() {
        assert_eq!(causes(&canary("next", "base", "NotUpdate")), []);
        assert_eq!(
            causes(&canary("next", "next", "NotUpdate")).len(),
            1,
            "that it is no base of its own needs no others"
        );
    }

    #[test]
    fn the_base_of_a_canary_is_immutable() {
        let (base, other) = (set(&json!({"name": "base"}), &json!({})), set(&json!({"name": "other"}), &json!({})));
        for former in [canary("next", "other", "NotUpdate"), set(&json!({"name": "next"}), &json!({}))] {
            let found = messages(&canary("next", "base", "NotUpdate"), Some(&former), &[&base]);
            assert_eq!(found.len(), 1);
            assert!(found[0].ends_with("annotations[apps.kruise.io/sidecarset-base] is immutable"), "{found:?}");
        }
        assert_eq!(causes(&other).len(), 0);
    }
}
