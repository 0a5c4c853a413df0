//! The recipe for kind and minikube: outrigger on a machine that the API server reaches at an address of its network.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use outrigger_testbed::{Case, ControlPlane, free_port, wait_for};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use crate::outrigger::{PATIENCE, registered};
use crate::seen;

/// `make run`. It ends with its test, including all processes that it started.
struct MakeRun(Child);

impl MakeRun {
    /// Sends a signal to all its processes, like Ctrl-C in a terminal.
    fn signal(&self, signal: Signal) -> Result<()> {
        let group = Pid::from_raw(self.0.id().try_into()?).context("a process")?;
        Ok(kill_process_group(group, signal)?)
    }
}

impl Drop for MakeRun {
    fn drop(&mut self) {
        _ = self.signal(Signal::KILL);
        _ = self.0.wait();
    }
}

/// Returns a command as typed in the repository, with the build and the cluster of the test.
fn make(plane: &ControlPlane, args: &[&str]) -> Result<Command> {
    let built = Path::new(env!("CARGO_BIN_EXE_outrigger")).parent().context("a folder")?;
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "CARGO=true"]).arg(format!("BUILT={}", built.display()));
    make.arg(format!("KUBECTL={}", plane.kubectl_program().display())).args(args);
    make.current_dir(env!("CARGO_MANIFEST_DIR")).env("KUBECONFIG", plane.kubeconfig()).env_remove("POD_NAMESPACE");
    make.env("NO_COLOR", "1").stdin(Stdio::null());
    Ok(make)
}

/// Returns this machine's address in its network. Without a network, it is the loopback address.
fn address() -> IpAddr {
    let route = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?; // sends nothing
        socket.local_addr()
    };
    route().map_or(Ipv4Addr::LOCALHOST.into(), |local| local.ip())
}

/// `make install`, `make run WEBHOOK_URL=…`, Ctrl-C and `make unregister` do what docs/operations.md describes.
pub async fn outrigger_on_the_machine_injects_until_it_is_unregistered(case: Case<()>) -> Result<()> {
    let plane = &*case.plane;
    let installed = make(plane, &["install"])?.output()?;
    ensure!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));

    let (port, admin) = (free_port()?, free_port()?);
    let url = format!("WEBHOOK_URL=https://{}:{port}", address());
    let args = format!("ARGS=--listen=[::]:{port} --admin-listen=127.0.0.1:{admin} --shutdown-delay=0");
    let mut run = make(plane, &["run", &url, &args])?;
    let printed = tempfile::NamedTempFile::new()?;
    run.process_group(0).stdout(File::create(printed.path())?).stderr(Stdio::null());
    let mut run = MakeRun(run.spawn()?);
    registered(plane).await?;

    let set = seen::set("hello", "side:1", &json!({}));
    seen::apply(plane, &set).await?;
    let pod = ["run", "hello", "--namespace", case.namespace.name(), "--labels=app=hello", "--image=app:1"];
    let pod = [&pod[..], &["--dry-run=server", "-o", "jsonpath={.spec.containers[*].image}"]].concat();
    let images = async || plane.kubectl(&pod, None).await?.ok();
    wait_for("the Pod to be injected", PATIENCE, async || {
        let images = images().await?;
        ensure!(images.contains("side:1"), "{images}");
        Ok(Some(()))
    })
    .await?;

    run.signal(Signal::INT)?;
    // make itself ends by the signal, after outrigger.
    wait_for("make run to end", PATIENCE, async || Ok(run.0.try_wait()?)).await?;
    let printed = std::fs::read_to_string(printed.path())?;
    ensure!(printed.contains("make unregister"), "{printed}");
    ensure!(images().await.is_err(), "a Pod was created without outrigger");

    let unregistered = make(plane, &["unregister"])?.output()?;
    ensure!(unregistered.status.success(), "{}", String::from_utf8_lossy(&unregistered.stderr));
    wait_for("Pods to be created without outrigger", PATIENCE, async || {
        let images = images().await?;
        ensure!(images == "app:1", "{images}");
        Ok(Some(()))
    })
    .await
}
