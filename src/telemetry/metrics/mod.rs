//! The metrics of the process. They have controller-runtime's names if there are any, so that existing dashboards work.
//!
//! Each job registers its own metrics from its own file ([`Metrics::register`]). Those of all controllers and ports are in this
//! module. Labels are closed sets and every series is created at start, so a request only pays for an addition.

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

/// All metrics. There is one instance for the process.
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
    /// Creates those of every process with zero values.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register("outrigger_build", "This build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let leading = Family::default();
        registry.register("leader_election_master_status", "1 while this replica does the job's work", leading.clone());
        let lease_failing = Family::default();
        registry.register(
            "outrigger_lease_failing",
            "1 while the job's Lease, or the shared one, cannot be read or written",
            lease_failing.clone(),
        );
        let watch_age = Family::default();
        registry.register(
            "outrigger_watch_age_seconds",
            "Time since the API server last confirmed the known state of a kind; up to a minute is normal",
            watch_age.clone(),
        );
        let undecodable = Family::default();
        registry.register(
            "outrigger_undecodable_objects",
            "Objects of a kind that cannot be read and are skipped; counted up to 100",
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

    /// Adds those of a job. Names are written in full, ours with the prefix `outrigger_`, so that they can be searched
    /// for.
    pub fn register<T>(&self, job: impl FnOnce(&mut Registry) -> T) -> T {
        job(&mut self.lock())
    }

    /// `leader_election_master_status{name}`, as in client-go: 1 while this replica leads with this Lease.
    #[must_use]
    pub fn leading(&self, lease: &'static str) -> Gauge {
        self.leading.get_or_create_owned(&[("name", lease)])
    }

    /// `outrigger_lease_failing{name}`: 1 while this replica cannot read or write a Lease that it needs to lead.
    #[must_use]
    pub fn lease_failing(&self, lease: &'static str) -> Gauge {
        self.lease_failing.get_or_create_owned(&[("name", lease)])
    }

    /// `outrigger_undecodable_objects{kind}`: objects that cannot be decoded and are skipped.
    #[must_use]
    pub fn undecodable(&self, kind: &'static str) -> Gauge {
        self.undecodable.get_or_create_owned(&[("kind", kind)])
    }

    /// `outrigger_watch_age_seconds{kind}`: the time since the API server last confirmed the known state of a kind.
    #[must_use]
    pub fn watch_age(&self, kind: &'static str) -> Gauge {
        self.watch_age.get_or_create_owned(&[("kind", kind)])
    }

    /// Returns the metrics of a controller and its work queue.
    #[must_use]
    pub fn controller(&self, controller: Controller) -> &ControllerMetrics {
        &self.controllers[controller as usize]
    }

    /// `rest_client_requests_total{code,method}`: calls to the API server.
    #[must_use]
    pub fn rest_client(&self) -> &RestClientMetrics {
        &self.rest_client
    }

    /// `outrigger_connections…{port}`: the connections of a port.
    #[must_use]
    pub fn connections(&self, port: PortName) -> &ConnectionCounts {
        self.connections.port(port)
    }

    /// Returns everything as `OpenMetrics` text.
    ///
    /// # Errors
    /// Never in practice: writing to a string cannot fail.
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
