//! Trouble around an agent: missing permissions, a full disk, an unreachable API server.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use outrigger_testbed::{Case, ControlPlane, Process, free_port, wait_for};
use serde_json::json;

use super::{Agent, command, config_map, delete, manifest, program, put, rights};
use crate::outrigger::{PATIENCE, page};

/// A forbidden namespace does not affect the files of others, and is reported. Once it is permitted, it is followed
/// too.
pub async fn a_forbidden_namespace_keeps_no_other_waiting<W>(case: Case<W>) -> Result<()> {
    let (plane, own) = (&*case.plane, &case.namespace);
    let other = plane.namespace("file_sync_forbidden").await?;
    let kubeconfig = rights(&case).await?;
    let of = |text: &str| config_map(own.name(), "a", &json!({"x": text}));
    put(own, &of("1")).await?;
    put(&other, &config_map(own.name(), "b", &json!({"y": "1"}))).await?;
    let namespaces = format!("{},{}", other.name(), own.name());
    let variables = [("NAMESPACE", namespaces.as_str()), ("LABEL_VALUE", own.name()), ("ERROR_THROTTLE_SLEEP", "1")];
    let agent = Agent::spawn(plane, &kubeconfig, &variables)?;
    agent.is(&["x=1"]).await?;
    put(own, &of("2")).await?;
    agent.is(&["x=2"]).await?;
    ensure!(agent.page("/healthz").await? == (200, "OK".to_owned()));
    let (status, report) = agent.page("/readyz?verbose").await?;
    ensure!(status == 503 && report.contains(&format!("namespace {}: not listed yet", other.name())), "{report}");
    let subject = |namespace: &str| format!("- kind: ServiceAccount\n  name: outrigger-sync\n  namespace: {namespace}");
    other.apply(&manifest(other.name())?.replace(&subject(other.name()), &subject(own.name()))).await?;
    agent.ready().await?;
    agent.is(&["x=2", "y=1"]).await?;
    other.delete().await
}

/// An agent whose folder is its own file system.
struct Confined {
    _process: Process,
    /// Its process, through which its mounts are visible.
    pid: u32,
    port: u16,
    folder: PathBuf,
}

impl Confined {
    fn start(
        plane: &ControlPlane,
        kubeconfig: &Path,
        folder: &Path,
        variables: &[(&str, &str)],
    ) -> Result<(Process, u16)> {
        let port = free_port()?;
        let mut inner = command(Path::new("unshare"), kubeconfig, folder, port);
        inner.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        inner.arg("mount -t tmpfs -o size=64k tmpfs \"$FOLDER\" && exec \"$0\" sync").arg(program());
        inner.envs(variables.iter().copied());
        Ok((plane.spawn(&inner)?, port))
    }

    async fn of((process, port): (Process, u16), folder: &Path) -> Result<Self> {
        wait_for("the agent to be alive", PATIENCE, async || match page(port, "/healthz").await? {
            (200, _) => Ok(Some(())),
            (_, text) => bail!("{text}"),
        })
        .await?;
        let port_of_it = format!("HEALTH_PORT={port}");
        let is_it = |process: &Path| {
            let text = std::fs::read(process.join("environ")).unwrap_or_default();
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            name.trim() == "outrigger"
                && text.split(|byte| *byte == 0).any(|variable| variable == port_of_it.as_bytes())
        };
        let mut processes = std::fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path()));
        let found = processes.find(|process| is_it(process)).context("no process of the agent")?;
        let pid = found.file_name().and_then(|name| name.to_str()).context("no number")?.parse()?;
        Ok(Self { _process: process, pid, port, folder: folder.to_owned() })
    }

    fn mount(&self, option: &str) -> Result<()> {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.pid.to_string(), "--user", "--mount", "mount", "-o", option]).arg(&self.folder);
        let output = nsenter.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn has(&self, first: char, length: usize) -> Result<()> {
        let path = format!("/proc/{}/root{}/x", self.pid, self.folder.display());
        wait_for(&format!("{length} times {first}"), PATIENCE, async || {
            let found = std::fs::read_to_string(&path)?;
            if found == first.to_string().repeat(length) { Ok(Some(())) } else { bail!("it has {} bytes", found.len()) }
        })
        .await
    }

    async fn says(&self, health: &str) -> Result<()> {
        wait_for(&format!("/healthz to say {health}"), PATIENCE, async || match page(self.port, "/healthz").await? {
            (_, text) if text == health => Ok(Some(())),
            (_, text) => bail!("{text}"),
        })
        .await
    }
}

/// A full disk and a read-only one leave the old content complete, and probes report it. The agent recovers by itself
/// when there is space.
pub async fn a_full_disk_and_a_read_only_folder_leave_what_is_there<W>(case: Case<W>) -> Result<()> {
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine lets nobody mount a file system of his own (unshare --user --mount)");
        return Ok(());
    }
    let (namespace, kubeconfig, folder) = (&case.namespace, rights(&case).await?, tempfile::tempdir()?);
    let of = |letter: &str, length: usize| config_map(namespace.name(), "a", &json!({"x": letter.repeat(length)}));
    put(namespace, &of("a", 20_000)).await?;
    let variables =
        [("NAMESPACE", namespace.name()), ("LABEL_VALUE", namespace.name()), ("OUTRIGGER_RESYNC_SECONDS", "1")];
    let started = Confined::start(&case.plane, &kubeconfig, folder.path(), &variables)?;
    let agent = Confined::of(started, folder.path()).await?;
    agent.has('a', 20_000).await?;
    put(namespace, &of("b", 100_000)).await?;
    agent.says("NOT LIVE (folder cannot be written)").await?;
    agent.has('a', 20_000).await?;
    put(namespace, &of("c", 10_000)).await?;
    agent.has('c', 10_000).await?;
    agent.says("OK").await?;
    agent.mount("remount,ro,size=64k")?;
    agent.says("NOT LIVE (folder cannot be written)").await?;
    put(namespace, &of("d", 10_000)).await?;
    agent.has('c', 10_000).await?;
    agent.mount("remount,rw,size=64k")?;
    agent.has('d', 10_000).await?;
    agent.says("OK").await
}

/// Changes and deletions just before and after an outage of the API server are not missed, neither by watch nor by
/// lists.
pub async fn an_agent_is_in_step_after_the_api_server_was_away(case: Case<()>) -> Result<()> {
    let (plane, namespace) = (&*case.plane, &case.namespace);
    let of = |name: &str, text: &str| config_map(namespace.name(), name, &json!({name: text}));
    put(namespace, &of("x", "1")).await?;
    put(namespace, &of("y", "1")).await?;
    let selection = [("NAMESPACE", namespace.name()), ("LABEL_VALUE", namespace.name())];
    let slept =
        [&selection[..], &[("METHOD", "SLEEP"), ("SLEEP_TIME", "1"), ("K8S_CONTACT_THRESHOLD_SECONDS", "60")]].concat();
    let agents = [
        Agent::start(plane, plane.kubeconfig(), &selection).await?,
        Agent::start(plane, plane.kubeconfig(), &slept).await?,
    ];
    plane.stop_api_server().await;
    for agent in &agents {
        let told = async || Ok(agent.page("/readyz?verbose").await?.1.contains("as of ").then_some(()));
        wait_for("the outage to be told", PATIENCE, told).await?;
        agent.is(&["x=1", "y=1"]).await?;
        ensure!(agent.page("/healthz").await? == (200, "OK".to_owned()), "a short outage is no reason to start again");
    }
    plane.start_api_server().await?;
    put(namespace, &of("x", "2")).await?;
    delete(namespace, "y").await?;
    for agent in &agents {
        agent.is(&["x=2"]).await?;
    }
    Ok(())
}
