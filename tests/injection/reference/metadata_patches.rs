//! `patchPodMetadata`: annotations that sets add to the Pod.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Set;
use super::annotations::{HASH, HASH_WITHOUT_IMAGE, INJECTED_LIST, WORKING};
use super::json::{annotation, html_escaped, items, set_annotation, text};

/// Applies the patches of all sets in order.
pub fn apply(sets: &[&Set], pod: &mut Value) -> Result<(), String> {
    for set in sets {
        for patch in items(&set.stored, "/spec/patchPodMetadata") {
            let annotations: BTreeMap<&String, &Value> =
                patch["annotations"].as_object().into_iter().flatten().collect();
            for (key, wanted) in annotations {
                let hot = ["version.sidecarset.kruise.io/", "versionalt.sidecarset.kruise.io/"];
                let own = [HASH, HASH_WITHOUT_IMAGE, INJECTED_LIST, WORKING].contains(&key.as_str());
                if own || hot.iter().any(|prefix| key.starts_with(prefix)) {
                    continue;
                }
                let (present, wanted) = (annotation(pod, key), wanted.as_str().unwrap_or_default());
                let new_text = match text(patch, "/patchPolicy") {
                    "Overwrite" => wanted.to_owned(),
                    "MergePatchJson" => merged_text(present.unwrap_or_default(), wanted)
                        .map_err(|problem| format!("{}: patchPodMetadata of {key}: {problem}", set.name()))?,
                    _ => present.unwrap_or(wanted).to_owned(),
                };
                if present != Some(new_text.as_str()) {
                    set_annotation(pod, key, &new_text);
                }
            }
        }
    }
    Ok(())
}

/// Returns the annotation's text after a merge; unchanged if the meaning is the same.
fn merged_text(present: &str, patch: &str) -> Result<String, String> {
    if present.is_empty() || present == patch {
        return Ok(patch.to_owned());
    }
    let is_blank = present.trim().is_empty();
    let document = if is_blank { "{}" } else { present };
    let parse = |text: &str| serde_json::from_str::<Box<RawValue>>(text).map_err(|error| error.to_string());
    let (document, patch) = (parse(document)?, parse(patch)?);
    if document.get() == "null" {
        return Err("nothing can be merged into null".to_owned());
    }
    if !patch.get().starts_with('{') {
        return Err("the patch is no object".to_owned());
    }
    let merged = merge(document.get(), patch.get());
    let says_the_same = !is_blank && meaning(&merged) == meaning(document.get());
    Ok(if says_the_same { present.to_owned() } else { merged })
}

/// RFC 7386 on JSON texts. Everything that the patch does not change keeps its spelling, except for white space.
fn merge(target: &str, patch: &str) -> String {
    let Some(patch) = members(patch) else { return compact(patch) };
    let mut result: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in members(target).unwrap_or_default() {
        result.insert(key, compact(value.get()));
    }
    for (key, value) in patch {
        if value.get() == "null" {
            result.remove(&key);
        } else {
            let merged = merge(result.get(&key).map_or("null", String::as_str), value.get());
            result.insert(key, merged);
        }
    }
    let written: Vec<String> =
        result.iter().map(|(key, value)| format!("{}:{value}", html_escaped(&json!(key).to_string()))).collect();
    format!("{{{}}}", written.join(","))
}

/// Returns the members of an object; none for anything else.
fn members(text: &str) -> Option<BTreeMap<String, Box<RawValue>>> {
    serde_json::from_str(text).ok()
}

/// Returns a JSON text without white space, escaped for HTML.
fn compact(text: &str) -> String {
    let (mut compact, mut in_string, mut escaped) = (String::new(), false, false);
    for character in text.chars() {
        if in_string || !character.is_ascii_whitespace() {
            compact.push(character);
        }
        if character == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && character == '\\' && !escaped;
    }
    html_escaped(&compact)
}

/// Returns a spelling that is equal for all texts with the same meaning. Numbers keep their spelling.
fn meaning(text: &str) -> String {
    if let Some(members) = members(text) {
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!("{}:{}", json!(key), meaning(value.get()))).collect();
        return format!("{{{}}}", members.join(","));
    }
    if let Ok(elements) = serde_json::from_str::<Vec<Box<RawValue>>>(text) {
        let elements: Vec<String> = elements.iter().map(|element| meaning(element.get())).collect();
        return format!("[{}]", elements.join(","));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::String(string)) => json!(string).to_string(),
        _ => text.trim().to_owned(),
    }
}
