//! `make cluster`: a control plane with outrigger registered in it, until Ctrl-C.

use std::{
    env,
    net::Ipv4Addr,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use outrigger_testbed::{ControlPlane, Log, Parts, Process, free_port, wait_for};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// The namespace of outrigger's Secret and Lease. Its ServiceAccount there is `outrigger`, from `manifests/rbac`.
const NAMESPACE: &str = "outrigger-system";

/// The time limit for outrigger's registration.
const START: Duration = Duration::from_secs(60);

/// The time limit for outrigger's shutdown, which includes the drain.
const GRACE: Duration = Duration::from_secs(30);

/// outrigger's flags. It is registered by URL, because the testbed's API server cannot reach a Pod's Service.
fn flags(port: u16, admin_port: u16) -> Vec<String> {
    vec![
        "serve".to_owned(),
        "--owner-cluster-role=outrigger".to_owned(),
        "--shutdown-delay=0".to_owned(),
        format!("--listen=127.0.0.1:{port}"),
        format!("--admin-listen=127.0.0.1:{admin_port}"),
        format!("--webhook-url=https://127.0.0.1:{port}"),
        // Pods have no running containers here, so SidecarGenerators fetch from this machine.
        "--fetch-allow=127.0.0.0/8,::1".to_owned(),
        format!("--fetch-resolve={DEPENDENCIES_HOST}={DEPENDENCIES_ADDRESS}"),
    ]
}

/// The server in the example of a SidecarGenerator, and its address here.
const DEPENDENCIES_HOST: &str = "httpd.test.svc.cluster.local";
const DEPENDENCIES_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const DEPENDENCIES_PORT: u16 = 8080;

/// Its answer.
const DEPENDENCIES: &str = r#"[{"hosts": ["./*", "istio-system/*", "ns1/*", "ns2/*"]}]"#;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts everything, and stops it when interrupted. Runs in the repository's folder.
async fn run() -> Result<()> {
    let program = env::current_exe()?.with_file_name("outrigger");
    ensure!(program.is_file(), "{} is missing: build outrigger first, as `make cluster` does", program.display());
    let stopped = stop_signal()?;
    tokio::pin!(stopped);
    let plane = tokio::select! {
        plane = ControlPlane::start(Parts::Full) => plane?,
        () = &mut stopped => return Ok(()),
    };
    plane.install_istio_crds().await?;
    plane.kubectl(&["create", "namespace", NAMESPACE], None).await?.ok()?;
    for folder in ["manifests/crds", "manifests/rbac", "manifests/rbac/optional"] {
        plane.kubectl(&["apply", "--server-side", "-f", folder], None).await?.ok()?;
    }
    let crds = ["wait", "--for=condition=Established", "--timeout=60s", "-f", "manifests/crds"];
    plane.kubectl(&crds, None).await?.ok()?;

    serve_dependencies().await;
    let mut command = Command::new(program);
    command.args(flags(free_port()?, free_port()?)).env_remove("POD_NAMESPACE");
    command.env("KUBECONFIG", plane.kubeconfig_of(NAMESPACE, "outrigger").await?);
    let mut outrigger = Process::start(&command, &Log::Inherit)?;
    tokio::select! {
        result = attend(&plane, &mut outrigger) => return result,
        () = &mut stopped => {}
    }
    println!("\nStopping");
    outrigger.stop(GRACE).await?;
    plane.stop().await;
    Ok(())
}

/// Serves the URL of the example. If its address is not available, everything else still works.
async fn serve_dependencies() {
    let listener = match TcpListener::bind((DEPENDENCIES_ADDRESS, DEPENDENCIES_PORT)).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!(
                "warning: {DEPENDENCIES_ADDRESS}:{DEPENDENCIES_PORT} cannot be listened on ({error}): the URL of examples/sidecar-generator is not served"
            );
            return;
        }
    };
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = connection.read(&mut request).await.unwrap_or(0);
                let status =
                    if request[..read].starts_with(b"GET /dependencies ") { "200 OK" } else { "404 Not Found" };
                let body = if status.starts_with("200") { DEPENDENCIES } else { "" };
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                _ = connection.write_all(answer.as_bytes()).await; // a client that has disconnected needs no answer
            });
        }
    });
}

/// Waits until the API server calls the webhooks, prints how to use the cluster, and returns only if outrigger ends.
async fn attend(plane: &ControlPlane, outrigger: &mut Process) -> Result<()> {
    let registered = wait_for("the webhooks to be called", START, async || {
        if let Some(status) = outrigger.exited()? {
            return Ok(Some(Err(status)));
        }
        let probe = ["apply", "--dry-run=server", "--output=yaml", "-f", "examples/test-sidecarset/0-sidecarset.yaml"];
        let set = plane.kubectl(&probe, None).await?.ok()?;
        Ok(set.contains("kruise.io/sidecarset-hash").then_some(Ok(())))
    });
    if let Err(status) = registered.await? {
        bail!("outrigger ended: {status}");
    }
    println!(
        "
A cluster with outrigger in it runs until Ctrl-C. In another shell:

    export KUBECONFIG={}
    alias kubectl={}    # if you have none
    kubectl apply -f examples/test-sidecarset/0-sidecarset.yaml
    kubectl apply -f examples/test-sidecarset/pod.yaml
    kubectl get sidecarsets,pods

Then follow docs/tutorial-guestbook.md, docs/sidecar-generator.md or docs/dev-routing.md: their commands work here as they are.
",
        plane.kubeconfig().display(),
        plane.kubectl_program().display(),
    );
    let status = loop {
        if let Some(status) = outrigger.exited()? {
            break status;
        }
        sleep(Duration::from_millis(200)).await;
    };
    bail!("outrigger ended: {status}")
}

/// Resolves on Ctrl-C or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
