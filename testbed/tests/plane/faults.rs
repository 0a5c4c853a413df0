//! Faults of components.

use std::{
    env,
    path::Path,
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use outrigger_testbed::{Case, ControlPlane, Parts, wait_for};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::SOON;

/// Set for a run of this program that only starts a control plane and waits to be killed.
pub const VICTIM: &str = "TESTBED_VICTIM";

/// Starts a control plane, prints its kubeconfig's path and hangs.
pub fn victim() -> ExitCode {
    let Ok(runtime) = tokio::runtime::Runtime::new() else { return ExitCode::FAILURE };
    match runtime.block_on(ControlPlane::start(Parts::ApiOnly)) {
        Ok(plane) => {
            println!("{}", plane.kubeconfig().display());
            runtime.block_on(std::future::pending())
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

pub async fn nothing_outlives_a_killed_parent(_case: Case<()>) -> Result<()> {
    let mut parent =
        Command::new(env::current_exe()?).env(VICTIM, "1").stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = parent.stdout.take().context("the output is a pipe")?;
    let kubeconfig = BufReader::new(output).lines().next_line().await?.context("no control plane was started")?;
    let folder = Path::new(&kubeconfig).parent().context("the kubeconfig lies in the folder")?;
    ensure!(processes_that_name(folder).await?.len() >= 3, "etcd, kube-apiserver and the folder's sweeper run");

    parent.kill().await?;
    wait_for("everything to end", SOON, async || {
        let left = processes_that_name(folder).await?;
        if left.is_empty() { Ok(Some(())) } else { bail!("{left:?}") }
    })
    .await?;
    ensure!(!folder.exists(), "{} is left", folder.display());
    Ok(())
}

/// Returns the command lines of all processes that contain the folder's path.
async fn processes_that_name(folder: &Path) -> Result<Vec<String>> {
    let list = Command::new("ps").args(["-A", "-o", "args"]).output().await.context("ps cannot be run")?;
    let folder = folder.to_string_lossy();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    Ok(list.lines().filter(|line| line.contains(&*folder)).map(str::to_owned).collect())
}

pub async fn the_api_server_comes_back_with_its_data(case: Case<()>) -> Result<()> {
    let objects = case.namespace.api::<ConfigMap>();
    case.namespace.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: stored}, data: {key: value}}").await?;
    let before = objects.get("stored").await?;

    case.plane.stop_api_server().await;
    let refused = tokio::time::timeout(Duration::from_secs(5), objects.get("stored")).await;
    ensure!(!matches!(refused, Ok(Ok(_))), "the API server still answers");

    case.plane.start_api_server().await?;
    ensure!(objects.get("stored").await? == before);

    case.plane.signal("kube-apiserver", "STOP").await?;
    wait_for("the API server to hang", SOON, async || {
        Ok(tokio::time::timeout(Duration::from_secs(1), objects.get("stored")).await.is_err().then_some(()))
    })
    .await?;
    case.plane.signal("kube-apiserver", "CONT").await?;
    wait_for("the API server to go on", SOON, async || Ok(Some(objects.get("stored").await?))).await?;
    Ok(())
}
