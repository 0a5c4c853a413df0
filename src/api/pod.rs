//! A Pod in an admission review, read without copying.
//!
//! Only the fields that affect matching are parsed at once. The lists of the spec stay raw text until a SidecarSet matches,
//! because most Pods match none. Fields that are not named here are skipped, and survive whatever they contain.

use super::borrowed::{Str, StrMap};
use super::keys::IS_INJECTED;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView<'a> {
    /// `Pod`, if the object says so.
    #[serde(borrow, default)]
    pub kind: Option<Str<'a>>,
    /// `v1`, if the object says so.
    #[serde(borrow, default)]
    pub api_version: Option<Str<'a>>,
    /// `None` if absent or `null`.
    #[serde(borrow, default)]
    pub metadata: Option<MetadataView<'a>>,
    /// `None` if absent or `null`.
    #[serde(borrow, default)]
    pub spec: Option<SpecView<'a>>,
    /// `None` if absent or `null`.
    #[serde(borrow, default)]
    pub status: Option<StatusView<'a>>,
}

/// Metadata of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataView<'a> {
    /// Often empty while a Pod is created from a template.
    #[serde(borrow, default)]
    pub name: Option<Str<'a>>,
    /// Often empty while a Pod is created. The request has it.
    #[serde(borrow, default)]
    pub namespace: Option<Str<'a>>,
    /// The prefix of the name that the API server will generate.
    #[serde(borrow, default)]
    pub generate_name: Option<Str<'a>>,
    /// Labels.
    #[serde(borrow, default)]
    pub labels: StrMap<'a>,
    /// Annotations; `None` if absent or `null`, in which case the map itself must be added.
    #[serde(borrow, default)]
    pub annotations: Option<StrMap<'a>>,
    /// Set while the Pod is being deleted.
    #[serde(borrow, default)]
    pub deletion_timestamp: Option<Str<'a>>,
}

/// Spec of a Pod, with its lists as raw text.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecView<'a> {
    /// The app containers.
    #[serde(borrow, default)]
    pub containers: Option<&'a RawValue>,
    /// The init containers.
    #[serde(borrow, default)]
    pub init_containers: Option<&'a RawValue>,
    /// The volumes.
    #[serde(borrow, default)]
    pub volumes: Option<&'a RawValue>,
    /// Secrets for pulling images.
    #[serde(borrow, default)]
    pub image_pull_secrets: Option<&'a RawValue>,
    /// The Pod's securityContext.
    #[serde(borrow, default)]
    pub security_context: Option<&'a RawValue>,
    /// The resources that all containers share.
    #[serde(borrow, default)]
    pub resources: Option<&'a RawValue>,
    /// Claims that containers can refer to by name.
    #[serde(borrow, default)]
    pub resource_claims: Option<&'a RawValue>,
    /// `true` if the Pod uses the node's network.
    #[serde(borrow, default)]
    pub host_network: Option<&'a RawValue>,
    /// `false` if the Pod has its own user namespace.
    #[serde(borrow, default)]
    pub host_users: Option<&'a RawValue>,
    /// The operating system.
    #[serde(borrow, default)]
    pub os: Option<&'a RawValue>,
    /// The termination grace period in seconds.
    #[serde(borrow, default)]
    pub termination_grace_period_seconds: Option<&'a RawValue>,
    /// `false` if no container gets the service account token.
    #[serde(borrow, default)]
    pub automount_service_account_token: Option<&'a RawValue>,
    /// `Always`, `OnFailure` or `Never`.
    #[serde(borrow, default)]
    pub restart_policy: Option<&'a RawValue>,
}

/// Status of a Pod.
#[derive(Debug, Default, Deserialize)]
pub struct StatusView<'a> {
    /// `Succeeded` and `Failed` Pods no longer run.
    #[serde(borrow, default)]
    pub phase: Option<Str<'a>>,
}

/// A part of a Pod with its source text, which can be copied unchanged.
#[derive(Debug)]
pub struct WithText<'a, T> {
    /// The text.
    pub text: &'a str,
    /// The parsed value.
    pub value: T,
}

impl<'de: 'a, 'a, T: Deserialize<'a>> Deserialize<'de> for WithText<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&'a RawValue>::deserialize(deserializer)?.get();
        Ok(Self { text, value: serde_json::from_str(text).map_err(serde::de::Error::custom)? })
    }
}

/// A container of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerView<'a> {
    /// Its name.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub name: Str<'a>,
    /// Its environment variables; `None` if there is no such list, in which case the list must be added as a whole.
    #[serde(borrow, default)]
    pub env: Option<Vec<WithText<'a, EnvView<'a>>>>,
    /// Sources of variables whose names are not in the Pod.
    #[serde(borrow, default)]
    pub env_from: Option<&'a RawValue>,
    /// Its mounts; `None` as with `env`.
    #[serde(borrow, default)]
    pub volume_mounts: Option<Vec<WithText<'a, MountView<'a>>>>,
    /// Its block devices; `None` as with `env`.
    #[serde(borrow, default)]
    pub volume_devices: Option<Vec<WithText<'a, DeviceView<'a>>>>,
    /// Its resources as text. They are parsed only if something in a sidecar depends on them.
    #[serde(borrow, default)]
    pub resources: Option<&'a RawValue>,
    /// Its ports as text, likewise.
    #[serde(borrow, default)]
    pub ports: Option<&'a RawValue>,
    /// `Always` for a native sidecar in the init containers.
    #[serde(borrow, default)]
    pub restart_policy: Option<Str<'a>>,
}

/// An environment variable.
#[derive(Debug, Default, Deserialize)]
pub struct EnvView<'a> {
    /// Its name.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub name: Str<'a>,
    /// Its literal value, if it has one.
    #[serde(borrow, default)]
    pub value: Option<Str<'a>>,
}

/// A mount of a volume.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountView<'a> {
    /// Name of the volume.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub name: Str<'a>,
    /// The mount path.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub mount_path: Str<'a>,
    /// A path with `$(VARIABLES)` of the container.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub sub_path_expr: Str<'a>,
    /// `None`, `HostToContainer` or `Bidirectional`.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub mount_propagation: Str<'a>,
}

/// A block device.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceView<'a> {
    /// The device path.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub device_path: Str<'a>,
}

/// Resources of a container.
#[derive(Debug, Default, Deserialize)]
pub struct ResourcesView<'a> {
    /// The limits.
    #[serde(borrow, default)]
    pub limits: Option<AmountsView<'a>>,
    /// The requests.
    #[serde(borrow, default)]
    pub requests: Option<AmountsView<'a>>,
}

/// Amounts of the two resources that sidecar resources are computed from.
#[derive(Debug, Default, Deserialize)]
pub struct AmountsView<'a> {
    /// CPU.
    #[serde(borrow, default)]
    pub cpu: Option<AmountView<'a>>,
    /// Memory.
    #[serde(borrow, default)]
    pub memory: Option<AmountView<'a>>,
}

/// An amount as written: a text or a number.
#[derive(Debug)]
pub struct AmountView<'a>(Str<'a>);

impl AmountView<'_> {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.trim()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for AmountView<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&'a RawValue>::deserialize(deserializer)?.get();
        let read = if text.starts_with('"') { serde_json::from_str(text) } else { Ok(Str::from(text)) };
        read.map(Self).map_err(serde::de::Error::custom)
    }
}

/// An object of which only the name matters.
#[derive(Debug, Default, Deserialize)]
pub struct NamedView<'a> {
    /// Its name.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub name: Str<'a>,
}

/// The fields of the Pod's securityContext that are used here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContextView<'a> {
    /// `runAsNonRoot`.
    #[serde(default)]
    pub run_as_non_root: Option<bool>,
    /// `runAsUser`.
    #[serde(default)]
    pub run_as_user: Option<i64>,
    /// `seccompProfile`.
    #[serde(borrow, default)]
    pub seccomp_profile: Option<SeccompProfileView<'a>>,
}

/// A seccomp profile.
#[derive(Debug, Default, Deserialize)]
pub struct SeccompProfileView<'a> {
    /// `RuntimeDefault`, `Localhost` or `Unconfined`.
    #[serde(borrow, rename = "type", default)]
    pub profile: Option<Str<'a>>,
}

impl<'a> PodView<'a> {
    /// Returns the annotations; `None` if the Pod has no such map.
    #[must_use]
    pub fn annotations(&self) -> Option<&StrMap<'a>> {
        self.metadata.as_ref()?.annotations.as_ref()
    }

    /// Returns the value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations()?.get(key)
    }

    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.labels.get(key)
    }

    /// Iterates over all labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().flat_map(|metadata| metadata.labels.iter())
    }
}

impl<'a> SpecView<'a> {
    /// Whether the Pod has its own user namespace (`hostUsers: false`).
    #[must_use]
    pub fn has_own_users(&self) -> bool {
        is(self.host_users, "false")
    }

    /// Whether the Pod uses the node's network.
    #[must_use]
    pub fn is_in_host_network(&self) -> bool {
        is(self.host_network, "true")
    }

    /// Whether containers that end are never restarted.
    #[must_use]
    pub fn never_restarts(&self) -> bool {
        is(self.restart_policy, "\"Never\"")
    }

    /// Whether the Pod runs to completion, as those of Jobs do.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.never_restarts() || is(self.restart_policy, "\"OnFailure\"")
    }

    /// Whether no container gets the service account token from the API server.
    #[must_use]
    pub fn refuses_token(&self) -> bool {
        is(self.automount_service_account_token, "false")
    }

    /// Returns the name of the operating system, if there is one.
    #[must_use]
    pub fn os_name(&self) -> Option<Str<'a>> {
        serde_json::from_str::<NamedView<'a>>(self.os?.get()).ok().map(|os| os.name)
    }
}

/// Whether a value has this text. The API server refuses a value of the wrong type.
fn is(value: Option<&RawValue>, text: &str) -> bool {
    value.is_some_and(|value| value.get() == text)
}

impl ContainerView<'_> {
    /// Whether an injector marked this container as its own.
    #[must_use]
    pub fn is_injected(&self) -> bool {
        let marks = |env: &EnvView<'_>| &*env.name == IS_INJECTED && env.value.as_deref() == Some("true");
        self.env.iter().flatten().any(|env| marks(&env.value))
    }
}

fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Str<'de>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
