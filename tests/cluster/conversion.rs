//! SidecarSets of an older installation, in the version that it stored.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use outrigger::api::{crds, keys};
use outrigger_testbed::{Case, ControlPlane, free_port, wait_for};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::outrigger::{Outrigger, PATIENCE, Start, install_rights};

/// More than the API server returns to kubectl in one page.
const MANY: usize = 520;

const CRD: &str = "sidecarsets.apps.kruise.io";

const LOST: &str = "drops the conditions of SidecarSets";

/// The CRD of an installation before v1beta1: one version with a minimal schema.
fn older_crd() -> Result<Value> {
    let mut crd = present_crd()?;
    let versions = crd["spec"]["versions"].as_array_mut().context("no versions")?;
    versions.retain(|version| version["name"] == "v1alpha1");
    for version in versions {
        version["storage"] = true.into();
        version["schema"] =
            json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    }
    Ok(crd)
}

fn present_crd() -> Result<Value> {
    Ok(serde_json::to_value(crds::sidecarsets()?)?)
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

fn old_set(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"name": name}, "spec": spec})
}

fn spec(app: &str) -> Value {
    json!({"selector": {"matchLabels": {"app": app}}, "containers": [{"name": "sidecar", "image": "side:1"}]})
}

/// Creates the sets of an older installation, and replaces its CRD by ours with this `conversion` registered.
async fn leave_behind(plane: &ControlPlane, sets: Vec<Value>, conversion: Value) -> Result<()> {
    apply_crd(plane, &older_crd()?).await?;
    let old = api(plane, "v1alpha1");
    stream::iter(sets)
        .map(async |set| anyhow::Ok(old.create(&PostParams::default(), &serde_json::from_value(set)?).await?))
        .buffer_unordered(32)
        .try_collect::<Vec<_>>()
        .await?;
    let mut crd = present_crd()?;
    crd["spec"]["conversion"] =
        json!({"strategy": "Webhook", "webhook": {"clientConfig": conversion, "conversionReviewVersions": ["v1"]}});
    apply_crd(plane, &crd).await?;
    let failure = async || Ok(list(plane, "v1beta1").await.err());
    let error = wait_for("lists to fail without a replica", PATIENCE, failure).await?.to_string();
    ensure!(error.contains("conversion webhook"), "{error}");
    assert_eq!(stored_versions(plane).await?, ["v1alpha1", "v1beta1"]);
    Ok(())
}

/// Returns the sets as kubectl lists them, by name.
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

async fn is_injected(pods: &Api<Pod>, app: &str) -> Result<bool> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "labels": {"app": app}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }))?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let containers = pods.create(&dry, &pod).await?.spec.context("no spec")?.containers;
    Ok(containers.iter().any(|container| container.name == "sidecar"))
}

/// Objects are stored as v1alpha1, the CRD is replaced by ours, and no replica can convert. A replica that starts resolves that
/// itself, injects the sets, and migrates them to the storage version. Unreadable objects do not affect others, and are reported
/// until they are gone.
pub async fn sets_that_an_older_installation_stored_are_taken_over(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let mut of_a_namespace = old_set("of-a-namespace", &spec("of-a-namespace"));
    of_a_namespace["spec"]["namespace"] = case.namespace.name().into();
    of_a_namespace["spec"]["namespaceSelector"] =
        json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Exists"}]});
    let mut with_version = old_set("with-a-custom-version", &spec("with-a-custom-version"));
    with_version["metadata"]["labels"] = json!({keys::CUSTOM_VERSION: "v1", "kept": "yes"});
    let mut refused_today = old_set("refused-today", &spec("refused-today"));
    refused_today["spec"]["revisionHistoryLimit"] = (-1).into();
    let mut unusable = old_set("unusable", &spec("-"));
    unusable["spec"]["selector"] = json!({"matchExpressions": [{"key": "app", "operator": "Sometimes"}]});
    let unreadable = old_set("unreadable", &json!([]));
    let sets = vec![of_a_namespace.clone(), with_version, refused_today, unusable, unreadable];
    let count = sets.len();
    let nobody = json!({"url": format!("https://127.0.0.1:{}/convert", free_port()?)});
    leave_behind(plane, sets, nobody).await?;

    let kubeconfig = install_rights(plane).await?;
    let outrigger = Outrigger::start(plane, Start::with(&kubeconfig))?;
    outrigger.ready().await?;
    for version in ["v1alpha1", "v1beta1"] {
        assert_eq!(list(plane, version).await?.len(), count, "{version}");
    }
    let pods: Api<Pod> = case.namespace.api();
    for app in ["of-a-namespace", "with-a-custom-version", "refused-today"] {
        let injected = async || Ok(is_injected(&pods, app).await?.then_some(()));
        wait_for(&format!("a Pod of {app} to be injected"), PATIENCE, injected).await?;
    }
    assert!(!is_injected(&Api::namespaced(plane.client(), "default"), "of-a-namespace").await?);
    wait_for("the set that cannot be migrated to be named", PATIENCE, async || {
        let log = outrigger.log()?;
        Ok(log.lines().find(|line| line.contains("cannot be migrated to the storage version")).map(str::to_owned))
    })
    .await
    .map(|line| assert!(line.contains("sidecarsets/unreadable: ") && !line.contains("; "), "{line}"))?;
    assert_eq!(stored_versions(plane).await?, ["v1alpha1", "v1beta1"]);
    outrigger.stop().await?;

    // The next one starts while objects are still stored as v1alpha1.
    let outrigger = Outrigger::start(plane, Start::with(&kubeconfig))?;
    outrigger.ready().await?;
    let delete = async || Ok(Some(api(plane, "v1alpha1").delete("unreadable", &DeleteParams::default()).await?));
    wait_for("conversion to be registered by the new URL", PATIENCE, delete).await?;
    wait_for("the migration to end", PATIENCE, async || {
        let stored = stored_versions(plane).await?;
        ensure!(stored == ["v1beta1"], "{stored:?}");
        Ok(Some(()))
    })
    .await?;
    let old = list(plane, "v1alpha1").await?;
    for field in ["namespace", "namespaceSelector"] {
        assert_eq!(old["of-a-namespace"]["spec"][field], of_a_namespace["spec"][field]);
    }
    assert_eq!(old["with-a-custom-version"]["metadata"]["labels"], json!({keys::CUSTOM_VERSION: "v1", "kept": "yes"}));
    assert!(!outrigger.log()?.contains("forbidden"));
    outrigger.stop().await?;

    // Nobody converts any more, and nothing is cached: what can be read is stored that way.
    plane.stop_api_server().await;
    plane.start_api_server().await?;
    let new = list(plane, "v1beta1").await?;
    assert_eq!(
        new.keys().collect::<Vec<_>>(),
        ["of-a-namespace", "refused-today", "unusable", "with-a-custom-version"]
    );
    assert_eq!(new["with-a-custom-version"]["spec"]["customVersion"], "v1");
    assert_eq!(new["with-a-custom-version"]["metadata"]["labels"], json!({"kept": "yes"}));
    assert_eq!(new["refused-today"]["spec"]["revisionHistoryLimit"], -1);
    assert!(list(plane, "v1alpha1").await.is_err(), "it was not converted");
    Ok(())
}

/// Conversion needs no leader and no cache. A replica that cannot lead yet, because a dead leader's Lease is still valid, becomes
/// ready with a list that it converts itself, here a long one.
pub async fn a_replica_that_does_not_lead_converts_a_long_list(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let certificates = Certificates::new()?;
    let (webhook, admin) = (free_port()?, free_port()?);
    let url = format!("https://127.0.0.1:{webhook}/convert");
    let sets = (0..MANY).map(|n| old_set(&format!("set-{n}"), &spec(&format!("app-{n}")))).collect();
    leave_behind(plane, sets, json!({"url": url, "caBundle": STANDARD.encode(&certificates.ca)})).await?;
    let kubeconfig = install_rights(plane).await?;
    let now = serde_json::to_value(MicroTime(Timestamp::now()))?;
    let lease = json!({
        "metadata": {"name": "outrigger"},
        "spec": {"holderIdentity": "died", "leaseDurationSeconds": 600, "acquireTime": now, "renewTime": now},
    });
    let leases = Api::<Lease>::namespaced(plane.client(), "outrigger-system");
    leases.create(&PostParams::default(), &serde_json::from_value(lease)?).await?;

    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::start_at(plane, start, webhook, admin)?;
    outrigger.ready().await?;
    for version in ["v1alpha1", "v1beta1"] {
        assert_eq!(list(plane, version).await?.len(), MANY, "{version}");
    }
    assert!(outrigger.log()?.contains("died leads"));

    // The basis of migration: a write without changes is stored if and only if the object is stored in another version.
    let new = api(plane, "v1beta1");
    let before = new.get("set-0").await?.resource_version().context("no version")?;
    let write = async |version: &str| -> Result<String> {
        let nothing = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": version}]);
        let patch = Patch::Json::<()>(serde_json::from_value(nothing)?);
        new.patch("set-0", &PatchParams::default(), &patch).await?.resource_version().context("no version")
    };
    let written = write(&before).await?;
    assert_ne!(written, before);
    assert_eq!(write(&written).await?, written);
    outrigger.stop().await
}

/// OpenKruise's CRD, however it was installed, is replaced by ours, although it has OpenKruise's conversion webhook, of
/// which `kubectl apply` leaves a half.
pub async fn the_crd_of_openkruise_is_replaced_however_it_came(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let ca_bundle = STANDARD.encode(Certificates::new()?.ca);
    let mut openkruise = present_crd()?;
    openkruise["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"service": {"namespace": "kruise-system", "name": "kruise-webhook-service", "path": "/convert"}},
        "conversionReviewVersions": ["v1", "v1beta1"],
    }});
    for version in openkruise["spec"]["versions"].as_array_mut().context("no versions")? {
        let status = &mut version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        ensure!(status.as_object_mut().context("no status")?.remove("conditions").is_some());
    }
    let openkruise = openkruise.to_string();
    install_rights(plane).await?;
    let kubeconfig = plane.kubeconfig_of("outrigger-system", "outrigger").await?;
    let conversion = async || {
        let crds: Api<CustomResourceDefinition> = Api::all(plane.client());
        anyhow::Ok(crds.get(CRD).await?.spec.conversion.context("no conversion")?)
    };
    let ways: [&[&str]; 3] =
        [&["apply", "-f", "-"], &["apply", "--server-side", "-f", "-"], &["create", "--field-manager=helm", "-f", "-"]];
    // All replicas here log to the same file.
    let mut warnings = 0;
    let rounds = ways.iter().map(|way| (way, false)).chain([(&ways[0], true)]);
    for (way, is_left_at_first) in rounds {
        plane.kubectl(way, Some(&openkruise)).await?.ok()?;
        let manager =
            json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": ca_bundle}}}}}).to_string();
        let patch = ["patch", "crd", CRD, "--type=merge", "--field-manager=kruise-manager", "-p", &manager];
        plane.kubectl(&patch, None).await?.ok()?;
        if is_left_at_first {
            let outrigger = Outrigger::start(plane, Start::with(&kubeconfig))?;
            wait_for("lost conditions to be told", PATIENCE, async || {
                Ok((outrigger.log()?.matches(LOST).count() > warnings).then_some(()))
            })
            .await?;
            outrigger.stop().await?;
        }

        make_install(plane).await?;
        let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
        let registered = wait_for("the conversion to be ours", PATIENCE, async || {
            let conversion = conversion().await?;
            let url = conversion.webhook.as_ref().and_then(|webhook| webhook.client_config.as_ref()?.url.clone());
            Ok(url.map(|_| conversion))
        })
        .await?;
        let crd = Api::<CustomResourceDefinition>::all(plane.client()).get(CRD).await?;
        let crd = serde_json::to_value(crd)?;
        for version in crd["spec"]["versions"].as_array().context("no versions")? {
            let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
            ensure!(status["conditions"]["type"] == "array", "{way:?}: {status}");
        }
        make_install(plane).await?;
        assert_eq!(conversion().await?, registered, "installed again beside a running outrigger");
        assert_eq!(outrigger.log()?.matches(LOST).count(), warnings + usize::from(is_left_at_first), "{way:?}");
        warnings += usize::from(is_left_at_first);
        outrigger.stop().await?;
        plane.kubectl(&["delete", "crd", CRD], None).await?.ok()?;
        let gone = async || {
            Ok(Api::<CustomResourceDefinition>::all(plane.client()).get_opt(CRD).await?.is_none().then_some(()))
        };
        wait_for("the CRD to be gone", PATIENCE, gone).await?;
    }
    Ok(())
}

/// Runs `make install` like a user.
async fn make_install(plane: &ControlPlane) -> Result<()> {
    let mut make = tokio::process::Command::new("make");
    make.args(["--no-print-directory", "install"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = make.env("KUBECONFIG", plane.kubeconfig()).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
