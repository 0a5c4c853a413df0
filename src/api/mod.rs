//! Wire types exchanged by users, the API server and outrigger. They have defaults and conversion, but no behaviour.

pub mod admission_review;
pub mod borrowed;
pub mod conversion;
pub mod conversion_review;
pub mod crds;
pub mod decode;
pub mod defaults;
pub mod go_duration;
pub mod image;
pub(crate) mod istio;
pub mod keys;
pub mod mesh_service;
pub mod pod;
pub mod quantity;
pub mod re2;
pub mod shorten;
pub mod sidecar_generator;
pub mod sidecarset;
pub mod unknown_fields;
