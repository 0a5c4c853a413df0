//! kwok's stages for Nodes and Pods: its own, and ours where a kubelet does more.

use std::time::Duration;

/// Replaces kwok's `pod-ready`.
const CONTAINERS: &str = include_str!("stages.yaml");

/// An annotation of a Pod whose kubelet has stopped, as on a dead node.
pub const KUBELET_STOPPED: &str = "testbed.outrigger.dev/kubelet-stopped";

/// Returns the stages for `kwok --config`: kwok's own (each followed by `---`) for Nodes and for completed and deleted Pods, and ours for
/// everything in between.
pub(crate) fn stages(of_kwok: &str, image_change: Duration, unpullable: &str) -> String {
    let ours = CONTAINERS.replace("DELAY", &image_change.as_millis().to_string()).replace("UNPULLABLE", unpullable);
    let ours = ours.replace("KUBELET_STOPPED", KUBELET_STOPPED);
    format!("{of_kwok}{ours}")
}
