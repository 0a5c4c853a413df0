//! The example combines the two halves of the product.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use outrigger_testbed::{Case, free_port, wait_for};
use serde_json::Value;

use super::{program, rights, tree};
use crate::outrigger::{Outrigger, PATIENCE};

fn example(file: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/file-sync");
    std::fs::read_to_string(folder.join(file)).with_context(|| file.to_owned())
}

/// A Pod with the label gets the agent unchanged, and its settings create the files of the example.
pub async fn the_example_adds_the_agent_to_pods_by_their_label(case: Case<Outrigger>) -> Result<()> {
    let kubeconfig = rights(&case).await?;
    case.namespace.apply(&example("0-sidecarset.yaml")?).await?;
    case.namespace.apply(&example("configmap.yaml")?).await?;
    let pod = example("pod.yaml")?;
    let injected = wait_for("the Pod to be injected", PATIENCE, async || {
        let created =
            case.namespace.kubectl(&["create", "--dry-run=server", "-o", "json", "-f", "-"], Some(&pod)).await?;
        let created: Value = serde_json::from_str(&created.ok()?)?;
        Ok(created.pointer("/spec/initContainers/0").cloned())
    })
    .await?;
    let (folder, port) = (tempfile::tempdir()?, free_port()?);
    let mut command = Command::new(program());
    let texts = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    command.args(texts(&injected["args"])).env_clear();
    for variable in injected["env"].as_array().context("its variables")? {
        let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) else { continue };
        command.env(name, value);
    }
    // Provided by the Pod in a cluster.
    command.env("KUBECONFIG", kubeconfig).env("NAMESPACE", case.namespace.name()).env("FOLDER", folder.path());
    command.env("HEALTH_HOST", "127.0.0.1").env("HEALTH_PORT", port.to_string());
    let _agent = case.plane.spawn(&command)?;
    let probe = injected.pointer("/startupProbe/httpGet/path").and_then(Value::as_str).context("a probe")?;
    wait_for("the probe to be well", PATIENCE, async || {
        Ok((crate::outrigger::page(port, probe).await?.0 == 200).then_some(()))
    })
    .await?;
    let files = tree(folder.path())?;
    anyhow::ensure!(files == ["team.json={\"title\": \"Team\", \"panels\": []}\n"], "{files:?}");
    case.plane.kubectl(&["delete", "sidecarset", "file-sync"], None).await?.ok()?;
    Ok(())
}
