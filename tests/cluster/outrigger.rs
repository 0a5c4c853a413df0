//! outrigger as a process next to the control plane, with only the permissions in `manifests/rbac/`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use outrigger::api::keys;
use outrigger::api::sidecarset::SidecarSet;
use outrigger_testbed::{ControlPlane, Process, free_port, wait_for};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The maximum time that a test waits.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The server in the example of a SidecarGenerator, and its address for the shared replica, as in `make cluster`.
const EXAMPLE_HOST: &str = "httpd.test.svc.cluster.local";
pub const EXAMPLE_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), 8080);

/// A replica.
#[derive(Debug)]
pub struct Outrigger {
    process: Process,
    /// Port of the webhook.
    pub webhook: u16,
    /// Port of `/readyz` and `/metrics`.
    pub admin: u16,
}

/// The settings of a replica besides its ports.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program. Default: the built one.
    pub program: PathBuf,
    /// The kubeconfig with its permissions; see [`install`].
    pub kubeconfig: PathBuf,
    /// The URL for the API server. Default: its own port.
    pub url: Option<String>,
    /// Seconds. Default: 0.
    pub shutdown_delay: u32,
    /// Further arguments.
    pub args: Vec<String>,
    /// `FAILPOINTS`, as documented in `outrigger::cluster::failpoint`.
    pub failpoint: Option<String>,
}

impl Start {
    /// A replica registered with its own URL.
    pub fn with(kubeconfig: &Path) -> Self {
        let program = env!("CARGO_BIN_EXE_outrigger").into();
        Self {
            program,
            kubeconfig: kubeconfig.to_owned(),
            url: None,
            shutdown_delay: 0,
            args: Vec::new(),
            failpoint: None,
        }
    }
}

fn manifests(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(folder)
}

/// Installs the CRDs and the permissions. Returns the kubeconfig of outrigger's ServiceAccount.
pub async fn install(plane: &ControlPlane) -> Result<PathBuf> {
    install_crds(plane).await?;
    install_rights(plane).await
}

/// Installs the CRDs.
pub async fn install_crds(plane: &ControlPlane) -> Result<()> {
    let crds = manifests("crds").display().to_string();
    plane.kubectl(&["apply", "--server-side", "-f", &crds], None).await?.ok()?;
    // kubectl fails if a CRD has no conditions yet.
    let established = ["wait", "--for=condition=Established", "--timeout=60s", "-f", &crds];
    let wait = async || Ok(Some(plane.kubectl(&established, None).await?.ok()?));
    wait_for("the CRDs to be established", PATIENCE, wait).await?;
    Ok(())
}

/// Installs the permissions. Returns the kubeconfig of outrigger's ServiceAccount.
pub async fn install_rights(plane: &ControlPlane) -> Result<PathBuf> {
    plane.kubectl(&["create", "namespace", "outrigger-system"], None).await?.ok()?;
    let rbac = manifests("rbac").display().to_string();
    plane.kubectl(&["apply", "-f", &rbac], None).await?.ok()?;
    plane.kubeconfig_of("outrigger-system", "outrigger").await
}

impl Outrigger {
    /// Starts a replica without waiting until it is ready.
    pub fn start(plane: &ControlPlane, start: Start) -> Result<Self> {
        let (webhook, admin) = (free_port()?, free_port()?);
        Self::start_at(plane, start, webhook, admin)
    }

    /// Like [`Outrigger::start`], on these ports.
    pub fn start_at(plane: &ControlPlane, start: Start, webhook: u16, admin: u16) -> Result<Self> {
        let mut command = Command::new(start.program);
        command.args(["serve", "--owner-cluster-role=outrigger"]);
        command.arg(format!("--shutdown-delay={}", start.shutdown_delay));
        command.arg(format!("--listen=127.0.0.1:{webhook}")).arg(format!("--admin-listen=127.0.0.1:{admin}"));
        if !start.args.iter().any(|arg| arg.starts_with("--service-port")) {
            let url = start.url.unwrap_or_else(|| format!("https://127.0.0.1:{webhook}"));
            command.arg(format!("--webhook-url={url}"));
        }
        command.args(start.args).env("KUBECONFIG", start.kubeconfig).env("NO_COLOR", "1").env_remove("POD_NAMESPACE");
        command.env("RUST_LOG", "outrigger=debug,info");
        command.envs(start.failpoint.map(|failpoint| ("FAILPOINTS", failpoint)));
        Ok(Self { process: plane.spawn(&command)?, webhook, admin })
    }

    /// Starts a replica and waits until it is ready and the API server calls it.
    pub async fn serving(plane: &ControlPlane, start: Start) -> Result<Self> {
        let outrigger = Self::start(plane, start)?;
        outrigger.ready().await?;
        registered(plane).await?;
        Ok(outrigger)
    }

    /// Waits until it is ready.
    pub async fn ready(&self) -> Result<()> {
        wait_for("outrigger to be ready", PATIENCE, async || match self.page("/readyz?verbose").await? {
            (200, _) => Ok(Some(())),
            (_, page) => bail!("{page}"),
        })
        .await
    }

    /// Waits until it reports that it drains.
    pub async fn not_ready(&self) -> Result<()> {
        let look = async || Ok((self.page("/readyz").await?.0 != 200).then_some(()));
        wait_for("outrigger not to be ready", PATIENCE, look).await
    }

    /// Returns status and text of a page of the admin port.
    pub async fn page(&self, path: &str) -> Result<(u16, String)> {
        self.page_at(self.admin, path).await
    }

    /// The same for another port.
    pub async fn page_at(&self, port: u16, path: &str) -> Result<(u16, String)> {
        page(port, path).await
    }

    /// Returns the value of a counter, given with its printed labels; 0 if it does not exist.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let (_, metrics) = self.page("/metrics").await?;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map(str::parse).transpose()?.unwrap_or(0))
    }

    /// Returns the log of this control plane's replicas so far.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// Returns the process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops it like the kubelet does.
    pub async fn stop(self) -> Result<()> {
        let status = self.process.stop(PATIENCE).await?;
        if !status.success() {
            bail!("outrigger ended with {status}");
        }
        Ok(())
    }
}

/// Returns status and text of a page of an admin port.
pub async fn page(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// Returns the API of SidecarSets.
pub fn sets(plane: &ControlPlane) -> Api<SidecarSet> {
    Api::all(plane.client())
}

/// Waits until the API server sends SidecarSets to the webhook. It learns of registrations with a delay.
pub async fn registered(plane: &ControlPlane) -> Result<()> {
    let probe = json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "is-the-webhook-called"},
        "spec": {"selector": {"matchLabels": {"app": "none-at-all"}}, "containers": [{"name": "c", "image": "x:1"}]},
    });
    let sets = sets(plane);
    wait_for("the webhook to be called", PATIENCE, async || {
        let params = PatchParams { dry_run: true, ..PatchParams::apply("outrigger-test") };
        let set = sets.patch("is-the-webhook-called", &params, &Patch::Apply(&probe)).await?;
        Ok(set.metadata.annotations.is_some_and(|annotations| annotations.contains_key(keys::HASH)).then_some(()))
    })
    .await
}

/// Waits until the API server has SidecarSets converted. It learns of that with a delay too.
async fn converted(plane: &ControlPlane) -> Result<()> {
    let kind = GroupVersionKind::gvk("apps.kruise.io", "v1alpha1", "SidecarSet");
    let sets: Api<DynamicObject> =
        Api::all_with(plane.client(), &ApiResource::from_gvk_with_plural(&kind, "sidecarsets"));
    let probe = json!({
        "apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"name": "is-it-converted"},
        "spec": {"selector": {"matchLabels": {"app": "none-at-all"}}, "namespace": "none", "containers": [{"name": "c", "image": "x:1"}]},
    });
    wait_for("SidecarSets to be converted", PATIENCE, async || {
        let params = PatchParams { dry_run: true, ..PatchParams::apply("outrigger-test") };
        // Without conversion the field is lost or rejected.
        let set = sets.patch("is-it-converted", &params, &Patch::Apply(&probe)).await.ok();
        Ok(set.filter(|set| set.data["spec"]["namespace"] == "none").map(drop))
    })
    .await
}

/// The shared state of the tests: one replica that the API server calls, and that may fetch Sidecars from this machine
/// every second.
pub async fn world(plane: Arc<ControlPlane>) -> Result<Outrigger> {
    plane.install_istio_crds().await?;
    let kubeconfig = install(&plane).await?;
    let resolve = format!("--fetch-resolve={EXAMPLE_HOST}={}", EXAMPLE_ADDRESS.ip());
    let allow = format!("--fetch-allow=127.0.0.1,{}", EXAMPLE_ADDRESS.ip());
    let args = vec![allow, "--min-refresh-period=1s".to_owned(), resolve];
    let outrigger = Outrigger::serving(&plane, Start { args, ..Start::with(&kubeconfig) }).await?;
    converted(&plane).await?;
    Ok(outrigger)
}
