//! Whether a SidecarSet may be stored: OpenKruise's rules, without their gaps, as problems that name fields.
//!
//! OpenKruise passes containers and volumes to Kubernetes' own validation of a Pod (`k8s.io/kubernetes/pkg/apis/core/validation`).
//! The rules here are a hand-written subset of it:
//!
//! * covered: names, uniqueness, images (including their syntax, which Kubernetes leaves to the kubelet), ports, env and
//!   envFrom, resource amounts and claims, volume mounts and devices, probes, lifecycle hooks, the enumerations and
//!   contradictions of `securityContext`, Windows options, restart and resize policies; of volumes names, uniqueness, one
//!   source, and the fields of `emptyDir`, `hostPath`, `secret`, `configMap`, `persistentVolumeClaim`, `nfs`, `csi`, `image`,
//!   `downwardAPI` and `projected`;
//! * left to the API server when a Pod is created: other volume sources, `SELinux` options, and fields newer than this
//!   program;
//! * checks that depend on the Pod are made when a Pod is created (`injection::finished_pod`).
//!
//! Whatever Kubernetes accepts in a container or volume is accepted here, except for image references that cannot be pulled. This
//! is compared with the validation of 1.33 on generated specs, and with a real API server in `tests/cluster/validation.rs`.
//!
//! Other deviations from OpenKruise: native sidecars may have the strategy `RollingUpdate`, and `Exists` overlaps with a selector
//! that does not mention the key.

mod advice;
mod canary;
mod cause;
mod clashes;
mod conflicts;
mod container;
mod kind;
mod known_fields;
mod metadata;
mod node;
mod other_set;
mod overlap;
mod patch_metadata;
mod policy;
mod ratchet;
mod resource_field;
mod revisions;
mod selectors;
mod sentences;
mod strategy;
mod syntax;
mod transfer;
mod update;
mod volumes;
mod whitelist;
mod world;

pub use advice::advice;
pub use cause::{Cause, Reason};
pub use clashes::{Clash, Clashes};
pub use other_set::{OtherSet, base_of};
pub use ratchet::{Verdict, ratchet};
pub use whitelist::{CONFIG_MAP as WHITELIST_CONFIG_MAP, KEY as WHITELIST_KEY, Whitelist, WhitelistError};
pub use world::{KnownRevision, World};

use super::hash;
use crate::api::decode::FieldError;
use crate::api::sidecarset::{SidecarSet, SidecarSetSpec};
use node::Report;

/// Returns all problems of a SidecarSet. Defaults must have been applied ([`crate::api::decode::sidecarset`]).
///
/// With `old`, the stored object, immutable fields are checked too. Problems that `old` already had are included; [`judge`]
/// separates them.
#[must_use]
pub fn validate(set: &SidecarSet, old: Option<&SidecarSet>, world: &World<'_>) -> Vec<Cause> {
    let report = Report::default();
    metadata::check(set, &report);
    canary::check(set, old, world, &report);
    selectors::check(&set.spec, &report);
    revisions::check(&set.spec, world, &report);
    strategy::check(&set.spec, &report);
    let volumes = volumes::check(&set.spec, &report);
    container::check(&set.spec, &volumes, &report);
    patch_metadata::check(set, world, &report);
    if let Some(old) = old {
        update::check(set, old, &report);
    }
    conflicts::check(set, world, &report);
    // Hashing reads fields that no rule checks, and fails if they have the wrong type.
    if let Err(FieldError { field, problem }) = hash::hashes(&set.spec) {
        report.add_type_error(&field, &problem);
    }
    report.into_causes()
}

/// Returns the problems of a spec that make the API server refuse every Pod that gets the set. Defaults must have been applied.
/// Such a set is not injected, however it was stored. OpenKruise never stored one, or its Pods were refused too.
#[must_use]
pub fn unfit_for_pods(spec: &SidecarSetSpec) -> Vec<Cause> {
    let report = Report::default();
    let volumes = volumes::check(spec, &report);
    container::check(spec, &volumes, &report);
    patch_metadata::check_patches(spec, &report);
    report.into_causes().into_iter().filter(|cause| cause.refuses_pods).collect()
}

/// Decides about writing a SidecarSet. On creation, every problem is an error. On update, a problem that was there before and
/// is unchanged is a warning ([`ratchet()`]).
#[must_use]
pub fn judge(set: &SidecarSet, old: Option<&SidecarSet>, world: &World<'_>) -> Verdict {
    let causes = validate(set, old, world);
    match old {
        Some(old) if !causes.is_empty() => ratchet(causes, validate(old, None, world)),
        _ => Verdict { errors: causes, warnings: Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use crate::injection::Content;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A valid set with `metadata` and `spec` merged into its own.
    pub(super) fn set(metadata: &Value, spec: &Value) -> SidecarSet {
        let mut whole =
            json!({"selector": {"matchLabels": {"app": "web"}}, "containers": [{"name": "c", "image": "x:1"}]});
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        let object =
            json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": metadata, "spec": whole});
        decode::sidecarset(object).unwrap()
    }

    /// A valid set with `spec` merged into its own.
    pub(super) fn spec(spec: &Value) -> SidecarSet {
        set(&json!({"name": "s"}), spec)
    }

    /// A valid set whose container has these additional fields.
    fn container(fields: &Value) -> SidecarSet {
        let mut container = json!({"name": "c", "image": "x:1"});
        for (field, value) in fields.as_object().unwrap() {
            container[field] = value.clone();
        }
        spec(&json!({"containers": [container]}))
    }

    pub(super) fn causes(set: &SidecarSet) -> Vec<Cause> {
        validate(set, None, &World::default())
    }

    #[test]
    fn of_very_many_faults_a_thousand_are_told() {
        let containers = |count: usize| (0..count).map(|i| json!({"name": format!("c{i}")})).collect::<Vec<_>>();
        assert_eq!(causes(&spec(&json!({"containers": containers(900)}))).len(), 900);
        assert_eq!(causes(&spec(&json!({"containers": containers(5_000)}))).len(), 1_000);
    }

    pub(super) fn accepts(set: &SidecarSet) {
        let causes: Vec<_> = causes(set).iter().map(ToString::to_string).collect();
        assert!(causes.is_empty(), "{causes:#?}");
    }

    /// Asserts that the set has exactly this problem.
    pub(super) fn rejects(set: &SidecarSet, field: &str, reason: &str) {
        let causes = causes(set);
        let found: Vec<_> = causes.iter().map(|cause| (cause.field.as_str(), cause.reason.cause_type())).collect();
        assert_eq!(found, [(field, reason)], "{causes:#?}");
    }

    pub(super) fn accepts_spec(fields: &Value) {
        accepts(&spec(fields));
    }

    pub(super) fn rejects_spec(fields: &Value, field: &str, reason: &str) {
        rejects(&spec(fields), field, reason);
    }

    pub(super) fn accepts_container(fields: &Value) {
        accepts(&container(fields));
    }

    pub(super) fn rejects_container(fields: &Value, field: &str, reason: &str) {
        rejects(&container(fields), &format!("spec.containers[0].{field}"), reason);
    }

    #[test]
    fn what_openkruise_has_stored_is_accepted() {
        for line in include_str!("../../../tests/data/sidecarset-hash-vectors.jsonl").lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let set = decode::sidecarset(vector["object"].clone()).unwrap();
            let causes = causes(&set);
            assert!(causes.is_empty(), "{}: {causes:#?}", vector["case"]);
        }
    }

    #[test]
    fn a_field_without_a_rule_has_its_type() {
        rejects_container(&json!({"args": "x"}), "args", "FieldValueTypeInvalid");
        rejects_container(
            &json!({"resources": {"limits": {"cpu": "x"}}}),
            "resources.limits[cpu]",
            "FieldValueInvalid",
        );
    }

    #[test]
    fn unchanged_faults_of_a_stored_object_are_warnings() {
        let old = spec(&json!({"containers": [{"name": "a", "image": "a b"}, {"name": "b", "image": "b c"}]}));
        let judged = |new: &SidecarSet| {
            let verdict = judge(new, Some(&old), &World::default());
            let fields = |causes: Vec<Cause>| causes.into_iter().map(|cause| cause.field).collect::<Vec<_>>();
            (fields(verdict.errors), fields(verdict.warnings))
        };
        let (first, second) = ("spec.containers[0].image".to_owned(), "spec.containers[1].image".to_owned());
        assert_eq!(judged(&old), (vec![], vec![first.clone(), second.clone()]));
        let moved = spec(&json!({"containers": [{"name": "b", "image": "b c"}]}));
        assert_eq!(judged(&moved), (vec![], vec![first.clone()]), "known by name, not by index");
        let swapped = spec(&json!({"containers": [{"name": "a", "image": "b c"}, {"name": "b", "image": "b c"}]}));
        assert_eq!(judged(&swapped), (vec![first.clone()], vec![second.clone()]));
        let changed = spec(&json!({"containers": [{"name": "a", "image": "a  b"}, {"name": "b", "image": "b"}]}));
        assert_eq!(judged(&changed), (vec![first.clone()], vec![]), "the value changed");
        assert_eq!(judge(&old, None, &World::default()).errors.len(), 2, "a new object has no past");
    }

    #[test]
    fn what_may_not_change_is_never_only_a_warning() {
        let old = spec(&json!({"containers": [{"name": "a", "image": "x"}], "revisionHistoryLimit": -1}));
        let new = spec(&json!({"containers": [{"name": "b", "image": "x"}], "revisionHistoryLimit": -1}));
        let verdict = judge(&new, Some(&old), &World::default());
        assert_eq!(verdict.errors.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), ["spec.containers[0].name"]);
        assert_eq!(
            verdict.warnings.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(),
            ["spec.revisionHistoryLimit"]
        );
    }

    /// Any JSON with field names that rules check.
    fn json_of_known_fields() -> impl Strategy<Value = Value> {
        let names: &'static [&'static str] = &[
            "name",
            "image",
            "ports",
            "containerPort",
            "hostPort",
            "env",
            "value",
            "valueFrom",
            "fieldRef",
            "fieldPath",
            "envFrom",
            "configMapRef",
            "resources",
            "limits",
            "requests",
            "cpu",
            "volumeMounts",
            "mountPath",
            "subPath",
            "volumeDevices",
            "devicePath",
            "livenessProbe",
            "httpGet",
            "port",
            "exec",
            "command",
            "lifecycle",
            "preStop",
            "securityContext",
            "capabilities",
            "add",
            "seccompProfile",
            "type",
            "restartPolicy",
            "resizePolicy",
            "items",
            "emptyDir",
            "sizeLimit",
            "secret",
            "projected",
            "sources",
            "downwardAPI",
            "path",
        ];
        let texts: &'static [&'static str] =
            &["", "a", "v1", "Always", "-1", "1Gi", "metadata.labels['a']", "metadata.labels['", "é/..", "a@:", "[]/a"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            proptest::sample::select(texts).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            let field = (proptest::sample::select(names), inner.clone());
            prop_oneof![
                proptest::collection::vec(inner, 0..3).prop_map(Value::from),
                proptest::collection::vec(field, 0..5)
                    .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_panics_and_writing_an_object_again_is_no_error(
            containers in proptest::collection::vec(json_of_known_fields(), 0..3),
            volumes in proptest::collection::vec(json_of_known_fields(), 0..3),
        ) {
            let objects = |list: Vec<Value>| Value::from(list.into_iter().filter(Value::is_object).collect::<Vec<_>>());
            let spec = json!({"containers": objects(containers), "volumes": objects(volumes)});
            let object = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {}, "spec": spec});
            let set = decode::sidecarset(object).unwrap();
            prop_assert!(!judge(&set, None, &World::default()).errors.is_empty(), "it has no name");
            prop_assert_eq!(judge(&set, Some(&set), &World::default()).errors, vec![]);
            let is_fit = unfit_for_pods(&set.spec).is_empty() && hash::hashes(&set.spec).is_ok();
            prop_assert!(!is_fit || Content::new(&set.spec).is_ok(), "what has no fault can be made ready");
        }
    }
}
