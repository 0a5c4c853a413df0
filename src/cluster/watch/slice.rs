//! The objects of a watch: a kind, and a part of it.

use std::time::Duration;

use kube::Resource;
use kube::api::{ApiResource, DynamicObject, ListParams, WatchParams};

use super::pause::Pauses;

/// The default number of objects in one answer of the API server.
const PAGE: u32 = 500;

/// How a slice is kept up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With watches. The API server ends them after this many seconds, and they are given up after this time of silence.
    Watch {
        /// Seconds.
        ends_after: u32,
        /// Longer than `ends_after`.
        silence: Duration,
    },
    /// With a list each time this period ends. It requires no permission to watch.
    Poll(Duration),
}

impl Default for Pace {
    /// A dead connection is noticed this soon.
    fn default() -> Self {
        Self::Watch { ends_after: 60, silence: Duration::from_secs(65) }
    }
}

/// Objects of one kind: all, or those of a namespace, with certain labels, or with one name.
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

    /// Like [`Slice::all`], for a kind without a type.
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

    /// Selects objects in this namespace.
    #[must_use]
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Selects objects by this label selector.
    #[must_use]
    pub fn labels(self, selector: &str) -> Self {
        Self { labels: Some(selector.to_owned()), ..self }
    }

    /// Selects the object of this name. Permissions to `list` and `watch` that name it are enough.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { fields: Some(format!("metadata.name={name}")), ..self }
    }

    /// Requests only the metadata. More may arrive if another sink needs it.
    #[must_use]
    pub fn metadata_only(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    /// Sets the maximum number of objects in one answer of the API server, which is read in one go.
    #[must_use]
    pub fn page_size(self, objects: u32) -> Self {
        Self { page: objects, ..self }
    }

    /// Sets another pace than the default.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Lets pauses during failures grow to about this, for processes with thousands of instances.
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

    /// Extends this slice to what both need.
    pub(super) fn join(&mut self, other: &Self) {
        self.metadata_only &= other.metadata_only;
        self.page = self.page.min(other.page);
    }
}
