//! The webhook server as its clients see it: requests without a socket, then connections, then the end of the server.

mod abandoned;
mod certificates;
mod client_certificates;
mod connections;
mod drain;
mod harness;
mod metrics;
mod requests;
mod webhooks;
