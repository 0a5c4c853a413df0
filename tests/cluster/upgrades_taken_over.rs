//! A rollout that OpenKruise began is continued, and its objects are not changed before that.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use outrigger::api::keys;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::outrigger::{Outrigger, PATIENCE, Start, install};
use crate::seen;

const NAME: &str = "vec-plain";

/// OpenKruise's hashes of the set `plain` in `tests/data/sidecarset-hash-vectors.jsonl`, with and without its image.
const HASH: &str = "6b494z44dwv4zcfv56v5bxbdddz8x44vx65wz494b8fz6fwv2vx46644v75cvc88";
const WITHOUT_IMAGE: &str = "74w4dd76xb24wv4559xbdfcx4xxwd448d5v6w22z98zf8fc27xb25bffw67f24f4";

/// The hash of the previous version, which need not be computed.
const HASH_BEFORE: &str = "8fz6fwv2vx46644v75cvc886b494z44dwv4zcfv56v5bxbdddz8x44vx65wz494b";

/// The container as OpenKruise stores it, with this image.
fn container(image: &str) -> Value {
    json!({"image": image, "imagePullPolicy": "IfNotPresent", "name": "c", "podInjectPolicy": "BeforeAppContainer", "resources": {},
           "shareVolumePolicy": {"type": "disabled"}, "terminationMessagePath": "/dev/termination-log",
           "terminationMessagePolicy": "File", "upgradeStrategy": {"upgradeType": "ColdUpgrade"}})
}

/// Half of a rollout is done, and a partition keeps the rest back.
fn set() -> Value {
    json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
        "metadata": {"name": NAME, "annotations": {keys::HASH: HASH, keys::HASH_WITHOUT_IMAGE: WITHOUT_IMAGE}},
        "spec": {"containers": [container("example.com/agent:1")], "injectionStrategy": {}, "revisionHistoryLimit": 10,
                 "selector": {"matchLabels": {"app": "plain"}},
                 "updateStrategy": {"maxUnavailable": 1, "partition": 1, "type": "RollingUpdate"}},
    })
}

/// A ControllerRevision with this image.
fn revision(name: &str, number: i64, image: &str, set_uid: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
        "metadata": {
            "name": name, "namespace": seen::REVISIONS,
            "labels": {keys::REVISION_OF: NAME, keys::REVISION_HASH: name.rsplit('-').next()},
            "annotations": {keys::HASH: if number == 1 { HASH_BEFORE } else { HASH }, keys::HASH_WITHOUT_IMAGE: WITHOUT_IMAGE},
            "ownerReferences": [{"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "name": NAME, "uid": set_uid,
                                 "controller": true, "blockOwnerDeletion": true}],
        },
        "data": {"spec": {"$patch": "replace", "containers": [container(image)], "imagePullSecrets": null,
                          "initContainers": null, "patchPodMetadata": null, "volumes": null}},
    })
}

/// A Pod injected with this image. `updated` means that OpenKruise updated it in place.
fn pod(name: &str, image: &str, updated: bool) -> Result<Pod> {
    let number =
        if image.ends_with(":0") { (HASH_BEFORE, "vec-plain-5c8d7f9b6") } else { (HASH, "vec-plain-7d9c5b8f6") };
    let entry = |hash: &str| json!({"updateTimestamp": "2026-01-02T03:04:05Z", "hash": hash, "sidecarSetName": NAME, "sidecarList": ["c"]});
    let mut record = entry(number.0);
    record["controllerRevision"] = json!(number.1);
    let mut annotations = BTreeMap::from([
        (keys::INJECTED_LIST, NAME.to_owned()),
        (keys::HASH, json!({NAME: record}).to_string()),
        (keys::HASH_WITHOUT_IMAGE, json!({NAME: entry(WITHOUT_IMAGE)}).to_string()),
    ]);
    if updated {
        let ran = json!({"c": {"imageID": "example.com/agent@sha256:0"}});
        let state =
            json!({NAME: {"revision": HASH, "updateTimestamp": "2026-01-03T03:04:05Z", "lastContainerStatuses": ran}});
        annotations.insert(keys::IN_PLACE_STATE, state.to_string());
    }
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "plain"}, "annotations": annotations},
        "spec": {"automountServiceAccountToken": false, "containers": [
            {"name": "c", "image": image, "env": [{"name": "IS_INJECTED", "value": "true"}]},
            {"name": "app", "image": "app:1"}]},
    }))?)
}

/// Returns the image of the sidecar, the version of the Pod, and the restart count of its containers.
async fn state(case: &Case<()>) -> Result<BTreeMap<String, (String, String, i32)>> {
    let pods = case.namespace.api::<Pod>().list(&ListParams::default()).await?;
    let state = pods.iter().map(|pod| {
        let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let restarts = statuses.into_iter().flatten().map(|status| status.restart_count).sum();
        (pod.name_any(), (image, pod.resource_version().unwrap_or_default(), restarts))
    });
    Ok(state.collect())
}

/// The takeover writes no Pods and revisions. Then exactly the rest of the rollout is done.
pub async fn a_rollout_of_openkruise_goes_on_without_a_restart(case: Case<()>) -> Result<()> {
    let (plane, pods) = (&case.plane, case.namespace.api::<Pod>());
    let kubeconfig = install(plane).await?;
    let created = seen::objects(plane).create(&PostParams::default(), &serde_json::from_value(set())?).await?;
    let uid = created.uid().context("no uid")?;
    let revisions: Api<DynamicObject> =
        Api::namespaced_with(plane.client(), seen::REVISIONS, &ApiResource::erase::<ControllerRevision>(&()));
    for (name, number, image) in
        [("vec-plain-5c8d7f9b6", 1, "example.com/agent:0"), ("vec-plain-7d9c5b8f6", 2, "example.com/agent:1")]
    {
        let revision = serde_json::from_value(revision(name, number, image, &uid))?;
        revisions.create(&PostParams::default(), &revision).await?;
    }
    for (name, image, updated) in [
        ("old", "example.com/agent:0", false),
        ("updated", "example.com/agent:1", true),
        ("new", "example.com/agent:1", false),
    ] {
        pods.create(&PostParams::default(), &pod(name, image, updated)?).await?;
    }
    wait_for("the Pods to be ready", PATIENCE, async || {
        let all = pods.list(&ListParams::default()).await?;
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|told| told.type_ == "Ready" && told.status == "True")
        };
        Ok(all.iter().all(is_ready).then_some(()))
    })
    .await?;
    let told = json!({"type": "SidecarSetUpgradable", "status": "True", "reason": "AllSidecarsetUpgradable",
                      "message": json!({NAME: true}).to_string()});
    let told = Patch::Strategic(json!({"status": {"conditions": [told]}}));
    pods.patch_status("updated", &PatchParams::default(), &told).await?;
    let status = json!({"status": {"observedGeneration": 1, "matchedPods": 3, "updatedPods": 2, "readyPods": 3,
        "updatedReadyPods": 2, "latestRevision": "vec-plain-7d9c5b8f6", "collisionCount": 0}});
    seen::objects(plane).patch_status(NAME, &PatchParams::default(), &Patch::Merge(status)).await?;
    let (before, revisions) = (state(&case).await?, seen::revisions(plane, NAME).await?);

    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    wait_for("the conditions of the set", PATIENCE, async || {
        let set = seen::get(plane, NAME).await?;
        ensure!(seen::kstatus(&set) == "Current" && set["status"]["conditions"].is_array(), "{set}");
        Ok(Some(()))
    })
    .await?;
    seen::counts(plane, NAME, [3, 2, 3, 2]).await?;
    ensure!(state(&case).await? == before, "a Pod was written: {:?}", state(&case).await?);
    ensure!(seen::revisions(plane, NAME).await? == revisions, "a revision was written");

    let go_on = Patch::Merge(json!({"spec": {"updateStrategy": {"partition": 0}}}));
    seen::objects(plane).patch(NAME, &PatchParams::default(), &go_on).await?;
    seen::counts(plane, NAME, [3, 3, 3, 3]).await?;
    let after = state(&case).await?;
    for name in ["new", "updated"] {
        ensure!(after[name] == before[name], "{name}: {:?} and then {:?}", before[name], after[name]);
    }
    ensure!(after["old"].0 == "example.com/agent:1" && after["old"].2 == 1, "{:?}", after["old"]);
    let record: Value = serde_json::from_str(&pods.get("old").await?.annotations()[keys::HASH])?;
    ensure!(record[NAME]["hash"] == HASH && record[NAME]["controllerRevision"] == "vec-plain-7d9c5b8f6", "{record}");
    outrigger.stop().await
}
