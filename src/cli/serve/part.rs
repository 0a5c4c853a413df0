//! What the controllers of a process share, and what each of them adds.

use crate::admission::{self, Handler, Webhook};
use crate::cluster::{Events, Feeds, Term};
use crate::telemetry::metrics::Controller;
use crate::telemetry::{Metrics, Readiness};
use futures::future::BoxFuture;
use http::Uri;
use kube::Client;
use std::sync::Arc;

/// Shared by all controllers.
pub(super) struct Common {
    pub client: Client,
    /// The URL of the API server.
    pub url: Uri,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    /// The metrics of the webhooks.
    pub reviews: Arc<admission::Metrics>,
}

/// The part of one controller.
pub(super) struct Part {
    pub controller: Controller,
    /// The webhooks.
    pub webhooks: Vec<(Webhook, Handler)>,
    /// The readiness checks of the webhooks.
    pub readiness: Readiness,
    /// The work during a term.
    pub lead: Lead,
}

/// Returns the Lease of a controller. `manifests/rbac` also names the Leases.
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
