//! Istio's Sidecar: what limits the services and namespaces a proxy must know. The part of its `spec` that we write.

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

/// The host that Istio takes for "nothing".
pub const NOTHING: &str = "~/*";

/// The `spec` of a Sidecar, without what we never write: `ingress`, `inboundConnectionPool` and `outboundTrafficPolicy`.
///
/// Serialized, it is what the API server takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// Whose proxies are meant; `None`: those of the whole namespace, unless another Sidecar selects them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// What may be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressListener>,
}

/// Which Pods of its namespace a Sidecar is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadSelector {
    /// Labels that a Pod must have, all of them. Without any, all Pods are meant, as without a selector.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `IstioEgressListener`: what may be reached through one port of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressListener {
    /// The port; `None`: all that no other listener has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<SidecarPort>,
    /// The IP address, or `unix://` and a path, that is listened on; empty: Istio's choice.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bind: String,
    /// How traffic gets to the listener.
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
    /// `HTTP`, `TCP` …; empty: Istio finds out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// A name for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Without meaning; Istio refuses it.
    #[serde(skip_serializing_if = "is_zero")]
    pub target_port: u32,
}

/// `CaptureMode`: how traffic gets to a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// As the mesh has it.
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
    /// Reads the `spec` of a Sidecar of anybody as far as it is held here; `null` and other fields are ignored.
    ///
    /// # Errors
    /// Which field cannot be read, and why; without its value.
    pub fn read(spec: &Value) -> Result<Self, FieldError> {
        typed(canonical(SIDECAR, spec, Unknown::Ignored)?)
    }

    /// The `spec` as the API server takes it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default() // texts, numbers and maps of texts: this cannot fail
    }

    /// The text that [`Sidecar::spec_hash`] is of: proto-JSON as Go writes it.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        go_text(&self.to_value())
    }

    /// SHA-256 of the spec in lower-case hexadecimal: the value of the annotation `sidecar-generator-operator/sidecar-spec-hash`.
    #[must_use]
    pub fn spec_hash(&self) -> String {
        hash(&self.canonical_json())
    }

    /// How many hosts its listeners name. What begins with `~` names none: [`NOTHING`], or an exclusion.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.egress.iter().flat_map(|listener| &listener.hosts).filter(|host| !host.starts_with('~')).count()
    }
}

/// The hash of the `spec` of any Sidecar, as [`Sidecar::spec_hash`]; `None` where it holds what is not known here or cannot be read:
/// then it differs from all that we write.
#[must_use]
pub fn spec_hash_of(spec: &Value) -> Option<String> {
    let canonical = canonical(SIDECAR, spec, Unknown::Refused).ok()?;
    Some(hash(&go_text(&canonical)))
}

fn hash(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}
