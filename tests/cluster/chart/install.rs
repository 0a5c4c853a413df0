//! A release of the chart, from its installation to its removal; every replica is a container of the Deployment's Pod.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{ListParams, PostParams};
use outrigger_testbed::{Case, ControlPlane, Image, RunningContainer, free_port, wait_for};
use serde_json::json;

use super::{chart, helm, image};
use crate::outrigger::{PATIENCE, page, registered};
use crate::seen;

const NAMESPACE: &str = "outrigger-system";

/// A release with one replica, whose container is run here.
struct Release<'c> {
    plane: &'c ControlPlane,
    image: Image,
    /// Ports are those of this machine; no other value is given.
    values: String,
    admin: u16,
    replica: Option<RunningContainer>,
}

impl Release<'_> {
    /// Runs `helm COMMAND`, then the container of the Pod that the Deployment has now in the place of the one before.
    async fn helm(&mut self, command: &str) -> Result<()> {
        let before = self.pod().await.ok();
        helm(self.plane, command).await.context(command.to_owned())?;
        let pod = wait_for("the Deployment to have a new Pod", PATIENCE, async || {
            let pod = self.pod().await?;
            let is_new = before.as_ref().is_none_or(|before| before.metadata.uid != pod.metadata.uid);
            Ok(is_new.then_some(pod))
        })
        .await?;
        if let Some(replica) = self.replica.take() {
            replica.process.stop(PATIENCE).await?;
        }
        self.lead_services_here().await?;
        self.replica = Some(self.plane.run_container(&pod, &self.image, &[]).await?);
        wait_for("the replica to be ready", PATIENCE, async || match page(self.admin, "/readyz?verbose").await? {
            (200, _) => Ok(Some(())),
            (_, page) => anyhow::bail!("{page}"),
        })
        .await?;
        registered(self.plane).await
    }

    /// The one Pod that is not on its way out.
    async fn pod(&self) -> Result<Pod> {
        let pods = Api::<Pod>::namespaced(self.plane.client(), NAMESPACE);
        let pods = pods.list(&ListParams::default().labels("app.kubernetes.io/name=outrigger")).await?;
        let mut pods: Vec<_> =
            pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        ensure!(pods.len() == 1, "{} Pods", pods.len());
        Ok(pods.remove(0))
    }

    /// Services lead nowhere here: they are looked at, and then lead to this machine.
    async fn lead_services_here(&self) -> Result<()> {
        let services = Api::<Service>::namespaced(self.plane.client(), NAMESPACE);
        for name in ["outrigger-webhook", "outrigger-conversion"] {
            let service = services.get(name).await?;
            let spec = service.spec.context("no spec")?;
            if spec.type_.as_deref() == Some("ExternalName") {
                continue;
            }
            let not_ready = spec.publish_not_ready_addresses.unwrap_or_default();
            ensure!(not_ready == (name == "outrigger-conversion"), "{name} publishes addresses: {not_ready}");
            let pod = self.pod().await?;
            let labels = pod.metadata.labels.unwrap_or_default();
            let selected = spec.selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
            ensure!(selected, "{name} does not select the Pod");
            let port = spec.ports.into_iter().flatten().next().context("no port")?;
            let target = serde_json::to_value(&port.target_port)?;
            let ports = pod.spec.iter().flat_map(|spec| spec.containers[0].ports.iter().flatten());
            ensure!(ports.clone().any(|port| port.name.as_deref() == target.as_str()), "{name} leads to {target}");
            let here = json!([
                {"op": "replace", "path": "/spec", "value": {"type": "ExternalName", "externalName": "localhost"}}
            ]);
            let patch = ["patch", "service", name, "--namespace", NAMESPACE, "--type=json", "-p", &here.to_string()];
            self.plane.kubectl(&patch, None).await?.ok()?;
        }
        Ok(())
    }
}

async fn webhooks(plane: &ControlPlane) -> Result<usize> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(plane.client()).list(&ListParams::default()).await?;
    let validating = Api::<ValidatingWebhookConfiguration>::all(plane.client()).list(&ListParams::default()).await?;
    Ok(mutating.items.len() + validating.items.len())
}

/// The command in NOTES.txt that takes outrigger out of the CRD.
fn patch_of_notes(notes: &str) -> Result<String> {
    let (_, after) = notes.split_once("kubectl patch crd ").context("NOTES name no patch")?;
    let (command, _) = after.split_once("]'").context("a patch without an end")?;
    Ok(format!("kubectl patch crd {command}]'"))
}

pub async fn a_release_is_installed_changed_and_removed(case: Case<()>) -> Result<()> {
    let (plane, folder) = (&*case.plane, tempfile::tempdir()?);
    let (webhook, admin) = (free_port()?, free_port()?);
    let ports = format!("webhook.port={webhook},webhook.servicePort={webhook},admin.port={admin}");
    let values = format!("--namespace={NAMESPACE} --set=replicaCount=1,shutdownDelay=0,{ports}");
    let mut release = Release { plane, image: image("outrigger", folder.path())?, values, admin, replica: None };
    let (chart, values) = (chart(), release.values.clone());

    // Installed: a Pod is injected.
    release.helm(&format!("install outrigger {chart} {values} --create-namespace --wait --timeout=60s")).await?;
    seen::apply(plane, &seen::set("installed", "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, "installed", Some("side:1")).await?;

    // Changed: the rights of a job go with it.
    let roles = Api::<ClusterRole>::all(plane.client());
    ensure!(roles.get_opt("outrigger-devrouting").await?.is_some(), "the job has no rights");
    release.helm(&format!("upgrade outrigger {chart} {values} --set=controllers.devrouting=false")).await?;
    seen::injects(&case.namespace, "installed", Some("side:1")).await?;
    ensure!(roles.get_opt("outrigger-devrouting").await?.is_none(), "the rights of a job that is off are left");
    release.helm(&format!("rollback outrigger 1 --namespace={NAMESPACE}")).await?;
    seen::injects(&case.namespace, "installed", Some("side:1")).await?;
    ensure!(roles.get_opt("outrigger-devrouting").await?.is_some(), "the rights are not back");

    // Removed: no webhook is left, Pods are created, and SidecarSets stay.
    let notes = helm(plane, &format!("get notes outrigger --namespace={NAMESPACE}")).await?;
    ensure!(webhooks(plane).await? == 2, "not registered");
    helm(plane, &format!("uninstall outrigger --namespace={NAMESPACE} --wait --timeout=60s")).await?;
    wait_for("the webhook configurations to be gone", PATIENCE, async || {
        Ok((webhooks(plane).await? == 0).then_some(()))
    })
    .await?;
    release.replica.take().context("no replica")?.process.stop(PATIENCE).await?;
    let pod = case.namespace.api::<Pod>().create(&PostParams::default(), &seen::pod("p", "installed", &json!({}))?).await?;
    ensure!(seen::sidecar(&pod).is_none(), "injected by whom?");
    ensure!(webhooks(plane).await? == 0, "registered again");
    let switch = Api::<ConfigMap>::namespaced(plane.client(), NAMESPACE).get_opt("outrigger-disabled").await?;
    ensure!(switch.is_none(), "the switch is left, and would disable the next release");

    // Nobody converts any more, until the patch says so.
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let old = ["get", "sidecarsets.v1alpha1.apps.kruise.io", "installed"];
    ensure!(!plane.kubectl(&old, None).await?.status.success(), "v1alpha1 is read without a converter");
    let patch = patch_of_notes(&notes)?.replacen("kubectl", &plane.kubectl_program().display().to_string(), 1);
    let patched = std::process::Command::new("sh").args(["-c", &patch]).env("KUBECONFIG", plane.kubeconfig()).output()?;
    ensure!(patched.status.success(), "{patch}: {}", String::from_utf8_lossy(&patched.stderr));
    let set = seen::set("installed", "side:2", &json!({"namespace": null})).to_string();
    wait_for("SidecarSets to be written by nobody's help", PATIENCE, async || {
        Ok(Some(plane.kubectl(&apply, Some(&set)).await?.ok()?))
    })
    .await?;
    let refused = plane.kubectl(&old, None).await?;
    ensure!(!refused.status.success(), "v1alpha1 is served unconverted, without spec.namespace");

    // Installed again, over the CRDs that stayed and were patched by hand.
    let again = format!("install outrigger {chart} {values}");
    let conflict = plane.helm(&again.split(' ').collect::<Vec<_>>()).await?;
    ensure!(conflict.stderr.contains("conflict"), "helm overwrites what kubectl patched: {}", conflict.stderr);
    helm(plane, &format!("uninstall outrigger --namespace={NAMESPACE} --no-hooks --ignore-not-found")).await?;
    release.helm(&format!("{again} --force-conflicts")).await?;
    seen::injects(&case.namespace, "installed", Some("side:2")).await?;
    wait_for("v1alpha1 to be served again", PATIENCE, async || Ok(Some(plane.kubectl(&old, None).await?.ok()?))).await?;
    release.replica.take().context("no replica")?.process.stop(PATIENCE).await?;
    Ok(())
}
