//! Istio's VirtualService: how requests to hosts are routed. Its whole `spec`, as version 1.32 has it.

mod duration;
mod hosts;
pub mod http;
pub mod l4;
#[cfg(test)]
mod tests;
mod validate;

pub use hosts::{MESH, exports_to, fqdn, is_for_mesh, resolve, service_of};
pub use validate::{Findings, header_name, validate};

use self::http::HttpRoute;
use self::l4::{TcpRoute, TlsRoute};
use crate::api::decode::{FieldError, typed};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The group of Istio's networking kinds.
pub const GROUP: &str = "networking.istio.io";

/// The versions in which Istio serves a VirtualService, the one to write first. They do not differ but in name.
pub const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];

/// The `spec` of a VirtualService. Serialized, it is what the API server takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct VirtualService {
    /// Names that clients call.
    #[serde(skip_serializing_if = "is_default")]
    pub hosts: Vec<String>,
    /// Gateways, and `mesh` for the proxies of the mesh; empty: `mesh`.
    #[serde(skip_serializing_if = "is_default")]
    pub gateways: Vec<String>,
    /// Routes of HTTP; the first that matches counts.
    #[serde(skip_serializing_if = "is_default")]
    pub http: Vec<HttpRoute>,
    /// Routes of TLS that is not terminated.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: Vec<TlsRoute>,
    /// Routes of TCP.
    #[serde(skip_serializing_if = "is_default")]
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that see it; empty: all.
    #[serde(skip_serializing_if = "is_default")]
    pub export_to: Vec<String>,
}

/// Where requests go.
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

impl VirtualService {
    /// Reads a `spec`; `null`s are absent fields.
    ///
    /// # Errors
    /// Which field, below `spec`, cannot be read or is not known.
    pub fn read(spec: Value) -> Result<Self, FieldError> {
        let mut spec = if spec.is_null() { Value::Object(Map::new()) } else { spec };
        drop_nulls(&mut spec);
        typed(spec)
    }

    /// As the API server takes it.
    #[must_use]
    pub fn spec(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default() // texts, numbers and lists: this cannot fail
    }
}

impl Destination {
    /// A host without subset and port.
    #[must_use]
    pub fn host(host: impl Into<String>) -> Self {
        Self { host: host.into(), ..Self::default() }
    }

    /// The same at this port.
    #[must_use]
    pub fn at(self, port: Option<u16>) -> Self {
        Self { port: port.map(|number| PortSelector { number: number.into() }), ..self }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Takes fields away that are written without a value, as the API server does.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
