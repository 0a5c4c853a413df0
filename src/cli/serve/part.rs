//! What the controllers of a process share, and what each adds to it.

use crate::admission::{self, Handler, Webhook};
use crate::cluster::{Events, Feeds, Term};
use crate::telemetry::metrics::Controller;
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
    pub controller: Controller,
    /// What it serves.
    pub webhooks: Vec<(Webhook, Handler)>,
    /// What has to be so for that.
    pub readiness: Readiness,
    /// Its work in a term.
    pub lead: Lead,
}

/// The Lease by which one replica leads a controller. `manifests/rbac` names them, too.
pub(super) const fn lease_of(controller: Controller) -> &'static str {
    match controller {
        Controller::SidecarSet => "outrigger-sidecarset",
        Controller::SidecarGenerator => "outrigger-sidecargenerator",
        Controller::DevRouting => "outrigger-devrouting",
        Controller::MeshService => "outrigger-meshservice",
    }
}

/// Subscribes to what only a leader reads, and does the work of a term.
pub(super) type Lead = Box<dyn Fn(Term, &mut Feeds) -> BoxFuture<'static, ()> + Send + Sync>;
