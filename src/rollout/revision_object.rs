//! `ControllerRevisions` as they are written: their data are, byte for byte, what the API server makes of them again.
//!
//! It holds that the data of a revision never change, and compares bytes: those that the creator sent with those that its own
//! encoder, Go's, writes for each patch. Data that were sent otherwise, with a bare `&` for one, can never be patched: nobody can
//! number, label or orphan such a revision. It has to be made anew.

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

/// How the API server says that the data would change.
const IMMUTABLE: &str = "field is immutable";

/// A `ControllerRevision` whose data are text.
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

/// Why a revision was not made anew.
#[derive(Debug, Error)]
pub enum RevisionError {
    /// The API server did not tell what it is like.
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
    /// One without data: enough to change or delete it.
    #[must_use]
    pub fn seen(metadata: ObjectMeta) -> Self {
        let (api_version, kind) = (ControllerRevision::api_version(&()), ControllerRevision::kind(&()));
        Self { api_version: api_version.into(), kind: kind.into(), metadata, revision: 0, data: None }
    }

    /// One to create. `data` are JSON as Go writes it, such as [`revision_data::of`].
    ///
    /// # Errors
    /// When they are not JSON.
    pub fn new(metadata: ObjectMeta, revision: i64, data: &str) -> Result<Self, serde_json::Error> {
        let data = Some(RawValue::from_string(data.to_owned())?);
        Ok(Self { revision, data, ..Self::seen(metadata) })
    }

    /// As it would be created, had it never been: with data as Go writes them, and without this owner.
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

/// Whether a patch was refused for what the data were created as.
#[must_use]
pub fn is_for_data(error: &WriteError) -> bool {
    error.code() == Some(422) && error.to_string().contains(IMMUTABLE)
}

/// Makes a revision anew, as it is but for its data as Go writes them, and without this owner.
///
/// # Errors
/// When the API server refuses or does not answer.
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

/// Lets the garbage collector orphan a revision of an owner that is being deleted: makes it anew, without that owner, if it cannot
/// be patched.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn let_be_orphaned(
    api: &Api<RevisionObject>,
    seen: &RevisionObject,
    owner: &str,
) -> Result<Written<RevisionObject>, RevisionError> {
    // As the garbage collector patches, which is stricter than a JSON Patch: the order of keys counts, too.
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

    /// Kubernetes 1.37.2 compares the bytes of `data` as they were created with those that it writes itself.
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
