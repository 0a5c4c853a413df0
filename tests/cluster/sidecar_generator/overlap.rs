//! Sidecars of one namespace that Istio cannot distinguish: both generators report it and continue.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use outrigger_testbed::Case;
use serde_json::{Value, json};

use super::objects::{GOOD, Objects, condition, every_second, generator, sidecar};
use crate::outrigger::Outrigger;
use crate::web::Web;

const WITHOUT: &str = "MultipleSidecarsWithoutWorkloadSelectors";
const CONFLICTING: &str = "ConflictingSidecarWorkloadSelectors";

/// Further fields of the spec: requested every second, with this selector.
fn selecting(selector: &Value) -> Value {
    let mut more = every_second();
    more["workloadSelector"] = selector.clone();
    more
}

/// Waits until a generator reports an overlap with these for this reason. It still works.
async fn overlapping(objects: &Objects, name: &str, reason: &str, with: &[&str]) -> Result<()> {
    let generator = objects.condition(name, "Overlapping", "True", reason).await?;
    let message = condition(&generator, "Overlapping")["message"].as_str().unwrap_or_default().to_owned();
    for other in with {
        ensure!(message.contains(other), "{name}: {other} is not in {message:?}");
    }
    objects.reconciled(name).await?;
    Ok(())
}

/// Two for all Pods of a namespace (IST0111), in any notation. A Sidecar written by hand counts.
pub async fn two_sidecars_for_a_whole_namespace_overlap(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    objects.apply(&generator("one", &web.url("/"), &selecting(&Value::Null))).await?;
    objects.condition("one", "Overlapping", "False", "NoOverlap").await?;
    objects.apply(&generator("two", &web.url("/"), &selecting(&json!({})))).await?;
    overlapping(&objects, "one", WITHOUT, &["two"]).await?;
    overlapping(&objects, "two", WITHOUT, &["one"]).await?;
    objects.generators.delete("two", &DeleteParams::default()).await?;
    objects.sidecars.delete("two", &DeleteParams::default()).await?;
    objects.condition("one", "Overlapping", "False", "NoOverlap").await?;

    let mut by_hand = sidecar("by-hand", &json!({}), &["./*"]);
    by_hand["spec"].as_object_mut().and_then(|spec| spec.remove("workloadSelector"));
    objects.apply_sidecar(&by_hand).await?;
    overlapping(&objects, "one", WITHOUT, &["by-hand"]).await?;
    // One with and one without a selector are Istio's intended use.
    objects.apply(&generator("three", &web.url("/"), &every_second())).await?;
    objects.condition("three", "Overlapping", "False", "NoOverlap").await?;
    Ok(())
}

/// Every Pod of one is also selected by the other (IST0110).
pub async fn a_selection_within_another_overlaps(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    let labels = |labels: Value| selecting(&json!({"labels": labels}));
    objects.apply(&generator("wide", &web.url("/"), &labels(json!({"app": "a"})))).await?;
    objects.apply(&generator("narrow", &web.url("/"), &labels(json!({"app": "a", "version": "1"})))).await?;
    objects.apply(&generator("elsewhere", &web.url("/"), &labels(json!({"app": "b"})))).await?;
    overlapping(&objects, "wide", CONFLICTING, &["narrow"]).await?;
    overlapping(&objects, "narrow", CONFLICTING, &["wide"]).await?;
    objects.condition("elsewhere", "Overlapping", "False", "NoOverlap").await?;
    objects.apply(&generator("narrow", &web.url("/"), &labels(json!({"app": "c", "version": "1"})))).await?;
    for name in ["wide", "narrow"] {
        objects.condition(name, "Overlapping", "False", "NoOverlap").await?;
    }
    Ok(())
}

/// Two selectors that a Pod might match both, and then one does (IST0110).
pub async fn selections_overlap_when_a_pod_is_of_both(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    let labels = |labels: Value| selecting(&json!({"labels": labels}));
    objects.apply(&generator("by-app", &web.url("/"), &labels(json!({"app": "a"})))).await?;
    objects.apply(&generator("by-tier", &web.url("/"), &labels(json!({"tier": "front"})))).await?;
    let pod = |name: &str, labels: Value| -> Result<Pod> {
        let container = json!({"name": "app", "image": "app:1"});
        let spec = json!({"containers": [container], "automountServiceAccountToken": false});
        Ok(serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": spec}))?)
    };
    let pods = case.namespace.api::<Pod>();
    pods.create(&PostParams::default(), &pod("of-one", json!({"app": "a", "tier": "back"}))?).await?;
    for name in ["by-app", "by-tier"] {
        objects.condition(name, "Overlapping", "False", "NoOverlap").await?;
    }
    pods.create(&PostParams::default(), &pod("of-both", json!({"app": "a", "tier": "front"}))?).await?;
    overlapping(&objects, "by-app", CONFLICTING, &["by-tier"]).await?;
    overlapping(&objects, "by-tier", CONFLICTING, &["by-app"]).await?;
    pods.delete("of-both", &DeleteParams::default().grace_period(0)).await?;
    for name in ["by-app", "by-tier"] {
        objects.condition(name, "Overlapping", "False", "NoOverlap").await?;
    }
    Ok(())
}
