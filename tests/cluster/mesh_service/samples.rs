//! The samples of istio-integrity-operator, applied: its document's and both rich ones, in namespaces of the test.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use outrigger::mesh_service::MeshKind;
use outrigger_testbed::Case;
use serde_json::{Value, json};

use super::world::World;
use crate::outrigger::Outrigger;

/// Where the gateway's namespace lets the other in, all is made that a sample asks for; what it refers to in vain is told.
pub async fn the_samples_of_the_first_operator_of_meshservices_become_objects(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    let edge = format!("{}-edge", world.namespace);
    world.create_namespace(&edge).await?;
    world.let_in(&edge, true).await?;
    for sample in ["readme", "payments", "complex"] {
        for object in objects(&world, &edge, sample)? {
            world.apply(&object).await?;
        }
    }
    for (name, state, kinds) in [
        ("webapp-service", "Consistent", &["Gateway", "VirtualService"][..]),
        (
            "payment-service",
            "Consistent",
            &["DestinationRule", "PeerAuthentication", "AuthorizationPolicy", "VirtualService"],
        ),
        ("ecommerce-platform", "RepairPending", &["ServiceEntry", "DestinationRule", "VirtualService"]),
    ] {
        let object = world.state(name, state).await?;
        let managed = object["status"]["managedResources"].as_array().context("none")?;
        let managed: Vec<_> = managed.iter().map(|one| &one["kind"]).collect();
        ensure!(managed == kinds, "{name}: {managed:?}");
    }
    world.object_where(MeshKind::Gateway, &edge, "public-gateway", "made", |_| true).await?;
    let violation = world.violation("ecommerce-platform", "ForeignKeyViolation").await?;
    ensure!(violation["message"].to_string().contains("ecommerce-frontend-staging"), "{violation}");
    Ok(())
}

/// The objects of a sample, in the test's namespace and in that of its gateway.
fn objects(world: &World, edge: &str, sample: &str) -> Result<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/go/istio-routes/mesh").join(sample);
    let text = std::fs::read_to_string(folder.join("given.yaml"))?;
    let text = text.replace(".ecommerce.svc", &format!(".{}.svc", world.namespace));
    let mut objects = Vec::new();
    for document in outrigger::documents::parse(sample, text.as_bytes())? {
        let mut object = document.value;
        if object["kind"] == "Namespace" || object["metadata"]["name"] == "istio-ingressgateway" {
            continue;
        }
        let is_of_edge = object["metadata"]["namespace"] == "istio-system";
        object["metadata"]["namespace"] = json!(if is_of_edge { edge } else { &world.namespace });
        if object["kind"] == "MeshService" {
            object["spec"]["gateway"]["namespace"] = json!(edge);
            if !object["spec"]["namespace"].is_null() {
                object["spec"]["namespace"] = json!(world.namespace);
            }
        } else if let Some(spec) = object["spec"].as_object_mut() {
            spec.shift_remove("clusterIP");
        }
        objects.push(object);
    }
    // A Gateway that is not there would be made.
    objects.sort_by_key(|object| object["kind"] == "MeshService");
    Ok(objects)
}
