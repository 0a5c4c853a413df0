//! The state of a control plane to print when a test fails.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, anyhow};
use tokio::time::timeout;

use crate::Kubectl;

/// The number of last lines printed from each log.
const LINES: usize = 25;

/// Keeps an unreachable API server from delaying the report.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Related cluster-scoped objects. Kinds that are not installed are skipped.
const OF_CLUSTER: &[&str] =
    &["mutatingwebhookconfigurations", "validatingwebhookconfigurations", "sidecarsets.apps.kruise.io"];

/// Returns the objects of the namespace and related cluster-scoped objects, as kubectl prints them.
pub(crate) async fn objects(kubectl: &Kubectl, namespace: &str) -> String {
    let asked = timeout(TIMEOUT, ask_for_objects(kubectl, namespace)).await;
    let asked = asked.unwrap_or_else(|_| Err(anyhow!("the API server did not answer within {TIMEOUT:?}")));
    asked.unwrap_or_else(|error| format!("---- no objects can be shown: {error:#}\n"))
}

async fn ask_for_objects(kubectl: &Kubectl, namespace: &str) -> Result<String> {
    let get = async |arguments: &[&str]| kubectl.run(arguments, None).await?.ok();

    let kinds = get(&["api-resources", "--verbs=list", "--namespaced", "--output=name"]).await?;
    // Events are listed separately, and the newer events.events.k8s.io are the same objects.
    let kinds: Vec<_> = kinds.lines().filter(|kind| *kind != "secrets" && !kind.starts_with("events")).collect();
    let kinds = kinds.join(",");
    let common = ["get", &kinds, "--ignore-not-found", "--namespace", namespace];

    let mut text = format!("---- objects of namespace {namespace}\n");
    text += &get(&[&common[..], &["--output=wide"]].concat()).await?;
    text += &get(&[&common[..], &["--output=yaml"]].concat()).await?;
    text += "---- events\n";
    text += &get(&["events", "--namespace", namespace]).await?;
    for kind in OF_CLUSTER {
        if let Ok(found) = get(&["get", kind, "--output=yaml"]).await {
            let _ = write!(text, "---- {kind}\n{found}");
        }
    }
    Ok(text)
}

/// Returns the last lines of all logs in the folder.
pub(crate) fn logs(folder: &Path) -> String {
    let mut logs: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    let mut text = String::new();
    for path in logs {
        let bytes = fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
        let _ = writeln!(text, "---- {}\n{end}", path.display());
    }
    text
}
