//! Status and revisions of SidecarSets while Pods, Namespaces and sets change.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use outrigger::api::keys;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use crate::outrigger::{Outrigger, PATIENCE, Start, install};
use crate::seen;

/// Pods are created, become ready and not ready, and are deleted in every way.
pub async fn counts_follow_pods(case: Case<Outrigger>) -> Result<()> {
    counts_of(&case, "counts-of-updating", "RollingUpdate").await
}

/// The same with a set without updates.
pub async fn counts_follow_pods_of_a_set_that_does_not_update(case: Case<Outrigger>) -> Result<()> {
    counts_of(&case, "counts-of-not-updating", "NotUpdate").await
}

async fn counts_of(case: &Case<Outrigger>, name: &str, strategy: &str) -> Result<()> {
    let (plane, pods) = (&case.plane, case.namespace.api::<Pod>());
    seen::apply(plane, &seen::set(name, "side:1", &json!({"updateStrategy": {"type": strategy}}))).await?;
    let set = seen::counts(plane, name, [0, 0, 0, 0]).await?;
    assert_eq!(set["status"]["collisionCount"], 0);
    seen::injects(&case.namespace, name, Some("side:1")).await?;

    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}},
        },
    }))?;
    case.namespace.api().create(&PostParams::default(), &deployment).await?;
    pods.create(&PostParams::default(), &seen::pod("bare", name, &json!({}))?).await?;
    let gate = json!({"readinessGates": [{"conditionType": "test.dev/open"}]});
    pods.create(&PostParams::default(), &seen::pod("gated", name, &gate)?).await?;
    seen::counts(plane, name, [4, 4, 3, 3]).await?;

    let open = json!({"status": {"conditions": [{"type": "test.dev/open", "status": "True"}]}});
    pods.patch_status("gated", &PatchParams::default(), &Patch::Strategic(open)).await?;
    let set = seen::counts(plane, name, [4, 4, 4, 4]).await?;
    assert_eq!(seen::kstatus(&set), "Current", "{set}");
    let resource = format!("sidecarset/{name}");
    plane.kubectl(&["wait", "--for=condition=Ready", "--timeout=10s", &resource], None).await?.ok()?;

    let unpullable = json!({"spec": {"containers": [{"name": "sidecar", "image": "unpullable/side:1"}]}});
    pods.patch("bare", &PatchParams::default(), &Patch::Strategic(unpullable)).await?;
    seen::counts(plane, name, [4, 3, 3, 3]).await?;
    pods.delete("bare", &DeleteParams::default()).await?;
    seen::counts(plane, name, [3, 3, 3, 3]).await?;
    pods.delete("gated", &DeleteParams::default().grace_period(0)).await?;
    seen::counts(plane, name, [2, 2, 2, 2]).await?;
    case.namespace.api::<Deployment>().delete("web", &DeleteParams::background()).await?;
    seen::counts(plane, name, [0, 0, 0, 0]).await?;
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Pods of namespaces that the set no longer selects do not count, and count again when it does.
pub async fn counts_follow_the_labels_of_namespaces(case: Case<Outrigger>) -> Result<()> {
    let (plane, name) = (&case.plane, "counts-by-namespace");
    let selector = json!({"namespaceSelector": {"matchLabels": {"test.dev/tier": "front"}}});
    let label = async |tier: Value| {
        let labels = Patch::Merge(json!({"metadata": {"labels": {"test.dev/tier": tier}}}));
        Api::<Namespace>::all(plane.client()).patch(case.namespace.name(), &PatchParams::default(), &labels).await
    };
    seen::apply(plane, &seen::set(name, "side:1", &selector)).await?;
    label(json!("front")).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    case.namespace.api().create(&PostParams::default(), &seen::pod("p", name, &json!({}))?).await?;
    seen::counts(plane, name, [1, 1, 1, 1]).await?;
    label(json!("back")).await?;
    seen::counts(plane, name, [0, 0, 0, 0]).await?;
    seen::injects(&case.namespace, name, None).await?;
    label(json!("front")).await?;
    seen::counts(plane, name, [1, 1, 1, 1]).await?;
    label(Value::Null).await?;
    seen::counts(plane, name, [0, 0, 0, 0]).await?;
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// After an edit, existing Pods have older containers, and new ones have the latest.
pub async fn an_edited_set_has_no_updated_pods_but_new_ones(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "edited");
    let set = |image: &str| seen::set(name, image, &json!({"updateStrategy": {"type": "NotUpdate"}}));
    seen::apply(plane, &set("side:1")).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    pods.create(&PostParams::default(), &seen::pod("old", name, &json!({}))?).await?;
    let before = seen::counts(plane, name, [1, 1, 1, 1]).await?;
    assert_eq!(before["status"]["observedGeneration"], 1);

    seen::apply(plane, &set("side:2")).await?;
    let after = seen::counts(plane, name, [1, 0, 1, 0]).await?;
    assert_eq!(after["status"]["observedGeneration"], 2);
    assert_ne!(after["status"]["latestRevision"], before["status"]["latestRevision"]);
    assert_eq!(seen::kstatus(&after), "Current", "nothing is to be updated: {after}");
    seen::injects(&case.namespace, name, Some("side:2")).await?;
    pods.create(&PostParams::default(), &seen::pod("new", name, &json!({}))?).await?;
    seen::counts(plane, name, [2, 1, 2, 1]).await?;

    seen::apply(plane, &set("side:1")).await?;
    let back = seen::counts(plane, name, [2, 1, 2, 1]).await?;
    assert_eq!(back["status"]["latestRevision"], before["status"]["latestRevision"]);
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Changes of Pods cause one status write for each change of the status, and none otherwise.
pub async fn one_change_is_one_write(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "written-once");
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    pods.create(&PostParams::default(), &seen::pod("first", name, &json!({}))?).await?;
    let now = seen::counts(plane, name, [1, 1, 1, 1]).await?;

    let version = now["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?;
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = seen::objects(plane).watch(&only, version).await?.boxed();
    let written = Arc::new(Mutex::new(Vec::new()));
    let watch = tokio::spawn({
        let written = written.clone();
        events.try_for_each(move |event| {
            if let WatchEvent::Modified(set) = event
                && let Ok(mut written) = written.lock()
            {
                let count = |field: &str| set.data["status"][field].as_i64();
                written.push((count("matchedPods"), count("updatedPods"), count("readyPods")));
            }
            std::future::ready(Ok(()))
        })
    });

    let note = Patch::Merge(json!({"metadata": {"annotations": {"test.dev/note": "nothing to do with sets"}}}));
    pods.patch("first", &PatchParams::default(), &note).await?;
    pods.delete("first", &DeleteParams::default()).await?;
    wait_for("the Pod to be gone", PATIENCE, async || {
        ensure!(pods.get_opt("first").await?.is_none(), "it is there");
        Ok(Some(()))
    })
    .await?;
    seen::counts(plane, name, [0, 0, 0, 0]).await?;
    // The last Pod never becomes ready, so it is a single change, and is reported after everything before it.
    let gate = json!({"readinessGates": [{"conditionType": "test.dev/open"}]});
    pods.create(&PostParams::default(), &seen::pod("last", name, &gate)?).await?;
    let expected = [(Some(0), Some(0), Some(0)), (Some(1), Some(1), Some(0))];
    wait_for("the last write", PATIENCE, async || {
        let written = written.lock().map_err(|_| anyhow::anyhow!("the watch panicked"))?;
        ensure!(written.last() == expected.last(), "{written:?}");
        Ok(Some(()))
    })
    .await?;
    watch.abort();
    assert_eq!(*written.lock().map_err(|_| anyhow::anyhow!("the watch panicked"))?, expected);
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Each content has one revision in OpenKruise's format. The newest has the highest number, and the oldest are dropped.
pub async fn revisions_keep_what_a_set_was(case: Case<Outrigger>) -> Result<()> {
    let (plane, name) = (&case.plane, "kept");
    let set = |image: &str| {
        let mut set =
            seen::set(name, image, &json!({"revisionHistoryLimit": 2, "customVersion": image.replace(':', "-")}));
        set["metadata"]["labels"] = json!({"team": "x"});
        set["metadata"]["annotations"] = json!({"test.dev/note": "y"});
        set
    };
    seen::apply(plane, &set("side:1")).await?;
    let first = seen::kept_images(plane, name, &[(1, "side:1")]).await?.remove(0);
    let latest = seen::status(plane, name, &json!({"latestRevision": first["metadata"]["name"]})).await?;
    let labels = json!({
        "team": "x", keys::REVISION_OF: name, keys::CUSTOM_VERSION: "side-1",
        keys::REVISION_HASH: first["metadata"]["name"].as_str().and_then(|name| name.strip_prefix("kept-")),
    });
    let metadata = &first["metadata"];
    assert_eq!(metadata["labels"], labels);
    let annotations = &metadata["annotations"];
    assert_eq!(annotations["test.dev/note"], "y");
    assert_eq!(annotations[keys::HASH], latest["metadata"]["annotations"][keys::HASH]);
    let owner = json!([{
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "name": name, "uid": latest["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }]);
    assert_eq!(metadata["ownerReferences"], owner);
    assert_eq!(
        first["data"].to_string(),
        r#"{"spec":{"$patch":"replace","containers":[{"image":"side:1","imagePullPolicy":"IfNotPresent","name":"sidecar","podInjectPolicy":"BeforeAppContainer","resources":{},"shareVolumePolicy":{"type":"disabled"},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","upgradeStrategy":{"upgradeType":"ColdUpgrade"}}],"imagePullSecrets":null,"initContainers":null,"patchPodMetadata":null,"volumes":null}}"#
    );

    seen::apply(plane, &set("side:2")).await?;
    seen::kept_images(plane, name, &[(1, "side:1"), (2, "side:2")]).await?;
    seen::apply(plane, &set("side:1")).await?;
    let back = seen::kept_images(plane, name, &[(2, "side:2"), (3, "side:1")]).await?.remove(1);
    assert_eq!(back["metadata"]["uid"], first["metadata"]["uid"]);
    seen::apply(plane, &set("side:3")).await?;
    seen::kept_images(plane, name, &[(3, "side:1"), (4, "side:3")]).await?;
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Kubernetes' garbage collector deletes the revisions of a set. It looks for new kinds only every 30 s, so this test takes
/// longest, while others run.
pub async fn revisions_are_deleted_with_their_set(case: Case<Outrigger>) -> Result<()> {
    let (plane, name) = (&case.plane, "collected");
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    seen::kept_images(plane, name, &[(1, "side:1")]).await?;
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    seen::kept_images(plane, name, &[]).await?;
    Ok(())
}

/// If another object has a revision's name, the revision gets another name, and the object is not changed.
pub async fn a_revision_whose_name_is_taken_gets_another(case: Case<Outrigger>) -> Result<()> {
    let (plane, name) = (&case.plane, "taken");
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    let revision = seen::kept_images(plane, name, &[(1, "side:1")]).await?.remove(0);
    let taken = revision["metadata"]["name"].as_str().context("no name")?;
    let revisions: Api<ControllerRevision> = Api::namespaced(plane.client(), seen::REVISIONS);
    seen::status(plane, name, &json!({"latestRevision": taken})).await?;
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    // Otherwise outrigger would create the revision again.
    seen::injects(&case.namespace, name, None).await?;
    wait_for("the revision to be gone", PATIENCE, async || match revisions.get_opt(taken).await? {
        Some(_) => Ok(revisions.delete(taken, &DeleteParams::default()).await.map(|_| None)?),
        None => Ok(Some(())),
    })
    .await?;

    let other: ControllerRevision =
        serde_json::from_value(json!({"metadata": {"name": taken}, "revision": 5, "data": {"of": "somebody else"}}))?;
    let other = revisions.create(&PostParams::default(), &other).await?;
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    let set = seen::status(plane, name, &json!({"collisionCount": 1})).await?;
    let named = seen::kept_images(plane, name, &[(1, "side:1")]).await?.remove(0);
    assert_eq!(set["status"]["latestRevision"], named["metadata"]["name"]);
    assert_ne!(named["metadata"]["name"], taken);
    assert_eq!(revisions.get(taken).await?, other);
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    revisions.delete(taken, &DeleteParams::default()).await?;
    Ok(())
}

/// New Pods get the pinned revision. That and revisions recorded in Pods are kept beyond the limit.
pub async fn a_pinned_revision_is_injected_and_kept_as_those_in_use_are(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "pinned");
    let set = |image: &str, pin: Option<&str>| {
        let mut spec = json!({"revisionHistoryLimit": 1, "updateStrategy": {"type": "NotUpdate"}});
        if let Some(revision) = pin {
            spec["injectionStrategy"] = json!({"revision": {"revisionName": revision}});
        }
        seen::set(name, image, &spec)
    };
    let revision = async |kept: &[(i64, &str)]| -> Result<String> {
        let revisions = seen::kept_images(plane, name, kept).await?;
        let newest = revisions.last().and_then(|revision| revision["metadata"]["name"].as_str());
        Ok(newest.context("no revision")?.to_owned())
    };
    seen::apply(plane, &set("side:1", None)).await?;
    let first = revision(&[(1, "side:1")]).await?;
    seen::injects_revision(&case.namespace, name, "side:1", &first).await?;
    pods.create(&PostParams::default(), &seen::pod("in-use", name, &json!({}))?).await?;
    seen::counts(plane, name, [1, 1, 1, 1]).await?;

    seen::apply(plane, &set("side:2", None)).await?;
    let second = revision(&[(1, "side:1"), (2, "side:2")]).await?;
    seen::apply(plane, &set("side:2", Some(&second))).await?;
    seen::apply(plane, &set("side:3", Some(&second))).await?;
    seen::kept_images(plane, name, &[(1, "side:1"), (2, "side:2"), (3, "side:3")]).await?;
    seen::apply(plane, &set("side:4", Some(&second))).await?;
    seen::kept_images(plane, name, &[(1, "side:1"), (2, "side:2"), (4, "side:4")]).await?;

    seen::injects_revision(&case.namespace, name, "side:2", &second).await?;
    pods.create(&PostParams::default(), &seen::pod("of-pinned", name, &json!({}))?).await?;
    let injected = pods.get("of-pinned").await?;
    assert_eq!(seen::recorded_revision(&injected, name).as_deref(), Some(second.as_str()));
    assert_eq!(seen::sidecar(&injected), Some("side:2"));
    seen::counts(plane, name, [2, 0, 2, 0]).await?;

    pods.delete("in-use", &DeleteParams::default()).await?;
    seen::kept_images(plane, name, &[(2, "side:2"), (4, "side:4")]).await?;
    seen::apply(plane, &set("side:4", None)).await?;
    seen::injects(&case.namespace, name, Some("side:4")).await?;
    seen::kept_images(plane, name, &[(2, "side:2"), (4, "side:4")]).await?;
    pods.delete("of-pinned", &DeleteParams::default()).await?;
    seen::kept_images(plane, name, &[(4, "side:4")]).await?;
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// A new leader that finds everything up to date writes nothing.
pub async fn a_restart_writes_nothing(case: Case<()>) -> Result<()> {
    let (plane, name) = (&case.plane, "settled");
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    case.namespace.api().create(&PostParams::default(), &seen::pod("p", name, &json!({}))?).await?;
    let before = seen::counts(plane, name, [1, 1, 0, 0]).await?;
    let kept = seen::revisions(plane, name).await?;
    outrigger.stop().await?;

    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    // A new leader examines all existing sets before a new one.
    seen::apply(plane, &seen::set("later", "side:1", &json!({}))).await?;
    seen::counts(plane, "later", [0, 0, 0, 0]).await?;
    assert_eq!(seen::get(plane, name).await?, before);
    assert_eq!(seen::revisions(plane, name).await?, kept);
    outrigger.stop().await
}
