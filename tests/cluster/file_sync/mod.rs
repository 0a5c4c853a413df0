//! `outrigger sync` with a real API server and only the permissions in `manifests/rbac/optional/filesync.yaml`.

mod app;
mod example;
pub mod figures;
mod kills;
mod options;
mod trouble;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use outrigger_testbed::{Case, ControlPlane, Parts, Process, Suite, TestNamespace, free_port, tests, wait_for};
use serde_json::{Value, json};

use crate::outrigger::{Outrigger, PATIENCE};

/// Adds the tests of this folder.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    let suite = tests!(
        suite,
        test:
        kills::files_follow_config_maps_through_kills,
        kills::no_reader_sees_a_torn_file_through_updates_kills_and_churn,
        options::each_option_selects_names_and_places_files,
        app::the_app_is_told_and_what_urls_name_is_there,
        trouble::a_forbidden_namespace_keeps_no_other_waiting,
        trouble::a_full_disk_and_a_read_only_folder_leave_what_is_there,
        example::the_example_adds_the_agent_to_pods_by_their_label,
    );
    tests!(suite, apart(Parts::ApiOnly): trouble::an_agent_is_in_step_after_the_api_server_was_away)
}

/// Adds the tests that measure.
pub fn add_long_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(suite, alone(Parts::ApiOnly): figures::an_agent_of_three_thousand_config_maps_is_small)
}

/// The label of selected objects. Its value is the test's namespace.
const LABEL: &str = "sync";

/// An agent with its folder.
struct Agent {
    process: Process,
    folder: tempfile::TempDir,
    port: u16,
    variables: Vec<(String, String)>,
    kubeconfig: PathBuf,
}

/// Returns an agent's command for this program.
fn command(program: &Path, kubeconfig: &Path, folder: &Path, port: u16) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("KUBECONFIG", kubeconfig).env("FOLDER", folder).env("LABEL", LABEL);
    command.env("HEALTH_PORT", port.to_string()).env("HEALTH_HOST", "127.0.0.1").env("LOG_FORMAT", "LOGFMT");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_outrigger"))
}

impl Agent {
    /// Starts an agent and waits until it is ready.
    async fn start(plane: &ControlPlane, kubeconfig: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let agent = Self::spawn(plane, kubeconfig, variables)?;
        agent.ready().await?;
        Ok(agent)
    }

    /// Starts an agent.
    fn spawn(plane: &ControlPlane, kubeconfig: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let mut command = command(program(), kubeconfig, folder.path(), port);
        command.arg("sync").envs(variables.iter().copied());
        let process = plane.spawn(&command)?;
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Ok(Self { process, folder, port, variables, kubeconfig: kubeconfig.to_owned() })
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

    /// Kills it, and starts another after `meanwhile`.
    async fn restart(&mut self, plane: &ControlPlane, meanwhile: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        self.process.signal("KILL")?;
        self.process.ended(PATIENCE).await?;
        meanwhile().await?;
        self.port = free_port()?;
        let mut command = command(program(), &self.kubeconfig, self.folder.path(), self.port);
        command.arg("sync").envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.process = plane.spawn(&command)?;
        self.ready().await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until a file has this content or does not exist.
    async fn has(&self, name: &str, content: Option<&str>) -> Result<()> {
        wait_for(&format!("{name} to be {content:?}"), PATIENCE, async || {
            let found = std::fs::read_to_string(self.path(name)).ok();
            if found.as_deref() == content { Ok(Some(())) } else { bail!("it is {found:?}") }
        })
        .await
    }

    /// Waits until the folder has exactly these files.
    async fn is(&self, expected: &[&str]) -> Result<()> {
        wait_for(&format!("the files to be {expected:?}"), PATIENCE, async || {
            let found = tree(self.folder.path())?;
            if found == expected { Ok(Some(())) } else { bail!("they are {found:?}") }
        })
        .await
        .with_context(|| format!("{:?}", self.variables))
    }
}

/// Returns all files below, as `path=content`, except for the agent's own.
fn tree(folder: &Path) -> Result<Vec<String>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            let name = path.strip_prefix(folder)?.display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with(".outrigger-sync-") {
                files.push(format!("{name}={}", String::from_utf8_lossy(&std::fs::read(&path)?)));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the manifest of permissions for this namespace.
fn manifest(namespace: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/rbac/optional/filesync.yaml");
    Ok(std::fs::read_to_string(path)?.replace("namespace: default", &format!("namespace: {namespace}")))
}

/// Returns a kubeconfig with the manifest's permissions in this namespace.
async fn rights<W>(case: &Case<W>) -> Result<PathBuf> {
    let namespace = case.namespace.name();
    // Concurrent tests create the same ClusterRole.
    let apply = ["apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-"];
    case.plane.kubectl(&apply, Some(&manifest(namespace)?)).await?.ok()?;
    case.plane.kubeconfig_of(namespace, "outrigger-sync").await
}

/// A ConfigMap that this test's agents follow.
fn config_map(of: &str, name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {LABEL: of}}, "data": data,
    })
}

/// Writes it.
async fn put(namespace: &TestNamespace, object: &Value) -> Result<()> {
    let name = object["metadata"]["name"].as_str().context("a name")?;
    let params = PatchParams::apply("test").force();
    namespace.api::<ConfigMap>().patch(name, &params, &Patch::Apply(object)).await?;
    Ok(())
}

async fn delete(namespace: &TestNamespace, name: &str) -> Result<()> {
    let config_maps: Api<ConfigMap> = namespace.api();
    config_maps.delete(name, &DeleteParams::default()).await?;
    Ok(())
}
