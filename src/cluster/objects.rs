//! The objects of one kind in a controller: it writes only over the state that it saw, and reports with Events.

use std::sync::Arc;

use json_patch::PatchOperation;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, ListParams, ObjectMeta};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client};
use serde::Serialize;

use super::apply::{self, WriteError, Written};
use super::events::Events;
use super::failpoint;

/// An object and its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectVersion<'a> {
    /// Its namespace; empty if it has none.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid. A later object of the same name has another one.
    pub uid: &'a str,
    /// Its resourceVersion.
    pub resource_version: &'a str,
}

/// The kept data of an object that was seen.
pub trait Versioned {
    /// Returns the object's identity and version.
    fn version(&self) -> ObjectVersion<'_>;
}

impl<T: Versioned> Versioned for Arc<T> {
    fn version(&self) -> ObjectVersion<'_> {
        T::version(self)
    }
}

impl Versioned for DynamicObject {
    fn version(&self) -> ObjectVersion<'_> {
        let ObjectMeta { namespace, name, uid, resource_version, .. } = &self.metadata;
        ObjectVersion {
            namespace: namespace.as_deref().unwrap_or_default(),
            name: name.as_deref().unwrap_or_default(),
            uid: uid.as_deref().unwrap_or_default(),
            resource_version: resource_version.as_deref().unwrap_or_default(),
        }
    }
}

/// The objects of one kind that a controller manages. Clones share them.
///
/// Each write has a name, which is also the name of its failpoints ([`failpoint::WRITES`]).
#[derive(Clone)]
pub struct Objects {
    client: Client,
    resource: ApiResource,
    events: Events,
}

impl Objects {
    /// Uses this kind.
    #[must_use]
    pub fn new(client: Client, resource: ApiResource, events: Events) -> Self {
        Self { client, resource, events }
    }

    /// Creates an object. Returns [`Written::Conflict`] if the name is in use.
    ///
    /// # Errors
    /// When the API server rejects it or does not answer.
    pub async fn create(
        &self,
        write: &'static str,
        object: &DynamicObject,
    ) -> Result<Written<DynamicObject>, WriteError> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        failpoint::around(write, apply::ensure(&self.api(namespace), object, None)).await
    }

    /// Applies a JSON Patch to an object that has not changed since it was seen.
    ///
    /// # Errors
    /// When the API server rejects it or does not answer.
    pub async fn patch(
        &self,
        write: &'static str,
        seen: ObjectVersion<'_>,
        operations: Vec<PatchOperation>,
    ) -> Result<Written<DynamicObject>, WriteError> {
        let (api, present) = (self.api(seen.namespace), self.present(seen));
        failpoint::around(write, apply::patch(&api, &present, None, operations)).await
    }

    /// Applies an object's fields as this manager, by force, if it has not changed since it was seen
    /// ([`apply::apply`]).
    ///
    /// # Errors
    /// When the API server rejects it or does not answer.
    pub async fn apply(
        &self,
        write: &'static str,
        object: &DynamicObject,
        manager: &str,
    ) -> Result<Written<DynamicObject>, WriteError> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        failpoint::around(write, apply::apply(&self.api(namespace), object, manager)).await
    }

    /// Deletes an object that has not changed since it was seen. Returns [`Written::Unchanged`] if it is gone.
    ///
    /// # Errors
    /// When the API server rejects it or does not answer.
    pub async fn delete(&self, write: &'static str, seen: ObjectVersion<'_>) -> Result<Written<()>, WriteError> {
        let mut present = self.present(seen);
        present.metadata.uid = Some(seen.uid.to_owned());
        failpoint::around(write, apply::delete(&self.api(seen.namespace), &present)).await
    }

    /// Reads the whole current object; `None` if it does not exist.
    ///
    /// # Errors
    /// When the API server rejects it or does not answer.
    pub async fn get(&self, seen: ObjectVersion<'_>) -> kube::Result<Option<DynamicObject>> {
        self.api(seen.namespace).get_opt(seen.name).await
    }

    /// Returns whether a namespace has an object with these labels and fields, in the API server's syntax. The API server sends at
    /// most one, and only its metadata.
    ///
    /// # Errors
    /// When the API server rejects it or does not answer.
    pub async fn any(&self, namespace: &str, labels: &str, fields: &str) -> kube::Result<bool> {
        let one = ListParams::default().labels(labels).fields(fields).limit(1);
        Ok(!self.api(namespace).list_metadata(&one).await?.items.is_empty())
    }

    /// Writes the status of an object that has not changed since it was seen.
    ///
    /// # Errors
    /// When the API server rejects it or does not answer.
    pub async fn write_status(
        &self,
        write: &'static str,
        seen: ObjectVersion<'_>,
        status: &impl Serialize,
    ) -> Result<Written<DynamicObject>, WriteError> {
        let (api, present) = (self.api(seen.namespace), self.present(seen));
        failpoint::around(write, apply::set_status(&api, &present, status)).await
    }

    /// Queues an Event with the news of an object's status, after the status was written ([`super::conditions::news`]). It is
    /// reported once, and not again by the next leader.
    pub fn tell(&self, seen: ObjectVersion<'_>, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        self.events.publish(&self.reference(seen), event);
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &self.resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &self.resource)
        }
    }

    /// Returns the parts of the object that a write needs.
    fn present(&self, seen: ObjectVersion<'_>) -> DynamicObject {
        let mut present = DynamicObject::new(seen.name, &self.resource);
        present.metadata.resource_version = Some(seen.resource_version.to_owned());
        present
    }

    fn reference(&self, seen: ObjectVersion<'_>) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.resource.api_version.clone()),
            kind: Some(self.resource.kind.clone()),
            namespace: Some(seen.namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
            name: Some(seen.name.to_owned()),
            uid: Some(seen.uid.to_owned()),
            ..ObjectReference::default() // with a resourceVersion, each Event would be a new one
        }
    }
}
