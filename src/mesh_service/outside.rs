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
        // By default no other namespace sees the host: it could take their traffic.
        spec.entry("exportTo").or_insert_with(|| json!(["."]));
        builder.add(MeshKind::ServiceEntry, key, spec.into(), |field| {
            field.strip_prefix("spec").map(|below| format!("spec.serviceEntries[{index}]{below}"))
        });
    }
}

/// Returns the part of a ServiceEntry's name that distinguishes it: its first host, and a hash of all if it has
/// several. The rest of the list does not change it.
fn name_of(entry: &Message) -> String {
    let first = first_host(entry);
    match entry.get("hosts").and_then(Value::as_array) {
        Some(hosts) if hosts.len() > 1 => format!("{first}-{}", hash(&Value::from(hosts.clone()).to_string())),
        _ => first,
    }
}

fn first_host(entry: &Message) -> String {
    let host = entry.get("hosts").and_then(|hosts| hosts.get(0)).and_then(Value::as_str).unwrap_or_default();
    let host = host.replace('*', "any").to_ascii_lowercase();
    let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "entry".to_owned() } else { name.to_owned() }
}

fn hash(text: &str) -> String {
    format!("{:x}", Sha256::digest(text)).chars().take(10).collect()
}

/// Returns a name of at most 253 characters: a longer one is cut and ends in a hash of the whole.
fn shortened(name: String) -> String {
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash = hash(&name);
    let kept: String = name.chars().take(LONGEST_NAME - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}
