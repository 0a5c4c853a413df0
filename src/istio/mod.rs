//! Pure: the parts of Istio's API that outrigger writes or checks, and Istio's own rules for them.

pub(crate) mod export;
mod findings;
pub(crate) mod host;
mod http_words;
pub mod names;
pub(crate) mod node;
mod proto_json;
pub(crate) mod read;
pub mod sidecar;
pub(crate) mod validate;
pub mod virtual_service;

pub use findings::Findings;
