//! Istio's Sidecar, which limits the services and namespaces that a proxy knows: the part of its `spec` that outrigger
//! writes.

pub mod egress;
pub mod overlap;
#[cfg(test)]
mod tests;
mod validate;

pub use validate::{exclusions, validate, validate_selector};

use super::proto_json::{Unknown, canonical, go_text};
use crate::api::decode::{FieldError, typed};
use crate::api::istio::sidecar::SIDECAR;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Istio's host for "nothing".
pub const NOTHING: &str = "~/*";

/// The `spec` of a Sidecar, without the fields that are never written: `ingress`, `inboundConnectionPool` and
/// `outboundTrafficPolicy`.
///
/// Serializes to the form that the API server accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// The selected proxies; `None`: those of the whole namespace that no other Sidecar selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// What can be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressListener>,
}

/// The Pods of its namespace that a Sidecar selects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadSelector {
    /// Labels that a Pod must have, all of them. Empty selects all Pods, like no selector.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `IstioEgressListener`: what can be reached through one port of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressListener {
    /// The port; `None`: everything that no other listener has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<SidecarPort>,
    /// The IP address or `unix://` path to listen on; empty: Istio's choice.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bind: String,
    /// How traffic reaches the listener.
    #[serde(skip_serializing_if = "CaptureMode::is_default")]
    pub capture_mode: CaptureMode,
    /// Services, as `namespace/dnsName`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// `SidecarPort`: the port of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarPort {
    /// The number; 0 for a Unix socket.
    #[serde(skip_serializing_if = "is_zero")]
    pub number: u32,
    /// `HTTP`, `TCP` and so on; empty: detected by Istio.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Without meaning; Istio rejects it.
    #[serde(skip_serializing_if = "is_zero")]
    pub target_port: u32,
}

/// `CaptureMode`: how traffic reaches a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// The default of the mesh.
    #[default]
    Default,
    /// Redirected by iptables.
    Iptables,
    /// Not captured: applications connect to the listener themselves.
    None,
}

impl CaptureMode {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Sidecar {
    /// Reads the fields known here from the `spec` of any Sidecar. `null` and other fields are ignored.
    ///
    /// # Errors
    /// When a field cannot be read: its path and the reason, without its value.
    pub fn read(spec: &Value) -> Result<Self, FieldError> {
        typed(canonical(SIDECAR, spec, Unknown::Ignored)?)
    }

    /// Returns the `spec` in the form that the API server accepts.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default() // texts, numbers and maps of texts cannot fail
    }

    /// Returns the text that [`Sidecar::spec_hash`] hashes: proto-JSON as Go writes it.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        go_text(&self.to_value())
    }

    /// Returns the SHA-256 of the spec in lower-case hexadecimal: the value of the annotation
    /// `sidecar-generator-operator/sidecar-spec-hash`.
    #[must_use]
    pub fn spec_hash(&self) -> String {
        hash(&self.canonical_json())
    }

    /// Returns the number of hosts in its listeners. Entries that begin with `~` do not count: [`NOTHING`], or an
    /// exclusion.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.egress.iter().flat_map(|listener| &listener.hosts).filter(|host| !host.starts_with('~')).count()
    }
}

/// Returns the hash of the `spec` of any Sidecar, like [`Sidecar::spec_hash`]; `None` if it has unknown or unreadable fields, in
/// which case it differs from everything that outrigger writes.
#[must_use]
pub fn spec_hash_of(spec: &Value) -> Option<String> {
    let canonical = canonical(SIDECAR, spec, Unknown::Refused).ok()?;
    Some(hash(&go_text(&canonical)))
}

fn hash(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}
