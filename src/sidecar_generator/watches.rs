//! What the controller is fed from: the SidecarGenerators and the Sidecars of all namespaces.

use super::controller::Controller;
use super::generator::ObservedGenerator;
use super::sidecar::{ObservedSidecar, resource};
use crate::api::sidecar_generator::SidecarGenerator;
use crate::cluster::{Event, Feeds, Slice, Watch};
use std::sync::Arc;

/// The two watches. A cheap clone is the same ones.
#[derive(Clone, Debug)]
pub struct Watches {
    /// SidecarGenerators.
    pub generators: Watch,
    /// Istio's Sidecars.
    pub sidecars: Watch,
}

impl Watches {
    /// Feeds the controller of a replica that leads or may do so later.
    pub fn subscribe(feeds: &mut Feeds, controller: &Controller) -> Self {
        let fed = controller.clone();
        let sink = move |event: Event<ObservedGenerator>| {
            if let Some(event) = event.filter_map(|generator| Some(Arc::new(generator))) {
                fed.generators_event(event);
            }
        };
        let generators = feeds.subscribe(Slice::all::<SidecarGenerator>("sidecargenerators"), sink);

        let fed = controller.clone();
        let sink = move |event: Event<ObservedSidecar>| {
            if let Some(event) = event.filter_map(|sidecar| Some(Arc::new(sidecar))) {
                fed.sidecars_event(event);
            }
        };
        let sidecars = feeds.subscribe(Slice::of("sidecars", resource()), sink);
        Self { generators, sidecars }
    }
}
