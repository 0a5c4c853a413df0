//! Gauges: how many MeshServices are in each state, and how many objects were made for them.

use super::index::MeshIndex;
use super::metrics::MeshMetrics;
use crate::api::mesh_service::MeshServiceStatus;

/// Sets the gauges from the index.
pub(super) fn show(index: &MeshIndex, metrics: &MeshMetrics) {
    let all: Vec<&MeshServiceStatus> = index.mesh_services().map(|one| &one.status).collect();
    metrics.show(
        |state| all.iter().filter(|status| status.consistency_state == state).count(),
        |severity| all.iter().flat_map(|status| &status.violations).filter(|one| one.severity == severity).count(),
    );
    metrics.objects.set(i64::try_from(index.made()).unwrap_or(i64::MAX));
}

/// Sets the gauges to zero: only the leader has an index.
pub(super) fn clear(metrics: &MeshMetrics) {
    metrics.show(|_| 0, |_| 0);
    metrics.objects.set(0);
}
