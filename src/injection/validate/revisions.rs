//! Versions of a SidecarSet: the name of the current one, the injected one, and how many are kept.

use super::node::Report;
use super::syntax;
use super::world::{KnownRevision, World};
use crate::api::sidecarset::SidecarSetSpec;

pub(super) fn check(spec: &SidecarSetSpec, world: &World<'_>, report: &Report) {
    let place = report.root("spec");
    // It becomes a label of the object in v1alpha1 and of the ControllerRevision.
    place.field("customVersion").syntax(&spec.custom_version, syntax::label_value);
    if let Some(limit) = spec.revision_history_limit.filter(|limit| *limit < 0) {
        place.field("revisionHistoryLimit").invalid(limit, "must be at least 0");
    }
    let Some(revision) = &spec.injection_strategy.revision else { return };
    let place = place.field("injectionStrategy").field("revision");
    let known = |is_it: &dyn Fn(&KnownRevision<'_>) -> bool| world.revisions.is_none_or(|all| all.iter().any(is_it));
    match (&revision.revision_name, &revision.custom_version) {
        (None, None) => place.required("revisionName and customVersion cannot be empty simultaneously"),
        (Some(name), _) => {
            if !known(&|revision| revision.name == name) {
                place.field("revisionName").not_found(name, "no ControllerRevision of this set has this name");
            }
        }
        (None, Some(version)) => {
            if !known(&|revision| revision.custom_version == Some(version)) {
                place.field("customVersion").not_found(version, "no ControllerRevision of this set has this version");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts_spec, rejects_spec, spec};
    use super::super::{World, validate};
    use super::*;
    use serde_json::json;

    const PLACE: &str = "spec.injectionStrategy.revision";

    #[test]
    fn a_custom_version_is_a_label_value() {
        accepts_spec(&json!({"customVersion": "v1.2_3"}));
        rejects_spec(&json!({"customVersion": "not a label"}), "spec.customVersion", "FieldValueInvalid");
    }

    #[test]
    fn the_history_limit_is_not_negative() {
        accepts_spec(&json!({"revisionHistoryLimit": 0}));
        rejects_spec(&json!({"revisionHistoryLimit": -1}), "spec.revisionHistoryLimit", "FieldValueInvalid");
    }

    #[test]
    fn a_chosen_revision_exists() {
        let known = [KnownRevision { name: "s-1", custom_version: Some("v1") }];
        let field = |choice| {
            let set = spec(&json!({"injectionStrategy": {"revision": choice}}));
            let world = World { revisions: Some(&known), ..World::default() };
            validate(&set, None, &world).into_iter().map(|cause| cause.field).collect::<Vec<_>>()
        };
        assert!(field(json!({"revisionName": "s-1"})).is_empty());
        assert!(field(json!({"customVersion": "v1"})).is_empty());
        assert!(field(json!({"revisionName": "s-1", "customVersion": "v9"})).is_empty(), "the name wins");
        assert_eq!(field(json!({"revisionName": "s-2"})), [format!("{PLACE}.revisionName")]);
        assert_eq!(field(json!({"customVersion": "v2"})), [format!("{PLACE}.customVersion")]);
        assert_eq!(field(json!({"policy": "Always"})), [PLACE]);
        accepts_spec(&json!({"injectionStrategy": {"revision": {"revisionName": "unknown-world"}}}));
    }
}
