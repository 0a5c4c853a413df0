//! The `spec` of a VirtualService.

use super::destination::Destination;
use super::http::HttpRoute;
use super::l4::{TcpRoute, TlsRoute};
use super::zero::is_default;
use crate::api::decode::{FieldError, typed};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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

    /// Where its routes lead, copies of requests among them.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let of_http = self.http.iter().flat_map(|route| {
            let mirrors = route.mirrors.iter().map(|mirror| &mirror.destination);
            route.route.iter().map(|to| &to.destination).chain(&route.mirror).chain(mirrors)
        });
        let of_tls = self.tls.iter().flat_map(|route| &route.route);
        let of_tcp = self.tcp.iter().flat_map(|route| &route.route);
        of_http.chain(of_tls.chain(of_tcp).map(|to| &to.destination))
    }

    /// As the API server takes it.
    #[must_use]
    pub fn spec(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default() // texts, numbers and lists: this cannot fail
    }
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
