//! The metrics of the process, under controller-runtime's names where it has one, so that existing dashboards work.
//!
//! Each job registers its own here, from a file of its own ([`Metrics::register`]). What all controllers and all ports have stands
//! beside this. Labels are closed sets and every series is made at start, so that a request pays for an addition and nothing else.

mod connections;
mod controller;
mod labels;
mod rest_client;

pub use connections::{Closed, ConnectionCounts, PortName};
pub use controller::{Controller, ControllerMetrics, ReconcileResult};
pub use labels::Labels;
pub use rest_client::RestClientMetrics;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use connections::ConnectionMetrics;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// All metrics. One for the process, shared by reference.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    controllers: [ControllerMetrics; Controller::ALL.len()],
    connections: ConnectionMetrics,
    rest_client: RestClientMetrics,
    leading: Family<Labels<1>, Gauge>,
    lease_failing: Family<Labels<1>, Gauge>,
    watch_age: Family<Labels<1>, Gauge>,
    undecodable: Family<Labels<1>, Gauge>,
}

impl Metrics {
    /// Those of every process, at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register("outrigger_build", "This build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let leading = Family::default();
        registry.register("leader_election_master_status", "1 while this replica does the job's work", leading.clone());
        let lease_failing = Family::default();
        registry.register(
            "outrigger_lease_failing",
            "1 while the job's Lease, or the one that all share, cannot be read or written",
            lease_failing.clone(),
        );
        let watch_age = Family::default();
        registry.register(
            "outrigger_watch_age_seconds",
            "For how long the API server has not confirmed what is known of a kind; up to a minute is usual",
            watch_age.clone(),
        );
        let undecodable = Family::default();
        registry.register(
            "outrigger_undecodable_objects",
            "Objects of a kind that cannot be read and are left out; counted up to 100",
            undecodable.clone(),
        );
        Self {
            controllers: ControllerMetrics::register(&mut registry),
            connections: ConnectionMetrics::register(&mut registry),
            rest_client: RestClientMetrics::register(&mut registry),
            leading,
            lease_failing,
            watch_age,
            undecodable,
            registry: Mutex::new(registry),
        }
    }

    /// Adds those of a job. Names are written in full, with `outrigger_` in front of our own, so that they can be searched for.
    pub fn register<T>(&self, job: impl FnOnce(&mut Registry) -> T) -> T {
        job(&mut self.lock())
    }

    /// `leader_election_master_status{name}`, as client-go names it: 1 while this replica leads by this Lease.
    #[must_use]
    pub fn leading(&self, lease: &'static str) -> Gauge {
        self.leading.get_or_create_owned(&[("name", lease)])
    }

    /// `outrigger_lease_failing{name}`: 1 while this replica cannot read or write what it has to hold to lead.
    #[must_use]
    pub fn lease_failing(&self, lease: &'static str) -> Gauge {
        self.lease_failing.get_or_create_owned(&[("name", lease)])
    }

    /// `outrigger_undecodable_objects{kind}`: objects that cannot be read and are left out.
    #[must_use]
    pub fn undecodable(&self, kind: &'static str) -> Gauge {
        self.undecodable.get_or_create_owned(&[("kind", kind)])
    }

    /// `outrigger_watch_age_seconds{kind}`: for how long the API server has not confirmed what is known of a kind.
    #[must_use]
    pub fn watch_age(&self, kind: &'static str) -> Gauge {
        self.watch_age.get_or_create_owned(&[("kind", kind)])
    }

    /// The metrics of a controller and its work queue.
    #[must_use]
    pub fn controller(&self, controller: Controller) -> &ControllerMetrics {
        &self.controllers[controller as usize]
    }

    /// `rest_client_requests_total{code,method}`: calls to the API server.
    #[must_use]
    pub fn rest_client(&self) -> &RestClientMetrics {
        &self.rest_client
    }

    /// `outrigger_connections…{port}`: what is counted of the connections of a port.
    #[must_use]
    pub fn connections(&self, port: PortName) -> &ConnectionCounts {
        self.connections.port(port)
    }

    /// Everything as `OpenMetrics` text.
    ///
    /// # Errors
    /// None in practice: writing to a string cannot fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        self.connections.look_at_files();
        let mut text = String::with_capacity(8 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.lock())?;
        Ok(text)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_open_files_are_counted() {
        let metrics = Metrics::new();
        metrics.connections(PortName::Webhook).closed(Closed::Full).inc();
        let text = metrics.encode().expect("text");
        for expected in [
            "outrigger_connections_closed_total{port=\"webhook\",reason=\"full\"} 1",
            "outrigger_connections_closed_total{port=\"admin\",reason=\"slow_head\"} 0",
            "outrigger_accept_errors_total{port=\"webhook\"} 0",
            "outrigger_connections{port=\"admin\"} 0",
        ] {
            assert!(text.lines().any(|line| line == expected), "no {expected} in\n{text}");
        }
        let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        let (open, most) = (number("process_open_fds "), number("process_max_fds "));
        assert!(open > Some(2) && open < most, "{open:?} of {most:?}");
        let build = format!("outrigger_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().any(|line| line == build), "no {build} in\n{text}");
    }
}
