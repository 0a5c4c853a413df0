//! The images of the file agent: users of k8s-gsidecar change only `image:`.

use std::fs;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use outrigger_testbed::{Case, ControlPlane, Image, RunningContainer, free_port, wait_for};
use serde_json::{Value, json};

use super::image;
use crate::outrigger::PATIENCE;

/// The examples in k8s-gsidecar's README: a name, the environment, and a file created from the ConfigMaps below.
const EXAMPLES: [(&str, &str, &str); 4] = [
    (
        "watch",
        "METHOD=watch NAMESPACE=default LABEL=app LABEL_VALUE=myapp RESOURCE=configmap FOLDER=/config \
         REQ_URL=http://localhost:8080/reload REQ_METHOD=POST",
        "/config/app.json",
    ),
    (
        "namespaces",
        "METHOD=watch NAMESPACE=default,production,staging LABEL=config RESOURCE=configmap FOLDER=/app/config",
        "/app/config/staging.json",
    ),
    (
        "notified",
        "METHOD=watch NAMESPACE=default LABEL=app-config RESOURCE=configmap FOLDER=/config \
         REQ_URL=https://api.example.com/webhook REQ_METHOD=POST REQ_PAYLOAD={\"event\":\"config-updated\"} \
         REQ_USERNAME=admin REQ_PASSWORD=secret123",
        "/config/app-config.json",
    ),
    (
        "once",
        "METHOD=sleep NAMESPACE=default LABEL=init-config RESOURCE=configmap FOLDER=/init-config",
        "/init-config/init-config.json",
    ),
];

const CONFIG_MAPS: [(&str, &str, &str); 4] = [
    ("default", "app", "myapp"),
    ("staging", "config", "any"),
    ("default", "app-config", "any"),
    ("default", "init-config", "any"),
];

/// The permissions in k8s-gsidecar's README.
const RIGHTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: k8s-gsidecar, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: k8s-gsidecar}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: k8s-gsidecar}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: k8s-gsidecar}
subjects:
- {kind: ServiceAccount, name: k8s-gsidecar, namespace: default}
"#;

/// A Pod with one agent, whose folder is a volume.
fn agent(name: &str, image: &str, environment: &str) -> Value {
    let pairs = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
    let folder = pairs.clone().find_map(|(name, value)| (name == "FOLDER").then_some(value));
    let variables: Vec<_> = pairs.map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "serviceAccountName": "k8s-gsidecar",
            "containers": [{
                "name": "agent", "image": image, "env": variables,
                "volumeMounts": [{"name": "files", "mountPath": folder}],
                "securityContext": {"runAsNonRoot": true, "readOnlyRootFilesystem": true},
            }],
            "volumes": [{"name": "files", "emptyDir": {}}],
        },
    })
}

async fn apply(plane: &ControlPlane, object: &Value) -> Result<()> {
    plane.kubectl(&["apply", "-f", "-"], Some(&object.to_string())).await?.ok()?;
    Ok(())
}

async fn run(plane: &ControlPlane, pod: &Value, image: &Image) -> Result<RunningContainer> {
    apply(plane, pod).await?;
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    let pod = Api::<Pod>::namespaced(plane.client(), "default").get(name).await?;
    // All Pods share the ports of this machine.
    plane.run_container(&pod, image, &[("HEALTH_PORT", &free_port()?.to_string())]).await
}

async fn has(container: &RunningContainer, path: &str, content: &str) -> Result<()> {
    let outside = container.path(path)?;
    wait_for(&format!("{path} to be {content:?}"), PATIENCE, async || {
        let found = fs::read_to_string(&outside)?;
        ensure!(found.trim_end() == content, "it is {found:?}");
        Ok(Some(()))
    })
    .await
}

pub async fn the_examples_of_gsidecar_run_from_the_image_s_folder<W>(case: Case<W>) -> Result<()> {
    let (plane, folder) = (&*case.plane, tempfile::tempdir()?);
    plane.apply(RIGHTS).await?;
    for namespace in ["production", "staging"] {
        plane.kubectl(&["create", "namespace", namespace], None).await?.ok()?;
    }
    for (namespace, label, value) in CONFIG_MAPS {
        let file = if namespace == "staging" { "staging" } else { label };
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("of-{label}"), "namespace": namespace, "labels": {label: value}},
            "data": {format!("{file}.json"): "{}", format!("{file}.txt"): "left out"},
        });
        apply(plane, &map).await?;
    }
    let gsidecar = image("k8s-gsidecar", folder.path())?;
    let mut running = Vec::new();
    for (name, environment, _) in EXAMPLES {
        running.push(run(plane, &agent(name, "k8s-gsidecar:latest", environment), &gsidecar).await?);
    }
    for ((name, _, file), container) in EXAMPLES.iter().zip(&running) {
        has(container, file, "{}").await.with_context(|| (*name).to_owned())?;
        ensure!(!container.path(&file.replace(".json", ".txt"))?.exists(), "{name}: only .json is written");
    }
    let mut once = running.pop().context("no example")?;
    ensure!(once.process.ended(PATIENCE).await?.success(), "a single run fails");

    // The image `sync`: another user, and a shell for the option SCRIPT.
    let script = "#!/bin/sh\necho \"$OUTRIGGER_CHANGED_FILES\" > /files/changed\n";
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "script", "namespace": "default"},
        "data": {"run.sh": script},
    });
    apply(plane, &map).await?;
    let environment = "LABEL=app-config FOLDER=/files/synced SCRIPT=/script/run.sh";
    let mut pod = agent("sync", "outrigger-sync:latest", environment);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "files", "mountPath": "/files"}, {"name": "script", "mountPath": "/script"}]);
    pod["spec"]["volumes"] = json!([{"name": "files", "emptyDir": {}}, {"name": "script", "configMap": {"name": "script", "defaultMode": 0o755}}]);
    let sync = run(plane, &pod, &image("sync", folder.path())?).await?;
    has(&sync, "/files/synced/app-config.txt", "left out").await?;
    let changed = sync.path("/files/changed")?;
    wait_for("the script to have run", PATIENCE, async || {
        let changed = fs::read_to_string(&changed)?;
        ensure!(changed.contains("app-config.json"), "{changed:?}");
        Ok(Some(()))
    })
    .await?;
    sync.process.stop(PATIENCE).await?;
    for container in running {
        container.process.stop(PATIENCE).await?;
    }
    Ok(())
}
