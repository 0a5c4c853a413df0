//! The webhook server as clients see it: requests without a socket, then connections, then the shutdown.

mod abandoned;
mod certificates;
mod client_certificates;
mod connections;
mod drain;
mod harness;
mod metrics;
mod requests;
mod webhooks;
