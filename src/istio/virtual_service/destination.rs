//! Destinations of routes of any protocol.

use super::zero::is_default;
use serde::{Deserialize, Serialize};

/// The destination of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Destination {
    /// A host of Istio's registry.
    pub host: String,
    /// A subset that a DestinationRule defines.
    #[serde(skip_serializing_if = "is_default")]
    pub subset: String,
    /// The port; `None`: the one that the client called, or the only one.
    #[serde(skip_serializing_if = "is_default")]
    pub port: Option<PortSelector>,
}

/// A port by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PortSelector {
    /// The number.
    pub number: u32,
}

impl Destination {
    /// A host without subset and port.
    #[must_use]
    pub fn host(host: impl Into<String>) -> Self {
        Self { host: host.into(), ..Self::default() }
    }

    /// Sets the port.
    #[must_use]
    pub fn at(self, port: Option<u16>) -> Self {
        Self { port: port.map(|number| PortSelector { number: number.into() }), ..self }
    }
}
