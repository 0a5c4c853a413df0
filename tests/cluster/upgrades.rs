//! In-place updates: an edited image reaches running Pods, a few at a time, and no Pod is recreated.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use outrigger::api::keys;
use outrigger_testbed::{Case, ControlPlane, Parts, Suite, tests, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

use crate::outrigger::{Outrigger, PATIENCE};
use crate::seen;
use crate::{upgrade_rights, upgrades, upgrades_taken_over, upgrades_troubled};

/// Adds these tests, and those of the permissions for updates.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    let suite = tests!(
        suite,
        test:
        upgrades::an_edited_image_reaches_running_pods_one_at_a_time,
        upgrades::a_bad_image_stops_the_rollout_and_the_next_one_goes_on,
        upgrades::native_sidecars_are_updated_and_other_changes_are_told,
        upgrades::a_hot_upgrade_ends_with_one_empty_container,
        upgrades::a_pod_whose_update_is_refused_delays_no_other,
        upgrades::the_commands_of_the_page_update_pods,
        upgrades::a_rollout_leaves_pinned_revisions_and_canaries_to_new_pods,
    );
    let suite = upgrades_troubled::add_to(suite);
    let suite =
        tests!(suite, apart(Parts::Full): upgrades_taken_over::a_rollout_of_openkruise_goes_on_without_a_restart);
    tests!(
        suite,
        apart(Parts::ApiOnly):
        upgrade_rights::without_the_job_or_its_rights_no_pod_is_written_and_the_set_says_so,
    )
}

/// Observes each change of a namespace's Pods.
pub struct Watcher {
    /// For each Pod, whether its sidecar has this image, and whether it is ready with it.
    worst: Arc<Mutex<usize>>,
    watch: JoinHandle<()>,
}

impl Watcher {
    /// Counts the Pods with this image of the container `sidecar` that are not ready with it, at all times.
    pub async fn of(pods: &Api<Pod>, image: &'static str) -> Result<Self> {
        let list = pods.list(&ListParams::default()).await?;
        let version = list.metadata.resource_version.context("no resourceVersion")?;
        let events = pods.watch(&WatchParams::default().timeout(290), &version).await?.boxed();
        let worst = Arc::new(Mutex::new(0));
        let watch = tokio::spawn({
            let worst = worst.clone();
            let mut unavailable = BTreeMap::new();
            let seen = events.try_for_each(move |event| {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        let is = seen::sidecar(&pod) == Some(image) && !is_ready_with(&pod, image);
                        unavailable.insert(pod.name_any(), is);
                    }
                    WatchEvent::Deleted(pod) => _ = unavailable.remove(&pod.name_any()),
                    _ => {}
                }
                let now = unavailable.values().filter(|is| **is).count();
                if let Ok(mut worst) = worst.lock() {
                    *worst = now.max(*worst);
                }
                std::future::ready(Ok(()))
            });
            async move { _ = seen.await }
        });
        Ok(Self { worst, watch })
    }

    /// Returns the maximum number of Pods that were updated and not ready at the same time.
    pub fn worst(self) -> Result<usize> {
        ensure!(!self.watch.is_finished(), "the watch ended");
        self.watch.abort();
        let worst = self.worst.lock().map_err(|_| anyhow::anyhow!("the watch panicked"))?;
        Ok(*worst)
    }
}

/// Whether the kubelet reports that the container `sidecar` runs this image and that the Pod is ready.
fn is_ready_with(pod: &Pod, image: &str) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    let ready =
        status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let runs =
        status.container_statuses.iter().flatten().any(|status| status.name == "sidecar" && status.image == image);
    ready && runs
}

/// Returns the condition of a Pod about updates: its status, reason and message.
pub fn upgradable(pod: &Pod) -> Option<(String, String, Value)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == "SidecarSetUpgradable")?;
    let message = serde_json::from_str(condition.message.as_deref()?).ok()?;
    Some((condition.status.clone(), condition.reason.clone()?, message))
}

/// Creates Pods of a set that are ready with its containers.
pub async fn running(case: &Case<Outrigger>, name: &str, image: &str, pods: u32) -> Result<()> {
    seen::injects(&case.namespace, name, Some(image)).await?;
    for number in 0..pods {
        let pod = seen::pod(&format!("{name}-{number}"), name, &json!({}))?;
        case.namespace.api().create(&PostParams::default(), &pod).await?;
    }
    seen::counts(&case.plane, name, [pods; 4]).await?;
    Ok(())
}

/// Everything about an update: the image, the Pod's record, its condition, and the status of the set.
pub async fn an_edited_image_reaches_running_pods_one_at_a_time(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "upgraded");
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    running(&case, name, "side:1", 3).await?;
    let before = pods.list(&ListParams::default()).await?.items;

    let watcher = Watcher::of(&pods, "side:2").await?;
    seen::apply(plane, &seen::set(name, "side:2", &json!({}))).await?;
    let set = seen::counts(plane, name, [3, 3, 3, 3]).await?;
    ensure!(seen::kstatus(&set) == "Current", "{set}");
    ensure!(watcher.worst()? == 1);
    for old in before {
        let pod = wait_for("the condition of the Pod", PATIENCE, async || {
            let pod = pods.get(&old.name_any()).await?;
            let expected = ("True".to_owned(), "AllSidecarsetUpgradable".to_owned(), json!({name: true}));
            ensure!(upgradable(&pod) == Some(expected), "{:?}", upgradable(&pod));
            Ok(Some(pod))
        })
        .await?;
        ensure!(pod.uid() == old.uid(), "it was made anew");
        ensure!(seen::sidecar(&pod) == Some("side:2"));
        let record = |key: &str| serde_json::from_str::<Value>(&pod.annotations()[key]);
        let (hashes, state) = (record(keys::HASH)?, record(keys::IN_PLACE_STATE)?);
        ensure!(hashes[name]["hash"] == set["metadata"]["annotations"][keys::HASH], "{hashes}");
        ensure!(hashes[name]["controllerRevision"] == set["status"]["latestRevision"], "{hashes}");
        ensure!(hashes[name]["sidecarList"] == json!(["sidecar"]), "{hashes}");
        let status = |pod: &Pod| {
            let statuses = pod.status.clone()?.container_statuses?;
            statuses.into_iter().find(|status| status.name == "sidecar")
        };
        let ran = status(&old).context("no status")?.image_id;
        ensure!(
            state[name]["lastContainerStatuses"] == json!({"sidecar": {"imageID": ran, "restartCount": 0}}),
            "{state}"
        );
        let restarts = status(&pod).context("no status")?.restart_count;
        ensure!(restarts == 1, "{restarts} restarts");
    }
    seen::objects(plane).delete(name, &kube::api::DeleteParams::default()).await?;
    Ok(())
}

/// Waits for a condition of a set with this text.
async fn says(case: &Case<Outrigger>, name: &str, text: &str) -> Result<Value> {
    wait_for(&format!("SidecarSet {name} to say {text:?}"), PATIENCE, async || {
        let set = seen::get(&case.plane, name).await?;
        let messages: Vec<_> =
            ["Ready", "Reconciling", "Stalled"].iter().filter_map(|type_| seen::message(&set, type_)).collect();
        ensure!(messages.iter().any(|message| message.contains(text)), "{messages:?}");
        Ok(Some(set))
    })
    .await
}

/// A bad image stops the rollout at `maxUnavailable`, Pods with it get the next image first, and a partition keeps the
/// rest back.
pub async fn a_bad_image_stops_the_rollout_and_the_next_one_goes_on(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "stopped");
    let set = |image: &str, partition: u32| {
        let strategy =
            json!({"updateStrategy": {"type": "RollingUpdate", "maxUnavailable": 2, "partition": partition}});
        seen::set(name, image, &strategy)
    };
    seen::apply(plane, &set("side:1", 0)).await?;
    running(&case, name, "side:1", 5).await?;
    let bad = "unpullable/side:2";
    seen::apply(plane, &set(bad, 0)).await?;
    says(&case, name, "; updated Pods that are not ready yet: 2").await?;
    seen::counts(plane, name, [5, 2, 3, 0]).await?;
    let with = async |image: &str| -> Result<Vec<String>> {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok(all.iter().filter(|pod| seen::sidecar(pod) == Some(image)).map(ResourceExt::name_any).collect())
    };
    let down = with(bad).await?;
    ensure!(down.len() == 2, "{down:?}");
    seen::apply(plane, &set("side:3", 3)).await?;
    let set = seen::counts(plane, name, [5, 2, 5, 2]).await?;
    ensure!(seen::kstatus(&set) == "Current", "{set}");
    ensure!(with("side:3").await? == down);
    seen::objects(plane).delete(name, &kube::api::DeleteParams::default()).await?;
    Ok(())
}

/// A native sidecar gets its image in place. Other changes require recreation, which set and Pod report.
pub async fn native_sidecars_are_updated_and_other_changes_are_told(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "native");
    let set = |image: &str, value: &str| {
        let native = json!([{"name": "native", "image": image, "restartPolicy": "Always"}]);
        let mut set = seen::set(name, "side:1", &json!({"initContainers": native}));
        set["spec"]["containers"][0]["env"] = json!([{"name": "LEVEL", "value": value}]);
        set
    };
    seen::apply(plane, &set("native:1", "info")).await?;
    running(&case, name, "side:1", 2).await?;
    seen::apply(plane, &set("native:2", "info")).await?;
    seen::counts(plane, name, [2, 2, 2, 2]).await?;
    for pod in pods.list(&ListParams::default()).await?.items {
        let status = pod.status.clone().and_then(|status| status.init_container_statuses).unwrap_or_default();
        ensure!(status.len() == 1 && status[0].image == "native:2" && status[0].restart_count == 1, "{status:?}");
    }
    seen::apply(plane, &set("native:3", "debug")).await?;
    let example = format!(
        "; Pods that must be recreated: 2, such as {}/{name}-0: spec.containers \"sidecar\" does not have the set's env \"LEVEL\"",
        case.namespace.name()
    );
    let set = says(&case, name, &example).await?;
    ensure!(set["status"]["conditions"][0]["reason"] == "RecreationNeeded", "{set}");
    wait_for("the condition of the Pod", PATIENCE, async || {
        let told = upgradable(&pods.get("native-0").await?);
        ensure!(
            told == Some(("False".to_owned(), "UpdateImmutableField".to_owned(), json!({name: false}))),
            "{told:?}"
        );
        Ok(Some(()))
    })
    .await?;
    seen::objects(plane).delete(name, &kube::api::DeleteParams::default()).await?;
    Ok(())
}

/// The two containers take turns: the empty one gets the image and works, and then the other one is emptied.
pub async fn a_hot_upgrade_ends_with_one_empty_container(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "hot");
    let set = |image: &str| {
        let mut set = seen::set(name, image, &json!({"revisionHistoryLimit": 1}));
        let upgrade = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
        set["spec"]["containers"][0]["upgradeStrategy"] = upgrade;
        set
    };
    seen::apply(plane, &set("side:1")).await?;
    for number in 0..2 {
        seen::create_injected(&case.namespace, &format!("hot-{number}"), name, 3).await?;
    }
    seen::counts(plane, name, [2, 2, 2, 2]).await?;
    // The second image does not run: the update stops at one Pod, whose other container continues, and the next image
    // replaces it.
    for (image, working, idle) in
        [("side:2", "sidecar-2", "sidecar-1"), ("unpullable/side:x", "", ""), ("side:3", "sidecar-1", "sidecar-2")]
    {
        seen::apply(plane, &set(image)).await?;
        if working.is_empty() {
            seen::counts(plane, name, [2, 1, 1, 0]).await?;
            for pod in pods.list(&ListParams::default()).await?.items {
                let runs = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
                ensure!(runs.iter().any(|status| status.image == "side:2" && status.ready), "{runs:?}");
            }
            continue;
        }
        let version = seen::counts(plane, name, [2, 2, 2, 2]).await?["metadata"]["resourceVersion"].clone();
        for pod in pods.list(&ListParams::default()).await?.items {
            let spec = pod.spec.as_ref().context("no spec")?;
            let image_of =
                |name: &str| spec.containers.iter().find(|c| c.name == name).and_then(|c| c.image.as_deref());
            ensure!((image_of(working), image_of(idle)) == (Some(image), Some("empty:1")), "{spec:?}");
            let annotation = |key: &str| pod.annotations().get(key).map(String::as_str);
            let map = format!(r#"{{"sidecar":"{working}"}}"#);
            ensure!(annotation(keys::WORKING_HOT_UPGRADE) == Some(&map), "{:?}", pod.annotations());
            let of_working = annotation(&keys::version_of(working)).and_then(|version| version.parse::<u64>().ok());
            let now = version.as_str().and_then(|version| version.parse().ok()).context("no version")?;
            ensure!(of_working.is_some_and(|of| of > 1 && of < now), "{of_working:?}");
            ensure!(annotation(&keys::version_alt_of(working)) == Some("0"));
            ensure!(annotation(&keys::version_of(idle)) == Some("0"));
        }
    }
    seen::objects(plane).delete(name, &kube::api::DeleteParams::default()).await?;
    Ok(())
}

/// A policy rejects the update of one Pod: the others are updated, and the set reports why that one is not.
pub async fn a_pod_whose_update_is_refused_delays_no_other(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "refused");
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    running(&case, name, "side:1", 3).await?;
    let policy = "refuses-an-update";
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(plane.client());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(plane.client());
    let spec = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}]},
        "matchConditions": [{"name": "one", "expression": "object.metadata.name == 'refused-0'"}],
        "validations": [{"expression": "object.spec.containers.all(c, c.image != 'side:2')", "message": "not today"}],
    });
    let object = json!({"metadata": {"name": policy}, "spec": spec});
    policies.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let spec = json!({"policyName": policy, "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": case.namespace.name()}}}});
    let object = json!({"metadata": {"name": policy}, "spec": spec});
    bindings.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let change = Patch::Strategic(json!({"spec": {"containers": [{"name": "sidecar", "image": "side:2"}]}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    wait_for("the policy to be in force", PATIENCE, async || {
        Ok(pods.patch("refused-0", &dry, &change).await.is_err().then_some(()))
    })
    .await?;

    seen::apply(plane, &seen::set(name, "side:2", &json!({}))).await?;
    seen::counts(plane, name, [3, 2, 3, 2]).await?;
    let set =
        says(&case, name, &format!("; Pods that cannot be updated: 1, such as {}/refused-0: ", case.namespace.name()))
            .await?;
    ensure!(seen::message(&set, "Reconciling").is_some_and(|message| message.contains("not today")), "{set}");
    bindings.delete(policy, &kube::api::DeleteParams::default()).await?;
    policies.delete(policy, &kube::api::DeleteParams::default()).await?;
    seen::counts(plane, name, [3, 3, 3, 3]).await?;
    seen::objects(plane).delete(name, &kube::api::DeleteParams::default()).await?;
    Ok(())
}

/// Splits a line into words like a shell with single quotes only.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            other => words.last_mut().into_iter().for_each(|word| word.push(other)),
        }
    }
    words
}

/// The page walks through an update. Each of its commands has the described effect.
pub async fn the_commands_of_the_page_update_pods(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "log-agent");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sidecarset.md"))?;
    let section =
        page.split("\n## ").find(|section| section.starts_with("Updates of running Pods")).context("no section")?;
    let steps: Vec<Vec<&str>> = section
        .split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split_once("```"))
        .map(|(block, _)| block.lines().collect())
        .collect();
    ensure!(steps.len() == 5, "{steps:?}");
    let native = json!([{"name": "shipper", "image": "shipper:1", "restartPolicy": "Always"}]);
    seen::apply(plane, &seen::set(name, "log-agent:1", &json!({"initContainers": native}))).await?;
    let mut hot = seen::set("proxy", "proxy:1", &json!({}));
    hot["spec"]["containers"][0]["upgradeStrategy"] =
        json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "proxy:empty"});
    seen::apply(plane, &hot).await?;
    running(&case, name, "log-agent:1", 2).await?;
    seen::create_injected(&case.namespace, "proxy-0", "proxy", 3).await?;
    seen::counts(plane, "proxy", [1; 4]).await?;
    let rest = [("log-agent:1", "shipper:1"), ("log-agent:2", "shipper:1"), ("log-agent:1", "shipper:1")];
    let rest = rest.into_iter().chain([("log-agent:1", "shipper:2"); 2]);
    for ((number, step), (image, shipper)) in steps.iter().enumerate().zip(rest) {
        let mut said = String::new();
        for line in step {
            let words = words(line);
            let args: Vec<&str> = words.iter().map(String::as_str).collect();
            let (program, args) = args.split_first().context("no command")?;
            said = if *program == "outrigger" {
                explained(plane, args)?
            } else {
                ensure!(*program == "kubectl", "{line}");
                plane.kubectl(args, None).await?.ok().with_context(|| line.to_string())?
            };
            if line.contains("50%") {
                seen::counts(plane, name, [2, 1, 2, 1]).await?;
            }
        }
        // While it is paused, no Pod has the new image.
        seen::counts(plane, name, if number == 0 { [2, 0, 2, 0] } else { [2; 4] }).await?;
        let all = pods.list(&ListParams::default().labels("app=log-agent")).await?.items;
        let natives = |pod: &Pod| pod.spec.clone()?.init_containers?.first()?.image.clone();
        let is = |pod: &Pod| seen::sidecar(pod) == Some(image) && natives(pod).as_deref() == Some(shipper);
        ensure!(all.len() == 2 && all.iter().all(is), "step {number}");
        match number {
            0 => {
                let held = format!("  {}/log-agent-0  held         spec.updateStrategy: paused", case.namespace.name());
                ensure!(said.contains("0 of 2 Pods have the latest containers") && said.contains(&held), "{said}");
            }
            2 => ensure!(said.lines().count() == 3, "two revisions under a head: {said}"),
            4 => {
                ensure!(said == r#"{"sidecar":"sidecar-2"}"#, "{said}");
                seen::counts(plane, "proxy", [1; 4]).await?;
            }
            _ => {}
        }
    }
    for set in [name, "proxy"] {
        seen::objects(plane).delete(set, &kube::api::DeleteParams::default()).await?;
    }
    Ok(())
}

/// Returns the output of `outrigger` with these arguments for the admin's cluster.
fn explained(plane: &ControlPlane, args: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outrigger"));
    let output = command.args(args).env("KUBECONFIG", plane.kubeconfig()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// `injectionStrategy.revision` applies to new Pods. A rollout still brings them to the current containers. A canary has its own
/// Pods.
pub async fn a_rollout_leaves_pinned_revisions_and_canaries_to_new_pods(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "live");
    let set = |image: &str, strategy: &Value, pin: &Value| {
        let mut strategy = strategy.clone();
        strategy["type"] = json!("RollingUpdate");
        let version = image.replace(':', "-");
        let mut more = json!({"customVersion": version, "updateStrategy": strategy});
        if !pin.is_null() {
            more["injectionStrategy"] = json!({"revision": pin});
        }
        seen::set(name, image, &more)
    };
    let create = async |pod: &str, image: &str| -> Result<()> {
        seen::injects(&case.namespace, name, Some(image)).await?;
        let pod = pods.create(&PostParams::default(), &seen::pod(pod, name, &json!({}))?).await?;
        ensure!(seen::sidecar(&pod) == Some(image), "{:?}", seen::sidecar(&pod));
        Ok(())
    };
    let (none, all) = (json!({}), json!({"partition": 0}));
    seen::apply(plane, &set("side:1", &all, &json!(null))).await?;
    create("old", "side:1").await?;
    seen::kept_images(plane, name, &[(1, "side:1")]).await?;

    // Held back, so that the Pods stay as they were created.
    let held = json!({"partition": "100%"});
    seen::apply(plane, &set("side:2", &held, &json!(null))).await?;
    seen::kept_images(plane, name, &[(1, "side:1"), (2, "side:2")]).await?;
    let pin = |policy: &str| json!({"customVersion": "side-1", "policy": policy});
    seen::apply(plane, &set("side:2", &held, &pin("Always"))).await?;
    create("always", "side:1").await?;
    // The whole share of 100 % gets the kept version. A number gives it to no Pod.
    seen::apply(plane, &set("side:2", &json!({"partition": 9}), &pin("Partial"))).await?;
    create("partial-new", "side:2").await?;
    seen::apply(plane, &set("side:2", &held, &pin("Partial"))).await?;
    create("partial-old", "side:1").await?;
    seen::apply(plane, &set("side:2", &json!({"partition": 9, "paused": true}), &pin("Partial"))).await?;
    create("paused", "side:1").await?;
    seen::counts(plane, name, [5, 1, 5, 1]).await?;

    let mut canary = seen::set("live-canary", "side:canary", &json!({"updateStrategy": {"type": "NotUpdate"}}));
    canary["metadata"]["annotations"] = json!({keys::CANARY: "true", keys::CANARY_BASE: name});
    canary["spec"]["selector"] = json!({"matchLabels": {"app": name}});
    seen::apply(plane, &canary).await?;
    create("canary", "side:canary").await?;
    seen::counts(plane, "live-canary", [1, 1, 1, 1]).await?;

    seen::apply(plane, &set("side:2", &none, &pin("Always"))).await?;
    seen::counts(plane, name, [5, 5, 5, 5]).await?;
    let others = pods.list(&ListParams::default()).await?.items.into_iter();
    let others: Vec<_> = others.filter(|pod| seen::sidecar(pod) != Some("side:2")).map(|pod| pod.name_any()).collect();
    ensure!(others == ["canary"], "{others:?}");
    // A rollback uses the first revision again.
    seen::apply(plane, &set("side:1", &none, &json!(null))).await?;
    seen::counts(plane, name, [5, 5, 5, 5]).await?;
    seen::kept_images(plane, name, &[(2, "side:2"), (3, "side:1")]).await?;
    for set in ["live-canary", name] {
        seen::objects(plane).delete(set, &kube::api::DeleteParams::default()).await?;
    }
    Ok(())
}
