//! What is shown of a control plane when a test failed.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use crate::Kubectl;

/// Lines shown of the end of each log.
const LINES: usize = 25;

/// So that an API server that is away does not hold up the report.
const REQUEST_TIMEOUT: &str = "--request-timeout=10s";

/// Objects of the cluster that have to do with us; those that are not installed are passed over.
const OF_CLUSTER: &[&str] =
    &["mutatingwebhookconfigurations", "validatingwebhookconfigurations", "sidecarsets.apps.kruise.io"];

/// The objects of the namespace and those of the cluster that have to do with us, as kubectl shows them.
pub(crate) async fn objects(kubectl: &Kubectl, namespace: &str) -> String {
    let kinds = ask(kubectl, &["api-resources", "--verbs=list", "--namespaced", "--output=name"]).await;
    // The newer events.events.k8s.io are the same objects.
    let skipped = ["", "secrets", "events", "events.events.k8s.io"];
    let kinds: Vec<_> = kinds.lines().filter(|kind| !skipped.contains(kind)).collect();
    let kinds = kinds.join(",");
    let namespaced = ["--namespace", namespace, "--ignore-not-found"];

    let mut text = format!("---- objects of namespace {namespace}\n");
    text += &ask(kubectl, &[&["get", &kinds, "--output=wide"], &namespaced[..]].concat()).await;
    text += &ask(kubectl, &[&["get", &kinds, "--output=yaml"], &namespaced[..]].concat()).await;
    text += "---- events\n";
    text += &ask(kubectl, &["events", "--namespace", namespace]).await;
    for kind in OF_CLUSTER {
        let found = kubectl.run(&["get", kind, "--output=yaml", "--ignore-not-found", REQUEST_TIMEOUT], None).await;
        if let Ok(Ok(found)) = found.map(crate::Output::ok) {
            let _ = write!(text, "---- {kind}\n{found}");
        }
    }
    text
}

/// The last lines of all logs in the folder.
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

/// What kubectl says, be it an answer or an error.
async fn ask(kubectl: &Kubectl, arguments: &[&str]) -> String {
    match kubectl.run(&[arguments, &[REQUEST_TIMEOUT]].concat(), None).await.map(crate::Output::ok) {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) | Err(error) => format!("kubectl {}: {error}\n", arguments.join(" ")),
    }
}
