//! The metrics of connections to our ports, and of the file descriptors that they need.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Labels;
use crate::connections::{Closed, Counts};

/// A port, as the label `port` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortName {
    /// That of the webhooks.
    Webhook,
    /// That of probes and metrics.
    Admin,
}

/// The metrics of all ports.
#[derive(Debug)]
pub(super) struct ConnectionMetrics {
    ports: [Counts; PortName::ALL.len()],
    open_files: Gauge,
    open_files_limit: Gauge,
}

impl PortName {
    const ALL: [Self; 2] = [Self::Webhook, Self::Admin];

    const fn label(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Admin => "admin",
        }
    }
}

impl ConnectionMetrics {
    pub fn new(registry: &mut Registry) -> Self {
        let open = Family::<Labels<1>, Gauge>::default();
        let errors = Family::<Labels<1>, Counter>::default();
        let closed = Family::<Labels<2>, Counter>::default();
        registry.register("outrigger_connections", "Connections of clients open now", open.clone());
        registry.register(
            "outrigger_accept_errors",
            "Times that a connection could not be accepted, for lack of file descriptors most often",
            errors.clone(),
        );
        registry.register(
            "outrigger_connections_closed",
            "Connections closed although their clients would have gone on",
            closed.clone(),
        );
        let metrics = Self {
            ports: PortName::ALL.map(|port| {
                let label = ("port", port.label());
                Counts {
                    open: open.get_or_create_owned(&[label]),
                    accept_errors: errors.get_or_create_owned(&[label]),
                    closed: Closed::ALL.map(|reason| closed.get_or_create_owned(&[label, ("reason", reason.label())])),
                }
            }),
            open_files: Gauge::default(),
            open_files_limit: Gauge::default(),
        };
        registry.register("process_open_fds", "Open file descriptors", metrics.open_files.clone());
        registry.register("process_max_fds", "Most open file descriptors", metrics.open_files_limit.clone());
        metrics
    }

    pub fn port(&self, port: PortName) -> &Counts {
        &self.ports[port as usize]
    }

    /// Looks how many files are open. Where the system does not tell, as when no descriptor is left to ask it, that is the limit.
    pub fn look_at_files(&self) {
        let limit =
            rlimit::Resource::NOFILE.get_soft().map_or(i64::MAX, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let open = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"));
        self.open_files.set(open.map_or(limit, |open| i64::try_from(open.count()).unwrap_or(limit)));
        self.open_files_limit.set(limit);
    }
}
