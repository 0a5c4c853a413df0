//! Settings that would fail late or silently are rejected by `helm install` before anything is written, with a solution. Everything
//! else that the chart renders is valid.

use std::fs;

use anyhow::{Result, ensure};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::json;

use super::{chart, helm, root};
use crate::outrigger::PATIENCE;

const AT: &str = "--namespace=outrigger-system --create-namespace";

/// `helm install` fails with these words and leaves nothing behind.
async fn refused(plane: &ControlPlane, values: &str, words: &[&str]) -> Result<()> {
    let line = format!("install refused {} {AT} {values}", chart());
    let output = plane.helm(&line.split_whitespace().collect::<Vec<_>>()).await?;
    ensure!(!output.status.success(), "installed: {line}");
    for word in words {
        ensure!(output.stderr.contains(word), "{word:?} is not in: {}", output.stderr);
    }
    let there =
        plane.kubectl(&["get", "deployments,services", "-n", "outrigger-system", "-o", "name"], None).await?.ok()?;
    ensure!(there.is_empty(), "written all the same: {there}");
    Ok(())
}

async fn apply(plane: &ControlPlane, object: &serde_json::Value) -> Result<()> {
    plane.kubectl(&["apply", "--server-side", "-f", "-"], Some(&object.to_string())).await?.ok()?;
    Ok(())
}

/// OpenKruise's CRD with its conversion webhook.
fn crd_of_openkruise(versions: &[&str]) -> serde_json::Value {
    let versions: Vec<_> = versions
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
            json!({"name": name, "served": true, "storage": number == 0, "schema": schema})
        })
        .collect();
    let service = json!({"name": "kruise-webhook-service", "namespace": "kruise-system", "path": "/convert"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sidecarsets.apps.kruise.io"},
        "spec": {
            "group": "apps.kruise.io", "scope": "Cluster", "versions": versions,
            "names": {"kind": "SidecarSet", "plural": "sidecarsets", "singular": "sidecarset", "listKind": "SidecarSetList"},
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": {"service": service}, "conversionReviewVersions": ["v1"],
            }},
        },
    })
}

pub async fn what_cannot_work_is_refused_and_all_else_is_valid(case: Case<()>) -> Result<()> {
    let plane = &*case.plane;
    refused(plane, "--set=certificates.mode=cert-manager", &["cert-manager is not installed", "self-managed"]).await?;
    refused(
        plane,
        "--set=metrics.podMonitor.enabled=true",
        &["Prometheus operator", "podmonitors.monitoring.coreos.com"],
    )
    .await?;
    refused(plane, "--set=crds.enabled=false", &["sidecarsets.apps.kruise.io does not exist", "manifests/crds"])
        .await?;

    // OpenKruise.
    let webhook = |path: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "kruise-mutating-webhook-configuration"},
            "webhooks": [{
                "name": "mpod.kb.io", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
                "clientConfig": {"service": {"name": "kruise-webhook-service", "namespace": "kruise-system", "path": path}},
            }],
        })
    };
    apply(plane, &webhook("/mutate-pod")).await?;
    refused(plane, "", &["OpenKruise handles Pods", "mpod.kb.io", "docs/operations.md"]).await?;
    apply(plane, &webhook("/mutate-apps-kruise-io-v1alpha1-cloneset")).await?;
    apply(plane, &crd_of_openkruise(&["v1alpha1"])).await?;
    refused(plane, "--set=takeOver=true", &["is OpenKruise's", "kubectl patch crd", "--take-ownership"]).await?;
    let conversion = json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}}).to_string();
    let patch = ["patch", "crd", "sidecarsets.apps.kruise.io", "--type=merge", "-p", &conversion];
    plane.kubectl(&patch, None).await?.ok()?;
    refused(plane, "", &["does not belong to this release", "--take-ownership --force-conflicts --set takeOver=true"])
        .await?;
    refused(plane, "--set=crds.enabled=false", &["too old", "v1beta1", "--force-conflicts"]).await?;

    // Taken over. A second release is then rejected in any namespace.
    let take_over = "--take-ownership --force-conflicts --set=takeOver=true,revisionNamespace=kruise-system";
    plane.kubectl(&["create", "namespace", "kruise-system"], None).await?.ok()?;
    helm(plane, &format!("install first {} {AT} {take_over}", chart())).await?;
    let second = format!("install second {} --namespace=elsewhere --create-namespace", chart());
    let output = plane.helm(&second.split(' ').collect::<Vec<_>>()).await?;
    for word in ["as release first in namespace outrigger-system", "helm upgrade first"] {
        ensure!(!output.status.success() && output.stderr.contains(word), "{}", output.stderr);
    }
    each_file_with_values_is_valid(plane).await
}

/// The API server would store what the chart renders with each values file, and no Pod violates Pod Security "restricted", except on
/// its Node's network.
async fn each_file_with_values_is_valid(plane: &ControlPlane) -> Result<()> {
    for (group, version, kinds) in [
        ("monitoring.coreos.com", "v1", &["PodMonitor", "ServiceMonitor", "PrometheusRule"][..]),
        ("cert-manager.io", "v1", &["Issuer", "Certificate"]),
    ] {
        for kind in kinds {
            apply(plane, &crd_of_others(group, version, kind)).await?;
        }
    }
    let label = ["label", "namespace", "outrigger-system", "pod-security.kubernetes.io/warn=restricted"];
    plane.kubectl(&label, None).await?.ok()?;
    for file in fs::read_dir(root().join("manifests/chart/ci"))? {
        let file = file?.path().display().to_string();
        let line = format!("template first {} --no-hooks --namespace=outrigger-system --values={file}", chart());
        let rendered = helm(plane, &line).await?;
        // With helm's name, so that objects missing in the next file are removed.
        let dry_run =
            ["apply", "--server-side", "--field-manager=helm", "--force-conflicts", "--dry-run=server", "-f", "-"];
        wait_for(&format!("what {file} renders to be accepted"), PATIENCE, async || {
            let output = plane.kubectl(&dry_run, Some(&rendered)).await?;
            let breaks = output.stderr.contains("PodSecurity");
            ensure!(breaks == file.contains("host-network"), "{}", output.stderr);
            Ok(Some(output.ok()?))
        })
        .await?;
    }
    Ok(())
}

/// A foreign kind that accepts any object.
fn crd_of_others(group: &str, version: &str, kind: &str) -> serde_json::Value {
    let plural = format!("{}s", kind.to_lowercase());
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "versions": [{"name": version, "served": true, "storage": true, "schema": schema}],
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
        },
    })
}
