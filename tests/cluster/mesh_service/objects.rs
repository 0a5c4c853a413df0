//! What is made for a MeshService: made, repaired and taken away again, and nothing of anybody else.

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use outrigger::mesh_service::MeshKind;
use outrigger_testbed::Case;
use serde_json::{Value, json};

use super::world::{World, mesh_service, subsets};
use crate::outrigger::Outrigger;

/// Made in one go and told by one status; what somebody changes, adds to or deletes is as it was again; and with the MeshService all
/// of it goes.
pub async fn what_is_made_is_kept_as_it_is_and_goes_with_its_meshservice(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    world.service("web").await?;
    world.pod("web", "v1").await?;
    world.apply(&mesh_service("web", &subsets())).await?;
    let first = world.state("web", "Consistent").await?;
    let status = &first["status"];
    ensure!(status["lastChecked"].is_string(), "{status}");
    let violations = status["violations"].as_array().context("no violations")?;
    ensure!(violations.len() == 1 && violations[0]["type"] == "SubsetWithoutPods", "{status}");
    ensure!(violations[0]["message"].to_string().contains("of subset v2 select no Pod of web."), "{status}");
    let managed: Vec<_> =
        status["managedResources"].as_array().context("none")?.iter().map(|one| &one["kind"]).collect();
    ensure!(managed == ["DestinationRule", "VirtualService"], "{managed:?}");
    let owner = &world.object(MeshKind::DestinationRule, "web").await?["metadata"]["ownerReferences"][0];
    ensure!(owner["kind"] == "MeshService" && owner["uid"] == first["metadata"]["uid"], "{owner}");

    let routes = world.object(MeshKind::VirtualService, "web-mesh").await?;
    let is_as_before = |object: &Value| object["spec"] == routes["spec"];
    let kind = MeshKind::VirtualService;
    for change in [json!({"spec": {"http": null, "hosts": ["other"]}}), json!({"spec": {"exportTo": ["."]}})] {
        world.edit(kind, "web-mesh", change).await?;
        world.object_where(kind, &world.namespace, "web-mesh", "repaired", is_as_before).await?;
    }
    world.event("web", "Repaired").await?;
    world.edit(kind, "web-mesh", json!({"metadata": {"labels": {"team": "theirs"}}})).await?;
    world.delete(MeshKind::DestinationRule, "web").await?;
    world.object(MeshKind::DestinationRule, "web").await?;
    let routes = world.object(kind, "web-mesh").await?;
    ensure!(routes["metadata"]["labels"]["team"] == "theirs", "a label of others is gone: {routes}");
    let last = world.state("web", "Consistent").await?;
    ensure!(
        last["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"],
        "repairs within a second are told by Events, not by the status: {last}"
    );

    world.delete_mesh_service("web").await?;
    world.swept(&world.namespace, "web").await
}

/// A change of the spec is one status, and what it does not ask for any more is gone.
pub async fn a_meshservice_that_changes_takes_its_objects_along(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    world.service("web").await?;
    world.apply(&mesh_service("web", &subsets())).await?;
    let before = world.state("web", "Consistent").await?;
    world.change("web", json!({"spec": {"subsets": null}})).await?;
    let after = world.state("web", "Consistent").await?;
    ensure!(after["metadata"]["generation"] != before["metadata"]["generation"]);
    ensure!(world.objects(MeshKind::DestinationRule, &world.namespace).get_opt("web").await?.is_none(), "it is left");
    let managed = after["status"]["managedResources"].to_string();
    ensure!(!managed.contains("DestinationRule"), "{managed}");
    Ok(())
}

/// With `kubectl delete --cascade=orphan`: what is in its own namespace and what is in another.
pub async fn what_was_made_for_a_meshservice_that_is_deleted_without_it_stays(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    let edge = format!("{}-edge", world.namespace);
    world.create_namespace(&edge).await?;
    world.let_in(&edge, true).await?;
    world.service("web").await?;
    let more = json!({"hosts": ["web.example.com"], "gateway": {"name": "edge", "namespace": edge}});
    world.apply(&mesh_service("web", &more)).await?;
    world.state("web", "Consistent").await?;
    let copied = serde_json::to_value(world.objects(MeshKind::Gateway, &edge).get("edge").await?)?;

    // A copy in another namespace is nobody's.
    let third = format!("{}-third", world.namespace);
    world.create_namespace(&third).await?;
    let metadata = &copied["metadata"];
    world
        .apply(&json!({
            "apiVersion": copied["apiVersion"], "kind": "Gateway", "spec": copied["spec"],
            "metadata": {"name": "edge", "namespace": third, "labels": metadata["labels"], "annotations": metadata["annotations"]},
        }))
        .await?;

    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    world.mesh_services().delete("web", &orphan).await?;
    let is_nobodys = |object: &Value| !object["metadata"]["labels"].to_string().contains("outrigger.dev");
    for (kind, namespace, name) in
        [(MeshKind::VirtualService, &world.namespace, "web"), (MeshKind::Gateway, &edge, "edge")]
    {
        world.object_where(kind, namespace, name, "nobody's", is_nobodys).await?;
    }
    let copy = world.object_where(MeshKind::Gateway, &third, "edge", "there", |_| true).await?;
    ensure!(copy["metadata"]["labels"] == metadata["labels"], "{copy}");
    // The garbage collector looks for new kinds every 30 s only: this is what it does.
    let released = json!({"metadata": {"finalizers": null}});
    match world.mesh_services().patch("web", &PatchParams::default(), &Patch::Merge(released)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        patched => patched.map(drop).context("cannot release the MeshService"),
    }
}

/// In another namespace there are objects as long as it lets them in, and no longer.
pub async fn a_namespace_lets_meshservices_in_and_puts_them_out(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    let other = format!("{}-other", world.namespace);
    world.create_namespace(&other).await?;
    let services = world.objects(MeshKind::Service, &other);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    services.create(&kube::api::PostParams::default(), &serde_json::from_value(service)?).await?;
    let mut more = subsets();
    more["namespace"] = json!(other);
    world.apply(&mesh_service("web", &more)).await?;
    let violation = world.violation("web", "NoConsent").await?;
    ensure!(violation["message"].to_string().contains("outrigger.dev/allow-mesh-from"), "{violation}");
    world.swept(&other, "web").await?;

    world.let_in(&other, true).await?;
    let made = world.state("web", "Consistent").await?;
    let managed = made["status"]["managedResources"].as_array().context("none")?;
    ensure!(managed.iter().all(|one| one["namespace"] == json!(other)) && managed.len() == 2, "{managed:?}");

    world.let_in(&other, false).await?;
    world.swept(&other, "web").await?;
    world.violation("web", "NoConsent").await?;
    world.let_in(&other, true).await?;
    world.state("web", "Consistent").await?;
    world.delete_mesh_service("web").await?;
    world.swept(&other, "web").await
}

/// The younger one says that the Service is taken, and has it once the older is gone.
pub async fn of_two_meshservices_for_a_service_the_older_has_it(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    world.service("web").await?;
    world.apply(&mesh_service("web", &subsets())).await?;
    world.state("web", "Consistent").await?;
    let mut younger = mesh_service("young", &json!({"serviceName": "web"}));
    younger["spec"]["timeout"] = json!("5s");
    world.apply(&younger).await?;
    let violation = world.violation("young", "ServiceClaimed").await?;
    ensure!(violation["message"].to_string().contains(&format!("{}/web", world.namespace)), "{violation}");
    world.swept(&world.namespace, "young").await?;
    world.state("web", "Consistent").await?;
    world.delete_mesh_service("web").await?;
    world.state("young", "Consistent").await?;
    world.swept(&world.namespace, "web").await
}

/// What the Gateway lacks is told, with what to add; the Gateway stays as it is, and once somebody adds it all is well.
pub async fn a_gateway_of_somebody_else_is_never_edited_for_a_meshservice(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    world.service("web").await?;
    let gateway = |hosts: &[&str]| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "edge"},
            "spec": {"selector": {"istio": "ingressgateway"}, "servers": [
                {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts}]},
        })
    };
    world.apply(&gateway(&["shop.example.com"])).await?;
    let before = world.object(MeshKind::Gateway, "edge").await?;
    let more = json!({"hosts": ["web.example.com"], "gateway": {"name": "edge"}});
    world.apply(&mesh_service("web", &more)).await?;
    let violation = world.violation("web", "GatewayHostMissing").await?;
    ensure!(violation["message"].to_string().contains("web.example.com"), "{violation}");
    let status = &world.mesh_service("web").await?["status"];
    let actions = status["repairActions"].as_array().context("no repairs")?;
    let named = format!("Gateway/{}/edge", world.namespace);
    ensure!(actions.iter().any(|action| action["resource"] == json!(named)), "{actions:?}");
    ensure!(actions.iter().all(|action| action["type"] != "Delete"), "{actions:?}");
    let after = world.object(MeshKind::Gateway, "edge").await?;
    ensure!(after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"], "it was written: {after}");
    world.apply(&gateway(&["shop.example.com", "web.example.com"])).await?;
    world.state("web", "Consistent").await?;
    Ok(())
}

/// An object of the name that is somebody else's stays as it is. Once it is given, or asked for, it is taken over, and what it was is
/// written down.
pub async fn what_is_somebody_elses_is_a_meshservices_only_when_it_is_given(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    world.service("web").await?;
    let rule = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "web"}, "spec": {"host": "web", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}});
    world.apply(&rule).await?;
    world.apply(&mesh_service("web", &subsets())).await?;
    let violation = world.violation("web", "NameTaken").await?;
    ensure!(violation["resource"] == json!(format!("DestinationRule/{}/web", world.namespace)), "{violation}");
    let theirs = world.object(MeshKind::DestinationRule, "web").await?;
    ensure!(theirs["spec"] == rule["spec"], "{theirs}");
    let routes = world.objects(MeshKind::VirtualService, &world.namespace).get_opt("web-mesh").await?;
    ensure!(routes.is_none(), "routes to subsets that nobody defines: {routes:?}");

    world.change("web", json!({"metadata": {"annotations": {"outrigger.dev/mesh-repair": "Adopt"}}})).await?;
    world.state("web", "Consistent").await?;
    let ours = world.object(MeshKind::DestinationRule, "web").await?;
    ensure!(ours["spec"]["trafficPolicy"].is_null() && ours["spec"]["subsets"][1]["name"] == "v2", "{ours}");
    let written_down = ours["metadata"]["annotations"]["outrigger.dev/mesh-spec-before"].as_str().context("nothing")?;
    ensure!(serde_json::from_str::<Value>(written_down)? == rule["spec"], "{written_down}");
    ensure!(ours["metadata"]["ownerReferences"].is_null(), "the garbage collector would delete it: {ours}");
    let note = world.event("web", "Adopted").await?;
    ensure!(note.contains("To undo that"), "{note}");

    world.delete_mesh_service("web").await?;
    world.swept(&world.namespace, "web").await?;
    let again = world.object(MeshKind::DestinationRule, "web").await?;
    ensure!(again["spec"] == rule["spec"], "it is as it was: {again}");
    ensure!(!again["metadata"]["annotations"].to_string().contains("outrigger.dev"), "{again}");
    Ok(())
}

/// A Service of somebody else stays as it is until it lets a port be added and a protocol be named, which is told to both.
pub async fn a_service_of_somebody_else_is_mended_for_a_meshservice_only_as_it_allows(
    case: Case<Outrigger>,
) -> Result<()> {
    let world = World::of(&case);
    let spec =
        json!({"selector": {"app": "web"}, "ports": [{"name": "tcp-web", "port": 80}, {"name": "x", "port": 9}]});
    world.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})).await?;
    let more = json!({"ports": [{"name": "http", "port": 80}, {"name": "grpc", "port": 81, "targetPort": 8081}]});
    world.apply(&mesh_service("web", &more)).await?;
    world.violation("web", "PortMissing").await?;
    let told = world.violation("web", "PortProtocol").await?;
    ensure!(told["message"].to_string().contains("outrigger.dev/mesh-repair: SetProtocol"), "{told}");
    let before = world.object(MeshKind::Service, "web").await?;
    ensure!(before["spec"]["ports"].as_array().map(Vec::len) == Some(2), "{before}");
    let actions = world.mesh_service("web").await?["status"]["repairActions"].clone();
    let actions: Vec<_> = actions.as_array().into_iter().flatten().map(|action| &action["type"]).collect();
    ensure!(actions == ["AddPort", "SetProtocol"], "{actions:?}");

    let letting = json!({"metadata": {"annotations": {"outrigger.dev/mesh-repair": "AddPort,SetProtocol"}}});
    world.edit(MeshKind::Service, "web", letting).await?;
    world.state("web", "Consistent").await?;
    let after = world.object(MeshKind::Service, "web").await?;
    let ports = after["spec"]["ports"].as_array().context("no ports")?;
    ensure!(ports.len() == 3 && ports[0]["appProtocol"] == "http" && ports[0]["name"] == "tcp-web", "{after}");
    ensure!(ports[2]["name"] == "grpc" && ports[2]["port"] == 81 && ports[2]["targetPort"] == 8081, "{after}");
    ensure!(after["metadata"]["labels"].is_null() && after["metadata"]["ownerReferences"].is_null(), "{after}");
    let note = world.event("web", "Mended").await?;
    ensure!(note.contains("then remove appProtocol of port 80, port 81"), "{note}");
    Ok(())
}

/// What is annotated so, or left by the first operator, is written or not as the annotation says; its status becomes ours.
pub async fn what_the_first_operator_of_meshservices_left_behind_is_taken_over(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    let managed = "mesh.operator.istio.io/managed";
    let service = |value: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "annotations": {managed: value}},
            "spec": {"ports": [{"name": "http", "port": 80}, {"name": "grpc", "port": 9000}]},
        })
    };
    world.apply(&service("true")).await?;
    let before = world.object(MeshKind::Service, "web").await?;
    let more = json!({"ports": [{"name": "http", "port": 80, "targetPort": 80, "protocol": "HTTP"}, {"name": "grpc", "port": 9000, "targetPort": 9000, "protocol": "GRPC"}]});
    world.apply(&mesh_service("web", &more)).await?;
    world.state("web", "Consistent").await?;
    // As it wrote several times a second.
    let old = json!({"status": {"consistencyState": "Inconsistent", "violations": [
        {"type": "ReconciliationError", "resource": "web", "message": "UNIQUE constraint failed", "severity": "Error"}]}});
    world.mesh_services().patch_status("web", &PatchParams::default(), &Patch::Merge(old)).await?;
    let object = world.status_where("web", "ours again", |status| status["violations"].is_null()).await?;
    ensure!(object["status"]["consistencyState"] == "Consistent", "{object}");
    let after = world.object(MeshKind::Service, "web").await?;
    ensure!(after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"], "it was written: {after}");

    world.change("web", json!({"metadata": {"annotations": {managed: "false"}}})).await?;
    world.violation("web", "LeftAlone").await?;
    world.edit(MeshKind::VirtualService, "web-mesh", json!({"spec": {"exportTo": ["."]}})).await?;
    world.change("web", json!({"metadata": {"annotations": {managed: "true"}}})).await?;
    let is_repaired = |object: &Value| object["spec"]["exportTo"].is_null();
    world.object_where(MeshKind::VirtualService, &world.namespace, "web-mesh", "repaired", is_repaired).await?;
    Ok(())
}
