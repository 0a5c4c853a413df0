//! The `spec` of a VirtualService.

use super::destination::Destination;
use super::http::HttpRoute;
use super::l4::{TcpRoute, TlsRoute};
use super::zero::is_default;
use crate::api::decode::{FieldError, typed};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `spec` of a VirtualService. Serializes to the form that the API server accepts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct VirtualService {
    /// Called hosts.
    #[serde(skip_serializing_if = "is_default")]
    pub hosts: Vec<String>,
    /// Gateways, with `mesh` for the proxies of the mesh; empty means `mesh`.
    #[serde(skip_serializing_if = "is_default")]
    pub gateways: Vec<String>,
    /// HTTP routes. The first match counts.
    #[serde(skip_serializing_if = "is_default")]
    pub http: Vec<HttpRoute>,
    /// Routes of TLS that is not terminated.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: Vec<TlsRoute>,
    /// TCP routes.
    #[serde(skip_serializing_if = "is_default")]
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that can see it; empty: all.
    #[serde(skip_serializing_if = "is_default")]
    pub export_to: Vec<String>,
}

impl VirtualService {
    /// Reads a `spec`. `null` counts as absent.
    ///
    /// # Errors
    /// When a field is unreadable or unknown: its path below `spec`.
    pub fn read(spec: Value) -> Result<Self, FieldError> {
        let mut spec = if spec.is_null() { Value::Object(Map::new()) } else { spec };
        drop_nulls(&mut spec);
        typed(spec)
    }

    /// Returns the destinations of its routes, including mirrors.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let of_http = self.http.iter().flat_map(|route| {
            let mirrors = route.mirrors.iter().map(|mirror| &mirror.destination);
            route.route.iter().map(|to| &to.destination).chain(&route.mirror).chain(mirrors)
        });
        let of_tls = self.tls.iter().flat_map(|route| &route.route);
        let of_tcp = self.tcp.iter().flat_map(|route| &route.route);
        of_http.chain(of_tls.chain(of_tcp).map(|to| &to.destination))
    }

    /// Returns the form that the API server accepts.
    #[must_use]
    pub fn spec(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default() // texts, numbers and lists cannot fail
    }
}

/// Removes fields without a value, as the API server does.
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
