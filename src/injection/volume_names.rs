//! The volumes that a container refers to: as mounts, as block devices, and as files with variables.

use serde_json::{Map, Value};

/// Lists whose items each refer to a volume.
const LISTS: [&str; 2] = ["volumeMounts", "volumeDevices"];

/// Returns the names of the volumes, once for each reference.
pub(super) fn volumes_of(container: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let list = |field: &str| container.get(field).and_then(Value::as_array).into_iter().flatten();
    let mounted = LISTS.into_iter().flat_map(list).filter_map(|mount| mount.get("name")?.as_str());
    mounted.chain(volumes_with_variables(container))
}

/// Returns the names of the volumes that hold files with variables.
pub(super) fn volumes_with_variables(container: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let env = container.get("env").and_then(Value::as_array).into_iter().flatten();
    env.filter_map(|variable| variable.pointer("/valueFrom/fileKeyRef/volumeName")?.as_str())
}
