//! The ConfigMap: changes take effect, and a wrong one is ignored.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use super::world::{CONFIG_MAP, World};
use crate::outrigger::{Outrigger, PATIENCE};

const PROBLEM: &str = "outrigger.dev/configuration-problem";

async fn problem(world: &World, is: impl Fn(Option<&String>) -> bool) -> Result<()> {
    wait_for("the annotation of the ConfigMap", PATIENCE, async || {
        let config_map: ConfigMap = world.config_maps().get(CONFIG_MAP).await?;
        let annotations = config_map.metadata.annotations.unwrap_or_default();
        ensure!(is(annotations.get(PROBLEM)), "{annotations:?}");
        Ok(Some(()))
    })
    .await
}

/// A namespace that is removed from the list loses its routes and placeholders at once. Problems are reported on the ConfigMap and
/// change nothing. A deleted ConfigMap removes nothing, not even at the next start.
pub async fn the_configuration_is_followed_while_it_is_good(case: Case<Outrigger>) -> Result<()> {
    let world = World::new(&case, &["alice", "bob"]).await?;
    let [alice, bob] = &world.developers[..] else { anyhow::bail!("two developers") };
    let outrigger = world.replica().await?;
    world.event(&world.default, "ConfigMap", CONFIG_MAP, "InvalidConfiguration").await?;
    for name in ["app", "other"] {
        world.service(&world.default, name).await?;
    }
    for developer in [alice, bob] {
        world.service(developer, "app").await?;
    }
    world.configure("enablePlaceholderServices: true").await?;
    world.routed("app", &[alice, bob]).await?;
    world.placeholder(alice, "other").await?;
    world.event(&world.default, "ConfigMap", CONFIG_MAP, "ConfigurationApplied").await?;

    let only_bob =
        format!("defaultNamespace: {}\ndeveloperNamespaces: [{bob}]\nenablePlaceholderServices: true", world.default);
    world.write_config_map(&json!({"config.yaml": only_bob})).await?;
    world.routed("app", &[bob]).await?;
    world.no_service(alice, "other").await?;
    world.placeholder(bob, "other").await?;

    // Each of these changes nothing, and what it would remove stays.
    let before = world.virtual_service("app").await?["metadata"]["resourceVersion"].clone();
    for (data, named) in [
        (json!({"config.yaml": "developerNamespaces: [Alice]"}), "developerNamespaces[0]"),
        (json!({"config.yaml": ""}), "is empty"),
        (json!({}), "must have the key config.yaml"),
    ] {
        world.write_config_map(&data).await?;
        problem(&world, |problem| problem.is_some_and(|problem| problem.contains(named))).await?;
    }
    world.config_maps().delete(CONFIG_MAP, &DeleteParams::default()).await?;
    outrigger.stop().await?;
    let outrigger = world.replica().await?;
    world.service(alice, "probe").await?;
    assert_eq!(world.virtual_service("app").await?["metadata"]["resourceVersion"], before);
    world.placeholder(bob, "other").await?;
    world.configure("").await?;
    world.routed("app", &[alice, bob]).await?;
    world.no_service(bob, "other").await?;
    problem(&world, |problem| problem.is_none()).await?;
    outrigger.stop().await
}

/// VirtualServices of others with the same name or host stay unchanged, and the Service's owner is informed. Edits of
/// ours are reverted.
pub async fn virtual_services_of_others_stay_and_ours_are_repaired(case: Case<Outrigger>) -> Result<()> {
    let world = World::new(&case, &["alice"]).await?;
    let alice = &world.developers[0];
    let outrigger = world.replica().await?;
    let create = async |name: &str, host: &str| {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
            "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
        });
        world
            .virtual_services()
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await
            .map_err(anyhow::Error::from)
    };
    let named = create("named-virtual-service", "elsewhere.example.com").await?;
    let hosted = create("mine", "hosted").await?;
    world.configure("").await?;
    for name in ["named", "hosted", "app"] {
        world.service(alice, name).await?;
        world.service(&world.default, name).await?;
    }
    world.routed("app", &[alice]).await?;
    world.event(&world.default, "Service", "named", "VirtualServiceNameTaken").await?;
    world.event(&world.default, "Service", "hosted", "VirtualServiceHostTaken").await?;
    let version = async |name: &str| -> Result<Value> {
        Ok(json!(world.virtual_services().get(name).await?.metadata.resource_version))
    };
    assert_eq!(version("named-virtual-service").await?, json!(named.metadata.resource_version));
    assert_eq!(version("mine").await?, json!(hosted.metadata.resource_version));
    world.not_routed("hosted").await?;
    world.virtual_services().delete("mine", &DeleteParams::default()).await?;
    world.routed("hosted", &[alice]).await?;

    let edit = json!({"spec": {"http": [{"route": [{"destination": {"host": "nowhere"}}]}]}});
    world.virtual_services().patch("app-virtual-service", &PatchParams::default(), &Patch::Merge(edit)).await?;
    world.routed("app", &[alice]).await?;
    world.virtual_services().delete("app-virtual-service", &DeleteParams::default()).await?;
    world.routed("app", &[alice]).await?;

    // Touching the Service repeatedly causes no writes.
    let before = version("app-virtual-service").await?;
    for number in 0..5 {
        let touch = json!({"metadata": {"annotations": {"touched": number.to_string()}}});
        world.services(&world.default).patch("app", &PatchParams::default(), &Patch::Merge(touch)).await?;
    }
    world.service(alice, "last").await?;
    world.service(&world.default, "last").await?;
    world.routed("last", &[alice]).await?;
    assert_eq!(version("app-virtual-service").await?, before);
    outrigger.stop().await
}

/// A template's VirtualService has one route for each port of a Service, and a route only while an endpoint is ready.
pub async fn templates_ports_and_ready_endpoints_count(case: Case<Outrigger>) -> Result<()> {
    let world = World::new(&case, &["alice"]).await?;
    let alice = &world.developers[0];
    let outrigger = world.replica().await?;
    let template = "
requireReadyEndpoints: true
baggage: true
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1beta1
  kind: VirtualService
  metadata:
    name: \"${serviceName}-vs\"
    labels: {service: \"${serviceName}\"}
  spec:
    hosts: [\"${serviceName}\"]
    http:
    - route:
      - destination: {host: \"${serviceName}.${defaultNamespace}.svc.cluster.local\"}
        weight: 100
";
    let ports =
        json!({"selector": {"app": "x"}, "ports": [{"name": "http", "port": 80}, {"name": "grpc", "port": 9000}]});
    world.service_with(&world.default, "app", ports.clone()).await?;
    world.service_with(alice, "app", ports).await?;
    world.configure(template).await?;
    let routes = async |count: usize| {
        wait_for(&format!("{count} routes"), PATIENCE, async || {
            let object = serde_json::to_value(world.virtual_services().get("app-vs").await?)?;
            ensure!(object["spec"]["http"].as_array().map(Vec::len) == Some(count), "{object}");
            Ok(Some(object))
        })
        .await
    };
    let object = routes(2).await?;
    assert_eq!(object["metadata"]["labels"]["service"], "app");
    // The Pods of the copy, with EndpointSlices from Kubernetes.
    let deployment = |image: &str, replicas: u32| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "namespace": alice},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "app", "image": image}]}},
            },
        })
        .to_string()
    };
    world.kubectl(&["apply", "-f", "-"], Some(&deployment("unpullable/app:1", 1))).await?;
    wait_for("an endpoint that is not ready", PATIENCE, async || {
        let listed = ["get", "endpointslices", "-n", alice, "-l", "kubernetes.io/service-name=app", "-o", "json"];
        let slices: Value = serde_json::from_str(&world.kubectl(&listed, None).await?)?;
        let ready = &slices["items"][0]["endpoints"][0]["conditions"]["ready"];
        Ok((*ready == false).then_some(()))
    })
    .await?;
    routes(2).await?;
    world.kubectl(&["apply", "-f", "-"], Some(&deployment("app:1", 1))).await?;
    let object = routes(4).await?;
    let host = format!("app.{alice}.svc.cluster.local");
    assert_eq!(object["spec"]["http"][1]["route"][0]["destination"], json!({"host": host, "port": {"number": 9000}}));
    assert!(object["spec"]["http"][0]["match"][1]["headers"]["baggage"]["regex"].is_string());
    world.kubectl(&["apply", "-f", "-"], Some(&deployment("app:1", 0))).await?;
    routes(2).await?;
    // Without the template the VirtualService has its usual name, and the other one is gone.
    world.configure("").await?;
    wait_for("the VirtualService of the template to be gone", PATIENCE, async || {
        world.virtual_services().get("app-virtual-service").await?;
        Ok(world.virtual_services().get_opt("app-vs").await?.is_none().then_some(()))
    })
    .await?;
    outrigger.stop().await
}
