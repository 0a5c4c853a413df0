//! The circumstances under which a Pod is seen.

use crate::api::pod::PodView;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Goes into the annotations. Without it that is the time at which each set was created, else the beginning of 1970: the same
    /// input then has the same output.
    pub now: Option<Timestamp>,
    /// Becomes true when nobody waits for the answer any more; then what is left to do is left undone.
    pub abandoned: Option<&'a AtomicBool>,
}

/// Nobody waits for the answer any more.
pub(super) struct Abandoned;

impl<'a> PodRequest<'a> {
    /// Creation of a Pod in a namespace.
    #[must_use]
    pub fn create(namespace: &'a str, now: impl Into<Option<Timestamp>>) -> Self {
        Self { namespace, operation: "CREATE", sub_resource: "", uid: "", now: now.into(), abandoned: None }
    }

    /// Asked between parts of the work that may each take milliseconds.
    pub(super) fn go_on(&self) -> Result<(), Abandoned> {
        match self.abandoned {
            Some(abandoned) if abandoned.load(Ordering::Relaxed) => Err(Abandoned),
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
