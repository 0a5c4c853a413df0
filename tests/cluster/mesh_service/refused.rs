//! A policy of the cluster that refuses what is made.

use anyhow::{Result, ensure};
use kube::api::PostParams;
use outrigger::mesh_service::MeshKind;
use outrigger_testbed::{Case, wait_for};
use serde_json::json;

use super::world::{World, mesh_service, subsets};
use crate::outrigger::{Outrigger, PATIENCE};

/// What is refused is told in the policy's words, no routes lead there, and it is tried again until it is let in.
pub async fn what_is_refused_for_a_meshservice_is_told_and_tried_again(case: Case<Outrigger>) -> Result<()> {
    let world = World::of(&case);
    let name = &world.namespace;
    let policy = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                    "resourceRules": [{
                        "apiGroups": ["networking.istio.io"], "apiVersions": ["*"], "resources": ["destinationrules"],
                        "operations": ["CREATE", "UPDATE"],
                    }],
                },
                "validations": [{"expression": "false", "message": "no rules here"}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]})
    .to_string();
    world.plane.kubectl(&["apply", "-f", "-"], Some(&policy)).await?.ok()?;
    let rules = world.objects(MeshKind::DestinationRule, name);
    let rule = serde_json::from_value(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "x"}, "spec": {"host": "x"},
    }))?;
    wait_for("the policy to hold", PATIENCE, async || {
        let tried = rules.create(&PostParams { dry_run: true, ..PostParams::default() }, &rule).await;
        Ok(tried.is_err_and(|error| error.to_string().contains("no rules here")).then_some(()))
    })
    .await?;

    world.service("web").await?;
    world.apply(&mesh_service("web", &subsets())).await?;
    world.state("web", "RepairFailed").await?;
    let violation = world.violation("web", "WriteRefused").await?;
    ensure!(violation["message"].to_string().contains("no rules here"), "{violation}");
    let routes = world.objects(MeshKind::VirtualService, name).get_opt("web-mesh").await?;
    ensure!(routes.is_none(), "routes to subsets that nobody defines: {routes:?}");
    world.event("web", "RepairFailed").await?;

    world.plane.kubectl(&["delete", "-f", "-"], Some(&policy)).await?.ok()?;
    world.state("web", "Consistent").await?;
    world.event("web", "Recovered").await?;
    Ok(())
}
