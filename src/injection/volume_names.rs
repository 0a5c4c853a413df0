//! The volumes of a Pod that a container names: by mounting them, as block devices, and as files with variables.

use serde_json::{Map, Value};

/// Lists whose items name a volume each.
const LISTS: [&str; 2] = ["volumeMounts", "volumeDevices"];

/// Names of the volumes, as often as they are named.
pub(super) fn volumes_of(container: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let list = |field: &str| container.get(field).and_then(Value::as_array).into_iter().flatten();
    let mounted = LISTS.into_iter().flat_map(list).filter_map(|mount| mount.get("name")?.as_str());
    mounted.chain(volumes_with_variables(container))
}

/// Names of the volumes from whose files it takes variables.
pub(super) fn volumes_with_variables(container: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let env = container.get("env").and_then(Value::as_array).into_iter().flatten();
    env.filter_map(|variable| variable.pointer("/valueFrom/fileKeyRef/volumeName")?.as_str())
}
