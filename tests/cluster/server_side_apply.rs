//! A set applied by server-side apply in both versions, as Flux and Argo CD do when a repository moves to another
//! version.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::{Value, json};

use crate::outrigger::{Outrigger, PATIENCE, Start, install, sets};

const VERSIONS: [&str; 2] = ["v1alpha1", "v1beta1"];

/// A set that is restricted to a Namespace, in either version.
fn restricted(version: &str, name: &str, namespace: &str) -> Value {
    let mut set = labelled(version, name, &json!({}));
    match version {
        "v1alpha1" => set["spec"]["namespace"] = namespace.into(),
        _ => set["spec"]["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}}),
    }
    set
}

fn labelled(version: &str, name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": format!("apps.kruise.io/{version}"), "kind": "SidecarSet",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"matchLabels": {"app": name}}, "containers": [{"name": "sidecar", "image": "side:1"}]},
    })
}

async fn apply(case: &Case<Outrigger>, manager: &str, set: &Value) -> Result<()> {
    let manager = format!("--field-manager={manager}");
    // Like those tools. Defaults have changed the applied containers.
    case.plane
        .kubectl(&["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"], Some(&set.to_string()))
        .await?
        .ok()?;
    Ok(())
}

async fn read(case: &Case<Outrigger>, version: &str, name: &str) -> Result<Value> {
    let kind = format!("sidecarsets.{version}.apps.kruise.io");
    let text = case.plane.kubectl(&["get", &kind, name, "-o", "json"], None).await?.ok()?;
    Ok(serde_json::from_str(&text)?)
}

async fn is_injected(pods: &Api<Pod>, app: &str) -> Result<bool> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "labels": {"app": app}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }))?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let containers = pods.create(&dry, &pod).await?.spec.map(|spec| spec.containers).unwrap_or_default();
    Ok(containers.iter().any(|container| container.name == "sidecar"))
}

/// In any order of versions and with any managers, the set reaches its Namespace and no other.
pub async fn a_set_keeps_its_namespace_in_either_order_of_versions(case: Case<Outrigger>) -> Result<()> {
    let namespace = case.namespace.name().to_owned();
    let pods: Api<Pod> = case.namespace.api();
    let elsewhere: Api<Pod> = Api::namespaced(case.plane.client(), "default");
    for first in VERSIONS {
        for second in VERSIONS {
            for manager in ["flux", "argocd"] {
                let name = format!("ssa-{first}-{second}-{manager}");
                apply(&case, "flux", &restricted(first, &name, &namespace)).await?;
                for _ in 0..2 {
                    apply(&case, manager, &restricted(second, &name, &namespace)).await?;
                    let stored = read(&case, "v1beta1", &name).await?;
                    let selector = &stored["spec"]["namespaceSelector"];
                    assert_eq!(selector["matchLabels"]["kubernetes.io/metadata.name"], *namespace, "{name}: {stored}");
                    assert_eq!(read(&case, "v1alpha1", &name).await?["spec"]["namespace"], *namespace, "{name}");
                }
                let injected = async || Ok(is_injected(&pods, &name).await?.then_some(()));
                wait_for("a Pod of the Namespace to be injected", PATIENCE, injected).await?;
                assert!(!is_injected(&elsewhere, &name).await?, "{name}");
                sets(&case.plane).delete(&name, &DeleteParams::default()).await?;
            }
        }
    }
    Ok(())
}

/// What one manager applies in v1alpha1 is what v1alpha1 has: another Namespace, or none.
pub async fn a_namespace_is_changed_and_lifted_in_v1alpha1(case: Case<Outrigger>) -> Result<()> {
    let name = "ssa-lifted";
    for namespace in ["one", "two"] {
        apply(&case, "flux", &restricted("v1alpha1", name, namespace)).await?;
        let spec = read(&case, "v1alpha1", name).await?["spec"].take();
        assert_eq!((&spec["namespace"], spec.get("namespaceSelector")), (&json!(namespace), None));
    }
    apply(&case, "flux", &labelled("v1alpha1", name, &json!({}))).await?;
    assert_eq!(read(&case, "v1beta1", name).await?["spec"].get("namespaceSelector"), None);
    sets(&case.plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// A label manager's part has neither its own metadata nor spec in the other version.
pub async fn a_manager_of_labels_applies_in_both_versions(case: Case<Outrigger>) -> Result<()> {
    let labels = json!({"kustomize.toolkit.fluxcd.io/name": "apps"});
    for (first, second) in [("v1alpha1", "v1beta1"), ("v1beta1", "v1alpha1")] {
        let name = format!("ssa-labels-{first}");
        for version in [first, second] {
            apply(&case, "flux", &labelled(version, &name, &labels)).await?;
        }
        for version in [second, first] {
            let only = json!({
                "apiVersion": format!("apps.kruise.io/{version}"), "kind": "SidecarSet",
                "metadata": {"name": name, "labels": {"team": version}},
            });
            apply(&case, "team", &only).await?;
            apply(&case, "flux", &labelled(version, &name, &labels)).await?;
            let labels = read(&case, version, &name).await?["metadata"]["labels"].take();
            assert_eq!(labels, json!({"kustomize.toolkit.fluxcd.io/name": "apps", "team": version}));
        }
        sets(&case.plane).delete(&name, &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn delete_webhooks(plane: &ControlPlane) -> Result<()> {
    plane.kubectl(&["delete", "mutatingwebhookconfiguration", "outrigger-mutating"], None).await?.ok()?;
    plane.kubectl(&["delete", "validatingwebhookconfiguration", "outrigger-validating"], None).await?.ok()?;
    Ok(())
}

/// The runbook for a set that was applied in both versions, while no replica runs: everything works in the stored version except
/// server-side apply, which also works once no manager of the other version is recorded.
pub async fn without_a_replica_all_but_server_side_apply_goes_on(case: Case<()>) -> Result<()> {
    let (plane, name) = (&case.plane, "both");
    let kubeconfig = install(plane).await?;
    let replica = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    let kubectl = async |arguments: &[&str], set: &Value| plane.kubectl(arguments, Some(&set.to_string())).await;
    for version in VERSIONS {
        let manager = format!("--field-manager=by-{version}");
        let apply = ["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"];
        kubectl(&apply, &labelled(version, name, &json!({"by": version}))).await?.ok()?;
    }
    replica.stop().await?;
    delete_webhooks(plane).await?;
    let edited = labelled("v1beta1", name, &json!({"by": "hand"}));
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=by-v1beta1", "-f", "-"];
    let refused =
        wait_for("server-side apply to fail", PATIENCE, async || Ok(kubectl(&apply, &edited).await?.ok().err()))
            .await?;
    ensure!(refused.to_string().contains("conversion webhook"), "{refused}");
    let get = ["get", "sidecarsets.v1beta1.apps.kruise.io", name, "-o", "json"];
    let stored: Value = serde_json::from_str(&plane.kubectl(&get, None).await?.ok()?)?;
    kubectl(&["replace", "-f", "-"], &stored).await?.ok()?;
    kubectl(&["apply", "--server-side=false", "-f", "-"], &edited).await?.ok()?;

    let replica = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    let forget = r#"{"metadata": {"managedFields": [{}]}}"#;
    plane.kubectl(&["patch", "sidecarset", name, "--type=merge", "-p", forget], None).await?.ok()?;
    replica.stop().await?;
    delete_webhooks(plane).await?;
    wait_for("server-side apply in the stored version", PATIENCE, async || {
        Ok(Some(kubectl(&apply, &edited).await?.ok()?))
    })
    .await?;
    Ok(())
}
