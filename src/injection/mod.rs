//! Which SidecarSets match a Pod, and the JSON Patch that injects them. All of it is pure.
//!
//! An [`Index`] is told of SidecarSets, Namespaces and `ControllerRevisions` as they come and go; a [`Snapshot`] of it answers
//! for Pods without locks. A Pod is read borrowed ([`PodView`]), and the patch is written as text: nothing of the Pod that the
//! patch does not name can change.

pub mod annotations;
mod chosen;
mod container;
mod content;
mod exclusion;
mod explain;
pub mod expression;
mod fingerprint;
mod forecast;
mod go_json;
pub mod hash;
mod index;
mod inject;
mod mount_path;
mod named;
mod patch;
mod plan;
mod pod_metadata;
mod pod_security;
pub mod re2;
mod references;
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
pub use inject::{Denial, InjectError, Injected, InjectedSet, Injection};
pub use revision::Revision;
pub use selector::{Operator, Requirement, Selector};
pub use set::{InjectableSet, SetError};
pub use snapshot::{Mismatch, Snapshot};
pub use stored::Unfit;

use crate::api::pod::PodView;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};

/// What injection is told beside the SidecarSets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which Pods are left alone.
    pub exclusions: Exclusions,
    /// Whether a Pod that gets containers in front of its own is annotated `kubectl.kubernetes.io/default-container`, unless it
    /// is already: `kubectl logs` and `kubectl exec` then go on to mean the Pod's first own container. Default: no, as OpenKruise.
    pub default_container: bool,
    /// Whether each Namespace is known sooner or later, as by a watch of a cluster: one that is not yet may have any labels, so a
    /// namespaceSelector that asks for others than its name does not match it, as in OpenKruise. Default: no; then a Namespace
    /// that is not known has its name for a label and no others, for files need not hold any.
    pub all_namespaces_are_known: bool,
}

/// The circumstances under which a Pod is seen.
#[derive(Clone, Copy, Debug)]
pub struct PodRequest<'a> {
    /// Namespace of the request; the Pod's own may be absent while it is created.
    pub namespace: &'a str,
    /// `CREATE`, `UPDATE` …
    pub operation: &'a str,
    /// Empty for the Pod itself.
    pub sub_resource: &'a str,
    /// Identifies the request; draws the share of Pods that a partial revision choice leaves behind.
    pub uid: &'a str,
    /// Goes into the annotations.
    pub now: Timestamp,
    /// Becomes true when nobody waits for the answer any more; then what is left to do is left undone.
    pub abandoned: Option<&'a AtomicBool>,
}

impl<'a> PodRequest<'a> {
    /// Creation of a Pod in a namespace.
    #[must_use]
    pub fn create(namespace: &'a str, now: Timestamp) -> Self {
        Self { namespace, operation: "CREATE", sub_resource: "", uid: "", now, abandoned: None }
    }

    /// Asked between parts of the work that may each take milliseconds.
    fn go_on(&self) -> Result<(), InjectError> {
        match self.abandoned {
            Some(abandoned) if abandoned.load(Ordering::Relaxed) => Err(InjectError::Abandoned),
            _ => Ok(()),
        }
    }

    /// The Pod's own namespace, else the request's, else `default`, as OpenKruise resolves it.
    #[must_use]
    pub fn namespace_of<'p>(&self, pod: &'p PodView<'_>) -> &'p str
    where
        'a: 'p,
    {
        let own = pod.metadata.as_ref().and_then(|metadata| metadata.namespace.as_deref());
        [own.unwrap_or_default(), self.namespace].into_iter().find(|name| !name.is_empty()).unwrap_or("default")
    }
}
