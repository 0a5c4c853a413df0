//! Which Kubernetes the tests run against: tables of what it judges are written for the newest, and hold for older ones in part.

use anyhow::Result;
use outrigger_testbed::ControlPlane;

/// The minor that the tables are written for.
const NEWEST: u32 = 37;

/// Whether the API server is of that minor, or newer. Older ones do not know some fields, which they drop from a Pod without a word.
pub async fn is_newest(plane: &ControlPlane) -> Result<bool> {
    Ok(plane.client().apiserver_version().await?.minor.parse::<u32>()? >= NEWEST)
}
