//! A SidecarSet after admission: the Pods it is in, its kept versions, and its status.
//!
//! [`plan()`] decides what to write from what was observed: [`set::ObservedSet`], [`pods::PodIndex`] and
//! [`revisions::RevisionIndex`]. The [`Controller`] receives events, which change the [`RolloutIndex`], and
//! writes.

pub mod advice;
pub mod attempts;
mod controller;
pub mod counting;
pub mod explain;
mod fingerprints;
mod in_pod;
mod index;
pub mod metrics;
mod plan;
pub mod pod;
mod pod_patch;
mod pod_writer;
pub mod pods;
pub mod revision_object;
pub mod revisions;
pub mod set;
pub mod standing;
pub mod status;
pub mod storage_migration;
pub mod strategy;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod text;
pub mod upgrade;
pub mod watched_pod;

pub use attempts::PodUpdates;
pub use controller::Controller;
pub use index::RolloutIndex;
pub use plan::{Plan, plan};
pub use pods::PodIndex;
pub use set::ObservedSet;
pub use watched_pod::WatchedPod;
