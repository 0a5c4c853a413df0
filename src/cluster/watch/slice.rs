//! Which objects a watch is of: a kind, and which part of it.

use std::time::Duration;

use kube::Resource;
use kube::api::{ApiResource, DynamicObject, ListParams, WatchParams};

use super::pause::Pauses;

/// Objects in one answer of the API server, unless the slice says otherwise.
const PAGE: u32 = 500;

/// How a slice is kept in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// By watches that the API server is asked to end after so many seconds, and that are given up as dead when they are silent for so
    /// long.
    Watch {
        /// Seconds.
        ends_after: u32,
        /// Longer than that.
        silence: Duration,
    },
    /// By a list each time this is over, for which no right to watch is needed.
    Poll(Duration),
}

impl Default for Pace {
    /// So soon a dead connection is noticed.
    fn default() -> Self {
        Self::Watch { ends_after: 60, silence: Duration::from_secs(65) }
    }
}

/// Some objects of one kind: all, or those of a namespace, with certain labels, or of one name.
#[derive(Clone, Debug)]
pub struct Slice {
    what: &'static str,
    kind: ApiResource,
    namespace: Option<String>,
    labels: Option<String>,
    fields: Option<String>,
    metadata_only: bool,
    page: u32,
    pace: Pace,
    longest_pause: Option<Duration>,
}

impl Slice {
    /// All objects of a kind. `what` is its name in messages and metrics (`sidecarsets`).
    #[must_use]
    pub fn all<R: Resource<DynamicType = ()>>(what: &'static str) -> Self {
        Self::of(what, ApiResource::erase::<R>(&()))
    }

    /// As [`Slice::all`], of a kind for which there is no type.
    #[must_use]
    pub fn of(what: &'static str, kind: ApiResource) -> Self {
        Self {
            what,
            kind,
            namespace: None,
            labels: None,
            fields: None,
            metadata_only: false,
            page: PAGE,
            pace: Pace::default(),
            longest_pause: None,
        }
    }

    /// Only those in this namespace.
    #[must_use]
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Only those that this label selector selects.
    #[must_use]
    pub fn labels(self, selector: &str) -> Self {
        Self { labels: Some(selector.to_owned()), ..self }
    }

    /// Only the one of this name, for which rights to `list` and `watch` that name it are enough.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { fields: Some(format!("metadata.name={name}")), ..self }
    }

    /// Of each object its metadata are enough. More may come, where another sink wants more.
    #[must_use]
    pub fn metadata_only(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    /// At most this many objects in one answer of the API server, which is read in one go.
    #[must_use]
    pub fn page_size(self, objects: u32) -> Self {
        Self { page: objects, ..self }
    }

    /// At another pace than the default.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// While it fails, with pauses that grow to about this, for processes that are thousands.
    #[must_use]
    pub fn longest_pause(self, pause: Duration) -> Self {
        Self { longest_pause: Some(pause), ..self }
    }

    pub(super) fn pauses(&self) -> Pauses {
        self.longest_pause.map_or_else(Pauses::default, Pauses::up_to)
    }

    pub(super) fn followed_at(&self) -> Pace {
        self.pace
    }

    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    pub(super) fn path(&self) -> String {
        DynamicObject::url_path(&self.kind, self.namespace.as_deref())
    }

    pub(super) fn is_metadata_only(&self) -> bool {
        self.metadata_only
    }

    pub(super) fn list(&self) -> ListParams {
        ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(self.page),
            ..ListParams::default()
        }
    }

    pub(super) fn watch(&self, seconds: u32) -> WatchParams {
        WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(seconds),
            bookmarks: true,
            send_initial_events: false,
        }
    }

    /// Whether these are the same objects.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let of = |slice: &Self| (slice.path(), slice.labels.clone(), slice.fields.clone());
        of(self) == of(other)
    }

    /// What is enough for both.
    pub(super) fn join(&mut self, other: &Self) {
        self.metadata_only &= other.metadata_only;
        self.page = self.page.min(other.page);
    }
}
