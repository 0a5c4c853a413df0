//! The webhook server: from bytes on a TLS socket to a review handler and back.
//!
//! - [`server`]: bind, serve, drain
//! - `tls`: the handshake of a connection
//! - [`certificate`]: the certificate that the server presents
//! - [`client_ca`]: the certificate that clients must present, if any
//! - `x509`: the content of a certificate, and certificates as PEM
//! - [`authority`]: our own CA that signs it
//! - [`mod@router`]: paths, handlers, panics
//! - [`mutate_pod`]: the review of a Pod
//! - [`mutate_sidecarset`]: the defaults and hashes of a SidecarSet
//! - [`validate_sidecarset`]: whether a SidecarSet may be stored
//! - [`convert`]: SidecarSets from one version to another
//! - [`cache`]: the cluster's objects that reviews use
//! - [`awaited`]: objects that the cache is about to receive
//! - [`registration`]: how this webhook is registered with the API server
//! - [`mod@reload`]: a certificate from files, reloaded without a restart
//! - [`limits`]: what is refused, if possible before it is read
//! - `bodies`: request bodies, the room they take, and which of them gives way
//! - [`refusal`]: why a request is refused, and the answer to it
//! - [`reply`]: a handler's answer
//! - [`metrics`]: the metrics of all this
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
