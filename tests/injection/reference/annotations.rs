//! The annotations that injection itself writes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Set;
use super::json::{annotation, html_escaped, is_injected, name, set_annotation, text};
use super::sidecars::Sidecar;

/// Pod annotation: set name -> what was injected, with the hash of its containers.
pub const HASH: &str = "kruise.io/sidecarset-hash";
/// Pod annotation: the same with the hash without images.
pub const HASH_WITHOUT_IMAGE: &str = "kruise.io/sidecarset-hash-without-image";
/// Pod annotation: set name -> hash of fields that the other two do not cover, if there are any.
pub const HASH_OF_REST: &str = "outrigger.dev/sidecarset-hash-rest";
/// Pod annotation: the names of the injected sets, separated by commas.
pub const INJECTED_LIST: &str = "kruise.io/sidecarset-injected-list";
/// Pod annotation: name of a hot container -> the working twin.
pub const WORKING: &str = "kruise.io/sidecarset-working-hotupgrade-container";
/// Pod annotation: the default container of `kubectl logs` and `kubectl exec`.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Writes the records of the sets.
pub fn write_sets(sets: &[&Set], pod: &mut Value, now: &str) -> Result<(), String> {
    let annotations = &pod["metadata"]["annotations"];
    let entries = recorded_entries(HASH, annotations)?;
    let entries_without_image = recorded_entries(HASH_WITHOUT_IMAGE, annotations)?;
    let rest = rest_annotation(&recorded_rest(annotations), sets);
    let texts = [
        (HASH_OF_REST, rest),
        (HASH, hash_annotation(&entries, sets, |set| &set.hash, now)),
        (HASH_WITHOUT_IMAGE, hash_annotation(&entries_without_image, sets, |set| &set.hash_without_image, now)),
        (INJECTED_LIST, Some(injected_list(&annotations[INJECTED_LIST], sets))),
    ];
    for (key, new_text) in texts {
        if let Some(new_text) = new_text {
            set_annotation(pod, key, &new_text);
        }
    }
    Ok(())
}

/// Writes the working twins of hot containers. For kept containers, only missing entries.
pub fn write_hot_upgrades<'a>(
    sidecars: impl Iterator<Item = &'a Sidecar>,
    stays: impl Fn(&Sidecar) -> bool,
    pod: &mut Value,
) {
    let present: Option<BTreeMap<String, String>> =
        annotation(pod, WORKING).and_then(|text| serde_json::from_str(text).ok());
    let mut working = present.clone().unwrap_or_default();
    let mut any = false;
    for sidecar in sidecars {
        let Some(half) = &sidecar.half else { continue };
        any = true;
        let versions =
            if half.works { [("version", "1"), ("versionalt", "0")] } else { [("version", "0"), ("versionalt", "1")] };
        for (prefix, value) in versions {
            let key = format!("{prefix}.sidecarset.kruise.io/{}", name(&sidecar.container));
            if !stays(sidecar) || annotation(pod, &key).is_none() {
                set_annotation(pod, &key, value);
            }
        }
        if !stays(sidecar) || !working.contains_key(&half.base) {
            working.insert(half.base.clone(), format!("{}-1", half.base));
        }
    }
    if any && present.as_ref() != Some(&working) {
        set_annotation(pod, WORKING, &json!(working).to_string());
    }
}

/// Sets the default container to the first received one that no set added or replaced, unless it is set.
pub fn write_default_container(received: &[Value], sidecars: &[Sidecar], pod: &mut Value) {
    let replaced = |own: &Value| sidecars.iter().any(|sidecar| name(&sidecar.container) == name(own));
    let first = received.iter().find(|own| !is_injected(own) && !replaced(own));
    if let Some(first) = first
        && annotation(pod, DEFAULT_CONTAINER).is_none()
    {
        set_annotation(pod, DEFAULT_CONTAINER, name(first));
    }
}

/// Returns the entries of a hash annotation as written, by set name; none if it is absent, `null` or blank.
pub fn recorded_entries(key: &str, annotations: &Value) -> Result<BTreeMap<String, Box<RawValue>>, String> {
    let text = annotations[key].as_str().unwrap_or_default().trim();
    if text.is_empty() || text == "null" {
        return Ok(BTreeMap::new());
    }
    let entries: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(text).map_err(|error| format!("{key} is not a JSON object: {error}"))?;
    match entries.iter().find(|(_, entry)| !entry.get().starts_with(['{', '"', 'n'])) {
        Some((set, _)) => Err(format!("{key}: the entry of {set} is neither an object nor a string nor null")),
        None => Ok(entries),
    }
}

/// Returns the hash of an entry in the current or the legacy format (a bare string).
pub fn recorded_hash(entry: &RawValue) -> String {
    match serde_json::from_str(entry.get()).unwrap_or_default() {
        Value::String(hash) => hash,
        entry => text(&entry, "/hash").to_owned(),
    }
}

/// Returns the recorded hashes of fields that the two hashes do not cover; none if they cannot be read.
pub fn recorded_rest(annotations: &Value) -> BTreeMap<String, String> {
    let text = annotations[HASH_OF_REST].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn rest_annotation(present: &BTreeMap<String, String>, sets: &[&Set]) -> Option<String> {
    let mut entries = present.clone();
    for set in sets {
        entries.remove(set.name());
        entries.extend(set.hash_of_rest.clone().map(|hash| (set.name().to_owned(), hash)));
    }
    (entries != *present).then(|| json!(entries).to_string())
}

fn is_legacy(entry: &RawValue) -> bool {
    entry.get().starts_with('"')
}

/// Returns the annotation's new text, or `None` if nothing changes.
fn hash_annotation(
    present: &BTreeMap<String, Box<RawValue>>,
    sets: &[&Set],
    hash_of: fn(&Set) -> &str,
    now: &str,
) -> Option<String> {
    let mut entries: BTreeMap<String, String> = BTreeMap::new();
    let mut changed = false;
    for (key, entry) in present {
        if is_legacy(entry) {
            changed = true;
            entries.insert(key.clone(), new_entry(&recorded_hash(entry), key, &Value::Null, now));
        } else {
            entries.insert(key.clone(), entry.get().to_owned());
        }
    }
    for set in sets {
        let is_current = |entry: &RawValue| !is_legacy(entry) && recorded_hash(entry) == hash_of(set);
        if !present.get(set.name()).map(AsRef::as_ref).is_some_and(is_current) {
            changed = true;
            let entry = new_entry(hash_of(set), set.name(), &json!(sidecar_list(set)), now);
            entries.insert(set.name().to_owned(), entry);
        }
    }
    let members: Vec<String> =
        entries.iter().map(|(key, entry)| format!("{}:{entry}", html_escaped(&json!(key).to_string()))).collect();
    changed.then(|| format!("{{{}}}", members.join(",")))
}

fn new_entry(hash: &str, set: &str, sidecar_list: &Value, now: &str) -> String {
    let (now, hash, set) = (json!(now), json!(hash), json!(set));
    html_escaped(&format!(
        r#"{{"updateTimestamp":{now},"hash":{hash},"sidecarSetName":{set},"sidecarList":{sidecar_list}}}"#
    ))
}

/// Returns the sorted names of the containers that run next to the app.
fn sidecar_list(set: &Set) -> Vec<&str> {
    let native = set.containers("initContainers").iter().filter(|container| container["restartPolicy"] == "Always");
    let mut names: Vec<&str> = set.containers("containers").iter().chain(native).map(name).collect();
    names.sort_unstable();
    names
}

fn injected_list(present: &Value, sets: &[&Set]) -> String {
    let previous = present.as_str().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let names: BTreeSet<&str> = previous.chain(sets.iter().map(|set| set.name())).collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}
