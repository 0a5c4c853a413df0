//! The ServiceEntries of a MeshService: services outside of the mesh.

use super::build::Builder;
use super::kind::MeshKind;
use crate::api::mesh_service::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// The longest name of an object.
const LONGEST_NAME: usize = 253;

pub(super) fn build(builder: &mut Builder<'_>) {
    let entries = &builder.asked.spec.service_entries;
    if entries.is_empty() || !builder.makes(MeshKind::ServiceEntry) {
        return;
    }
    let mut names = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut key = builder.key(&format!("-{}", name_of(entry)));
        key.name = shortened(key.name);
        let first = key.name.clone();
        let mut number = 1;
        while !names.insert(key.name.clone()) {
            number += 1;
            key.name = shortened(format!("{first}-{number}"));
        }
        let mut spec = entry.clone();
        // Whoever else has the same need says so; a host that a namespace defines for all others could take their traffic.
        spec.entry("exportTo").or_insert_with(|| json!(["."]));
        builder.add(MeshKind::ServiceEntry, key, spec.into(), |field| {
            field.strip_prefix("spec").map(|below| format!("spec.serviceEntries[{index}]{below}"))
        });
    }
}

/// What a ServiceEntry is named by, so that it is the same one wherever it stands in the list: its first host, as a part of a name.
fn name_of(entry: &Message) -> String {
    let host = entry.get("hosts").and_then(|hosts| hosts.get(0)).and_then(Value::as_str).unwrap_or_default();
    let host = host.replace('*', "any").to_ascii_lowercase();
    let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "entry".to_owned() } else { name.to_owned() }
}

/// A name of an object: what is too long ends in the hash of the whole.
fn shortened(name: String) -> String {
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash: String = format!("{:x}", Sha256::digest(&name)).chars().take(10).collect();
    let kept: String = name.chars().take(LONGEST_NAME - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}
