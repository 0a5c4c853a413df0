//! outrigger behind a proxy, as on people's machines.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use outrigger_testbed::{Case, ControlPlane, Process, free_port, wait_for};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::outrigger::{PATIENCE, install};

/// A host that no name server knows, so only a proxy can reach it.
const HOST: &str = "api.outrigger.test";

/// A proxy that connects requests for [`HOST`] to `server`.
struct LocalProxy {
    port: u16,
    tunnels: Arc<AtomicUsize>,
}

impl LocalProxy {
    async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, tunnels) = (listener.local_addr()?.port(), Arc::new(AtomicUsize::new(0)));
        let counted = tunnels.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, counted) = (server.clone(), counted.clone());
                tokio::spawn(async move { tunnel(client, &server, &counted).await });
            }
        });
        Ok(Self { port, tunnels })
    }

    fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}

async fn tunnel(mut client: TcpStream, server: &str, tunnels: &AtomicUsize) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    ensure!(head.starts_with(format!("CONNECT {HOST}:6443 ").as_bytes()), "not for this proxy");
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    tunnels.fetch_add(1, Ordering::Relaxed);
    copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await?;
    Ok(())
}

/// Runs `serve` with this kubeconfig and environment until it is ready.
async fn serves(plane: &ControlPlane, kubeconfig: &Value, env: &[(&str, &str)]) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), kubeconfig.to_string())?;
    let (webhook, admin) = (free_port()?, free_port()?);
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["serve", "--shutdown-delay=0", "--controllers=sidecargenerator"]);
    command.arg(format!("--listen=127.0.0.1:{webhook}")).arg(format!("--admin-listen=127.0.0.1:{admin}"));
    command.env("KUBECONFIG", file.path()).env("NO_COLOR", "1").envs(env.iter().copied());
    let process: Process = plane.spawn(&command)?;
    wait_for("the watch through the proxy to be in step", PATIENCE, async || {
        let mut stream = TcpStream::connect(("127.0.0.1", admin)).await?;
        stream.write_all(b"GET /readyz?verbose HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.contains("sidecargenerators ok: in step with the cluster"), "{answer}");
        Ok(Some(()))
    })
    .await?;
    process.stop(PATIENCE).await?;
    // kubectl with the same kubeconfig and environment.
    let mut kubectl = tokio::process::Command::new(plane.kubectl_program());
    kubectl.args(["version", "-o", "json"]).env("KUBECONFIG", file.path()).envs(env.iter().copied());
    let kubectl = kubectl.output().await?;
    ensure!(kubectl.status.success(), "{}", String::from_utf8_lossy(&kubectl.stderr));
    Ok(())
}

/// With `HTTPS_PROXY` and with `proxy-url`, the API server is reached through the proxy if only the proxy can reach it.
/// Hosts in `NO_PROXY` are reached directly.
pub async fn the_proxy_that_kubectl_takes_is_taken(case: Case<()>) -> Result<()> {
    let kubeconfig: Value = serde_json::from_str(&std::fs::read_to_string(install(&case.plane).await?)?)?;
    let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().context("a server")?.to_owned();
    let address = server.strip_prefix("https://").context("https")?;
    let (host, _) = address.split_once(':').context("a port")?;
    let proxy = LocalProxy::start(address.to_owned()).await?;
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let mut by_proxy = kubeconfig.clone();
    by_proxy["clusters"][0]["cluster"]["server"] = format!("https://{HOST}:6443").into();
    by_proxy["clusters"][0]["cluster"]["tls-server-name"] = host.into();
    serves(&case.plane, &by_proxy, &[("HTTPS_PROXY", &url), ("NO_PROXY", "127.0.0.1,")]).await?;
    let by_variable = proxy.tunnels();
    ensure!(by_variable > 0, "the proxy was not asked");
    by_proxy["clusters"][0]["cluster"]["proxy-url"] = url.as_str().into();
    serves(&case.plane, &by_proxy, &[("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", HOST)]).await?;
    let by_kubeconfig = proxy.tunnels();
    ensure!(by_kubeconfig > by_variable, "the proxy of the kubeconfig was not asked");
    // This machine is reached directly, because the proxy could not reach it.
    serves(&case.plane, &kubeconfig, &[("HTTPS_PROXY", &url)]).await?;
    ensure!(proxy.tunnels() == by_kubeconfig, "the proxy was asked for this machine");
    Ok(())
}
