//! The webhook server: from bytes on a TLS socket to a review handler and back.
//!
//! - [`server`]: bind, serve, drain
//! - `tls`: the handshake of a connection
//! - [`certificate`]: what the server shows to its clients
//! - [`client_ca`]: what clients must show to the server, if anything
//! - `x509`: what a certificate says, and certificates as PEM
//! - [`authority`]: a CA of our own that signs it
//! - [`mod@router`]: paths, handlers, panics
//! - [`mutate_pod`]: the review of a Pod
//! - [`mutate_sidecarset`]: the defaults and hashes of a SidecarSet
//! - [`validate_sidecarset`]: whether a SidecarSet may be stored
//! - [`convert`]: SidecarSets from one version to another
//! - [`cache`]: what reviews are answered from in a cluster
//! - [`awaited`]: SidecarSets that the cache is about to hear of
//! - [`registration`]: how the API server comes to call this webhook
//! - [`mod@reload`]: a certificate from files, renewed while it is served
//! - [`limits`]: what is refused, before it is read where possible
//! - `bodies`: bodies that arrive: the room they take, and which of them gives way
//! - [`refusal`]: why a request is turned away, and the answer to it
//! - [`reply`]: what a handler answers
//! - [`metrics`]: what is counted of all this
//! - [`client`]: sends reviews, for the demo, tests and benches

mod additive_patch;
pub mod authority;
pub mod awaited;
mod bodies;
mod ca_name;
pub mod cache;
pub mod certificate;
pub mod client;
pub mod client_ca;
pub mod convert;
mod early;
pub mod limits;
mod memory;
pub mod metrics;
pub mod mutate_pod;
pub mod mutate_sidecarset;
pub mod refusal;
pub mod registration;
pub mod reload;
pub mod reply;
mod review;
pub mod router;
pub mod server;
mod sidecarset;
mod tls;
pub mod validate_sidecarset;
mod x509;

pub use cache::Cache;
pub use certificate::{CertificatePair, ServingCertificate};
pub use client::Client;
pub use client_ca::ClientCa;
pub use limits::Limits;
pub use metrics::{Metrics, Webhook};
pub use reply::Reply;
pub use router::{Answer, Handler, Work, at_once, router};
pub use server::{Server, Settings};
