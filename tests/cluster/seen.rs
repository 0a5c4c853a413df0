//! SidecarSets and Pods of tests, and their state in the control plane.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use outrigger::api::keys;
use outrigger::api::sidecarset::SidecarSet;
use outrigger_testbed::{ControlPlane, TestNamespace, wait_for};
use serde_json::{Value, json};

use crate::outrigger::PATIENCE;

/// The namespace of the tests' revisions.
pub const REVISIONS: &str = "outrigger-system";

/// SidecarSets with every stored field.
pub fn objects(plane: &ControlPlane) -> Api<DynamicObject> {
    Api::all_with(plane.client(), &ApiResource::erase::<SidecarSet>(&()))
}

/// A SidecarSet that adds a container `sidecar` to Pods with the label `app: NAME`, with further fields of the spec.
pub fn set(name: &str, image: &str, more: &Value) -> Value {
    let mut set = json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "containers": [{"name": "sidecar", "image": image}]},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        set["spec"][field] = value.clone();
    }
    set
}

/// Writes a SidecarSet, and removes other fields of an earlier one with this name. Retries while it is rejected, because the
/// webhook learns of other objects with a delay.
pub async fn apply(plane: &ControlPlane, set: &Value) -> Result<()> {
    let name = set["metadata"]["name"].as_str().context("a set without name")?;
    let params = PatchParams::apply("outrigger-test").force();
    let write = async || Ok(Some(objects(plane).patch(name, &params, &Patch::Apply(set)).await?));
    wait_for(&format!("SidecarSet {name} to be accepted"), PATIENCE, write).await?;
    Ok(())
}

/// Returns the current SidecarSet.
pub async fn get(plane: &ControlPlane, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(objects(plane).get(name).await?)?)
}

/// Waits until the status of a SidecarSet describes its current spec and matches this. Returns the set.
pub async fn status(plane: &ControlPlane, name: &str, expected: &Value) -> Result<Value> {
    wait_for(&format!("the status of SidecarSet {name} to be {expected}"), PATIENCE, async || {
        let set = get(plane, name).await?;
        let status = &set["status"];
        ensure!(status["observedGeneration"] == set["metadata"]["generation"], "not observed: {set}");
        for (field, value) in expected.as_object().into_iter().flatten() {
            ensure!(status[field] == *value, "{status}");
        }
        Ok(Some(set))
    })
    .await
}

/// Waits for the numbers of Pods: matched, updated, ready, updated and ready.
pub async fn counts(plane: &ControlPlane, name: &str, [matched, updated, ready, both]: [u32; 4]) -> Result<Value> {
    let mut expected = json!({"matchedPods": matched, "updatedPods": updated, "readyPods": ready});
    // As in OpenKruise, 0 is left out.
    expected["updatedReadyPods"] = if both == 0 { Value::Null } else { both.into() };
    status(plane, name, &expected).await
}

/// Returns the kstatus of an object, which Flux, Argo CD and similar tools use, by its rules for unknown kinds:
/// <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>.
pub fn kstatus(object: &Value) -> &'static str {
    let condition = |type_: &str| {
        let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
        all.find(|condition| condition["type"] == type_).and_then(|condition| condition["status"].as_str())
    };
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        "InProgress"
    } else if condition("Stalled") == Some("True") {
        "Failed"
    } else if condition("Reconciling") == Some("True") || condition("Ready").is_some_and(|ready| ready != "True") {
        "InProgress"
    } else {
        "Current"
    }
}

/// Returns the message of a set's condition if that is true.
pub fn message<'s>(set: &'s Value, type_: &str) -> Option<&'s str> {
    let mut all = set["status"]["conditions"].as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == type_ && condition["status"] == "True")?["message"].as_str()
}

/// A Pod with the label `app: APP` and further fields of the spec.
pub fn pod(name: &str, app: &str, more: &Value) -> Result<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], "automountServiceAccountToken": false},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    Ok(serde_json::from_value(pod)?)
}

/// Returns the image of a Pod's container `sidecar`.
pub fn sidecar(pod: &Pod) -> Option<&str> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.filter(|container| container.name == "sidecar").find_map(|container| container.image.as_deref())
}

/// Returns the `ControllerRevision` of a set that a Pod records.
pub fn recorded_revision(pod: &Pod, set: &str) -> Option<String> {
    let record: Value = serde_json::from_str(pod.metadata.annotations.as_ref()?.get(keys::HASH)?).ok()?;
    Some(record[set]["controllerRevision"].as_str()?.to_owned())
}

/// Waits until the webhook's cache gives new Pods with the label `app: APP` this container `sidecar`, or none.
pub async fn injects(namespace: &TestNamespace, app: &str, image: Option<&str>) -> Result<Pod> {
    let (pods, probe) = (namespace.api::<Pod>(), pod("probe", app, &json!({}))?);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    wait_for(&format!("Pods of {app} to get {image:?}"), PATIENCE, async || {
        let pod = pods.create(&dry, &probe).await?;
        ensure!(sidecar(&pod) == image, "they get {:?}", sidecar(&pod));
        Ok(Some(pod))
    })
    .await
}

/// Creates a Pod with the label `app: APP` once such Pods get this number of containers.
pub async fn create_injected(namespace: &TestNamespace, name: &str, app: &str, containers: usize) -> Result<()> {
    let (pods, pod) = (namespace.api::<Pod>(), pod(name, app, &json!({}))?);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    wait_for(&format!("Pods of {app} to get {containers} containers"), PATIENCE, async || {
        let pod = pods.create(&dry, &pod).await?;
        Ok((pod.spec.context("no spec")?.containers.len() == containers).then_some(()))
    })
    .await?;
    pods.create(&PostParams::default(), &pod).await?;
    Ok(())
}

/// Like [`injects`], and waits until the Pods record this revision. The cache learns of it later than of the set.
pub async fn injects_revision(namespace: &TestNamespace, set: &str, image: &str, revision: &str) -> Result<()> {
    wait_for(&format!("revision {revision} to be recorded"), PATIENCE, async || {
        let recorded = recorded_revision(&injects(namespace, set, Some(image)).await?, set);
        ensure!(recorded.as_deref() == Some(revision), "{recorded:?} is");
        Ok(Some(()))
    })
    .await
}

/// Returns the revisions of a set by number.
pub async fn revisions(plane: &ControlPlane, set: &str) -> Result<Vec<Value>> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(plane.client(), REVISIONS, &ApiResource::erase::<ControllerRevision>(&()));
    let list = api.list(&ListParams::default().labels(&format!("{}={set}", keys::REVISION_OF))).await?;
    let revisions: Result<Vec<Value>, _> = list.items.into_iter().map(serde_json::to_value).collect();
    let mut revisions = revisions?;
    revisions.sort_by_key(|revision| revision["revision"].as_i64());
    Ok(revisions)
}

/// Waits until the images in the revisions of a set are these, by number.
pub async fn kept_images(plane: &ControlPlane, set: &str, expected: &[(i64, &str)]) -> Result<Vec<Value>> {
    wait_for(&format!("the revisions of {set} to be {expected:?}"), PATIENCE, async || {
        let revisions = revisions(plane, set).await?;
        let image = |revision: &Value| revision["data"]["spec"]["containers"][0]["image"].as_str().map(str::to_owned);
        let seen: Vec<_> = revisions
            .iter()
            .map(|revision| (revision["revision"].as_i64().unwrap_or_default(), image(revision)))
            .collect();
        let is = |(seen, expected): (&(i64, Option<String>), &(i64, &str))| {
            seen.0 == expected.0 && seen.1.as_deref() == Some(expected.1)
        };
        ensure!(seen.len() == expected.len() && seen.iter().zip(expected).all(is), "{seen:?}");
        Ok(Some(revisions))
    })
    .await
}

/// Returns the Events about a SidecarSet.
pub async fn events(plane: &ControlPlane, set: &str) -> Result<Vec<Event>> {
    // Events about cluster-scoped objects are in this namespace.
    let api: Api<Event> = Api::namespaced(plane.client(), "default");
    let fields = format!("regarding.kind=SidecarSet,regarding.name={set}");
    Ok(api.list(&ListParams::default().fields(&fields)).await?.items)
}
