//! Conditional writes: only if something differs, and only over the state that was seen.
//!
//! Every write carries the resourceVersion of that state. A write that comes too late is a [`Written::Conflict`]: read again
//! and plan again.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::Arc;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, ReplaceOperation};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use super::client::describe;

/// The outcome of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written<T> {
    /// Nothing was sent, because nothing differs.
    Unchanged,
    /// The write succeeded. Has the new object.
    Done(T),
    /// The object has changed, appeared or disappeared since it was seen: read again.
    Conflict,
}

/// A write that failed.
#[derive(Clone, Debug, Error)]
#[error("cannot {verb} {object}: {problem}")]
pub struct WriteError {
    verb: &'static str,
    /// Resource and name.
    object: String,
    problem: String,
    code: Option<u16>,
    /// Whether the API server named fields at fault.
    has_causes: bool,
    /// The error behind the problem.
    #[source]
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The target of a write.
struct WriteTarget<'a, K> {
    api: &'a Api<K>,
    name: String,
    verb: &'static str,
}

/// Makes an object match `desired`. `present` is the object as it was seen, `None` if there was none.
///
/// Fields that are not in `desired` stay unchanged, for example the API server's defaults and additions of others. A list is
/// replaced as a whole, but its items are matched by `name` and keep their other fields. An empty list or object means that
/// there must be none.
///
/// # Errors
/// When the API server rejects it or does not answer.
pub async fn ensure<K>(api: &Api<K>, desired: &K, present: Option<&K>) -> Result<Written<K>, WriteError>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let Some(present) = present else {
        let target = WriteTarget::new(api, desired, "create");
        return target.written(api.create(&PostParams::default(), desired).await);
    };
    let target = WriteTarget::new(api, desired, "replace");
    target.version_of(present)?;
    let desired = target.json(desired)?;
    let mut object = target.json(present)?;
    if covers(&object, &desired) {
        return Ok(Written::Unchanged);
    }
    merge(&mut object, desired);
    let object: K = serde_json::from_value(object).map_err(|error| target.failed(error.to_string(), error))?;
    target.written(api.replace(&target.name, &PostParams::default(), &object).await)
}

/// Sets the status of `present` through the subresource.
///
/// # Errors
/// When the API server rejects it or does not answer.
pub async fn set_status<K, S>(api: &Api<K>, present: &K, status: &S) -> Result<Written<K>, WriteError>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    S: Serialize,
{
    let target = WriteTarget::new(api, present, "write the status of");
    let status = target.json(status)?;
    if *target.json(present)?.get("status").unwrap_or(&Value::Null) == status {
        return Ok(Written::Unchanged);
    }
    let add = AddOperation { path: PointerBuf::from_tokens(["status"]), value: status };
    patch(api, present, Some("status"), vec![PatchOperation::Add(add)]).await
}

/// Applies a JSON Patch to `present` or to one of its subresources.
///
/// # Errors
/// When the API server rejects it or does not answer.
pub async fn patch<K>(
    api: &Api<K>,
    present: &K,
    subresource: Option<&str>,
    mut operations: Vec<PatchOperation>,
) -> Result<Written<K>, WriteError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let verb = if subresource == Some("status") { "write the status of" } else { "patch" };
    let target = WriteTarget::new(api, present, verb);
    // A failed `test` would be a 422, which has many other meanings. This is a 409.
    let version = ReplaceOperation {
        path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
        value: target.version_of(present)?.into(),
    };
    operations.insert(0, PatchOperation::Replace(version));
    let params = PatchParams::default();
    let patch = Patch::Json::<()>(json_patch::Patch(operations));
    target.written(match subresource {
        Some(subresource) => api.patch_subresource(subresource, &target.name, &params, &patch).await,
        None => api.patch(&target.name, &params, &patch).await,
    })
}

/// The resourceVersion for applying an object only if it does not exist. No object has this version.
pub const ABSENT: &str = "1";

/// Applies the fields of an object as this manager, by force (server-side apply). Fields that the manager applied before and no
/// longer applies are removed, unless another manager owns them too. The object's `metadata.resourceVersion` is the version that was
/// seen, [`ABSENT`] if there was none.
///
/// # Errors
/// When the API server rejects it or does not answer.
pub async fn apply<K>(api: &Api<K>, object: &K, manager: &str) -> Result<Written<K>, WriteError>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let target = WriteTarget::new(api, object, "apply");
    target.version_of(object)?;
    target.written(api.patch(&target.name, &PatchParams::apply(manager).force(), &Patch::Apply(object)).await)
}

/// Deletes `present`, if it has not changed since it was seen. Returns [`Written::Unchanged`] if it is already gone.
///
/// # Errors
/// When the API server rejects it or does not answer.
pub async fn delete<K>(api: &Api<K>, present: &K) -> Result<Written<()>, WriteError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let target = WriteTarget::new(api, present, "delete");
    let preconditions = Preconditions { uid: present.uid(), resource_version: Some(target.version_of(present)?) };
    match api.delete(&target.name, &DeleteParams::default().preconditions(preconditions)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Written::Unchanged),
        result => target.written(result.map(|_| ())),
    }
}

impl WriteError {
    /// Interprets the API server's answer to a write.
    #[must_use]
    pub fn of<K: Resource>(verb: &'static str, api: &Api<K>, name: &str, error: kube::Error) -> Self {
        WriteTarget { api, name: name.to_owned(), verb }.refused(error)
    }

    /// Returns the API server's status code, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.code
    }

    /// Whether the API server named fields at fault. It does not if a JSON Patch cannot be applied.
    #[must_use]
    pub fn has_causes(&self) -> bool {
        self.has_causes
    }
}

impl<'a, K: Resource> WriteTarget<'a, K> {
    fn new(api: &'a Api<K>, object: &K, verb: &'static str) -> Self {
        Self { api, name: object.name_any(), verb }
    }

    fn written<T>(&self, result: kube::Result<T>) -> Result<Written<T>, WriteError> {
        match result {
            Ok(object) => Ok(Written::Done(object)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Written::Conflict),
            // The object existed when it was seen. For create and apply, the namespace or the kind is missing.
            Err(kube::Error::Api(status)) if status.code == 404 && !matches!(self.verb, "create" | "apply") => {
                Ok(Written::Conflict)
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    fn refused(&self, error: kube::Error) -> WriteError {
        let status = if let kube::Error::Api(status) = &error { Some(status) } else { None };
        let code = status.map(|status| status.code);
        let causes = status.and_then(|status| status.details.as_ref()).map(|details| details.causes.len());
        WriteError { code, has_causes: causes > Some(0), ..self.failed(describe(&error), error) }
    }

    /// Returns the resourceVersion that was seen. Without it, the write would overwrite any newer state.
    fn version_of(&self, present: &K) -> Result<String, WriteError> {
        let version = present.resource_version().filter(|version| !version.is_empty());
        version.ok_or_else(|| self.wrong("it was looked at without its metadata.resourceVersion".to_owned()))
    }

    fn json(&self, object: &impl Serialize) -> Result<Value, WriteError> {
        serde_json::to_value(object).map_err(|error| self.failed(error.to_string(), error))
    }

    fn failed(&self, problem: String, source: impl StdError + Send + Sync + 'static) -> WriteError {
        WriteError { source: Some(Arc::new(source)), ..self.wrong(problem) }
    }

    fn wrong(&self, problem: String) -> WriteError {
        // Resource and name as kubectl prints them.
        let url = self.api.resource_url();
        let (resource, name) = (url.rsplit('/').next().unwrap_or_default(), &self.name);
        let object = match self.api.namespace() {
            Some(namespace) => format!("{resource}/{name} in namespace {namespace}"),
            None => format!("{resource}/{name}"),
        };
        WriteError { verb: self.verb, object, problem, code: None, has_causes: false, source: None }
    }
}

/// Whether an object has everything in `desired`.
#[must_use]
pub fn covers(present: &Value, desired: &Value) -> bool {
    match (present, desired) {
        (present, desired) if is_empty(desired) => is_empty(present),
        (Value::Object(present), Value::Object(desired)) => {
            desired.iter().all(|(key, value)| covers(present.get(key).unwrap_or(&Value::Null), value))
        }
        (Value::Array(present), Value::Array(desired)) => {
            present.len() == desired.len() && present.iter().zip(desired).all(|(present, value)| covers(present, value))
        }
        (present, desired) => present == desired,
    }
}

/// Changes an object so that it [`covers`] `desired`.
fn merge(present: &mut Value, desired: Value) {
    match (present, desired) {
        (Value::Object(present), Value::Object(desired)) if !desired.is_empty() => merge_fields(present, desired),
        (Value::Array(present), Value::Array(desired)) => {
            let before = std::mem::take(present);
            *present = desired
                .into_iter()
                .map(|item| {
                    let same =
                        item.get("name").and_then(|_| before.iter().find(|old| old.get("name") == item.get("name")));
                    let mut merged = same.cloned().unwrap_or_default();
                    merge(&mut merged, item);
                    merged
                })
                .collect();
        }
        (present, desired) => *present = desired,
    }
}

fn merge_fields(present: &mut Map<String, Value>, desired: Map<String, Value>) {
    for (key, value) in desired {
        if value.is_null() {
            present.remove(&key);
        } else {
            merge(present.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// The API server leaves such values out, or sets defaults for them.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
