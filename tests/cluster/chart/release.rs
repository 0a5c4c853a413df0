//! A release with one replica: the container of the Deployment's Pod runs here.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::ListParams;
use outrigger_testbed::{ControlPlane, Image, RunningContainer, free_port, wait_for};
use serde_json::json;

use super::{chart, helm, image};
use crate::outrigger::{PATIENCE, page};

pub const NAMESPACE: &str = "outrigger-system";

/// The release, and its replica while it runs.
pub struct Release<'c> {
    plane: &'c ControlPlane,
    image: Image,
    /// The arguments of helm after the command: the chart, the namespace, and the ports of this machine.
    pub arguments: String,
    /// Port of the webhook.
    pub webhook: u16,
    admin: u16,
    replica: Option<RunningContainer>,
}

impl<'c> Release<'c> {
    /// Creates a release that is not installed yet. `service_port` is the port of the rendered Services; the default is
    /// the replica's own.
    pub fn new(plane: &'c ControlPlane, folder: &Path, service_port: Option<u16>) -> Result<Self> {
        let (webhook, admin) = (free_port()?, free_port()?);
        let service = service_port.unwrap_or(webhook);
        let ports = format!("webhook.port={webhook},webhook.servicePort={service},admin.port={admin}");
        let arguments =
            format!("outrigger {} --namespace={NAMESPACE} --set=replicaCount=1,shutdownDelay=0,{ports}", chart());
        Ok(Self { plane, image: image("outrigger", folder)?, arguments, webhook, admin, replica: None })
    }

    /// Runs `helm COMMAND`, then replaces the running container by that of the Deployment's current Pod, and waits
    /// until it is ready.
    pub async fn helm(&mut self, command: &str) -> Result<()> {
        let before = self.pod().await.ok();
        helm(self.plane, command).await.context(command.to_owned())?;
        let pod = wait_for("the Deployment to have a new Pod", PATIENCE, async || {
            let pod = self.pod().await?;
            let is_new = before.as_ref().is_none_or(|before| before.metadata.uid != pod.metadata.uid);
            Ok(is_new.then_some(pod))
        })
        .await?;
        self.stop().await?;
        self.lead_services_here().await?;
        self.replica = Some(self.plane.run_container(&pod, &self.image, &[]).await?);
        wait_for("the replica to be ready", PATIENCE, async || match page(self.admin, "/readyz?verbose").await? {
            (200, _) => Ok(Some(())),
            (_, page) => anyhow::bail!("{page}"),
        })
        .await
    }

    /// Stops the replica if it runs.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(replica) = self.replica.take() {
            let ended = replica.process.stop(PATIENCE).await?;
            ensure!(ended.success(), "the replica ended with {ended}");
        }
        Ok(())
    }

    /// Returns the one Pod that is not being deleted.
    async fn pod(&self) -> Result<Pod> {
        let pods = Api::<Pod>::namespaced(self.plane.client(), NAMESPACE);
        let pods = pods.list(&ListParams::default().labels("app.kubernetes.io/name=outrigger")).await?;
        let mut pods: Vec<_> = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        ensure!(pods.len() == 1, "{} Pods", pods.len());
        Ok(pods.remove(0))
    }

    /// Services have no endpoints here. They are checked, and then changed to lead to this machine.
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
