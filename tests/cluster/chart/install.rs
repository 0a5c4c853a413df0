//! A release of the chart, from installation to removal. Every replica is a container of the Deployment's Pod.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{ListParams, PostParams};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::json;

use super::helm;
use super::release::{NAMESPACE, Release};
use crate::outrigger::{PATIENCE, registered};
use crate::seen;

async fn webhooks(plane: &ControlPlane) -> Result<usize> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(plane.client()).list(&ListParams::default()).await?;
    let validating = Api::<ValidatingWebhookConfiguration>::all(plane.client()).list(&ListParams::default()).await?;
    Ok(mutating.items.len() + validating.items.len())
}

/// Returns the command in NOTES.txt that removes outrigger from the CRD.
fn patch_of_notes(notes: &str) -> Result<String> {
    let (_, after) = notes.split_once("kubectl patch crd ").context("NOTES name no patch")?;
    let (command, _) = after.split_once("]'").context("a patch without an end")?;
    Ok(format!("kubectl patch crd {command}]'"))
}

pub async fn a_release_is_installed_changed_and_removed(case: Case<()>) -> Result<()> {
    let (plane, folder) = (&*case.plane, tempfile::tempdir()?);
    let mut release = Release::new(plane, folder.path(), None)?;
    let arguments = release.arguments.clone();

    // Installed: a Pod is injected.
    release.helm(&format!("install {arguments} --create-namespace --wait --timeout=60s")).await?;
    registered(plane).await?;
    seen::apply(plane, &seen::set("installed", "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, "installed", Some("side:1")).await?;

    // Changed: the permissions of a job go with it.
    let roles = Api::<ClusterRole>::all(plane.client());
    ensure!(roles.get_opt("outrigger-devrouting").await?.is_some(), "the job has no rights");
    release.helm(&format!("upgrade {arguments} --set=controllers.devrouting=false")).await?;
    seen::injects(&case.namespace, "installed", Some("side:1")).await?;
    ensure!(roles.get_opt("outrigger-devrouting").await?.is_none(), "the rights of a job that is off are left");
    release.helm(&format!("rollback outrigger 1 --namespace={NAMESPACE}")).await?;
    seen::injects(&case.namespace, "installed", Some("side:1")).await?;
    ensure!(roles.get_opt("outrigger-devrouting").await?.is_some(), "the rights are not back");

    // Removed: there is no webhook, Pods are created, and SidecarSets stay.
    let notes = helm(plane, &format!("get notes outrigger --namespace={NAMESPACE}")).await?;
    ensure!(webhooks(plane).await? == 2, "not registered");
    helm(plane, &format!("uninstall outrigger --namespace={NAMESPACE}")).await?;
    wait_for("the webhook configurations to be gone", PATIENCE, async || {
        Ok((webhooks(plane).await? == 0).then_some(()))
    })
    .await?;
    release.stop().await?;
    let pod =
        case.namespace.api::<Pod>().create(&PostParams::default(), &seen::pod("p", "installed", &json!({}))?).await?;
    ensure!(seen::sidecar(&pod).is_none(), "injected by whom?");
    ensure!(webhooks(plane).await? == 0, "registered again");
    let switch = Api::<ConfigMap>::namespaced(plane.client(), NAMESPACE).get_opt("outrigger-disabled").await?;
    ensure!(switch.is_none(), "the switch is left, and would disable the next release");

    // Nobody converts until the patch changes that.
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let old = ["get", "sidecarsets.v1alpha1.apps.kruise.io", "installed"];
    ensure!(!plane.kubectl(&old, None).await?.status.success(), "v1alpha1 is read without a converter");
    let patch = patch_of_notes(&notes)?.replacen("kubectl", &plane.kubectl_program().display().to_string(), 1);
    let patched =
        std::process::Command::new("sh").args(["-c", &patch]).env("KUBECONFIG", plane.kubeconfig()).output()?;
    ensure!(patched.status.success(), "{patch}: {}", String::from_utf8_lossy(&patched.stderr));
    let set = seen::set("installed", "side:2", &json!({})).to_string();
    wait_for("SidecarSets to be written by nobody's help", PATIENCE, async || {
        Ok(Some(plane.kubectl(&apply, Some(&set)).await?.ok()?))
    })
    .await?;
    let refused = plane.kubectl(&old, None).await?;
    ensure!(!refused.status.success(), "v1alpha1 is served unconverted, without spec.namespace");

    // Installed again, over the remaining CRDs that were patched by hand.
    let again = format!("install {arguments}");
    let conflict = plane.helm(&again.split(' ').collect::<Vec<_>>()).await?;
    ensure!(conflict.stderr.contains("conflict"), "helm overwrites what kubectl patched: {}", conflict.stderr);
    helm(plane, &format!("uninstall outrigger --namespace={NAMESPACE} --no-hooks --ignore-not-found")).await?;
    release.helm(&format!("{again} --force-conflicts")).await?;
    seen::injects(&case.namespace, "installed", Some("side:2")).await?;
    wait_for("v1alpha1 to be served again", PATIENCE, async || Ok(Some(plane.kubectl(&old, None).await?.ok()?)))
        .await?;
    release.stop().await
}
