//! The messages of Istio's API, field by field, and the OpenAPI schema of each.

pub(crate) mod message;
pub(crate) mod networking;
pub(crate) mod openapi;
pub(crate) mod security;
pub(crate) mod sidecar;
