//! The Kubernetes version of the tests. Tables of its validation are for the newest version, and partly hold for older
//! ones.

use anyhow::Result;
use outrigger_testbed::ControlPlane;

/// The minor version of the tables.
const NEWEST: u32 = 37;

/// Whether the API server has that minor version or a newer one. Older ones silently drop some fields from a Pod.
pub async fn is_newest(plane: &ControlPlane) -> Result<bool> {
    Ok(plane.client().apiserver_version().await?.minor.parse::<u32>()? >= NEWEST)
}
