//! outrigger as a process: started before Istio is installed, restarted, one of several replicas, stopped during a
//! fetch.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::objects::{GOOD, Objects, condition, generator, next};
use crate::outrigger::{Outrigger, PATIENCE, Start, install};
use crate::web::{Reply, Web};

const GOOD_HOSTS: [&str; 2] = ["./*", "istio-system/*"];

/// A replica that only makes Sidecars, and may fetch from this machine.
fn start(kubeconfig: &std::path::Path) -> Start {
    let args = ["--controllers=sidecargenerator", "--fetch-allow=127.0.0.1", "--min-refresh-period=1s"];
    Start { args: args.map(str::to_owned).into(), ..Start::with(kubeconfig) }
}

/// Without Istio's kinds each generator reports it, and the process continues. Once installed, everything is caught up.
pub async fn istio_may_be_installed_later_and_removed(case: Case<()>) -> Result<()> {
    let (plane, web, objects) = (&case.plane, Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::start(plane, start(&kubeconfig))?;
    outrigger.ready().await?;
    objects.apply(&generator("early", &web.url("/"), &json!({}))).await?;
    let waiting = objects.generator_where("early", "waiting for Istio", |generator| {
        let message = condition(generator, "Reconciled")["message"].as_str().unwrap_or_default();
        message.contains("Istio's Sidecar kind is not installed")
    });
    let waiting = waiting.await?;
    assert_eq!(condition(&waiting, "Ready")["status"], "False");
    let (status, page) = outrigger.page("/readyz?verbose").await?;
    ensure!(status == 200, "{page}");
    // Without the controller `sidecarset` there are no webhooks.
    TcpStream::connect(("127.0.0.1", outrigger.webhook)).await.expect_err("nobody listens");
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(plane.client());
    assert_eq!(webhooks.list(&ListParams::default()).await?.items, []);

    plane.install_istio_crds().await?;
    objects.hosts("early", &GOOD_HOSTS).await?;
    objects.reconciled("early").await?;

    let crds: Api<CustomResourceDefinition> = Api::all(plane.client());
    crds.delete("sidecars.networking.istio.io", &DeleteParams::default()).await?;
    objects.apply(&generator("later", &web.url("/"), &json!({}))).await?;
    for name in ["early", "later"] {
        objects.condition(name, "Ready", "False", &reason(&waiting)).await?;
    }
    plane.install_istio_crds().await?;
    for name in ["early", "later"] {
        objects.hosts(name, &GOOD_HOSTS).await?;
        objects.reconciled(name).await?;
    }
    outrigger.stop().await
}

fn reason(generator: &Value) -> String {
    condition(generator, "Ready")["reason"].as_str().unwrap_or_default().to_owned()
}

/// A process that restarts, and the next leader, do not fetch before the next period and write nothing. What was missed is caught
/// up. Before, this machine's addresses were refused, as by default.
pub async fn another_leader_fetches_only_what_is_due(case: Case<()>) -> Result<()> {
    let (plane, web, objects) = (&case.plane, Web::http().await?, Objects::of(&case));
    let names = ["settled", "drifted", "stripped", "missing", "changed"];
    web.says("/", GOOD);
    for name in names {
        web.says(&format!("/{name}"), GOOD);
    }
    plane.install_istio_crds().await?;
    let kubeconfig = install(plane).await?;
    let guarded = Start { args: vec!["--controllers=sidecargenerator".to_owned()], ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::start(plane, guarded)?;
    objects.apply(&generator("settled", &web.url("/settled"), &json!({}))).await?;
    objects.failed_with("settled", "FetchFailed", &["127.0.0.1", "--fetch-allow"]).await?;
    assert_eq!(web.count("/settled"), 0);
    outrigger.stop().await?;

    let first = Outrigger::start(plane, start(&kubeconfig))?;
    for name in names {
        objects.apply(&generator(name, &web.url(&format!("/{name}")), &json!({}))).await?;
        objects.reconciled(name).await?;
    }
    first.stop().await?;
    let settled = (objects.generator("settled").await?, objects.sidecar("settled").await?);
    objects.edit("drifted", json!({"spec": {"egress": [{"hosts": ["*/*"]}]}})).await?;
    objects.edit("stripped", json!({"metadata": {"ownerReferences": null}})).await?;
    objects.sidecars.delete("missing", &DeleteParams::default()).await?;
    objects.change("changed", json!({"spec": {"refreshPeriod": "2h"}})).await?;
    let asked = names.map(|name| web.count(&format!("/{name}")));

    let second = Outrigger::start(plane, start(&kubeconfig))?;
    second.ready().await?;
    for name in &names[1..] {
        objects.hosts(name, &GOOD_HOSTS).await?;
        objects.sidecar_where(name, "owned", |sidecar| sidecar["metadata"]["ownerReferences"].is_array()).await?;
    }
    objects
        .generator_where("changed", "asked", |generator| {
            next(generator).is_ok_and(|next| next.duration_since(jiff::Timestamp::now()).as_secs() > 60 * 60)
        })
        .await?;
    assert_eq!(web.count("/settled"), asked[0], "what was not due was fetched");
    assert_eq!((objects.generator("settled").await?, objects.sidecar("settled").await?), settled);

    // The same when one of two replicas hands over.
    let third = Outrigger::start(plane, start(&kubeconfig))?;
    third.ready().await?;
    let asked = names.map(|name| web.count(&format!("/{name}")));
    second.stop().await?;
    objects.apply(&generator("new", &web.url("/"), &json!({}))).await?;
    objects.reconciled("new").await?;
    assert_eq!(names.map(|name| web.count(&format!("/{name}"))), asked);
    assert_eq!((objects.generator("settled").await?, objects.sidecar("settled").await?), settled);
    third.stop().await
}

/// A fetch in progress is cancelled when the process is told to stop, which does not wait for it.
pub async fn a_fetch_under_way_does_not_hold_up_the_end(case: Case<()>) -> Result<()> {
    let (plane, web, objects) = (&case.plane, Web::http().await?, Objects::of(&case));
    plane.install_istio_crds().await?;
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::start(plane, start(&kubeconfig))?;
    web.replies("/", Reply::hang());
    objects.apply(&generator("hanging", &web.url("/"), &json!({}))).await?;
    web.asked("/", 1).await?;
    let begin = Instant::now();
    outrigger.stop().await?;
    // Its limit is 10 s.
    assert!(begin.elapsed() < Duration::from_secs(8), "the end took {:?}", begin.elapsed());
    wait_for("the request to be given up", PATIENCE, async || {
        ensure!(web.open("/") == 0);
        Ok(Some(()))
    })
    .await?;
    let status = &objects.generator("hanging").await?["status"];
    assert_eq!(status["conditions"][1]["reason"], "Fetching", "something came of it: {status}");
    Ok(())
}
