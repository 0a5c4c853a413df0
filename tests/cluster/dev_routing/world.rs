//! Services of a test in a shared namespace and in those of developers, with their own replica.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, Client};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::outrigger::{Outrigger, PATIENCE, Start};

/// The ConfigMap's name, as in vs-operator.
pub const CONFIG_MAP: &str = "virtualservice-operator-config";

/// The annotation of a placeholder.
pub const PLACEHOLDER: &str = "virtualservice-operator/placeholder-service";

/// A replica that only routes, for the Services of one test.
pub struct World {
    pub plane: Arc<ControlPlane>,
    /// The shared namespace, which also has the ConfigMap.
    pub default: String,
    /// Those of the developers.
    pub developers: Vec<String>,
    pub client: Client,
}

impl World {
    /// Creates the namespaces of these developers.
    pub async fn new<W>(case: &Case<W>, developers: &[&str]) -> Result<Self> {
        let default = case.namespace.name().to_owned();
        let developers: Vec<String> = developers.iter().map(|name| format!("{default}-{name}")).collect();
        let world = Self { plane: Arc::clone(&case.plane), default, developers, client: case.plane.client() };
        for developer in &world.developers {
            world.create_namespace(developer).await?;
        }
        Ok(world)
    }

    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    /// Returns the start of a replica for this test's ConfigMap.
    pub async fn start(&self) -> Result<Start> {
        let kubeconfig = self.plane.kubeconfig_of("outrigger-system", "outrigger").await?;
        let namespace = format!("--config-map-namespace={}", self.default);
        let args = vec!["--controllers=devrouting".to_owned(), "--leader-elect=false".to_owned(), namespace];
        Ok(Start { args, ..Start::with(&kubeconfig) })
    }

    /// Starts a replica and waits until it is ready.
    pub async fn replica(&self) -> Result<Outrigger> {
        let outrigger = Outrigger::start(&self.plane, self.start().await?)?;
        outrigger.ready().await?;
        Ok(outrigger)
    }

    /// Writes a configuration: the test's namespaces and further lines of YAML.
    pub async fn configure(&self, more: &str) -> Result<()> {
        let config = format!(
            "defaultNamespace: {}\ndeveloperNamespaces: [{}]\n{more}",
            self.default,
            self.developers.join(", ")
        );
        self.write_config_map(&json!({"config.yaml": config})).await
    }

    pub async fn write_config_map(&self, data: &Value) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": data});
        let params = PatchParams::apply("outrigger-test").force();
        self.config_maps().patch(CONFIG_MAP, &params, &Patch::Apply(object)).await?;
        Ok(())
    }

    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.default)
    }

    pub fn services(&self, namespace: &str) -> Api<Service> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub fn virtual_services(&self) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
        Api::namespaced_with(self.client.clone(), &self.default, &resource)
    }

    /// Creates a Service with one port, as in the document.
    pub async fn service(&self, namespace: &str, name: &str) -> Result<Service> {
        self.service_with(
            namespace,
            name,
            json!({"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}),
        )
        .await
    }

    pub async fn service_with(&self, namespace: &str, name: &str, spec: Value) -> Result<Service> {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
        Ok(self.services(namespace).create(&PostParams::default(), &service).await?)
    }

    pub async fn delete_service(&self, namespace: &str, name: &str) -> Result<()> {
        self.services(namespace).delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Returns the current VirtualService of a Service.
    pub async fn virtual_service(&self, service: &str) -> Result<Value> {
        let object = self.virtual_services().get(&format!("{service}-virtual-service")).await?;
        Ok(serde_json::to_value(object)?)
    }

    /// Waits until requests are routed to exactly these developers, and all others to the Service itself.
    pub async fn routed(&self, service: &str, developers: &[&String]) -> Result<Value> {
        wait_for(&format!("{service} to be routed to {developers:?}"), PATIENCE, async || {
            let object = self.virtual_service(service).await?;
            let routes = object["spec"]["http"].as_array().context("no routes")?;
            let (last, others) = routes.split_last().context("no route")?;
            let named: Vec<&Value> =
                others.iter().map(|route| &route["match"][0]["headers"]["x-developer"]["exact"]).collect();
            ensure!(
                named == developers.iter().map(|name| json!(name)).collect::<Vec<_>>().iter().collect::<Vec<_>>(),
                "{object}"
            );
            let host = format!("{service}.{}.svc.cluster.local", self.default);
            ensure!(last["match"].is_null() && last["route"][0]["destination"]["host"] == host, "{object}");
            Ok(Some(object))
        })
        .await
    }

    /// Waits until a Service has no VirtualService.
    pub async fn not_routed(&self, service: &str) -> Result<()> {
        wait_for(&format!("{service} to have no VirtualService"), PATIENCE, async || {
            let object = self.virtual_services().get_opt(&format!("{service}-virtual-service")).await?;
            ensure!(object.is_none(), "{object:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until a placeholder exists.
    pub async fn placeholder(&self, namespace: &str, name: &str) -> Result<Value> {
        self.service_where(namespace, name, "a placeholder", |service| {
            service["spec"]["type"] == "ExternalName" && service["metadata"]["annotations"][PLACEHOLDER] == "true"
        })
        .await
    }

    /// Waits until there is no Service of this name.
    pub async fn no_service(&self, namespace: &str, name: &str) -> Result<()> {
        wait_for(&format!("Service {namespace}/{name} to be gone"), PATIENCE, async || {
            let object = self.services(namespace).get_opt(name).await?;
            ensure!(object.is_none(), "{object:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until a Service meets the condition.
    pub async fn service_where(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait_for(&format!("Service {namespace}/{name} to be {what}"), PATIENCE, async || {
            let service = serde_json::to_value(self.services(namespace).get(name).await?)?;
            ensure!(is(&service), "{service}");
            Ok(Some(service))
        })
        .await
    }

    /// Waits for an Event about an object, and returns its note.
    pub async fn event(&self, namespace: &str, kind: &str, name: &str, reason: &str) -> Result<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let fields = format!("regarding.kind={kind},regarding.name={name},reason={reason}");
        wait_for(&format!("Event {reason} about {kind} {namespace}/{name}"), PATIENCE, async || {
            let found = events.list(&ListParams::default().fields(&fields)).await?.items.pop();
            Ok(found.map(|event| event.note.unwrap_or_default()))
        })
        .await
    }

    pub async fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> Result<String> {
        self.plane.kubectl(arguments, stdin).await?.ok()
    }
}
