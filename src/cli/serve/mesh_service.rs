//! The controller `meshservice`: Istio objects from MeshServices, and the flag for their kinds.

use super::part::{Common, Part};
use super::queues;
use crate::cluster::{Feeds, Term};
use crate::mesh_service::metrics::MeshMetrics;
use crate::mesh_service::{Controller, MeshKind, Settings};
use crate::telemetry::{Readiness, metrics};

/// Flags about MeshServices.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "MeshServices")]
pub(in crate::cli) struct MeshFlags {
    /// Kinds of objects that are created for MeshServices, such as `VirtualService,DestinationRule` [default: all]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub mesh_kinds: Option<Vec<MeshKind>>,
}

/// The domain of Services.
const DOMAIN: &str = "cluster.local";

/// Returns the part of a leader. Other replicas do not read the mesh.
pub(super) fn part(flags: &MeshFlags, root_namespace: &str, common: &Common) -> Part {
    let Common { client, events, metrics, .. } = common;
    let observer = queues::observer(metrics, metrics::Controller::MeshService);
    let mesh = metrics.register(MeshMetrics::register);
    let settings = Settings {
        kinds: flags.mesh_kinds.clone().map_or_else(Default::default, FromIterator::from_iter),
        root_namespace: root_namespace.to_owned(),
        domain: DOMAIN.to_owned(),
    };
    let controller = Controller::new(client.clone(), events.clone(), mesh, observer, settings);
    let lead = move |term: Term, feeds: &mut Feeds| Box::pin(controller.lead(term, feeds)) as _;
    let controller = metrics::Controller::MeshService;
    Part { controller, webhooks: Vec::new(), readiness: Readiness::new(), lead: Box::new(lead) }
}
