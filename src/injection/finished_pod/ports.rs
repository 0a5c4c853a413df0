//! Ports that two containers of a Pod cannot share, and port names that would refer to another container than before.

use super::{Consequence, FinishedPod, Forecast, Newcomer, Placement, read};
use crate::api::borrowed::Str;
use crate::api::pod::{ContainerView, SpecView};
use crate::injection::demands::DemandedPort;
use crate::injection::pod_lists::PodList;
use serde::Deserialize;
use std::collections::HashMap;

/// A port of a container of the Pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortView<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    protocol: Option<Str<'a>>,
    #[serde(default)]
    container_port: i64,
    #[serde(default)]
    host_port: Option<i64>,
    #[serde(borrow, default, rename = "hostIP")]
    host_ip: Option<Str<'a>>,
}

/// A port of the node: protocol, address and port.
type HostPort<'p> = (&'p str, &'p str, i64);

/// The container that has a port of the node.
#[derive(Clone, Copy)]
struct Holder<'p> {
    list: PodList,
    container: &'p str,
}

impl PortView<'_> {
    fn protocol(&self) -> &str {
        self.protocol.as_deref().filter(|protocol| !protocol.is_empty()).unwrap_or("TCP")
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

impl FinishedPod<'_, '_, '_> {
    pub(super) fn check_ports(&self, found: &mut Vec<(usize, Forecast)>) {
        let in_host_network = self.spec.is_some_and(SpecView::is_in_host_network);
        let on_host = |port: &DemandedPort| in_host_network || port.host_port != 0;
        let demanded =
            || self.newcomers.iter().flat_map(|n| n.container.demands.ports.iter().map(move |port| (n, port)));
        let named_in_front = |newcomer: &Newcomer<'_>, port: &DemandedPort| {
            newcomer.list == PodList::App && newcomer.placement == Placement::Front && !port.name.is_empty()
        };
        let (any_on_host, any_named) = (
            demanded().any(|(_, port)| on_host(port)),
            demanded().any(|(newcomer, port)| named_in_front(newcomer, port)),
        );
        if !any_on_host && !any_named {
            return;
        }
        let native =
            self.others(PodList::Init).filter(|container| container.restart_policy.as_deref() == Some("Always"));
        if any_on_host {
            let others = self.others(PodList::App).map(|app| (PodList::App, &*app.name, ports_of(app)));
            let natives = native.map(|native| (PodList::Init, &*native.name, ports_of(native)));
            let all: Vec<_> = others.chain(natives).collect();
            let mut taken = HashMap::new();
            for (list, container, ports) in &all {
                for port in ports {
                    let host_port = match port.host_port.unwrap_or_default() {
                        0 if in_host_network => port.container_port,
                        host_port => host_port,
                    };
                    let address = port.host_ip.as_deref().unwrap_or_default();
                    if host_port != 0 {
                        let key: HostPort<'_> = (port.protocol(), address, host_port);
                        taken.entry(key).or_insert(Holder { list: *list, container });
                    }
                }
            }
            self.check_host_ports(in_host_network, taken, found);
        }
        for (newcomer, port) in demanded().filter(|(newcomer, port)| named_in_front(newcomer, port)) {
            let means_another = |own: &&PortView<'_>| {
                own.name() == &*port.name && own.protocol() == &*port.protocol && own.container_port != port.number
            };
            let mut apps = self.others(PodList::App).filter(|app| may_name(app, &port.name));
            let hidden =
                apps.find_map(|app| Some((&*app.name, ports_of(app).into_iter().find(|own| means_another(&own))?)));
            if let Some((app, own)) = hidden {
                let problem = format!(
                    "a Service that uses this port name would reach {} here instead of {} of {app:?}: rename it, or \
                     place the container after (podInjectPolicy: AfterAppContainer)",
                    port.number, own.container_port
                );
                found.push(newcomer.forecast(Consequence::Changes, &format!("ports {:?}", port.name), problem));
            }
        }
    }

    fn check_host_ports<'t>(
        &'t self,
        in_host_network: bool,
        mut taken: HashMap<HostPort<'t>, Holder<'t>>,
        found: &mut Vec<(usize, Forecast)>,
    ) {
        for newcomer in self.newcomers {
            let container = newcomer.container.name.as_str();
            let mut own = HashMap::new();
            // An init container that runs to completion ends before the app containers start. Native sidecars before it
            // are not considered.
            let taken = if newcomer.ends() { &mut own } else { &mut taken };
            for port in &newcomer.container.demands.ports {
                let host_port = if in_host_network && port.host_port == 0 { port.number } else { port.host_port };
                let field = format!("ports {}", port.number);
                if in_host_network && newcomer.list == PodList::App && host_port != port.number {
                    let problem = format!("hostPort {host_port} must be the same in a Pod with hostNetwork: true");
                    found.push(newcomer.forecast(Consequence::Refused, &field, problem));
                }
                if host_port == 0 {
                    continue;
                }
                let key = (&*port.protocol, &*port.host_ip, host_port);
                let holder = Holder { list: newcomer.list, container };
                let before = taken.get(&key).copied();
                // The API server refuses a conflict between two app containers, so an app container stays the one that
                // is reported.
                if before.is_none_or(|before| before.list == PodList::Init && newcomer.list == PodList::App) {
                    taken.insert(key, holder);
                }
                let Some(before) = before else { continue };
                let both_are_apps = before.list == PodList::App && newcomer.list == PodList::App;
                let refused = both_are_apps || before.container == container;
                let consequence = if refused { Consequence::Refused } else { Consequence::Fails };
                let network = if in_host_network { ", which shares the node's network" } else { "" };
                let problem =
                    format!("port {host_port} of the node is taken by {:?} of this Pod{network}", before.container);
                found.push(newcomer.forecast(consequence, &field, problem));
            }
        }
    }
}

/// Whether a port of the container can have this name. Most containers have no such port and need not be parsed.
fn may_name(container: &ContainerView<'_>, name: &str) -> bool {
    container.ports.is_some_and(|ports| ports.get().contains(name) || ports.get().contains('\\'))
}

fn ports_of<'a>(container: &ContainerView<'a>) -> Vec<PortView<'a>> {
    read(container.ports).unwrap_or_default()
}
