//! Placeholders: how each way of deploying over one hands it over to the developer, whoever created it.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams, PostParams};
use outrigger_testbed::Case;
use serde_json::{Value, json};

use super::world::{PLACEHOLDER, World};
use crate::outrigger::Outrigger;

const WITH_PLACEHOLDERS: &str = "enablePlaceholderServices: true";

/// A developer's manifest without `type`.
const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata:
  name: NAME
  labels: {team: alice}
spec:
  selector:
    app: NAME
  ports:
  - port: 80
    targetPort: 8080
";

fn manifest(name: &str) -> String {
    MANIFEST.replace("NAME", name)
}

/// Whether a Service is the developer's, without anything of the placeholder.
fn is_the_developers(service: &Value) -> bool {
    let spec = &service["spec"];
    spec["type"] == "ClusterIP"
        && spec["externalName"].is_null()
        && spec["clusterIP"].is_string()
        && spec["selector"].is_object()
        && spec["ports"][0]["port"] == 80
        && service["metadata"]["annotations"][PLACEHOLDER].is_null()
}

/// However a manifest without `type` is applied over a placeholder, it becomes the developer's Service and gets its
/// route.
pub async fn a_manifest_over_a_placeholder_becomes_the_developers_service(case: Case<Outrigger>) -> Result<()> {
    let world = World::new(&case, &["alice"]).await?;
    let alice = &world.developers[0];
    let outrigger = world.replica().await?;
    world.configure(WITH_PLACEHOLDERS).await?;
    let ways = ["apply", "server-side", "merge", "helm"];
    for name in ways {
        world.service(&world.default, name).await?;
        let placeholder = world.placeholder(alice, name).await?;
        assert_eq!(placeholder["spec"]["externalName"], format!("{name}.{}.svc.cluster.local", world.default));
        assert!(placeholder["spec"]["ports"].is_null());
        assert_eq!(placeholder["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
        let manifest = manifest(name);
        match name {
            "apply" => drop(world.kubectl(&["-n", alice, "apply", "-f", "-"], Some(&manifest)).await?),
            "server-side" => {
                world.kubectl(&["-n", alice, "apply", "--server-side", "-f", "-"], Some(&manifest)).await?;
            }
            "merge" => {
                let patch = json!({"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}});
                world.services(alice).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            }
            // Like Helm 4: with its own field manager, without force, and with the type in the chart.
            _ => {
                let chart = json!({
                    "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                    "spec": {"type": "ClusterIP", "selector": {"app": "x"}, "ports": [{"port": 80}]},
                });
                world.services(alice).patch(name, &PatchParams::apply("helm"), &Patch::Apply(chart)).await?;
            }
        }
        let service = world.service_where(alice, name, "the developer's", is_the_developers).await?;
        ensure!(name != "apply" || service["metadata"]["labels"]["team"] == "alice", "{service}");
        world.routed(name, &[alice]).await?;
    }
    world.event(alice, "Service", "apply", "PlaceholderHandedOver").await?;

    // When the developer leaves, the placeholder returns. So it does when somebody deletes it.
    world.delete_service(alice, "apply").await?;
    world.placeholder(alice, "apply").await?;
    world.routed("apply", &[]).await?;
    world.delete_service(alice, "apply").await?;
    world.placeholder(alice, "apply").await?;
    outrigger.stop().await
}

/// Objects of vs-operator are taken over unchanged, and nothing that is correct is written. Its placeholders, written without
/// server-side apply, are handed over too. Deletions in the meantime are caught up.
pub async fn what_vs_operator_left_behind_is_taken_over(case: Case<Outrigger>) -> Result<()> {
    let world = World::new(&case, &["alice", "bob", "carol"]).await?;
    let [alice, bob, carol] = &world.developers[..] else { anyhow::bail!("three developers") };
    let default = &world.default;
    let service = world.service(default, "app").await?;
    world.service(alice, "app").await?;
    let host = |namespace: &str| format!("app.{namespace}.svc.cluster.local");
    let by_operator = PostParams { field_manager: Some("manager".to_owned()), ..PostParams::default() };
    let virtual_service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {
            "name": "app-virtual-service", "labels": {"managed-by": "virtualservice-operator"},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": "app", "uid": service.metadata.uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "hosts": ["app"],
            "http": [
                {
                    "match": [{"headers": {"x-developer": {"exact": alice}}}],
                    "route": [{"destination": {"host": host(alice)}}],
                },
                {"route": [{"destination": {"host": host(default)}}]},
            ],
        },
    });
    let written = world.virtual_services().create(&by_operator, &serde_json::from_value(virtual_service)?).await?;
    let placeholder = |namespace: &str, name: &str| -> Result<Service> {
        let source = format!("{name}.{default}.svc.cluster.local");
        Ok(serde_json::from_value(json!({
            "metadata": {
                "name": name, "labels": {"app.kubernetes.io/managed-by": "Helm"},
                "annotations": {
                    PLACEHOLDER: "true", "virtualservice-operator/source-service": source,
                    "meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace,
                },
            },
            "spec": {"type": "ExternalName", "externalName": source},
        }))?)
    };
    let bobs = world.services(bob).create(&by_operator, &placeholder(bob, "app")?).await?;
    world.services(carol).create(&by_operator, &placeholder(carol, "app")?).await?;
    // Their Services were deleted without a running controller.
    world.services(carol).create(&by_operator, &placeholder(carol, "gone")?).await?;
    let theirs =
        json!({"spec": {"type": "ExternalName", "externalName": host(default)}, "metadata": {"name": "theirs"}});
    world.services(carol).create(&PostParams::default(), &serde_json::from_value(theirs)?).await?;

    world.configure(WITH_PLACEHOLDERS).await?;
    let outrigger = world.replica().await?;
    world.no_service(carol, "gone").await?;
    world.kubectl(&["-n", carol, "apply", "-f", "-"], Some(&manifest("app"))).await?;
    world.service_where(carol, "app", "the developer's", is_the_developers).await?;
    let routed = world.routed("app", &[alice, carol]).await?;
    assert_eq!(routed["metadata"]["uid"], json!(written.metadata.uid));
    assert_eq!(routed["metadata"]["generation"], 2, "one write, for the new copy");
    let untouched = world.services(bob).get("app").await?;
    assert_eq!(untouched.metadata.resource_version, bobs.metadata.resource_version, "it was right already");
    world.services(carol).get("theirs").await?;
    outrigger.stop().await
}

/// A Service that is created at the same time as its placeholder never becomes one.
pub async fn a_placeholder_never_overwrites_a_service(case: Case<Outrigger>) -> Result<()> {
    let world = World::new(&case, &["alice"]).await?;
    let alice = &world.developers[0];
    let outrigger = world.replica().await?;
    world.configure(WITH_PLACEHOLDERS).await?;
    for number in 0..4 {
        let name = format!("app-{number}");
        let params = PatchParams::apply("developer");
        let copy = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
        });
        let (services, copy) = (world.services(alice), Patch::Apply(&copy));
        let (service, copied) =
            tokio::join!(world.service(&world.default, &name), services.patch(&name, &params, &copy));
        service?;
        copied?;
        world.service_where(alice, &name, "the developer's", is_the_developers).await?;
        world.routed(&name, &[alice]).await?;
    }
    outrigger.stop().await
}
