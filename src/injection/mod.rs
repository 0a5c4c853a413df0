//! Which SidecarSets match a Pod, and the JSON Patch that injects them. This module is pure.
//!
//! An [`Index`] follows SidecarSets, Namespaces and `ControllerRevisions`. A [`Snapshot`] of it answers for Pods without
//! locks. A Pod is borrowed ([`PodView`](crate::api::pod::PodView)) and the patch is written as text, so nothing changes in
//! the Pod that the patch does not name.

mod additions;
mod amounts;
pub mod annotations;
mod chosen;
mod container;
mod content;
mod demands;
mod exclusion;
mod explain;
pub mod expression;
mod fingerprint;
mod finished_pod;
mod forecast;
mod go_json;
pub mod hash;
mod index;
mod inject;
mod keyed_hash;
mod mount_path;
mod named;
mod options;
mod outcome;
mod patch;
pub mod patterns;
mod plan;
mod pod_lists;
mod pod_metadata;
mod pod_security;
mod references;
mod request;
mod resize;
pub mod resources;
mod revision;
pub mod revision_data;
mod selector;
mod set;
mod sharing;
mod snapshot;
mod stored;
#[cfg(test)]
mod tests;
mod token_mount;
mod transfer;
pub mod validate;
pub mod verify;
mod volume_names;
mod warnings;

pub use content::Content;
pub use exclusion::{Exclusion, Exclusions};
pub use explain::{Explanation, SetExplanation, Verdict};
pub use fingerprint::{Fingerprint, PodContainer};
pub use forecast::{Consequence, Forecast};
pub use index::Index;
pub use options::Options;
pub use outcome::{Denial, InjectError, Injected, InjectedSet, Injection};
pub use pod_lists::PodList;
pub use request::PodRequest;
pub use resize::{Amount, Amounts, AskedAmount};
pub use revision::Revision;
pub use selector::{Operator, Requirement, Selector};
pub use set::{InjectableSet, SetError};
pub use snapshot::{Mismatch, Snapshot};
pub use stored::{DecodedSet, StoredSet, Unfit};
