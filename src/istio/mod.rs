//! Pure: the slices of Istio's API that outrigger writes or checks, and Istio's own rules for them.

pub mod names;
mod proto_json;
pub mod sidecar;
pub mod virtual_service;
