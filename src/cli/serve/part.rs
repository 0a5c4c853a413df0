//! What the controllers of a process share, and what each adds to it.

use crate::admission::{self, Handler, Webhook};
use crate::cluster::{Events, Term, Watch};
use crate::telemetry::{Metrics, Readiness};
use futures::future::BoxFuture;
use http::Uri;
use kube::Client;
use std::sync::Arc;

/// What all controllers share.
pub(super) struct Common {
    pub client: Client,
    /// Of the API server.
    pub url: Uri,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    /// Of the webhooks that the process serves.
    pub reviews: Arc<admission::Metrics>,
}

/// What a controller adds to the process.
pub(super) struct Part {
    /// What it serves.
    pub webhooks: Vec<(Webhook, Handler)>,
    /// What has to be so for that.
    pub readiness: Readiness,
    /// What it reads, in every replica.
    pub watches: Vec<Watch>,
    /// Its work in a term.
    pub lead: Box<dyn Fn(Term) -> BoxFuture<'static, ()> + Send + Sync>,
}
