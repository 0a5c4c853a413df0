//! Which Pods the API server sends as SidecarSets come and go, and how the registration is removed and defended.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use outrigger::admission::client::Destination;
use outrigger::api::sidecarset::SidecarSet;
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::balancer::Balancer;
use crate::certificates::Certificates;
use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered, sets};

const REVIEWED: &str = "controller_runtime_webhook_requests_total{webhook=\"/mutate-pod\",code=\"200\"}";

fn set(name: &str, selector: &Value) -> Result<SidecarSet> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name},
        "spec": {"selector": selector, "containers": [{"name": format!("{name}-sidecar"), "image": "side:1"}]},
    }))?)
}

fn of_app(name: &str) -> Result<SidecarSet> {
    set(name, &json!({"matchLabels": {"app": name}}))
}

fn pod(labels: &Value) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"generateName": "p-", "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], "automountServiceAccountToken": false}
    }))?)
}

/// Creates a Pod. Returns whether it has the sidecar of this set.
async fn is_injected(pods: &Api<Pod>, labels: &Value, set: &str) -> Result<bool> {
    let pod = pods.create(&PostParams::default(), &pod(labels)?).await?;
    let sidecar = format!("{set}-sidecar");
    Ok(pod.spec.iter().flat_map(|spec| &spec.containers).any(|container| container.name == sidecar))
}

fn mutating(plane: &ControlPlane) -> Api<MutatingWebhookConfiguration> {
    Api::all(plane.client())
}

async fn webhooks(plane: &ControlPlane) -> Result<Vec<String>> {
    let configuration = mutating(plane).get("outrigger-mutating").await?;
    Ok(configuration.webhooks.into_iter().flatten().map(|webhook| webhook.name).collect())
}

/// A set is immediately followed by its Pod, 60 times, and none is missed. Pods that no set can match are never sent, and without sets
/// no Pod at all. A set without a value sends all of them.
pub async fn pods_are_sent_as_soon_as_a_set_needs_them_and_no_others(case: Case<()>) -> Result<()> {
    // With a few more in a row all Pods would be sent.
    const SETS: usize = 60;
    const LANES: usize = 4;
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(&case.plane, start).await?;
    let pods: Api<Pod> = case.namespace.api();
    let (sets, create) = (sets(&case.plane), PostParams::default());
    assert_eq!(webhooks(&case.plane).await?, ["sidecarsets.outrigger.dev"]);
    is_injected(&pods, &json!({"app": "none"}), "none").await?;
    assert_eq!(outrigger.metric(REVIEWED).await?, 0, "a Pod was sent while there was no set");

    let begun = Instant::now();
    // Several at a time, so that the registration is also widened for several at once.
    let lanes = (0..LANES).map(async |lane| -> Result<Vec<usize>> {
        let mut missed = Vec::new();
        for number in (lane..SETS).step_by(LANES) {
            let name = format!("app-{number}");
            sets.create(&create, &of_app(&name)?).await?;
            if !is_injected(&pods, &json!({"app": name}), &name).await? {
                missed.push(number);
            }
        }
        Ok(missed)
    });
    let missed = futures::future::try_join_all(lanes).await?.concat();
    println!("{SETS} sets, each followed by its Pod: {} missed, {:?}", missed.len(), begun.elapsed());
    ensure!(missed.is_empty(), "missed: {missed:?}");

    let before = outrigger.metric(REVIEWED).await?;
    for labels in [json!({}), json!({"app": "app"}), json!({"tier": "app-1"}), json!({"app": ""})] {
        is_injected(&pods, &labels, "none").await?;
    }
    assert_eq!(outrigger.metric(REVIEWED).await?, before, "a Pod was sent that no set can match");

    // A set that is allowed here and never stored, as when another webhook rejects it.
    let target = Destination::new(([127, 0, 0, 1], outrigger.webhook).into(), &certificates.ca)?;
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "kind": {"group": "apps.kruise.io", "version": "v1beta1", "kind": "SidecarSet"},
                    "operation": "CREATE", "object": of_app("refused")?}
    });
    let answer = target.connect().await?.post("/validate-apps-kruise-io-sidecarset", review.to_string().into()).await?;
    let answer: Value = serde_json::from_slice(&answer.body)?;
    assert_eq!(answer["response"], json!({"uid": "u", "allowed": true}));
    ensure!(!is_injected(&pods, &json!({"app": "refused"}), "refused").await?, "a set that is not stored is injected");

    // About the maximum length of an expression.
    let values: Vec<String> = (0..9_700).map(|number| format!("v{number:05}")).collect();
    let many = json!({"matchExpressions": [{"key": "many", "operator": "In", "values": values}]});
    sets.create(&create, &set("many", &many)?).await?;
    for labels in [json!({"many": values[0]}), json!({"many": values[9_699]})] {
        let begun = Instant::now();
        ensure!(is_injected(&pods, &labels, "many").await?, "{labels} was missed");
        println!("a Pod beside {} values: {:?}", values.len(), begun.elapsed());
    }
    let before = outrigger.metric(REVIEWED).await?;
    is_injected(&pods, &json!({"many": "none"}), "many").await?;
    assert_eq!(outrigger.metric(REVIEWED).await?, before, "with many values all Pods are sent");

    let everywhere = json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]});
    sets.create(&create, &set("everywhere", &everywhere)?).await?;
    ensure!(is_injected(&pods, &json!({}), "everywhere").await?, "the set without a value was missed");
    Ok(())
}

/// With two replicas behind one address, no Pod is missed from 1 s after a set was applied. Earlier ones may be, if the other replica
/// has not heard of the set.
pub async fn with_two_replicas_none_is_missed_a_second_later(case: Case<()>) -> Result<()> {
    const SETS: u32 = 40;
    let certificates = Certificates::new()?;
    let (balancer, start) = Balancer::install(&case.plane, &certificates).await?;
    // A moment after the conversion of a kind is registered, the API server ends all its watches. That is not tested here.
    let earlier = Outrigger::start(&case.plane, start.clone())?;
    let crds = Api::<CustomResourceDefinition>::all(case.plane.client());
    wait_for("the conversion to be registered", PATIENCE, async || {
        let conversion = crds.get("sidecarsets.apps.kruise.io").await?.spec.conversion;
        Ok(conversion.and_then(|conversion| conversion.webhook))
    })
    .await?;
    earlier.stop().await?;

    let replicas = balancer.pair(&case.plane, start).await?;

    let (sets, pods): (_, Api<Pod>) = (sets(&case.plane), case.namespace.api());
    let (mut early, mut later) = (0, FuturesUnordered::new());
    for number in 0..SETS {
        let name = format!("app-{number}");
        sets.create(&PostParams::default(), &of_app(&name)?).await?;
        let applied = Instant::now();
        // Several, so that both replicas are called.
        let at_once = async || is_injected(&pods, &json!({"app": name}), &name).await;
        let (first, second, third) = tokio::join!(at_once(), at_once(), at_once());
        early += [first?, second?, third?].into_iter().filter(|injected| !injected).count();
        let pods = pods.clone();
        later.push(tokio::spawn(async move {
            sleep_until(applied + Duration::from_secs(1)).await;
            is_injected(&pods, &json!({"app": name}), &name).await
        }));
    }
    let mut missed = 0;
    while let Some(injected) = later.next().await {
        missed += usize::from(!injected??);
    }
    let mut sent = Vec::new();
    for replica in &replicas {
        sent.push(replica.metric(REVIEWED).await?);
    }
    println!(
        "two replicas, {SETS} sets: {early} of {} Pods missed at once, {missed} a second later; reviews: {sent:?}",
        3 * SETS
    );
    ensure!(missed == 0, "{missed} missed a second after the set was applied");
    Ok(())
}

/// While the ConfigMap exists nothing is registered, and every replica reports it. A configuration that is deleted by hand while
/// outrigger is down lets Pods through.
pub async fn break_glass_takes_the_webhooks_out(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(&case.plane, start.clone()).await?;
    let follower = Outrigger::start(&case.plane, start.clone())?;
    follower.ready().await?;
    sets(&case.plane).create(&PostParams::default(), &of_app("web")?).await?;
    let (pods, web): (Api<Pod>, _) = (case.namespace.api(), json!({"app": "web"}));
    ensure!(is_injected(&pods, &web, "web").await?, "not injected");

    let maps: Api<ConfigMap> = Api::namespaced(case.plane.client(), "outrigger-system");
    let switch: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "outrigger-disabled"}}))?;
    maps.create(&PostParams::default(), &switch).await?;
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(case.plane.client());
    let gone = async || -> Result<bool> {
        let mutating = mutating(&case.plane).get_opt("outrigger-mutating").await?;
        Ok(mutating.is_none() && validating.get_opt("outrigger-validating").await?.is_none())
    };
    wait_for("the configurations to be deleted", PATIENCE, async || Ok(gone().await?.then_some(()))).await?;
    wait_for("a Pod to pass without its sidecar", PATIENCE, async || {
        Ok((!is_injected(&pods, &web, "web").await?).then_some(()))
    })
    .await?;
    for replica in [&outrigger, &follower] {
        let (status, page) = replica.page("/readyz?verbose").await?;
        assert_eq!(status, 200, "{page}");
        assert!(page.contains("[+]break-glass ok: DISABLED: no webhook is registered while ConfigMap outrigger-system/outrigger-disabled exists"), "{page}");
        assert_eq!(replica.metric("outrigger_disabled").await?, 1);
    }
    // It is still converted, and what is written in the meantime takes effect afterwards.
    let crds: Api<CustomResourceDefinition> = Api::all(case.plane.client());
    let conversion = crds.get("sidecarsets.apps.kruise.io").await?.spec.conversion.context("no conversion")?;
    assert_eq!(conversion.strategy, "Webhook");
    sets(&case.plane).create(&PostParams::default(), &of_app("meanwhile")?).await?;
    ensure!(gone().await?, "registered while disabled");
    maps.delete("outrigger-disabled", &DeleteParams::default()).await?;
    registered(&case.plane).await?;
    wait_for("Pods to be injected again", PATIENCE, async || {
        let (web, meanwhile) = (
            is_injected(&pods, &web, "web").await?,
            is_injected(&pods, &json!({"app": "meanwhile"}), "meanwhile").await?,
        );
        Ok((web && meanwhile).then_some(()))
    })
    .await?;

    follower.stop().await?;
    outrigger.stop().await?;
    let refused = is_injected(&pods, &web, "web").await.err().context("created while no replica answers")?;
    assert!(format!("{refused:#}").contains("pods.outrigger.dev"), "{refused:#}");
    case.plane.kubectl(&["delete", "mutatingwebhookconfiguration", "outrigger-mutating"], None).await?.ok()?;
    wait_for("a Pod to pass without its sidecar", PATIENCE, async || {
        Ok((!is_injected(&pods, &web, "web").await?).then_some(()))
    })
    .await?;
    let _back = Outrigger::serving(&case.plane, start).await?;
    wait_for("Pods to be injected again", PATIENCE, async || Ok(is_injected(&pods, &web, "web").await?.then_some(())))
        .await
}

/// Many writers store new sets at once through two replicas: none is stored before its Pods are sent, and nobody is blamed for the
/// resulting writes. Afterwards a deleted configuration is restored within a second. With the variable `OUTRIGGER_LONG` there are
/// 1,000 sets.
pub async fn many_new_sets_accuse_nobody_and_a_deletion_is_undone_at_once(case: Case<()>) -> Result<()> {
    const WRITERS: usize = 32;
    let long = std::env::var_os("OUTRIGGER_LONG").is_some_and(|value| value != "0");
    let count = if long { 1_000 } else { 300 };
    let certificates = Certificates::new()?;
    let (balancer, start) = Balancer::install(&case.plane, &certificates).await?;
    let replicas = balancer.pair(&case.plane, start).await?;
    let sum = async |metric: &str| anyhow::Ok(replicas[0].metric(metric).await? + replicas[1].metric(metric).await?);

    let (sets, create, begun) = (sets(&case.plane), PostParams::default(), Instant::now());
    let writers = (0..WRITERS).map(async |writer| -> Result<()> {
        for number in (writer..count).step_by(WRITERS) {
            sets.create(&create, &of_app(&format!("app-{number}"))?).await?;
        }
        Ok(())
    });
    futures::future::try_join_all(writers).await?;
    let took = begun.elapsed();
    let failed = sum("outrigger_registration_widenings_total{result=\"failed\"}").await?;
    let widened = sum("outrigger_registration_widenings_total{result=\"widened\"}").await?;
    let repairs = "outrigger_registration_repairs_total{object=\"outrigger-mutating\"}";
    println!("{count} sets by {WRITERS} writers: {took:.1?}, {widened} widenings, {failed} failed");
    let logged = case.plane.log("outrigger")?;
    let accusations = logged.lines().filter(|line| line.contains("by somebody else")).count();
    ensure!((failed, sum(repairs).await?, accusations) == (0, 0, 0), "{failed} failed, {accusations} accusations");

    let pods: Api<Pod> = case.namespace.api();
    mutating(&case.plane).delete("outrigger-mutating", &DeleteParams::default()).await?;
    let deleted = Instant::now();
    wait_for("the configuration to be back", PATIENCE, async || {
        mutating(&case.plane).get("outrigger-mutating").await?;
        Ok(Some(()))
    })
    .await?;
    let back = deleted.elapsed();
    println!("a deletion was undone after {back:.2?}");
    ensure!(back < Duration::from_secs(1), "it took {back:?}");
    let last = format!("app-{}", count - 1);
    wait_for("Pods to be injected", PATIENCE, async || {
        Ok(is_injected(&pods, &json!({"app": last}), &last).await?.then_some(()))
    })
    .await?;
    wait_for("one repair to be counted", PATIENCE, async || Ok((sum(repairs).await? == 1).then_some(()))).await
}

/// A burst of edits is reverted at once. A persistent writer meets increasing pauses, but a deletion is still reverted
/// at once.
pub async fn a_fight_over_the_registration_slows_down(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let outrigger = Outrigger::serving(&case.plane, Start::with(&kubeconfig)).await?;
    let configurations = mutating(&case.plane);
    let undone = async || -> Result<f64> {
        let edited = Instant::now();
        wait_for("the edit to be undone", PATIENCE, async || {
            let configuration = configurations.get("outrigger-mutating").await?;
            let first = configuration.webhooks.unwrap_or_default().into_iter().next().context("no webhook")?;
            Ok((first.timeout_seconds == Some(10)).then_some(())) // only the one for SidecarSets, because there are none
        })
        .await?;
        Ok(edited.elapsed().as_secs_f64())
    };
    let edit: Value = json!([{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 29}]);
    let edit: Patch<()> = Patch::Json(serde_json::from_value(edit)?);
    let params = PatchParams { field_manager: Some("rival".to_owned()), ..PatchParams::default() };
    let mut repaired = Vec::new();
    for _ in 0..7 {
        configurations.patch("outrigger-mutating", &params, &edit).await?;
        repaired.push(undone().await?);
    }
    println!("repaired after {repaired:.2?} s");
    ensure!(repaired[..5].iter().all(|pause| *pause < 1.0), "{repaired:?}");
    ensure!(repaired[5] >= 0.9 && repaired[6] >= 1.9, "{repaired:?}");
    configurations.delete("outrigger-mutating", &DeleteParams::default()).await?;
    let pause = undone().await?;
    ensure!(pause < 1.0, "a deletion was undone after {pause} s");
    let log = outrigger.log()?;
    let named =
        log.lines().filter(|line| line.contains("by=\"rival\"") && line.contains("was changed by somebody else"));
    assert_eq!(named.count(), 7, "{log}");
    let repairs = "outrigger_registration_repairs_total{object=\"outrigger-mutating\"}";
    assert_eq!(outrigger.metric(repairs).await?, 8);
    Ok(())
}
