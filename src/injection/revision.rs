//! ControllerRevisions: the kept versions of a SidecarSet, and which of them is its current content.

use super::content::{self, Content};
use super::hash::{Hashes, hash_without_amounts, hashes};
use super::revision_data;
use super::set::InjectableSet;
use super::stored::fit_content;
use super::validate::unfit_for_pods;
use super::verify::Images;
use crate::api::decode::{self, FieldError};
use crate::api::defaults;
use crate::api::keys;
use crate::api::sidecarset::SidecarSetSpec;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A kept version of a SidecarSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Name of the `ControllerRevision`.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its namespace. OpenKruise keeps all revisions in the manager's own.
    pub namespace: String,
    /// Name of the set it belongs to.
    pub set: String,
    /// Increases with each new version.
    pub number: i64,
    /// The custom version of the set, as a label.
    pub custom_version: Option<String>,
    /// [`revision_data::digest`] of the kept content; `None` if it cannot be read.
    pub data: Option<[u8; 32]>,
    /// The kept images; empty if they cannot be read.
    pub images: Arc<Images>,
    /// Hashes recorded with the revision.
    recorded: Option<Hashes>,
    /// The hash that Pods with this revision record; `None` if it cannot be read.
    pub hash: Option<Box<str>>,
    /// [`hash_without_amounts`] of the kept content.
    pub hash_without_amounts: Option<Box<str>>,
    /// Whether the kept content can be injected, so that Pods are not refused because of it.
    pub is_fit: bool,
    /// [`content::digest`] of the kept content; `None` if it cannot be read.
    digest: Option<[u8; 32]>,
    /// The kept content as JSON text (containers, init containers, volumes, pull secrets, metadata patches). It is parsed only
    /// when a set asks for it, because each set may have ten revisions.
    spec: Box<str>,
}

#[derive(Deserialize)]
struct ControllerRevision {
    metadata: Metadata,
    #[serde(default)]
    revision: i64,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    spec: Map<String, Value>,
}

impl Revision {
    /// Reads a `ControllerRevision`; `None` if it does not belong to a SidecarSet.
    ///
    /// # Errors
    /// When a field has the wrong type.
    pub fn read(object: Value) -> Result<Option<Self>, FieldError> {
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        if !labels.is_some_and(|labels| labels.contains_key(keys::REVISION_OF)) {
            return Ok(None);
        }
        let ControllerRevision { metadata, revision: number, data } = decode::typed(object)?;
        let Metadata { name, uid, resource_version, namespace, mut labels, mut annotations } = metadata;
        let text = Value::Object(data.spec).to_string().into_boxed_str();
        let spec = spec_of(&text).ok();
        let digest = spec.as_ref().and_then(|spec| content::digest(spec).ok());
        let recorded = annotations.remove(keys::HASH).zip(annotations.remove(keys::HASH_WITHOUT_IMAGE));
        Ok(Some(Self {
            name,
            uid,
            resource_version,
            namespace,
            set: labels.remove(keys::REVISION_OF).unwrap_or_default(),
            number,
            custom_version: labels.remove(keys::CUSTOM_VERSION),
            hash: match &recorded {
                Some((hash, _)) => Some(hash.as_str().into()),
                None => spec.as_ref().and_then(|spec| Some(hashes(spec).ok()?.hash.into())),
            },
            hash_without_amounts: spec.as_ref().and_then(|spec| Some(hash_without_amounts(spec).ok()?.into())),
            recorded: recorded.map(|(hash, without_image)| Hashes { hash, without_image }),
            images: Arc::new(spec.as_ref().map(Images::of).unwrap_or_default()),
            data: spec.as_ref().and_then(|spec| revision_data::of(spec).ok()).map(|data| revision_data::digest(&data)),
            is_fit: digest.is_some() && spec.is_some_and(|spec| unfit_for_pods(&spec).is_empty()),
            digest,
            spec: text,
        }))
    }

    /// Returns the content to inject.
    ///
    /// # Errors
    /// When the content cannot be injected, or when every Pod would be refused because of it.
    pub fn content(&self) -> Result<Content, FieldError> {
        let content = fit_content(&spec_of(&self.spec)?)?;
        Ok(Content { hashes: self.recorded.clone().unwrap_or(content.hashes), ..content })
    }

    /// Returns why the content cannot be read; `None` if it can be.
    #[must_use]
    pub fn unreadable(&self) -> Option<FieldError> {
        if self.digest.is_some() {
            return None;
        }
        self.content().err()
    }

    /// Whether this is the set's current content.
    #[must_use]
    pub fn is_content_of(&self, set: &InjectableSet) -> bool {
        self.digest.is_some_and(|digest| digest == set.content.digest)
    }
}

fn spec_of(text: &str) -> Result<SidecarSetSpec, FieldError> {
    let wrong = |e: serde_json::Error| FieldError::new("data.spec", decode::without_value(&e.to_string()));
    let mut spec: SidecarSetSpec = serde_json::from_str(text).map_err(wrong)?;
    defaults::apply(&mut spec);
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn content_that_cannot_be_read_is_told_and_the_rest_is_known() {
        let revision = |data: Value| {
            let labels = json!({"kruise.io/sidecarset-name": "s"});
            Revision::read(json!({"metadata": {"name": "s-1", "labels": labels}, "revision": 3, "data": data}))
                .unwrap()
                .unwrap()
        };
        let garbage = revision(json!({"spec": {"containers": 5}}));
        assert_eq!((garbage.number, garbage.data), (3, None));
        assert_eq!(garbage.unreadable().unwrap().field, "data.spec");
        assert_eq!(revision(json!({"spec": {"containers": []}})).unreadable(), None);
    }

    #[test]
    fn a_revision_is_known_by_its_label_and_its_content() {
        let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "containers": [{"name": "c", "image": "x:1"}]});
        let object = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": spec});
        let set = InjectableSet::new(decode::sidecarset(object).unwrap()).unwrap();
        let revision = |image: &str| {
            let containers = json!([{"name": "c", "image": image}]);
            Revision::read(json!({
                "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3,
                "metadata": {"name": "s-1", "namespace": "kruise-system", "labels": {"kruise.io/sidecarset-name": "s"}},
                "data": {"spec": {"$patch": "replace", "containers": containers, "imagePullSecrets": null,
                                  "initContainers": null, "patchPodMetadata": null, "volumes": null}}
            }))
            .unwrap()
            .unwrap()
        };
        assert_eq!((revision("x:1").set.as_str(), revision("x:1").number), ("s", 3));
        assert!(revision("x:1").is_content_of(&set));
        assert!(!revision("x:2").is_content_of(&set));
        let other =
            json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "x"}, "data": 5});
        assert_eq!(Revision::read(other).unwrap(), None);
    }
}
