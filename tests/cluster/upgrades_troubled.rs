//! In-place updates with Pods in trouble, with false annotations, or with a sidecar that takes much from the Pod.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use outrigger::api::keys;
use outrigger_testbed::{Case, KUBELET_STOPPED, Suite, tests, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::outrigger::{Outrigger, PATIENCE};
use crate::upgrades::{Watcher, running};
use crate::{seen, upgrades_troubled};

/// Adds these tests.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(
        suite,
        test:
        upgrades_troubled::pods_in_trouble_hold_nobody_up_and_those_that_end_are_left_alone,
        upgrades_troubled::what_authors_write_into_their_pods_does_not_break_the_budget,
        upgrades_troubled::only_the_image_of_a_sidecar_changes_that_was_made_with_much_of_its_pod,
        upgrades_troubled::changed_amounts_reach_running_pods_in_the_same_budget,
    )
}

/// Returns the images of the containers `sidecar` by Pod name.
async fn images(case: &Case<Outrigger>) -> Result<BTreeMap<String, String>> {
    let pods = case.namespace.api::<Pod>().list(&ListParams::default()).await?;
    Ok(pods.iter().filter_map(|pod| Some((pod.name_any(), seen::sidecar(pod)?.to_owned()))).collect())
}

async fn delete(case: &Case<Outrigger>, name: &str) -> Result<()> {
    seen::objects(&case.plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Sets whether a container runs and whether the Pod is ready, instead of the tests' kubelet.
async fn say(case: &Case<Outrigger>, pod: &str, status: &Value) -> Result<()> {
    let patch = Patch::Strategic(json!({"status": status}));
    case.namespace.api::<Pod>().patch_status(pod, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// On a dead node, never ready, evicted, being deleted: only the first two kinds are updated, and they take no place.
pub async fn pods_in_trouble_hold_nobody_up_and_those_that_end_are_left_alone(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "troubled");
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    let gate = json!({"readinessGates": [{"conditionType": "example.com/never"}]});
    for (pod, more) in [
        ("dead", json!({})),
        ("deleted", json!({})),
        ("evicted", json!({})),
        ("fine-0", json!({})),
        ("fine-1", json!({})),
        ("never-ready", gate),
    ] {
        let mut pod = seen::pod(pod, name, &more)?;
        pod.metadata.finalizers = (pod.name_any() == "deleted").then(|| vec!["example.com/stays".to_owned()]);
        pods.create(&PostParams::default(), &pod).await?;
    }
    seen::counts(plane, name, [6, 6, 5, 5]).await?;
    // Like the node lifecycle controller when a kubelet stops responding.
    let stop = Patch::Merge(json!({"metadata": {"annotations": {KUBELET_STOPPED: "true"}}}));
    pods.patch("dead", &PatchParams::default(), &stop).await?;
    say(&case, "dead", &json!({"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}))
        .await?;
    pods.patch("evicted", &PatchParams::default(), &stop).await?;
    say(&case, "evicted", &json!({"phase": "Failed", "reason": "Evicted"})).await?;
    pods.delete("deleted", &DeleteParams::default()).await?;
    seen::counts(plane, name, [4, 4, 2, 2]).await?;

    let watcher = Watcher::of(&pods, "side:2").await?;
    seen::apply(plane, &seen::set(name, "side:2", &json!({}))).await?;
    seen::counts(plane, name, [4, 4, 2, 2]).await?;
    let seen: Vec<_> = images(&case).await?.into_iter().collect();
    let expected =
        [("dead", "2"), ("deleted", "1"), ("evicted", "1"), ("fine-0", "2"), ("fine-1", "2"), ("never-ready", "2")];
    ensure!(seen == expected.map(|(pod, image)| (pod.to_owned(), format!("side:{image}"))), "{seen:?}");
    let worst = watcher.worst()?;
    ensure!(worst <= 3, "{worst} Pods were unavailable, two of them before");
    let lift = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("deleted", &PatchParams::default(), &lift).await?;
    delete(&case, name).await
}

/// The Pod's author edits the hash, the state of updates and the list. Only the containers count.
pub async fn what_authors_write_into_their_pods_does_not_break_the_budget(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "lied-to");
    let set = |image: &str, paused: bool| {
        seen::set(name, image, &json!({"updateStrategy": {"type": "RollingUpdate", "paused": paused}}))
    };
    seen::apply(plane, &set("side:1", false)).await?;
    running(&case, name, "side:1", 5).await?;
    seen::apply(plane, &set("side:2", true)).await?;
    let held = seen::counts(plane, name, [5, 0, 5, 0]).await?;
    let new = held["metadata"]["annotations"][keys::HASH].as_str().context("no hash")?;
    let state = json!({name: {"lastContainerStatuses": {"sidecar": {"imageID": "side:2"}}}}).to_string();
    for (pod, key, value) in [
        (0, keys::HASH, json!(json!({name: {"hash": new}}).to_string())),
        (1, keys::HASH, json!("garbage")),
        (2, keys::IN_PLACE_STATE, json!(state)),
        (3, keys::INJECTED_LIST, json!(null)),
    ] {
        let lie = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        pods.patch(&format!("{name}-{pod}"), &PatchParams::default(), &lie).await?;
    }
    // The Pod that claims to have the new image has it as little as the others.
    seen::counts(plane, name, [4, 0, 4, 0]).await?;
    let watcher = Watcher::of(&pods, "side:2").await?;
    seen::apply(plane, &set("side:2", false)).await?;
    seen::counts(plane, name, [4, 4, 4, 4]).await?;
    ensure!(watcher.worst()? == 1);
    let images = images(&case).await?;
    let old: Vec<_> = images.iter().filter(|(_, image)| *image == "side:1").map(|(pod, _)| pod.as_str()).collect();
    ensure!(old == ["lied-to-3"], "{images:?}");
    delete(&case, name).await
}

/// A sidecar whose resources, variables and mounts come from the Pod gets another image, its Pod new annotations, and
/// nothing else changes.
pub async fn only_the_image_of_a_sidecar_changes_that_was_made_with_much_of_its_pod(
    case: Case<Outrigger>,
) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "entangled");
    let set = |image: &str, annotations: &Value| {
        let patches = json!([
            {"annotations": {"example.com/kept": "by-set", "example.com/new": "added"}, "patchPolicy": "Retain"},
            {"annotations": annotations, "patchPolicy": "Overwrite"},
            {"annotations": {"example.com/json": format!(r#"{{"{image}":1}}"#)}, "patchPolicy": "MergePatchJson"},
        ]);
        let mut set = seen::set(name, image, &json!({"patchPodMetadata": patches}));
        set["metadata"]["labels"] = json!({"team": name});
        let container = &mut set["spec"]["containers"][0];
        container["resourcesPolicy"] = json!({"targetContainersMode": "sum", "targetContainersNameRegex": ".*",
            "resourcesExpr": {"limits": {"cpu": "cpu*50%", "memory": "memory*50%"}}});
        container["transferEnv"] = json!([{"sourceContainerName": "app", "envName": "LEVEL"}]);
        container["shareVolumePolicy"] = json!({"type": "enabled"});
        set
    };
    let rules = json!({"rules": [{"selector": {"matchLabels": {"team": name}}, "allowedAnnotationKeyExprs": ["^example.com/"]}]});
    let whitelist = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kruise-configuration"},
        "data": {"SidecarSet_PatchPodMetadata_WhiteList": rules.to_string()}});
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), seen::REVISIONS);
    maps.create(&PostParams::default(), &serde_json::from_value(whitelist)?).await?;
    seen::apply(plane, &set("side:1", &json!({"example.com/set": "1"}))).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    let app = json!([{"name": "app", "image": "app:1", "env": [{"name": "LEVEL", "value": "debug"}],
        "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}}, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]);
    let mut pod = seen::pod("p", name, &json!({"containers": app, "volumes": [{"name": "data", "emptyDir": {}}]}))?;
    pod.annotations_mut().insert("example.com/kept".to_owned(), "by-pod".to_owned());
    pods.create(&PostParams::default(), &pod).await?;
    seen::counts(plane, name, [1, 1, 1, 1]).await?;
    let before = pods.get("p").await?;

    seen::apply(plane, &set("side:2", &json!({"example.com/set": "2"}))).await?;
    seen::counts(plane, name, [1, 1, 1, 1]).await?;
    let after = pods.get("p").await?;
    let mut expected = before.spec.clone().context("no spec")?;
    for container in expected.containers.iter_mut().filter(|container| container.name == "sidecar") {
        ensure!(container.resources.is_some() && container.volume_mounts.is_some() && container.env.is_some());
        container.image = Some("side:2".to_owned());
    }
    ensure!(after.spec.as_ref() == Some(&expected), "{:?}", after.spec);
    ensure!(after.uid() == before.uid());
    let annotations: Vec<_> = ["kept", "new", "set", "json"]
        .map(|key| after.annotations().get(&format!("example.com/{key}")).map(String::as_str))
        .into_iter()
        .flatten()
        .collect();
    ensure!(annotations == ["by-pod", "added", "2", r#"{"side:1":1,"side:2":1}"#], "{annotations:?}");
    maps.delete("kruise-configuration", &DeleteParams::default()).await?;
    delete(&case, name).await
}

/// With the opt-in, changed amounts are sent to the subresource `resize`. The tests' kubelet resizes nothing, so the test
/// simulates it.
pub async fn changed_amounts_reach_running_pods_in_the_same_budget(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "resized");
    let set = |image: &str, cpu: &str, resize: Option<&str>| {
        let mut set = seen::set(name, image, &json!({}));
        set["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": cpu, "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "32Mi"}});
        set["metadata"]["annotations"] = resize.map(|value| json!({keys::RESIZE: value})).unwrap_or_default();
        set
    };
    seen::apply(plane, &set("side:1", "100m", None)).await?;
    running(&case, name, "side:1", 2).await?;
    let status = |cpu: &str, condition: Option<Value>| {
        let resources =
            json!({"requests": {"cpu": cpu, "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "32Mi"}});
        let gone = json!({"type": "PodResizePending", "$patch": "delete"});
        json!({"containerStatuses": [{"name": "sidecar", "resources": resources}],
               "conditions": [condition.unwrap_or(gone)]})
    };
    let pod = |number: u32| format!("{name}-{number}");
    for number in 0..2 {
        say_containers(&case, &pod(number), "100m", &status("100m", None)).await?;
    }
    seen::apply(plane, &set("side:1", "200m", None)).await?;
    let hint = format!("{}: {} on the set", keys::RESIZE, keys::IN_PLACE);
    told(&case, name, &hint).await?;

    seen::apply(plane, &set("side:1", "200m", Some(keys::IN_PLACE))).await?;
    let requested = async || -> Result<Vec<String>> {
        let mut all = Vec::new();
        for number in 0..2 {
            let spec = pods.get(&pod(number)).await?.spec.context("no spec")?;
            let sidecar = spec.containers.into_iter().find(|c| c.name == "sidecar").context("no sidecar")?;
            let requests = sidecar.resources.and_then(|resources| resources.requests).unwrap_or_default();
            all.extend(requests.get("cpu").map(|amount| amount.0.clone()));
        }
        Ok(all)
    };
    // One Pod has a place; the other waits for it.
    seen::counts(plane, name, [2, 1, 1, 0]).await?;
    let first = requested().await?;
    ensure!(first.iter().filter(|cpu| **cpu == "200m").count() == 1, "{first:?}");
    let (early, late) = if first[0] == "200m" { (0, 1) } else { (1, 0) };
    let deferred =
        json!({"type": "PodResizePending", "status": "True", "reason": "Deferred", "message": "no room yet"});
    say_containers(&case, &pod(early), "100m", &status("100m", Some(deferred))).await?;
    told(&case, name, "such as").await?;
    told(&case, name, "PodResizePending Deferred: no room yet").await?;
    ensure!(requested().await? == first);
    say_containers(&case, &pod(early), "200m", &status("200m", None)).await?;
    seen::counts(plane, name, [2, 2, 1, 1]).await?;
    say_containers(&case, &pod(late), "200m", &status("200m", None)).await?;
    let set = seen::counts(plane, name, [2, 2, 2, 2]).await?;
    ensure!(requested().await? == ["200m", "200m"]);
    for number in 0..2 {
        let pod = pods.get(&pod(number)).await?;
        for key in [keys::HASH, keys::HASH_WITHOUT_IMAGE] {
            let record: Value = serde_json::from_str(&pod.annotations()[key])?;
            ensure!(record[name]["hash"] == set["metadata"]["annotations"][key], "{record}");
        }
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        ensure!(statuses.iter().all(|status| status.restart_count == 0), "{statuses:?}");
    }
    delete(&case, name).await
}

/// Writes a status with the containers' statuses merged by name, because the API server replaces the list as a whole.
async fn say_containers(case: &Case<Outrigger>, pod: &str, cpu: &str, status: &Value) -> Result<()> {
    let api = case.namespace.api::<Pod>();
    let present = api.get(pod).await?.status.and_then(|status| status.container_statuses).unwrap_or_default();
    let mut merged = serde_json::to_value(present)?;
    for container in merged.as_array_mut().into_iter().flatten().filter(|container| container["name"] == "sidecar") {
        container["resources"] = status["containerStatuses"][0]["resources"].clone();
        ensure!(container["resources"]["requests"]["cpu"] == cpu);
    }
    say(case, pod, &json!({"containerStatuses": merged, "conditions": status["conditions"]})).await
}

async fn told(case: &Case<Outrigger>, name: &str, text: &str) -> Result<()> {
    wait_for(&format!("SidecarSet {name} to say {text:?}"), PATIENCE, async || {
        let set = seen::get(&case.plane, name).await?;
        let message = seen::message(&set, "Reconciling").unwrap_or_default();
        ensure!(message.contains(text), "{message}");
        Ok(Some(()))
    })
    .await
}
