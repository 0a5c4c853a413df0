//! What the controller is fed from: the SidecarGenerators and the Sidecars of all namespaces.

use super::controller::Controller;
use super::generator::ObservedGenerator;
use super::sidecar::{ObservedSidecar, resource};
use crate::api::sidecar_generator::SidecarGenerator;
use crate::cluster::{Event, Tasks, Watch, watch_as};
use kube::api::DynamicObject;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use std::sync::Arc;

/// Objects in one answer of the API server, which is read in one go.
const PAGE: u32 = 500;

/// The two watches. A cheap clone is the same ones.
#[derive(Clone, Debug)]
pub struct Watches {
    /// SidecarGenerators.
    pub generators: Watch,
    /// Istio's Sidecars.
    pub sidecars: Watch,
}

impl Watches {
    /// Starts both, as tasks of a replica that leads or may do so later.
    pub fn start(client: &Client, controller: &Controller, tasks: &mut Tasks) -> Self {
        let pages = || Config::default().page_size(PAGE);
        let fed = controller.clone();
        let api = Api::<SidecarGenerator>::all(client.clone());
        let sink = move |event: Event<ObservedGenerator>| {
            if let Some(event) = event.filter_map(|generator| Some(Arc::new(generator))) {
                fed.generators_event(event);
            }
        };
        let (generators, task) = watch_as("sidecargenerators", api, pages(), sink);
        tasks.spawn_until_shutdown("the watch of SidecarGenerators", task);

        let fed = controller.clone();
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource());
        let sink = move |event: Event<ObservedSidecar>| {
            if let Some(event) = event.filter_map(|sidecar| Some(Arc::new(sidecar))) {
                fed.sidecars_event(event);
            }
        };
        let (sidecars, task) = watch_as("sidecars", api, pages(), sink);
        tasks.spawn_until_shutdown("the watch of Sidecars", task);
        Self { generators, sidecars }
    }
}
