//! SidecarSets that an older installation left behind, in the version that it stored.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use outrigger::api::{crds, keys};
use outrigger_testbed::{Case, ControlPlane, free_port, wait_for};
use serde_json::{Value, json};

use crate::outrigger::{Outrigger, PATIENCE, Start, install_rights};

/// More than the API server lists in one page for kubectl.
const MANY: usize = 520;

const CRD: &str = "sidecarsets.apps.kruise.io";

/// The CRD as an installation before v1beta1 had it: one version, and hardly a schema.
fn older_crd() -> Result<Value> {
    let mut crd = present_crd()?;
    let versions = crd["spec"]["versions"].as_array_mut().context("no versions")?;
    versions.retain(|version| version["name"] == "v1alpha1");
    for version in versions {
        version["storage"] = true.into();
        version["schema"] = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    }
    Ok(crd)
}

fn present_crd() -> Result<Value> {
    Ok(serde_json::to_value(crds::all()?.first().context("no CRD")?)?)
}

async fn apply_crd(plane: &ControlPlane, crd: &Value) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(plane.client());
    crds.patch(CRD, &PatchParams::apply("outrigger-test").force(), &Patch::Apply(crd)).await?;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", CRD];
    plane.kubectl(&wait, None).await?.ok()?;
    Ok(())
}

fn api(plane: &ControlPlane, version: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apps.kruise.io", version, "SidecarSet");
    Api::all_with(plane.client(), &ApiResource::from_gvk(&kind))
}

fn old_set(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"name": name}, "spec": spec})
}

fn spec(app: &str) -> Value {
    json!({"selector": {"matchLabels": {"app": app}}, "containers": [{"name": "sidecar", "image": "side:1"}]})
}

/// What the older installation stored.
fn left_behind(namespace: &str) -> Vec<Value> {
    let mut of_a_namespace = old_set("of-a-namespace", spec("of-a-namespace"));
    of_a_namespace["spec"]["namespace"] = namespace.into();
    let mut with_version = old_set("with-a-custom-version", spec("with-a-custom-version"));
    with_version["metadata"]["labels"] = json!({keys::CUSTOM_VERSION: "v1"});
    let mut refused_today = old_set("refused-today", spec("refused-today"));
    refused_today["spec"]["containers"][0]["image"] = "".into();
    refused_today["spec"]["revisionHistoryLimit"] = (-1).into();
    let selector = json!({"matchExpressions": [{"key": "app", "operator": "Sometimes"}]});
    let mut unparsable = old_set("selector-that-nobody-understands", spec("-"));
    unparsable["spec"]["selector"] = selector;
    let many = (0..MANY).map(|n| old_set(&format!("set-{n:03}"), spec(&format!("app-{n}"))));
    [of_a_namespace, with_version, refused_today, unparsable, old_set("spec-is-a-list", json!([]))]
        .into_iter()
        .chain(many)
        .collect()
}

/// As kubectl lists them, by name.
async fn list(plane: &ControlPlane, version: &str) -> Result<BTreeMap<String, Value>> {
    let arguments = ["get", &format!("sidecarsets.{version}.apps.kruise.io"), "-o", "json"];
    let mut list: Value = serde_json::from_str(&plane.kubectl(&arguments, None).await?.ok()?)?;
    let items = list["items"].as_array_mut().map(std::mem::take).context("no items")?;
    Ok(items.into_iter().map(|item| (item["metadata"]["name"].as_str().unwrap_or_default().to_owned(), item)).collect())
}

async fn stored_versions(plane: &ControlPlane) -> Result<Vec<String>> {
    let crds: Api<CustomResourceDefinition> = Api::all(plane.client());
    let status = crds.get(CRD).await?.status.context("no status")?;
    status.stored_versions.context("no stored versions")
}

/// Objects stored as v1alpha1, the CRD replaced by ours, and no replica there to convert: one that starts gets itself out of
/// that, and brings the objects to the storage version. None of them spoils the lists.
pub async fn sets_that_an_older_installation_stored_are_taken_over(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    apply_crd(plane, &older_crd()?).await?;
    let old = api(plane, "v1alpha1");
    let left_behind = left_behind(case.namespace.name());
    let count = left_behind.len();
    stream::iter(left_behind)
        .map(|set| async { old.create(&PostParams::default(), &serde_json::from_value(set)?).await.map_err(anyhow::Error::from) })
        .buffer_unordered(32)
        .try_collect::<Vec<_>>()
        .await?;

    let mut crd = present_crd()?;
    let nobody = format!("https://127.0.0.1:{}/convert", free_port()?);
    crd["spec"]["conversion"] = json!({
        "strategy": "Webhook",
        "webhook": {"clientConfig": {"url": nobody}, "conversionReviewVersions": ["v1"]},
    });
    apply_crd(plane, &crd).await?;
    let error = wait_for("lists to fail without a replica", PATIENCE, async || Ok(list(plane, "v1beta1").await.err())).await?;
    ensure!(error.to_string().contains("conversion webhook"), "{error}");
    assert_eq!(stored_versions(plane).await?, ["v1alpha1", "v1beta1"]);

    let kubeconfig = install_rights(plane).await?;
    let outrigger = Outrigger::start(plane, Start::with(&kubeconfig))?;
    outrigger.ready().await?;
    for version in ["v1alpha1", "v1beta1"] {
        assert_eq!(list(plane, version).await?.len(), count, "{version}");
    }
    let pods: Api<Pod> = case.namespace.api();
    for app in ["of-a-namespace", "with-a-custom-version", "refused-today", "app-519"] {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"app": app}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        }))?;
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let expected = if app == "refused-today" { 1 } else { 2 };
        wait_for(&format!("a Pod of {app} to be injected"), PATIENCE, async || {
            match pods.create(&dry, &pod).await {
                Ok(pod) => {
                    let containers = pod.spec.context("no spec")?.containers.len();
                    ensure!(containers == expected, "{containers} containers");
                    Ok(Some(()))
                }
                Err(error) => { println!("{app}: {error}"); Err(error.into()) },
            }
        })
        .await?;
    }

    wait_for("the set that cannot be migrated to be named", PATIENCE, async || {
        let log = outrigger.log()?;
        let line = log.lines().find(|line| line.contains("cannot be brought to the storage version"));
        Ok(line.map(|line| println!("{line}")))
    })
    .await?;
    assert_eq!(stored_versions(plane).await?, ["v1alpha1", "v1beta1"]);
    outrigger.stop().await?;
    Ok(())
}
