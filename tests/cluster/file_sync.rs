//! `outrigger sync` against a real API server, with the rights of `manifests/rbac/optional/filesync.yaml` and no others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use outrigger_testbed::{Case, Process, TestNamespace, free_port, wait_for};

use crate::outrigger::PATIENCE;

/// An agent beside its folder.
struct Agent {
    process: Process,
    folder: tempfile::TempDir,
    port: u16,
    command: Vec<(String, String)>,
    kubeconfig: PathBuf,
}

fn command(kubeconfig: &Path, folder: &Path, port: u16, variables: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.arg("sync").env_clear().env("KUBECONFIG", kubeconfig).env("FOLDER", folder).env("LABEL", "sync");
    command.env("HEALTH_PORT", port.to_string()).env("HEALTH_HOST", "127.0.0.1").env("LOG_FORMAT", "LOGFMT");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

impl Agent {
    async fn start<W>(case: &Case<W>, kubeconfig: PathBuf, variables: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let process = case.plane.spawn(&command(&kubeconfig, folder.path(), port, &variables))?;
        let agent = Self { process, folder, port, command: variables, kubeconfig };
        agent.ready().await?;
        Ok(agent)
    }

    async fn ready(&self) -> Result<()> {
        wait_for("the agent to be ready", PATIENCE, async || match self.page("/readyz?verbose").await? {
            (200, _) => Ok(Some(())),
            (_, page) => bail!("{page}"),
        })
        .await
    }

    async fn page(&self, path: &str) -> Result<(u16, String)> {
        crate::outrigger::page(self.port, path).await
    }

    /// Kills it, and starts another in its place after `meanwhile`.
    async fn restart<W>(&mut self, case: &Case<W>, meanwhile: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        self.process.signal("KILL")?;
        self.process.ended(PATIENCE).await?;
        meanwhile().await?;
        self.port = free_port()?;
        self.process = case.plane.spawn(&command(&self.kubeconfig, self.folder.path(), self.port, &self.command))?;
        self.ready().await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn has(&self, name: &str, content: Option<&str>) -> Result<()> {
        wait_for(&format!("{name} to be {content:?}"), PATIENCE, async || {
            let found = std::fs::read_to_string(self.path(name)).ok();
            if found.as_deref() == content { Ok(Some(())) } else { bail!("it is {found:?}") }
        })
        .await
    }
}

/// A kubeconfig with the rights that the manifest gives in this namespace.
async fn rights<W>(case: &Case<W>) -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/rbac/optional/filesync.yaml");
    let namespace = case.namespace.name();
    let text = std::fs::read_to_string(manifest)?.replace("namespace: default", &format!("namespace: {namespace}"));
    case.plane.kubectl(&["apply", "-n", namespace, "-f", "-"], Some(&text)).await?.ok()?;
    case.plane.kubeconfig_of(namespace, "outrigger-sync").await
}

fn config_map(name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{sync: yes-please}}}}\ndata: {data}\n")
}

async fn delete(namespace: &TestNamespace, name: &str) -> Result<()> {
    namespace.kubectl(&["delete", "configmap", name], None).await?.ok()?;
    Ok(())
}

/// Files come, change and go with their ConfigMaps, what was deleted while the agent was dead goes too, and a deleted file comes back.
pub async fn files_follow_config_maps_through_kills<W>(case: Case<W>) -> Result<()> {
    let kubeconfig = rights(&case).await?;
    let namespace = &case.namespace;
    namespace.apply(&config_map("a", "{x.txt: one, y.txt: two}")).await?;
    let variables = [("NAMESPACE", namespace.name()), ("OUTRIGGER_RESYNC_SECONDS", "1")];
    let mut agent = Agent::start(&case, kubeconfig, &variables).await?;
    agent.has("x.txt", Some("one")).await?;
    namespace.apply(&config_map("a", "{x.txt: three}")).await?;
    agent.has("x.txt", Some("three")).await?;
    agent.has("y.txt", None).await?;
    namespace.apply(&config_map("b", "{z.txt: four}")).await?;
    agent.has("z.txt", Some("four")).await?;
    agent.restart(&case, async || delete(namespace, "b").await).await?;
    agent.has("z.txt", None).await?;
    std::fs::write(agent.path("x.txt"), "spoiled")?;
    agent.has("x.txt", Some("three")).await?;
    std::fs::remove_file(agent.path("x.txt"))?;
    agent.has("x.txt", Some("three")).await?;
    delete(namespace, "a").await?;
    agent.has("x.txt", None).await?;
    let (status, body) = agent.page("/healthz").await?;
    ensure!((status, body.as_str()) == (200, "OK"), "{status} {body}");
    let ended = agent.process.stop(PATIENCE).await.context("it stops")?;
    ensure!(ended.success(), "{ended}");
    Ok(())
}
