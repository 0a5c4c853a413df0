//! `ControllerRevisions` as they are written: their data is byte for byte what the API server encodes.
//!
//! The API server rejects changes of a revision's data, and compares bytes: those that the creator sent with those that Go's
//! encoder writes for each patch. Data sent in another form, for example with a bare `&`, can never be patched. Nobody can
//! number, label or orphan such a revision. It must be recreated.

use crate::cluster::{WriteError, Written, apply, describe, failpoint};
use crate::injection::revision_data;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use thiserror::Error;

/// The API server's message that the data would change.
const IMMUTABLE: &str = "field is immutable";

/// A `ControllerRevision` with its data as text.
#[derive(Clone, Debug, Resource, Serialize, Deserialize)]
#[resource(inherit = "ControllerRevision")]
#[serde(rename_all = "camelCase")]
pub struct RevisionObject {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    metadata: ObjectMeta,
    #[serde(default)]
    revision: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Why a revision could not be recreated.
#[derive(Debug, Error)]
pub enum RevisionError {
    /// The API server did not return it.
    #[error("cannot read ControllerRevision {name:?}: {problem}")]
    Read {
        /// Its name.
        name: String,
        /// Why not.
        problem: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Its data are not JSON.
    #[error("the data of a ControllerRevision are not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl RevisionObject {
    /// A revision without data, which is enough to change or delete it.
    #[must_use]
    pub fn seen(metadata: ObjectMeta) -> Self {
        let (api_version, kind) = (ControllerRevision::api_version(&()), ControllerRevision::kind(&()));
        Self { api_version: api_version.into(), kind: kind.into(), metadata, revision: 0, data: None }
    }

    /// A new revision. `data` is JSON as Go writes it, such as [`revision_data::of`].
    ///
    /// # Errors
    /// When the data is not JSON.
    pub fn new(metadata: ObjectMeta, revision: i64, data: &str) -> Result<Self, serde_json::Error> {
        let data = Some(RawValue::from_string(data.to_owned())?);
        Ok(Self { revision, data, ..Self::seen(metadata) })
    }

    /// Returns the revision as it would be created now: with data as Go writes it, and without this owner.
    fn anew(&self, without_owner: Option<&str>) -> Result<Self, serde_json::Error> {
        let data: Value = self.data.as_deref().map_or(Ok(Value::Null), |data| serde_json::from_str(data.get()))?;
        let ObjectMeta { name, namespace, labels, annotations, owner_references, finalizers, .. } =
            self.metadata.clone();
        let owner_references = owner_references
            .map(|owners| owners.into_iter().filter(|owner| Some(owner.uid.as_str()) != without_owner).collect());
        let metadata =
            ObjectMeta { name, namespace, labels, annotations, owner_references, finalizers, ..ObjectMeta::default() };
        Self::new(metadata, self.revision, &revision_data::text(&data))
    }
}

/// Whether a patch was rejected because of the data's original form.
#[must_use]
pub fn is_for_data(error: &WriteError) -> bool {
    error.code() == Some(422) && error.to_string().contains(IMMUTABLE)
}

/// Recreates a revision with its data as Go writes it, and without this owner.
///
/// # Errors
/// When the API server rejects it or does not answer.
pub async fn make_anew(
    api: &Api<RevisionObject>,
    seen: &RevisionObject,
    without_owner: Option<&str>,
) -> Result<Written<RevisionObject>, RevisionError> {
    let present = api.get_opt(&seen.name_any()).await.map_err(|error| unread(seen, &error))?;
    let Some(present) = present.filter(|present| present.uid() == seen.uid()) else { return Ok(Written::Conflict) };
    let anew = present.anew(without_owner)?;
    match failpoint::around("rollout.revision.remove", apply::delete(api, &present)).await? {
        Written::Done(()) | Written::Unchanged => {}
        Written::Conflict => return Ok(Written::Conflict),
    }
    Ok(failpoint::around("rollout.revision.remake", apply::ensure(api, &anew, None)).await?)
}

/// Lets the garbage collector orphan a revision whose owner is being deleted: recreates it without that owner if it cannot be
/// patched.
///
/// # Errors
/// When the API server rejects it or does not answer.
pub async fn let_be_orphaned(
    api: &Api<RevisionObject>,
    seen: &RevisionObject,
    owner: &str,
) -> Result<Written<RevisionObject>, RevisionError> {
    // This is the garbage collector's kind of patch, which is stricter than a JSON Patch: the order of keys also
    // matters.
    let nothing = Patch::Strategic(json!({"metadata": {"uid": seen.uid()}}));
    let params = PatchParams { dry_run: true, ..Default::default() };
    match api.patch(&seen.name_any(), &params, &nothing).await {
        Ok(_) => Ok(Written::Unchanged),
        Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains(IMMUTABLE) => {
            make_anew(api, seen, Some(owner)).await
        }
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(Written::Conflict),
        Err(error) => Err(unread(seen, &error)),
    }
}

fn unread(seen: &RevisionObject, error: &kube::Error) -> RevisionError {
    RevisionError::Read { name: seen.name_any(), problem: describe(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kubernetes 1.37.2 compares the original bytes of `data` with those that it writes itself.
    #[test]
    fn data_are_sent_in_the_bytes_that_go_would_write() {
        let data = r#"{"spec":{"args":["a \u0026\u0026 b \u003c c"]}}"#;
        let object = RevisionObject::new(ObjectMeta::default(), 3, data).unwrap();
        let expected = format!(
            r#"{{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{{}},"revision":3,"data":{data}}}"#
        );
        assert_eq!(serde_json::to_string(&object).unwrap(), expected);
        let odd = r#"{"metadata":{"uid":"u"},"revision":3,"data":{ "spec": {"z": 1, "args":["a && b < c"]}}}"#;
        let odd: RevisionObject = serde_json::from_str(odd).unwrap();
        let anew = serde_json::to_string(&odd.anew(None).unwrap()).unwrap();
        let expected = data.replace("]}}", r#"],"z":1}}"#);
        assert!(anew.ends_with(&format!(r#""metadata":{{}},"revision":3,"data":{expected}}}"#)), "{anew}");
    }
}
