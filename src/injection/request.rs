//! The context of a Pod's admission request.

use crate::api::pod::PodView;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};

/// The context of a Pod's admission request.
#[derive(Clone, Copy, Debug)]
pub struct PodRequest<'a> {
    /// Namespace of the request. The Pod's own may be absent during creation.
    pub namespace: &'a str,
    /// `CREATE`, `UPDATE` …
    pub operation: &'a str,
    /// Empty for the Pod itself.
    pub sub_resource: &'a str,
    /// Identifies the request. It decides which Pods a partial revision leaves out.
    pub uid: &'a str,
    /// The time in the annotations. If absent, each set's creation time is used, or else the beginning of 1970, so that equal
    /// input gives equal output.
    pub now: Option<Timestamp>,
    /// Set once the client no longer waits for the answer. The remaining work is then skipped.
    pub abandoned: Option<&'a AtomicBool>,
}

/// The client no longer waits for the answer.
pub(super) struct Abandoned;

impl<'a> PodRequest<'a> {
    /// Creates the context of a Pod's creation in a namespace.
    #[must_use]
    pub fn create(namespace: &'a str, now: impl Into<Option<Timestamp>>) -> Self {
        Self { namespace, operation: "CREATE", sub_resource: "", uid: "", now: now.into(), abandoned: None }
    }

    /// Checked between parts of the work that may take milliseconds each.
    pub(super) fn go_on(&self) -> Result<(), Abandoned> {
        match self.abandoned {
            Some(abandoned) if abandoned.load(Ordering::Relaxed) => Err(Abandoned),
            _ => Ok(()),
        }
    }

    /// Returns the Pod's own namespace, else the request's, else `default`, as in OpenKruise.
    #[must_use]
    pub fn namespace_of<'p>(&self, pod: &'p PodView<'_>) -> &'p str
    where
        'a: 'p,
    {
        let own = pod.metadata.as_ref().and_then(|metadata| metadata.namespace.as_deref());
        [own.unwrap_or_default(), self.namespace].into_iter().find(|name| !name.is_empty()).unwrap_or("default")
    }
}
