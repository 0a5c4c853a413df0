//! The documents' steps, typed as shown.

use anyhow::{Result, ensure};
use outrigger_testbed::{Case, wait_for};
use serde_json::Value;

use crate::outrigger::{Outrigger, PATIENCE, sets};

/// From the seed's document.
const SIDECARSET: &str = r#"
# sidecarset.yaml
apiVersion: apps.kruise.io/v1alpha1
kind: SidecarSet
metadata:
  name: test-sidecarset
spec:
  selector:
    matchLabels:
      app: nginx
  containers:
  - name: sidecar1
    image: centos:7
    command: ["sleep", "999d"] # do nothing at all
"#;

/// From the seed's document.
const POD: &str = r"
apiVersion: v1
kind: Pod
metadata:
  labels:
    app: nginx # matches the SidecarSet's selector
  name: test-pod
spec:
  containers:
  - name: app
    image: nginx:1.15.1
";

/// The document's own steps and output.
pub async fn the_walk_of_the_document_works(case: Case<Outrigger>) -> Result<()> {
    case.namespace.apply(SIDECARSET).await?;
    case.namespace.apply(POD).await?;
    let columns = "-o=custom-columns=NAME:.metadata.name";
    let line = wait_for("the Pod to run", PATIENCE, async || {
        let printed = case.namespace.kubectl(&["get", "pod"], None).await?.ok()?;
        let line = printed.lines().find(|line| line.starts_with("test-pod ")).unwrap_or_default().to_owned();
        ensure!(line.contains("Running"), "{printed}");
        Ok(Some(line))
    })
    .await?;
    let words: Vec<&str> = line.split_whitespace().take(4).collect();
    assert_eq!(words, ["test-pod", "2/2", "Running", "0"]);
    assert_eq!(case.namespace.kubectl(&["get", "pod", columns, "--no-headers"], None).await?.ok()?.trim(), "test-pod");

    let status = wait_for("the status of the document", PATIENCE, async || {
        let arguments = ["get", "sidecarset", "test-sidecarset", "-o", "json"];
        let set: Value = serde_json::from_str(&case.plane.kubectl(&arguments, None).await?.ok()?)?;
        let status = set["status"].clone();
        ensure!(status["readyPods"] == 1, "{status}");
        Ok(Some(status))
    })
    .await?;
    for (field, value) in [("matchedPods", 1), ("observedGeneration", 1), ("readyPods", 1), ("updatedPods", 1)] {
        assert_eq!(status[field], value, "{field} of {status}");
    }
    let table = case.plane.kubectl(&["get", "sidecarset", "test-sidecarset"], None).await?.ok()?;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
    assert_eq!(words, [["NAME", "MATCHED", "UPDATED", "READY"], ["test-sidecarset", "1", "1", "1"]]);

    case.plane.kubectl(&["delete", "sidecarset", "test-sidecarset"], None).await?.ok()?;
    Ok(())
}

/// `kubectl diff` after `kubectl apply` finds nothing in either version.
pub async fn nothing_differs_after_it_was_applied(case: Case<Outrigger>) -> Result<()> {
    for (version, name) in [("v1alpha1", "diff-alpha"), ("v1beta1", "diff-beta")] {
        let more = "\n    ports: [{containerPort: 8080}]\n    resources: {requests: {cpu: 0.1, memory: 1024Mi}}\n    env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n    livenessProbe: {httpGet: {port: 8080}}\n    restartPolicy: Never\n    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}] # newer than our types\n  volumes: [{name: v, configMap: {name: c}}, {name: e, emptyDir: {}}]\n  updateStrategy: {partition: 10%}\n";
        let set = SIDECARSET
            .replace("v1alpha1", version)
            .replace("test-sidecarset", name)
            .replace("app: nginx", &format!("app: {name}"))
            .replace(" # do nothing at all\n", more);
        case.plane.apply(&set).await?;
        let diff = case.plane.kubectl(&["diff", "-f", "-"], Some(&set)).await?;
        assert!(diff.status.success() && diff.stdout.is_empty(), "{version}: {}{}", diff.stdout, diff.stderr);
        let stored = case.plane.kubectl(&["get", "sidecarsets", name, "-o", "json"], None).await?.ok()?;
        assert!(stored.contains("restartPolicyRules"), "an unknown field was lost: {stored}");
        sets(&case.plane).delete(name, &kube::api::DeleteParams::default()).await?;
    }
    Ok(())
}

/// A set is the same in both versions, and fields of only one version are kept in the other.
pub async fn a_set_can_be_written_and_read_in_both_versions(case: Case<Outrigger>) -> Result<()> {
    let set = SIDECARSET
        .replace("test-sidecarset", "both-versions")
        .replace("app: nginx\n", "app: both-versions\n  namespace: shop\n");
    case.plane.apply(&set).await?;
    let read = async |version: &str| -> Result<Value> {
        let kind = format!("sidecarsets.{version}.apps.kruise.io");
        let text = case.plane.kubectl(&["get", &kind, "both-versions", "-o", "json"], None).await?.ok()?;
        Ok(serde_json::from_str(&text)?)
    };
    let (alpha, beta) = (read("v1alpha1").await?, read("v1beta1").await?);
    assert_eq!(alpha["spec"]["namespace"], "shop");
    assert_eq!(beta["spec"]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "shop");
    let hash = "kruise.io/sidecarset-hash";
    assert!(alpha["metadata"]["annotations"][hash].is_string(), "{alpha}");
    assert_eq!(alpha["metadata"]["annotations"][hash], beta["metadata"]["annotations"][hash]);
    sets(&case.plane).delete("both-versions", &kube::api::DeleteParams::default()).await?;
    Ok(())
}
