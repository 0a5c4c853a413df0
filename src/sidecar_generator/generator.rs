//! A SidecarGenerator as last seen: what to fetch and how often, or why it cannot be used.

use crate::api::decode::{self, FieldError, type_of};
use crate::api::go_duration;
use crate::api::sidecar_generator::{DEFAULT_CA_KEY, DEFAULT_REFRESH_PERIOD, OnEmpty, SidecarGeneratorStatus};
use crate::cluster::{ObjectVersion, Versioned};
use crate::fetch::FetchTarget;
use crate::istio::sidecar::{WorkloadSelector, validate_selector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Namespace and name, which a SidecarGenerator and its Sidecar share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// A SidecarGenerator as last seen.
#[derive(Clone, Debug)]
pub struct ObservedGenerator {
    /// Its namespace and name.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its generation, which increases with each change of the spec.
    pub generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its current status; empty if it cannot be read.
    pub status: SidecarGeneratorStatus,
    /// The usable spec, or why it cannot be used: a sentence that names the field.
    pub usable: Result<UsableSpec, String>,
}

/// A usable spec.
#[derive(Clone, Debug)]
pub struct UsableSpec {
    /// The URL.
    pub url: FetchTarget,
    /// The period, greater than zero. The controller has its own minimum.
    pub period: Duration,
    /// The maximum random addition to each period.
    pub jitter: Duration,
    /// Whether any certificate is accepted.
    pub skip_verify: bool,
    /// The selector to write to the Sidecar.
    pub selector: Option<WorkloadSelector>,
    /// Name of the Secret with credentials.
    pub credentials: Option<String>,
    /// Name of the Secret with a CA, and the key in it.
    pub ca: Option<(String, String)>,
    /// What to do with an answer without listeners.
    pub on_empty: OnEmpty,
    /// The maximum share of the Sidecar's hosts, in percent, that may be removed at once.
    pub max_shrink_percent: Option<u8>,
    /// Whether it is suspended.
    pub suspended: bool,
}

/// The spec as anybody may have stored it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    url: Option<String>,
    refresh_period: Option<String>,
    #[serde(rename = "insecureSkipTLSVerify")]
    insecure_skip_tls_verify: Option<bool>,
    workload_selector: Option<Selector>,
    auth: Option<Auth>,
    ca_secret_ref: Option<SecretRef>,
    jitter: Option<String>,
    on_empty: Option<OnEmpty>,
    max_shrink_percent: Option<i64>,
    suspend: Option<bool>,
}

#[derive(Deserialize)]
struct Selector {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
struct SecretRef {
    name: Option<String>,
    key: Option<String>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Key {
    /// Returns the key of an object with this metadata.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self { namespace: text(&metadata.namespace), name: text(&metadata.name) }
    }
}

impl Versioned for ObservedGenerator {
    fn version(&self) -> ObjectVersion<'_> {
        let Self { key, uid, resource_version, .. } = self;
        ObjectVersion { namespace: &key.namespace, name: &key.name, uid, resource_version }
    }
}

/// Never fails, so that a watch continues whatever is stored.
impl<'de> Deserialize<'de> for ObservedGenerator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl ObservedGenerator {
    /// Reads a SidecarGenerator. It never fails: `usable` tells what cannot be used.
    #[must_use]
    pub fn read(mut object: Value) -> Self {
        let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
        let (metadata, status) = decode::metadata_and_status(&object);
        Self {
            key: Key::of(&metadata),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            status,
            usable: UsableSpec::read(spec).map_err(|error| error.to_string()),
        }
    }
}

impl UsableSpec {
    fn read(spec: Value) -> Result<Self, FieldError> {
        let spec = match spec {
            Value::Object(_) => spec,
            Value::Null => Value::Object(serde_json::Map::new()),
            // serde would read a list as the fields in their order.
            other => return Err(FieldError::new("spec", format!("must be an object, it is {}", type_of(&other)))),
        };
        let spec: Spec = decode::typed(spec)
            .map_err(|FieldError { field, problem }| FieldError::new(format!("spec.{field}"), problem))?;
        let url = spec.url.filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| FieldError::new("spec.url", "is required: http:// or https:// and a host"))?;
        let url = url.parse::<FetchTarget>().map_err(|error| FieldError::new("spec.url", error.to_string()))?;
        let period = duration("spec.refreshPeriod", spec.refresh_period.as_deref().unwrap_or(DEFAULT_REFRESH_PERIOD))?;
        if period.is_zero() {
            return Err(FieldError::new("spec.refreshPeriod", "must be longer than 0s"));
        }
        let selector =
            spec.workload_selector.map(|selector| WorkloadSelector { labels: selector.labels.unwrap_or_default() });
        if let Some(FieldError { field, problem }) =
            selector.as_ref().and_then(|selector| validate_selector(selector).errors.into_iter().next())
        {
            return Err(FieldError::new(format!("spec.{field}"), problem));
        }
        let auth = spec.auth.map(|auth| secret("spec.auth.secretRef.name", auth.secret_ref)).transpose()?;
        let ca = spec.ca_secret_ref.map(|secret_ref| secret("spec.caSecretRef.name", Some(secret_ref))).transpose()?;
        let percent =
            spec.max_shrink_percent.map(|percent| u8::try_from(percent).ok().filter(|percent| *percent <= 100));
        Ok(Self {
            url,
            period,
            jitter: spec.jitter.map_or(Ok(Duration::ZERO), |jitter| duration("spec.jitter", &jitter))?,
            skip_verify: spec.insecure_skip_tls_verify.unwrap_or_default(),
            selector,
            credentials: auth.map(|(name, _)| name),
            ca: ca.map(|(name, key)| (name, key.unwrap_or_else(|| DEFAULT_CA_KEY.to_owned()))),
            on_empty: spec.on_empty.unwrap_or_default(),
            max_shrink_percent: percent
                .map(|percent| percent.ok_or_else(|| FieldError::new("spec.maxShrinkPercent", "must be 0 to 100")))
                .transpose()?,
            suspended: spec.suspend.unwrap_or_default(),
        })
    }
}

fn duration(field: &str, text: &str) -> Result<Duration, FieldError> {
    let problem = "must be a Go duration that is not negative, such as 2m or 1h30m";
    go_duration::parse(text).ok_or_else(|| FieldError::new(field, problem))
}

fn secret(field: &str, secret_ref: Option<SecretRef>) -> Result<(String, Option<String>), FieldError> {
    let SecretRef { name, key } = secret_ref.unwrap_or(SecretRef { name: None, key: None });
    let name = name.filter(|name| !name.is_empty());
    Ok((name.ok_or_else(|| FieldError::new(field, "is required: the name of a Secret of this namespace"))?, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar_generator::tests::generator;
    use serde_json::json;

    fn usable(spec: &Value) -> Result<UsableSpec, String> {
        ObservedGenerator::read(generator("g", spec)).usable
    }

    #[test]
    fn defaults_are_those_of_the_seed() {
        let spec = usable(&json!({"url": "http://h/x"})).unwrap();
        assert_eq!((spec.period, spec.jitter), (Duration::from_secs(3600), Duration::ZERO));
        assert!(!spec.skip_verify && spec.selector.is_none() && !spec.suspended);
        assert!(spec.credentials.is_none() && spec.ca.is_none() && spec.max_shrink_percent.is_none());
        assert_eq!(spec.on_empty, OnEmpty::Keep);
    }

    #[test]
    fn every_field_is_read_and_null_is_absent() {
        let spec = usable(&json!({
            "url": "https://h/x", "refreshPeriod": "1h30m", "insecureSkipTLSVerify": true, "jitter": "5s",
            "workloadSelector": {"labels": {"app": "a"}}, "auth": {"secretRef": {"name": "s"}},
            "caSecretRef": {"name": "c"}, "onEmpty": "Apply", "maxShrinkPercent": 50, "suspend": true
        }))
        .unwrap();
        assert_eq!((spec.period, spec.jitter), (Duration::from_secs(5400), Duration::from_secs(5)));
        assert_eq!(spec.selector.unwrap().labels, BTreeMap::from([("app".to_owned(), "a".to_owned())]));
        assert_eq!(spec.ca, Some(("c".to_owned(), "ca.crt".to_owned())));
        assert_eq!((spec.credentials.as_deref(), spec.max_shrink_percent), (Some("s"), Some(50)));
        assert!(spec.skip_verify && spec.suspended && spec.on_empty == OnEmpty::Apply);
        let nulls = json!({"url": "http://h", "refreshPeriod": null, "workloadSelector": {"labels": null}, "auth": null,
                           "jitter": null, "onEmpty": null, "suspend": null, "insecureSkipTLSVerify": null});
        assert_eq!(usable(&nulls).unwrap().selector.unwrap(), WorkloadSelector::default());
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_field_and_hurts_nobody() {
        for (spec, expected) in [
            (json!(null), "spec.url: is required"),
            (json!({}), "spec.url: is required"),
            (json!({"url": ""}), "spec.url: is required"),
            (json!({"url": "ftp://h"}), "spec.url: "),
            (json!({"url": 5}), "spec.url: invalid type"),
            (json!([]), "spec: must be an object"),
            (json!({"url": "http://h", "refreshPeriod": "abc"}), "spec.refreshPeriod: must be a Go duration"),
            (json!({"url": "http://h", "refreshPeriod": "-5s"}), "spec.refreshPeriod: must be a Go duration"),
            (json!({"url": "http://h", "refreshPeriod": "0s"}), "spec.refreshPeriod: must be longer"),
            (json!({"url": "http://h", "refreshPeriod": 5}), "spec.refreshPeriod: invalid type"),
            (json!({"url": "http://h", "jitter": "x"}), "spec.jitter: must be a Go duration"),
            (json!({"url": "http://h", "workloadSelector": {"labels": {"a": 1}}}), "spec.workloadSelector.labels.a: "),
            (
                json!({"url": "http://h", "workloadSelector": {"labels": {"a": "my*"}}}),
                "spec.workloadSelector.labels[a]: ",
            ),
            (json!({"url": "http://h", "auth": {}}), "spec.auth.secretRef.name: is required"),
            (json!({"url": "http://h", "caSecretRef": {"name": ""}}), "spec.caSecretRef.name: is required"),
            (json!({"url": "http://h", "maxShrinkPercent": 101}), "spec.maxShrinkPercent: must be 0 to 100"),
            (json!({"url": "http://h", "onEmpty": "Perhaps"}), "spec.onEmpty: "),
        ] {
            let problem = usable(&spec).unwrap_err();
            assert!(problem.starts_with(expected), "{spec}: {problem}");
        }
        for object in [json!(null), json!([]), json!({"metadata": 3}), json!({"status": 3})] {
            assert!(ObservedGenerator::read(object).usable.is_err());
        }
    }

    #[test]
    fn a_status_that_cannot_be_read_counts_as_none() {
        let mut object = generator("g", &json!({"url": "http://h"}));
        object["status"] = json!({"lastSidecarGeneratorUpdate": "yesterday"});
        assert_eq!(ObservedGenerator::read(object.clone()).status, SidecarGeneratorStatus::default());
        object["status"] = json!({"lastSidecarGeneratorUpdate": "2026-01-08T19:07:21Z"});
        let seen = ObservedGenerator::read(object);
        assert!(seen.status.last_sidecar_generator_update.is_some() && seen.generation == 1 && !seen.deleting);
        assert_eq!(seen.key.to_string(), "default/g");
    }
}
