//! The metrics of connections to our ports, and of file descriptors.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::Labels;

/// Why the server closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It was replaced by a new one, because the limit was reached.
    Full,
    /// It was replaced by a new one of the same address, whose limit was reached.
    Peer,
    /// It was replaced by a new one, because the process had no file descriptors left.
    Descriptors,
    /// Its TLS handshake took too long.
    SlowHandshake,
    /// The head of a request took too long.
    SlowHead,
    /// The client did not accept an answer in time.
    SlowAnswer,
}

/// The metrics of a port's connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounts {
    /// Open connections.
    pub open: Gauge,
    /// Failures to accept a connection, mostly because of missing file descriptors.
    pub accept_errors: Counter,
    /// By [`Closed`], in the order of [`Closed::ALL`].
    pub closed: [Counter; Closed::ALL.len()],
}

/// A port, for the label `port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortName {
    /// The port of webhooks.
    Webhook,
    /// The port of probes and metrics.
    Admin,
}

/// The metrics of all ports.
#[derive(Debug)]
pub(super) struct ConnectionMetrics {
    ports: [ConnectionCounts; PortName::ALL.len()],
    open_files: Gauge,
    open_files_limit: Gauge,
}

impl Closed {
    /// All reasons, in the order of declaration.
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Peer, Self::Descriptors, Self::SlowHandshake, Self::SlowHead, Self::SlowAnswer];

    /// Returns the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Peer => "peer",
            Self::Descriptors => "descriptors",
            Self::SlowHandshake => "slow_handshake",
            Self::SlowHead => "slow_head",
            Self::SlowAnswer => "slow_answer",
        }
    }
}

impl ConnectionCounts {
    /// Returns the counter for this reason.
    #[must_use]
    pub fn closed(&self, reason: Closed) -> &Counter {
        &self.closed[reason as usize]
    }
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
    pub fn register(registry: &mut Registry) -> Self {
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
                ConnectionCounts {
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

    pub fn port(&self, port: PortName) -> &ConnectionCounts {
        &self.ports[port as usize]
    }

    /// Updates the number of open files. If the system does not report it, for example because no file descriptor is
    /// left, the limit is used.
    pub fn look_at_files(&self) {
        let limit =
            rlimit::Resource::NOFILE.get_soft().map_or(i64::MAX, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let open = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"));
        self.open_files.set(open.map_or(limit, |open| i64::try_from(open.count()).unwrap_or(limit)));
        self.open_files_limit.set(limit);
    }
}
