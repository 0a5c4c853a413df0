//! How many MeshServices are in which state, and what was made for them: for the metrics.

use super::index::MeshIndex;
use super::metrics::MeshMetrics;
use crate::api::mesh_service::MeshServiceStatus;

/// Makes the metrics say what is known.
pub(super) fn show(index: &MeshIndex, metrics: &MeshMetrics) {
    let all: Vec<&MeshServiceStatus> = index.mesh_services().map(|one| &one.status).collect();
    metrics.show(
        |state| all.iter().filter(|status| status.consistency_state == state).count(),
        |severity| all.iter().flat_map(|status| &status.violations).filter(|one| one.severity == severity).count(),
    );
    metrics.objects.set(i64::try_from(index.made()).unwrap_or(i64::MAX));
}

/// A replica that does not lead knows nothing.
pub(super) fn clear(metrics: &MeshMetrics) {
    metrics.show(|_| 0, |_| 0);
    metrics.objects.set(0);
}
