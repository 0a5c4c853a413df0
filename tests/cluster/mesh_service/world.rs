//! MeshServices as tests write them, and what is seen of them and of what is made for them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, Client};
use outrigger::mesh_service::MeshKind;
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::outrigger::PATIENCE;

/// The annotation by which a Namespace lets MeshServices of others in.
pub const ALLOW: &str = "outrigger.dev/allow-mesh-from";

/// A namespace with MeshServices.
pub struct World {
    pub plane: Arc<ControlPlane>,
    pub namespace: String,
    pub client: Client,
}

/// A MeshService of the Service of its name, with more fields of the spec.
pub fn mesh_service(name: &str, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "mesh.istio.operator/v1alpha1", "kind": "MeshService", "metadata": {"name": name},
        "spec": {"serviceName": name, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

/// Subsets by version, which need a DestinationRule.
pub fn subsets() -> Value {
    json!({"subsets": [
        {"name": "v1", "labels": {"version": "v1"}, "weight": 90}, {"name": "v2", "labels": {"version": "v2"}, "weight": 10},
    ]})
}

impl World {
    /// The test's namespace.
    pub fn of<W>(case: &Case<W>) -> Self {
        let namespace = case.namespace.name().to_owned();
        Self { plane: Arc::clone(&case.plane), namespace, client: case.plane.client() }
    }

    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    /// Makes a Namespace let MeshServices of this test's namespace in, or not.
    pub async fn let_in(&self, name: &str, is_let_in: bool) -> Result<()> {
        let from = is_let_in.then_some(&self.namespace);
        let patch = json!({"metadata": {"annotations": {ALLOW: from}}});
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub fn mesh_services(&self) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("mesh.istio.operator", "v1alpha1", "MeshService"));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    pub fn objects(&self, kind: MeshKind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// Applies an object in somebody's name, all of it; in the test's namespace if it names none.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        let mut object = object.clone();
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = self.namespace.as_str().into();
        }
        let text = object.to_string();
        self.plane.kubectl(&["apply", "-f", "-"], Some(&text)).await?.ok()?;
        Ok(())
    }

    /// A Service with the port of [`mesh_service`].
    pub async fn service(&self, name: &str) -> Result<()> {
        let spec = json!({"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
        self.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})).await
    }

    /// A Pod of a version of a Service. It comes once its ServiceAccount is there.
    pub async fn pod(&self, app: &str, version: &str) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{app}-{version}"), "labels": {"app": app, "version": version}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        });
        wait_for("a Pod to be taken", PATIENCE, async || Ok(Some(self.apply(&pod).await?))).await
    }

    /// Changes an object by a merge patch, as `kubectl edit` does.
    pub async fn edit(&self, kind: MeshKind, name: &str, patch: Value) -> Result<()> {
        self.objects(kind, &self.namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Changes a MeshService by a merge patch.
    pub async fn change(&self, name: &str, patch: Value) -> Result<()> {
        self.mesh_services().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub async fn delete(&self, kind: MeshKind, name: &str) -> Result<()> {
        self.objects(kind, &self.namespace).delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes a MeshService, and leaves what was made for it to whoever made it.
    pub async fn delete_mesh_service(&self, name: &str) -> Result<()> {
        self.mesh_services().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    pub async fn mesh_service(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.mesh_services().get(name).await?)?)
    }

    /// Waits until the status is about the present spec and so.
    pub async fn status_where(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(&format!("MeshService {name} to be {what}"), PATIENCE, async || {
            let object = self.mesh_service(name).await?;
            let status = &object["status"];
            ensure!(status["observedGeneration"] == object["metadata"]["generation"], "not observed: {object}");
            ensure!(is(status), "{status}");
            Ok(Some(object))
        })
        .await
    }

    /// Waits until it is in this state.
    pub async fn state(&self, name: &str, state: &str) -> Result<Value> {
        self.status_where(name, state, |status| status["consistencyState"] == state).await
    }

    /// Waits until its status tells a violation of this type, and returns that.
    pub async fn violation(&self, name: &str, type_: &str) -> Result<Value> {
        let found = |status: &Value| {
            let mut all = status["violations"].as_array().into_iter().flatten();
            all.find(|violation| violation["type"] == type_).cloned()
        };
        let object = self.status_where(name, type_, |status| found(status).is_some()).await?;
        found(&object["status"]).context("a violation")
    }

    /// Waits until an object is so.
    pub async fn object_where(
        &self,
        kind: MeshKind,
        namespace: &str,
        name: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait_for(&format!("{kind} {namespace}/{name} to be {what}"), PATIENCE, async || {
            let object = serde_json::to_value(self.objects(kind, namespace).get(name).await?)?;
            ensure!(is(&object), "{object}");
            Ok(Some(object))
        })
        .await
    }

    /// Waits until an object is there.
    pub async fn object(&self, kind: MeshKind, name: &str) -> Result<Value> {
        self.object_where(kind, &self.namespace, name, "there", |_| true).await
    }

    /// Waits until nothing that was made for a MeshService is left in a namespace.
    pub async fn swept(&self, namespace: &str, name: &str) -> Result<()> {
        let labels =
            format!("outrigger.dev/mesh-service={name},outrigger.dev/mesh-service-namespace={}", self.namespace);
        wait_for(&format!("what was made for {name} in {namespace} to be gone"), PATIENCE, async || {
            for kind in MeshKind::ALL {
                let left = self.objects(kind, namespace).list(&ListParams::default().labels(&labels)).await?.items;
                ensure!(left.is_empty(), "{kind}: {left:?}");
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits for an Event about a MeshService, and returns its note.
    pub async fn event(&self, name: &str, reason: &str) -> Result<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let fields = format!("regarding.kind=MeshService,regarding.name={name},reason={reason}");
        wait_for(&format!("Event {reason} about {name}"), PATIENCE, async || {
            let found = events.list(&ListParams::default().fields(&fields)).await?.items.pop();
            Ok(found.map(|event| event.note.unwrap_or_default()))
        })
        .await
    }
}
