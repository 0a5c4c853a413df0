//! Fields that cannot change once a SidecarSet is stored.
//!
//! Source: OpenKruise's rules. The selector can change; init containers and their strategies too.

use super::kind;
use super::node::Report;
use super::syntax;
use crate::api::sidecarset::{SidecarSet, UpgradeType};
use std::collections::HashMap;

pub(super) fn check(set: &SidecarSet, old: &SidecarSet, report: &Report) {
    let place = report.root("spec").field("containers");
    // Such a set was stored past the webhook and never injected into a Pod, so it may be repaired.
    let mut before = kind::each(&old.spec).peekable();
    let was_unusable = before.peek().is_none() || before.any(|(_, before)| syntax::dns_label(before.name()).is_err());
    // the first of several equal names counts
    let all_before: HashMap<&str, _> =
        old.spec.containers.iter().flatten().rev().map(|before| (before.name(), before)).collect();
    for (index, container) in set.spec.containers.iter().flatten().enumerate() {
        let name = container.name();
        let place = place.item(index, name);
        let Some(before) = all_before.get(name) else {
            if was_unusable {
                continue;
            }
            // Running Pods cannot get another container.
            place.field("name").invalid(name, &format!("container {name} is not found: containers of a stored SidecarSet can be removed, not added or renamed"));
            continue;
        };
        let upgrade_type = &container.upgrade_strategy.upgrade_type;
        let was_hot = before.upgrade_strategy.upgrade_type == Some(UpgradeType::HotUpgrade);
        if was_hot && before.upgrade_strategy.hot_upgrade_empty_image.is_empty() {
            continue; // in no Pod either
        }
        if *upgrade_type != before.upgrade_strategy.upgrade_type {
            let text = match upgrade_type {
                Some(UpgradeType::HotUpgrade) => "HotUpgrade",
                Some(UpgradeType::Other(text)) => text,
                Some(UpgradeType::ColdUpgrade) | None => "ColdUpgrade",
            };
            let detail = format!("container {name} upgradeType is immutable");
            place.field("upgradeStrategy").field("upgradeType").invalid(text, &detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::spec;
    use super::super::{World, validate};
    use serde_json::{Value, json};

    fn problems(old: &Value, new: &Value) -> Vec<String> {
        let set = |containers: &Value| spec(&json!({"containers": containers}));
        validate(&set(new), Some(&set(old)), &World::default()).iter().map(ToString::to_string).collect()
    }

    fn named(names: &[&str]) -> Value {
        json!(names.iter().map(|name| json!({"name": name, "image": "x"})).collect::<Vec<_>>())
    }

    #[test]
    fn containers_can_be_removed_and_moved_but_not_added() {
        assert!(problems(&named(&["a", "b"]), &named(&["b"])).is_empty());
        assert!(problems(&named(&["a", "b"]), &named(&["b", "a"])).is_empty());
        let found = problems(&named(&["a"]), &named(&["a", "b"]));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("spec.containers[1].name: Invalid value: \"b\": container b is not found"),
            "{found:?}"
        );
    }

    #[test]
    fn a_set_that_was_never_injected_can_be_repaired() {
        let unnamed = json!([{"name": 5, "image": "x"}]);
        let hot_without_image = json!([{"name": "a", "image": "x", "upgradeStrategy": {"upgradeType": "HotUpgrade"}}]);
        for broken in [unnamed, named(&["A_b"]), json!([]), hot_without_image] {
            assert_eq!(problems(&broken, &named(&["a"])), [""; 0], "{broken}");
        }
    }

    #[test]
    fn the_upgrade_type_of_a_container_stays() {
        let hot = json!([{"name": "a", "image": "x", "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "e"}}]);
        assert_eq!(
            problems(&named(&["a"]), &hot),
            [
                "spec.containers[0].upgradeStrategy.upgradeType: Invalid value: \"HotUpgrade\": container a upgradeType is immutable"
            ]
        );
        assert!(problems(&hot, &hot).is_empty());
    }
}
