//! The data and name of a SidecarSet's `ControllerRevision`, byte for byte as in OpenKruise. Its revisions are found here, and
//! ours are found by it.

use super::go_json::write_sorted;
use super::hash::safe_encode;
use crate::api::decode::FieldError;
use crate::api::sidecarset::SidecarSetSpec;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The kept fields, besides the `$patch: replace` instruction.
const KEPT: [&str; 5] = ["containers", "initContainers", "volumes", "imagePullSecrets", "patchPodMetadata"];

/// The maximum length of the set's name in the names of its revisions, which leaves space for the hash.
const LONGEST_PREFIX: usize = 223;

/// Returns the `data` of a revision of this spec: compact JSON with all keys sorted. Defaults must have been applied.
///
/// # Errors
/// When the spec cannot be written as JSON.
pub fn of(spec: &SidecarSetSpec) -> Result<String, FieldError> {
    let spec = serde_json::to_value(spec).map_err(|e| FieldError::new("spec", e.to_string()))?;
    let mut kept = Map::from_iter([("$patch".to_owned(), Value::from("replace"))]);
    for field in KEPT {
        // Go's types do not distinguish an empty list from an absent one.
        let mut value = spec.get(field).filter(|list| **list != json!([])).cloned().unwrap_or_default();
        if field.ends_with("ontainers") {
            for container in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                container.entry("resources").or_insert_with(|| json!({})); // Go always writes this struct
            }
        }
        kept.insert(field.to_owned(), value);
    }
    Ok(text(&json!({"spec": kept})))
}

/// Returns data as the API server writes it and compares it, byte by byte: compact JSON with all keys sorted.
#[must_use]
pub fn text(data: &Value) -> String {
    let mut text = String::new();
    write_sorted(&mut text, data);
    text
}

/// Revisions are compared by this digest.
#[must_use]
pub fn digest(data: &str) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// The last part of a revision's name. `collisions` distinguishes different data with the same hash.
#[must_use]
pub fn hash(data: &str, collisions: i32) -> String {
    let hash = fnv1(data.bytes().chain(collisions.to_string().into_bytes()));
    safe_encode(hash.to_string().into_bytes())
}

/// FNV-1, 32 bits.
fn fnv1(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(0x811c_9dc5, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte))
}

/// The name of a set's revision with this [`hash`].
#[must_use]
pub fn name(set: &str, hash: &str) -> String {
    let prefix = set.get(..LONGEST_PREFIX).unwrap_or(set);
    format!("{prefix}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conversion::{Version, convert};
    use crate::api::defaults;

    fn data(spec: Value) -> String {
        let mut spec: SidecarSetSpec = serde_json::from_value(spec).unwrap();
        defaults::apply(&mut spec);
        of(&spec).unwrap()
    }

    #[test]
    fn data_is_compact_and_sorted_and_says_what_is_absent() {
        let data = data(json!({
            "selector": {"matchLabels": {"a": "b"}},
            "initContainers": [],
            "containers": [{"name": "c", "image": "x:1", "args": ["a<b"], "shareVolumePolicy": {"type": "enabled"}}]
        }));
        assert_eq!(
            data,
            concat!(
                r#"{"spec":{"$patch":"replace","containers":[{"args":["a\u003cb"],"image":"x:1","imagePullPolicy":"IfNotPresent","#,
                r#""name":"c","podInjectPolicy":"BeforeAppContainer","resources":{},"shareVolumePolicy":{"type":"enabled"},"#,
                r#""terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","#,
                r#""upgradeStrategy":{"upgradeType":"ColdUpgrade"}}],"imagePullSecrets":null,"initContainers":null,"#,
                r#""patchPodMetadata":null,"volumes":null}}"#
            )
        );
    }

    /// The set as stored by OpenKruise's webhook has the data that OpenKruise writes into a revision.
    #[test]
    fn data_of_a_set_as_written_equals_that_of_the_set_as_openkruise_stores_it() {
        let mut compared = 0;
        for line in include_str!("../../tests/data/sidecarset-hash-vectors.jsonl").lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let case = vector["case"].as_str().unwrap();
            // OpenKruise drops unknown fields and empty texts; we keep what was written
            if ["unknown", "env"].contains(&case) {
                continue;
            }
            let written = convert(vector["object"].clone(), Version::V1beta1).unwrap();
            let stored = &vector["stored_spec"];
            let mut kept = Map::from_iter([("$patch".to_owned(), json!("replace"))]);
            kept.extend(KEPT.map(|field| (field.to_owned(), stored.get(field).cloned().unwrap_or_default())));
            assert_eq!(data(written["spec"].clone()), text(&json!({"spec": kept})), "{case}");
            compared += 1;
        }
        assert_eq!(compared, 28);
    }

    #[test]
    fn the_name_comes_from_the_data_and_the_collisions() {
        assert_eq!(fnv1(*b"foobar"), 0x31f0_b262, "a published value");
        assert_eq!(fnv1(*b"a0"), 1_886_858_602);
        assert_eq!((hash("a", 0), hash("a", 1)), ("5ddbd9db46".to_owned(), "5ddbd9db47".to_owned()));
        assert_eq!(name("logs", "x7"), "logs-x7");
        assert_eq!(name(&"s".repeat(253), "x7").len(), LONGEST_PREFIX + 3);
    }
}
