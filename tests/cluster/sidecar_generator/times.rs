//! When URLs are requested, and what is written.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::api::{WatchEvent, WatchParams};
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use super::objects::{GOOD, Objects, condition, every_second, generator, last, next};
use crate::outrigger::{Outrigger, PATIENCE};
use crate::web::Web;

/// However short a period is, the URL is not requested more often than outrigger's flag allows.
pub async fn no_period_is_shorter_than_the_floor(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    objects.apply(&generator("hasty", &web.url("/"), &json!({"refreshPeriod": "1ms"}))).await?;
    web.asked("/", 4).await?;
    let requests = web.requests("/");
    for pair in requests.windows(2) {
        let between = pair[1].at - pair[0].at;
        assert!(between >= Duration::from_millis(950), "asked again after {between:?}");
    }
    Ok(())
}

/// `jitter` adds up to this time to each period.
pub async fn jitter_spreads_what_would_come_at_once(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    let mut periods = Vec::new();
    for n in 0..6 {
        let name = format!("spread-{n}");
        objects.apply(&generator(&name, &web.url("/"), &json!({"refreshPeriod": "10m", "jitter": "10m"}))).await?;
        let generator = objects.reconciled(&name).await?;
        periods.push(next(&generator)?.duration_since(last(&generator)?).as_secs());
    }
    assert!(periods.iter().all(|period| (600..=1200).contains(period)), "{periods:?}");
    assert!(periods.iter().any(|period| *period != periods[0]), "{periods:?}");
    Ok(())
}

/// A fetch without changes causes one write, of the times. Conditions and the Sidecar are not written.
pub async fn a_fetch_that_finds_nothing_new_writes_the_times_once(case: Case<Outrigger>) -> Result<()> {
    let (web, objects, name) = (Web::http().await?, Objects::of(&case), "unchanged");
    web.says("/", GOOD);
    objects.apply(&generator(name, &web.url("/"), &every_second())).await?;
    objects.event(name, "Normal", "SidecarCreated").await?;
    let first = objects.reconciled(name).await?;
    let before = objects.sidecar(name).await?;

    let version = first["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?;
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = objects.generators.watch(&only, version).await?.boxed();
    let written = Arc::new(Mutex::new(Vec::new()));
    let watch = tokio::spawn({
        let written = written.clone();
        events.try_for_each(move |event| {
            if let WatchEvent::Modified(generator) = event
                && let Ok(mut written) = written.lock()
            {
                written.push(generator.data["status"].clone());
            }
            std::future::ready(Ok(()))
        })
    });
    let asked = web.count("/");
    web.asked("/", asked + 4).await?;
    // The request after four more follows the writes of these.
    let written = wait_for("the writes of four fetches", PATIENCE, async || {
        let written = written.lock().map_err(|_| anyhow::anyhow!("the watch panicked"))?.clone();
        ensure!(written.len() >= 4, "{}", written.len());
        Ok(Some(written))
    })
    .await?;
    watch.abort();
    let asked = web.count("/") - asked;
    assert!(written.len() <= asked, "{} writes of {asked} fetches", written.len());
    let mut previous = &first["status"];
    for status in &written {
        assert_eq!(status["conditions"], previous["conditions"]);
        let time = |status: &Value, field: &str| status[field].as_str().map(str::to_owned);
        for field in ["lastSidecarGeneratorUpdate", "nextSidecarGeneratorUpdate"] {
            assert!(time(status, field) >= time(previous, field), "{status} after {previous}");
        }
        assert_ne!(status, previous);
        previous = status;
    }
    assert_eq!(objects.sidecar(name).await?, before);
    Ok(())
}

/// While `suspend` is true nothing is requested or repaired. When it ends, the URL is requested at once.
pub async fn nothing_happens_while_suspended(case: Case<Outrigger>) -> Result<()> {
    let (web, objects, name) = (Web::http().await?, Objects::of(&case), "resting");
    web.says("/", GOOD);
    objects.apply(&generator(name, &web.url("/"), &every_second())).await?;
    let running = objects.reconciled(name).await?;
    objects.change(name, json!({"spec": {"suspend": true}})).await?;
    let without_next = |generator: &Value| generator["status"]["nextSidecarGeneratorUpdate"].is_null();
    let resting = objects.generator_where(name, "without next", without_next).await?;
    for type_ in ["Reconciled", "Ready", "Stalled"] {
        assert_eq!(condition(&resting, type_)["status"], condition(&running, type_)["status"], "{type_}");
    }
    let asked = web.count("/");
    objects.edit(name, json!({"spec": {"egress": [{"hosts": ["*/*"]}]}})).await?;

    // Another one that is requested every second shows that time passes.
    web.says("/other", GOOD);
    objects.apply(&generator("running", &web.url("/other"), &every_second())).await?;
    web.asked("/other", 3).await?;
    assert_eq!(web.count("/"), asked);
    objects.hosts(name, &["*/*"]).await?;

    objects.change(name, json!({"spec": {"suspend": false}})).await?;
    web.asked("/", asked + 1).await?;
    objects.hosts(name, &["./*", "istio-system/*"]).await?;
    objects.reconciled(name).await?;
    Ok(())
}

/// A few changes of the Sidecar are reverted at once, and further ones more and more slowly, without requesting the
/// URL.
pub async fn a_fight_over_a_sidecar_slows_down(case: Case<Outrigger>) -> Result<()> {
    let (web, objects, name) = (Web::http().await?, Objects::of(&case), "contested");
    web.says("/", GOOD);
    objects.apply(&generator(name, &web.url("/"), &json!({}))).await?;
    objects.reconciled(name).await?;
    let mut took = Vec::new();
    for _ in 0..7 {
        objects.edit(name, json!({"spec": {"egress": [{"hosts": ["*/*"]}]}})).await?;
        let edited = tokio::time::Instant::now();
        objects.hosts(name, &["./*", "istio-system/*"]).await?;
        took.push(edited.elapsed());
    }
    // The pauses themselves are tested with a clock of their own; here the machine has its share in each time.
    let first = took[..5].iter().min().context("no repair")?;
    assert!(*first < Duration::from_secs(1), "the first repairs took {took:?}");
    assert!(took[6] > Duration::from_secs(1) && took[6] > *first, "{took:?}");
    assert_eq!(web.count("/"), 1);
    Ok(())
}
