//! An upgrade from an older version installed by `kubectl apply` to the chart, and back, while Pods are created: none is rejected or
//! left without its sidecar. `OUTRIGGER_OLD` is a checkout of that version in which outrigger was built.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use outrigger_testbed::{Case, ControlPlane, Process, free_port, wait_for};

use super::release::{NAMESPACE, Release};
use crate::balancer::Balancer;
use crate::creates::{Creates, SIDECARSET, dry_run, is_injected, pod};
use crate::outrigger::{PATIENCE, page, registered};

/// The older version.
struct Old {
    checkout: PathBuf,
}

impl Old {
    async fn apply(&self, plane: &ControlPlane, more: &[&str]) -> Result<()> {
        for folder in ["manifests/crds", "manifests/rbac"] {
            let folder = self.checkout.join(folder).display().to_string();
            plane.kubectl(&[&["apply", "--server-side", "-f", &folder], more].concat(), None).await?.ok()?;
        }
        Ok(())
    }

    /// Starts a replica, waits until it is ready, and returns its port.
    async fn start(&self, plane: &ControlPlane, service_port: u16) -> Result<(Process, u16)> {
        let (webhook, admin) = (free_port()?, free_port()?);
        let mut command = Command::new(self.checkout.join("target/debug/outrigger"));
        command.args(["serve", "--owner-cluster-role=outrigger", "--shutdown-delay=1"]);
        command.arg(format!("--listen=127.0.0.1:{webhook}")).arg(format!("--admin-listen=127.0.0.1:{admin}"));
        command.arg(format!("--service-port={service_port}")).env_remove("POD_NAMESPACE").env("NO_COLOR", "1");
        command.env("KUBECONFIG", plane.kubeconfig_of(NAMESPACE, "outrigger").await?);
        let process = plane.spawn(&command)?;
        wait_for("the older version to be ready", PATIENCE, async || match page(admin, "/readyz?verbose").await? {
            (200, _) => Ok(Some(())),
            (_, page) => bail!("{page}"),
        })
        .await?;
        Ok((process, webhook))
    }
}

pub async fn an_older_version_is_upgraded_to_the_chart_and_back_under_load(case: Case<()>) -> Result<()> {
    let (plane, folder) = (&*case.plane, tempfile::tempdir()?);
    let checkout = std::env::var_os("OUTRIGGER_OLD").context("OUTRIGGER_OLD is not set")?;
    let old = Old { checkout: checkout.into() };
    let balancer = Balancer::start().await?;
    let port: u16 = balancer.url.rsplit(':').next().context("no port")?.parse()?;

    plane.kubectl(&["create", "namespace", NAMESPACE], None).await?.ok()?;
    old.apply(plane, &[]).await?;
    for name in ["outrigger-webhook", "outrigger-conversion"] {
        let create = ["create", "service", "externalname", name, "--external-name=localhost", "--namespace", NAMESPACE];
        plane.kubectl(&create, None).await?.ok()?;
    }
    let (before, before_port) = old.start(plane, port).await?;
    balancer.lead_to([before_port]);
    registered(plane).await?;
    plane.apply(SIDECARSET).await?;
    let pods: Api<Pod> = case.namespace.api();
    let probe = pod("probe")?;
    wait_for("Pods to be injected", PATIENCE, async || {
        Ok(is_injected(&pods.create(&dry_run(), &probe).await?).then_some(()))
    })
    .await?;
    let creates = Creates::start(pods, 20, dry_run());
    creates.more(20).await?;

    // Upgraded: the new replica is ready next to the old one, and leads when the old one is gone.
    let mut release = Release::new(plane, folder.path(), Some(port))?;
    let install = format!("install {} --take-ownership --force-conflicts --set=takeOver=true", release.arguments);
    release.helm(&install).await?;
    balancer.lead_to([release.webhook]);
    ensure!(before.stop(PATIENCE).await?.success(), "the older version does not end well");
    creates.more(40).await?;

    // And back.
    old.apply(plane, &["--force-conflicts"]).await?;
    let (after, after_port) = old.start(plane, port).await?;
    balancer.lead_to([after_port]);
    release.stop().await?;
    creates.more(40).await?;
    let outcome = creates.end().await?;
    println!("upgraded and back: {} Pods, {:.0} a second", outcome.injected, outcome.a_second);
    outcome.at_most_failed(0)?;
    registered(plane).await?;
    after.stop(PATIENCE).await?;
    Ok(())
}
