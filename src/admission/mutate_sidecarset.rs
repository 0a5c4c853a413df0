//! `/mutate-apps-kruise-io-sidecarset`: adds the defaults and container hashes to a SidecarSet of either version.
//!
//! The result depends on the review alone, so a dry run is no different. The patch removes nothing: unknown
//! fields stay. OpenKruise computes the same hashes. An annotation that it has stored is kept as long as the containers
//! mean the same, because it identifies the Pods that were injected before.

use super::additive_patch::additive_patch;
use super::reply::Reply;
use super::review::Refusal;
use super::sidecarset::{self, Unreadable, Write, received};
use crate::api::defaults;
use crate::api::keys::{HASH, HASH_OF_REST, HASH_WITHOUT_IMAGE};
use crate::api::sidecarset::SidecarSet;
use crate::injection::hash::{hash_of_rest, hashes};
use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, RemoveOperation};
use serde_json::{Map, Value, json};

/// Answers one review of a SidecarSet.
#[must_use]
pub fn answer(body: &[u8]) -> Reply {
    decide(body).unwrap_or_else(Refusal::reply)
}

fn decide(body: &[u8]) -> Result<Reply, Refusal> {
    let review = sidecarset::read(body)?;
    let patch = match Write::of(&review) {
        Ok(write) => write.map(|write| patch(write)).transpose()?.unwrap_or_default(),
        // The schema or the validating webhook names the field.
        Err(Unreadable::Set(_)) => Vec::new(),
        Err(Unreadable::Review(reason)) => return Err(reason.into()),
    };
    if patch.is_empty() {
        return Ok(review.reply(review.allow()));
    }
    match serde_json::to_vec(&patch) {
        Ok(patch) => Ok(review.reply_with_patch(review.allow(), &patch)),
        Err(error) => Ok(Reply::text(500, format!("the patch cannot be written: {error}\n"))),
    }
}

fn patch(write: Write<'_>) -> Result<Vec<PatchOperation>, String> {
    let mut wanted = json!({"spec": defaults::fields(&write.set.spec)});
    let hashes = hash_annotations(&write.set, write.old.as_ref());
    if !hashes.is_empty() {
        wanted["metadata"] = json!({"annotations": hashes});
    }
    let rest = hash_of_rest(&write.set.spec).ok().flatten();
    let is_stale = rest.is_none() && write.set.metadata.annotations.iter().any(|all| all.contains_key(HASH_OF_REST));
    if let Some(rest) = rest {
        wanted["metadata"]["annotations"][HASH_OF_REST] = rest.into();
    }
    let object = write.object;
    drop((write.set, write.old));
    let mut operations = additive_patch(&received(object)?, &wanted);
    if is_stale {
        let path = PointerBuf::from_tokens(["metadata", "annotations", HASH_OF_REST]);
        operations.push(PatchOperation::Remove(RemoveOperation { path }));
    }
    Ok(operations)
}

/// Returns the annotations with the hashes. There are none when the containers cannot be hashed: validation names the
/// field.
fn hash_annotations(set: &SidecarSet, old: Option<&SidecarSet>) -> Map<String, Value> {
    let Ok(new) = hashes(&set.spec) else { return Map::new() };
    let before = old.and_then(|old| hashes(&old.spec).ok());
    let stored = |key: &str| old?.metadata.annotations.as_ref()?.get(key).filter(|hash| !hash.is_empty());
    let hash = |key: &'static str, new: String, before: Option<String>| {
        let kept = stored(key).filter(|_| before.as_ref() == Some(&new)).cloned();
        (key.to_owned(), Value::String(kept.unwrap_or(new)))
    };
    let (before, before_without_image) = before.map(|hashes| (hashes.hash, hashes.without_image)).unzip();
    [hash(HASH, new.hash, before), hash(HASH_WITHOUT_IMAGE, new.without_image, before_without_image)]
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sidecarset::tests::{reads_reviews_of_sidecarsets, response, review_of};
    use super::*;
    use crate::api::conversion::{Version, convert};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    /// Returns the object as the handler returns it, and the patch.
    #[track_caller]
    fn mutated(object: &Value, old: Option<&Value>) -> (Value, Vec<PatchOperation>) {
        let review = review_of(object, old);
        let response = response(&answer(review.to_string().as_bytes()));
        assert_eq!(response["allowed"], true);
        let Some(patch) = response.get("patch") else { return (object.clone(), Vec::new()) };
        assert_eq!(response["patchType"], "JSONPatch");
        let patch: Vec<PatchOperation> =
            serde_json::from_slice(&STANDARD.decode(patch.as_str().unwrap()).unwrap()).unwrap();
        assert!(!patch.is_empty());
        let mut mutated = object.clone();
        json_patch::patch(&mut mutated, &patch).unwrap();
        (mutated, patch)
    }

    fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
        object["metadata"]["annotations"][key].as_str().unwrap()
    }

    fn set(containers: &Value) -> Value {
        json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"},
               "spec": {"selector": {"matchLabels": {"a": "b"}}, "containers": containers}})
    }

    fn stored(containers: &Value, hash: &str, without_image: &str) -> Value {
        let (mut stored, _) = mutated(&set(containers), None);
        stored["metadata"]["annotations"] = json!({HASH: hash, HASH_WITHOUT_IMAGE: without_image});
        stored
    }

    /// Removes unknown fields, and the empty structs and texts that Go's types write. The meaning stays the same.
    fn plain(value: &Value) -> Value {
        let means_nothing = |value: &Value| *value == json!({}) || *value == json!("");
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().map(|(key, field)| {
                    let field = if key == "emptyDir" { field.clone() } else { plain(field) };
                    (key.clone(), field)
                });
                fields.filter(|(key, field)| key == "emptyDir" || !means_nothing(field)).collect()
            }
            Value::Array(items) => items.iter().map(plain).collect(),
            other => other.clone(),
        }
    }

    /// Returns whether `whole` has every field of `part`.
    fn has(whole: &Value, part: &Value) -> bool {
        match (whole, part) {
            (Value::Object(whole), Value::Object(part)) => {
                part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| has(whole, part)))
            }
            (Value::Array(whole), Value::Array(part)) => {
                whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| has(whole, part))
            }
            (whole, part) => whole == part,
        }
    }

    #[test]
    fn fields_that_openkruise_does_not_know_have_a_hash_as_long_as_there_are_some() {
        let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]);
        let (with, _) = mutated(&set(&json!([{"name": "c", "image": "x:1", "restartPolicyRules": rules}])), None);
        assert_eq!(annotation(&with, HASH_OF_REST).len(), 64);
        let mut without = with.clone();
        without["spec"]["containers"][0].as_object_mut().unwrap().shift_remove("restartPolicyRules");
        let (without, _) = mutated(&without, Some(&with));
        assert_eq!(without["metadata"]["annotations"].get(HASH_OF_REST), None);
        assert_eq!(annotation(&without, HASH), annotation(&with, HASH));
    }

    #[test]
    fn sets_end_as_openkruise_stores_them() {
        let vectors = include_str!("../../tests/data/sidecarset-hash-vectors.jsonl").lines();
        let vectors: Vec<Value> = vectors.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(vectors.len(), 30);
        for vector in vectors {
            let case = &vector["case"];
            for version in [Version::V1beta1, Version::V1alpha1] {
                let object = convert(vector["object"].clone(), version).unwrap();
                let (mutated, _) = mutated(&object, None);
                assert_eq!(annotation(&mutated, HASH), vector["hash"], "{case}");
                assert_eq!(annotation(&mutated, HASH_WITHOUT_IMAGE), vector["hash-without-image"], "{case}");
                assert_eq!(mutated["apiVersion"], object["apiVersion"]);
                let ours = plain(&convert(mutated, Version::V1beta1).unwrap()["spec"]);
                let openkruise = plain(&vector["stored_spec"]);
                if case == "unknown" {
                    assert!(has(&ours, &openkruise) && ours != openkruise, "what it drops we keep: {ours}");
                } else {
                    assert_eq!(ours, openkruise, "{case}");
                }
            }
        }
    }

    #[test]
    fn the_patch_names_only_what_changes() {
        let mut object = set(&json!([{"name": "c", "image": "x:1", "imagePullPolicy": null, "future": {"a/b": 1}}]));
        object["metadata"]["annotations"] = json!({"mine": "1", HASH: "sent"});
        let (_, patch) = mutated(&object, None);
        let patch = serde_json::to_value(patch).unwrap();
        let paths: Vec<_> =
            patch.as_array().unwrap().iter().map(|o| format!("{} {}", o["op"], o["path"]).replace('"', "")).collect();
        assert_eq!(
            paths,
            [
                "add /spec/containers/0/podInjectPolicy",
                "add /spec/containers/0/upgradeStrategy",
                "add /spec/containers/0/shareVolumePolicy",
                "add /spec/containers/0/imagePullPolicy",
                "add /spec/containers/0/terminationMessagePath",
                "add /spec/containers/0/terminationMessagePolicy",
                "add /spec/containers/0/resources",
                "add /spec/updateStrategy",
                "add /spec/revisionHistoryLimit",
                "replace /metadata/annotations/kruise.io~1sidecarset-hash",
                "add /metadata/annotations/kruise.io~1sidecarset-hash-without-image",
                "add /metadata/annotations/outrigger.dev~1sidecarset-hash-rest",
            ]
        );
    }

    /// `kubectl apply` replaces whole lists: an item that is written differently makes a new generation.
    #[test]
    fn lists_are_stored_as_openkruise_stores_them() {
        let resource = |fields: Value| {
            let mut reference = json!({"resource": "limits.cpu"});
            reference.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            json!([{"name": "A", "valueFrom": {"resourceFieldRef": reference}}])
        };
        let claim = |storage: Value| json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": storage}}}}}}]);
        let file = |reference: Value| json!([{"name": "v", "downwardAPI": {"defaultMode": 420, "items": [{"path": "p", "resourceFieldRef": reference}]}}]);
        for (place, written, stored) in [
            ("/spec/containers/0/resources", json!(null), json!({})),
            ("/spec/containers/0/env", resource(json!({})), resource(json!({"divisor": "0"}))),
            ("/spec/containers/0/env", resource(json!({"divisor": 1})), resource(json!({"divisor": "1"}))),
            ("/spec/containers/0/livenessProbe/grpc", json!({"port": 1}), json!({"port": 1, "service": null})),
            ("/spec/containers/0/startupProbe/grpc", json!({"port": 1}), json!({"port": 1, "service": null})),
            (
                "/spec/volumes",
                file(json!({"resource": "limits.cpu"})),
                file(json!({"resource": "limits.cpu", "divisor": "0"})),
            ),
            ("/spec/volumes/0/emptyDir/sizeLimit", json!("1024Mi"), json!("1Gi")),
            ("/spec/volumes/0/emptyDir/sizeLimit", json!(5), json!("5")),
            ("/spec/volumes", claim(json!("0.5Gi")), claim(json!("512Mi"))),
            ("/spec/updateStrategy/scatterStrategy", json!([{"key": "a"}]), json!([{"key": "a", "value": ""}])),
        ] {
            let mut object = set(&json!([{"name": "c", "image": "x:1", "livenessProbe": {}, "startupProbe": {}}]));
            object["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
            object["spec"]["updateStrategy"] = json!({});
            let (parent, field) = place.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[field] = written;
            let (mutated, _) = mutated(&object, None);
            assert_eq!(mutated.pointer(place), Some(&stored), "{place}");
        }
    }

    #[test]
    fn hashes_that_are_stored_stay_while_the_containers_mean_the_same() {
        let container = json!([{"name": "c", "image": "x:1"}]);
        let old = stored(&container, "theirs", "theirs-too");
        let spelled_otherwise = json!([{"image": "x:1", "name": "c", "env": null, "imagePullPolicy": "IfNotPresent"}]);
        let mut again = set(&spelled_otherwise);
        again["metadata"]["annotations"] = json!({HASH: "sent"});
        for version in [Version::V1beta1, Version::V1alpha1] {
            let (new, old) = (convert(again.clone(), version).unwrap(), convert(old.clone(), version).unwrap());
            let (kept, _) = mutated(&new, Some(&old));
            assert_eq!(annotation(&kept, HASH), "theirs");
            assert_eq!(annotation(&kept, HASH_WITHOUT_IMAGE), "theirs-too");
        }
        let (unpatched, patch) = mutated(&old, Some(&old));
        assert!(patch.is_empty(), "{unpatched}");
    }

    #[test]
    fn hashes_follow_what_changes() {
        let old = stored(&json!([{"name": "c", "image": "x:1"}]), "theirs", "theirs-too");
        let computed = |object: &Value| mutated(object, None).0;
        let image = set(&json!([{"name": "c", "image": "x:2"}]));
        let (new, _) = mutated(&image, Some(&old));
        assert_eq!(annotation(&new, HASH), annotation(&computed(&image), HASH));
        assert_eq!(annotation(&new, HASH_WITHOUT_IMAGE), "theirs-too", "running Pods can still be upgraded in place");

        let arguments = set(&json!([{"name": "c", "image": "x:1", "args": ["y"]}]));
        let (new, _) = mutated(&arguments, Some(&old));
        assert_eq!(new["metadata"], computed(&arguments)["metadata"]);

        let empty = stored(&json!([{"name": "c", "image": "x:1"}]), "", "theirs-too");
        let (new, _) = mutated(&set(&json!([{"name": "c", "image": "x:1"}])), Some(&empty));
        assert_ne!(annotation(&new, HASH), "", "nothing is stored, so nothing is kept");
    }

    #[test]
    fn a_stored_set_that_cannot_be_read_does_not_matter() {
        let mut old = set(&json!([{"name": "c", "image": "x:1"}]));
        old["spec"]["selector"] = json!("broken");
        let new = set(&json!([{"name": "c", "image": "x:1"}]));
        assert_eq!(mutated(&new, Some(&old)), mutated(&new, None));
    }

    #[test]
    fn what_cannot_be_hashed_gets_its_defaults_and_is_left_to_validation() {
        let (mutated, _) = mutated(&set(&json!([{"name": "c", "image": "x:1", "args": "not a list"}])), None);
        assert_eq!(mutated["metadata"].get("annotations"), None);
        assert_eq!(mutated["spec"]["revisionHistoryLimit"], 10);
    }

    #[test]
    fn reviews_that_cannot_be_read_are_400_and_others_pass() {
        reads_reviews_of_sidecarsets(answer);
    }

    /// Returns a value for a field, often none.
    fn maybe(values: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
        let nothing = prop_oneof![Just(Value::Null), Just(Value::from("absent"))];
        prop_oneof![1 => nothing, 2 => values].boxed()
    }

    /// Returns an object of the fields that are present, and one unknown field.
    fn object_of(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
        let fields: Vec<_> =
            fields.into_iter().map(|(name, values)| values.prop_map(move |value| (name, value))).collect();
        let object = |fields: Vec<(&'static str, Value)>, future: i64| {
            let known = fields.into_iter().filter(|(_, value)| *value != "absent");
            known.chain([("future", json!({"n": future}))]).map(|(name, value)| (name.to_owned(), value)).collect()
        };
        (fields, any::<i64>()).prop_map(move |(fields, future)| object(fields, future)).boxed()
    }

    fn list_of(items: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
        maybe(proptest::collection::vec(items, 0..3).prop_map(Value::from))
    }

    fn one_of(values: &Value) -> BoxedStrategy<Value> {
        maybe(proptest::sample::select(values.as_array().unwrap().clone()))
    }

    fn sets() -> BoxedStrategy<Value> {
        let probe = || {
            let http = object_of(vec![("path", one_of(&json!(["", "/x"]))), ("port", one_of(&json!([80, "http"])))]);
            maybe(object_of(vec![("httpGet", maybe(http)), ("timeoutSeconds", one_of(&json!([0, 3])))]))
        };
        let container = || {
            object_of(vec![
                ("name", one_of(&json!(["a", "b"]))),
                ("image", one_of(&json!(["", "x", "x:1", "x@sha256:1"]))),
                ("imagePullPolicy", one_of(&json!(["", "Never"]))),
                ("ports", list_of(object_of(vec![("protocol", one_of(&json!(["", "UDP"])))]))),
                ("resources", maybe(object_of(vec![("limits", one_of(&json!([{"cpu": 0.5}, {"memory": "1024Mi"}])))]))),
                ("livenessProbe", probe()),
                ("startupProbe", probe()),
                ("podInjectPolicy", one_of(&json!(["", "AfterAppContainer"]))),
                ("upgradeStrategy", maybe(object_of(vec![("upgradeType", one_of(&json!(["", "HotUpgrade"])))]))),
                ("restartPolicy", one_of(&json!(["Always"]))),
            ])
        };
        let volume = object_of(vec![
            ("name", one_of(&json!(["v"]))),
            ("secret", maybe(object_of(vec![("defaultMode", one_of(&json!([0, 256])))]))),
        ]);
        let revision = object_of(vec![("policy", one_of(&json!(["Always", "Partial"])))]);
        let spec = object_of(vec![
            ("containers", list_of(container())),
            ("initContainers", list_of(container())),
            ("volumes", list_of(volume)),
            ("updateStrategy", maybe(object_of(vec![("type", one_of(&json!(["", "NotUpdate"])))]))),
            ("injectionStrategy", maybe(object_of(vec![("revision", maybe(revision))]))),
            ("patchPodMetadata", list_of(object_of(vec![("patchPolicy", one_of(&json!(["", "Overwrite"])))]))),
            ("customVersion", one_of(&json!(["v1"]))),
            ("namespaceSelector", one_of(&json!([{"matchLabels": {"a": "b"}}]))),
        ]);
        let metadata = object_of(vec![("annotations", one_of(&json!([{}, {"x/y": "z"}, {HASH: null}])))]);
        let set = |(metadata, spec): (Value, Value), version: &str| json!({"apiVersion": version, "kind": "SidecarSet", "metadata": metadata, "spec": spec});
        let version = proptest::sample::select(vec!["apps.kruise.io/v1beta1", "apps.kruise.io/v1alpha1"]);
        ((metadata, spec), version).prop_map(move |(parts, version)| set(parts, version)).boxed()
    }

    /// Checks that `after` has all of `before`, except for what defaults may replace: `null`s, empty texts, zeros, and
    /// amounts.
    fn keeps(before: &Value, after: &Value, key: &str) -> bool {
        match (before, after) {
            (Value::Object(before), Value::Object(after)) => {
                let names = before.iter();
                names.into_iter().all(|(key, before)| after.get(key).is_some_and(|after| keeps(before, after, key)))
            }
            (Value::Array(before), Value::Array(after)) => {
                before.len() == after.len() && before.iter().zip(after).all(|(before, after)| keeps(before, after, key))
            }
            (Value::Null, _) => true,
            (before, _) if *before == "" || *before == 0 || ["cpu", "memory"].contains(&key) => true,
            (before, after) => before == after,
        }
    }

    proptest! {
        #[test]
        fn a_second_pass_changes_nothing_and_the_first_loses_nothing(object in sets()) {
            let (once, _) = mutated(&object, None);
            let (_, patch) = mutated(&once, None);
            prop_assert_eq!(patch, vec![]);
            let (_, patch) = mutated(&once, Some(&once));
            prop_assert_eq!(patch, vec![]);
            prop_assert!(keeps(&object, &once, ""), "{object} became {once}");
        }
    }
}
