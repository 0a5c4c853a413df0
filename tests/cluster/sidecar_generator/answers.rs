//! Bodies of answers: bad ones are reported, and the last good one stays.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use outrigger_testbed::Case;
use serde_json::{Value, json};

use super::objects::{GOOD, Objects, condition, every_second, generator};
use crate::outrigger::Outrigger;
use crate::web::{Reply, Web};

/// A word that the bad answers contain as a value.
const VALUE: &str = "s3cr3t-value";

/// Each with the URL's answer from the second request on, the reason, and words of the message.
fn bad_answers() -> Vec<(&'static str, String, &'static str, &'static [&'static str])> {
    let hosts = |host: &str| {
        format!(r#"[{{"hosts":["./*"]}},{{"port":{{"number":80,"protocol":"HTTP","name":"h"}},"hosts":["{host}"]}}]"#)
    };
    vec![
        ("null-item", r#"[{"hosts":["./*"]},null]"#.into(), "InvalidAnswer", &["egress[1]"]),
        ("no-hosts", format!(r#"[{{"hosts":[],"bind":"{VALUE}"}}]"#), "InvalidAnswer", &["egress[0]"]),
        ("no-host-field", r#"[{"captureMode":"NONE"}]"#.into(), "InvalidAnswer", &["egress[0]"]),
        ("bad-host", format!(r#"[{{"hosts":["./*","{VALUE}"]}}]"#), "InvalidAnswer", &["egress[0].hosts[1]"]),
        ("short-name", format!(r#"[{{"hosts":["{VALUE}/reviews"]}}]"#), "InvalidAnswer", &["egress[0].hosts[0]"]),
        ("portless-first", hosts("./*"), "InvalidAnswer", &["egress[0]"]),
        ("two-portless", r#"[{"hosts":["./*"]},{"hosts":["a/*"]}]"#.into(), "InvalidAnswer", &["egress[0]"]),
        (
            "bad-port",
            r#"[{"port":{"number":70000,"protocol":"HTTP","name":"h"},"hosts":["./*"]}]"#.into(),
            "InvalidAnswer",
            &["egress[0].port"],
        ),
        ("wrong-type", format!(r#"[{{"hosts":"{VALUE}"}}]"#), "InvalidAnswer", &["egress[0].hosts"]),
        (
            "bad-enum",
            format!(r#"[{{"hosts":["./*"],"captureMode":"{VALUE}"}}]"#),
            "InvalidAnswer",
            &["egress[0].captureMode"],
        ),
        ("object", format!(r#"{{"hosts":["{VALUE}"]}}"#), "InvalidAnswer", &["list"]),
        ("html", format!("<html><body>{VALUE}</body></html>"), "InvalidAnswer", &["JSON"]),
        ("cut", format!(r#"[{{"hosts":["{VALUE}/*"#), "InvalidAnswer", &["JSON"]),
        ("nothing", String::new(), "InvalidAnswer", &["JSON"]),
        ("deep", "[".repeat(100_000), "InvalidAnswer", &["JSON"]),
        ("empty", "[]".into(), "EmptyAnswer", &["onEmpty"]),
        ("null", " null ".into(), "EmptyAnswer", &["onEmpty"]),
    ]
}

/// The condition names the item and contains no value of it. The Sidecar is not changed.
pub async fn an_answer_that_is_wrong_keeps_the_sidecar_and_names_the_item(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    let each = bad_answers().into_iter().map(async |(name, body, reason, words)| {
        let path = format!("/{name}");
        web.says(&path, GOOD);
        objects.apply(&generator(name, &web.url(&path), &every_second())).await?;
        objects.reconciled(name).await?;
        let before = objects.sidecar(name).await?;
        web.says(&path, body);
        let generator = objects.failed_with(name, reason, words).await?;
        let status = generator["status"].to_string();
        ensure!(!status.contains(VALUE), "{name}: a value is shown: {status}");
        ensure!(condition(&generator, "Reconciling")["status"] == "True", "{status}");
        // It is requested again soon, also without a result. The good answer takes effect at once.
        web.more(&path, 2).await?;
        ensure!(objects.sidecar(name).await? == before, "{name}: the Sidecar was touched");
        web.says(&path, r#"[{"hosts":["later/*"]}]"#);
        objects.hosts(name, &["later/*"]).await?;
        objects.reconciled(name).await?;
        anyhow::Ok(())
    });
    try_join_all(each).await?;
    ensure!(!case.world.log()?.contains(VALUE), "a value is in the log");
    Ok(())
}

/// JSON as Go's protobuf reads it: both spellings of names, numbers as strings, unknown fields. The Sidecar has the
/// canonical JSON.
pub async fn an_answer_is_read_as_protobuf_reads_it(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says(
        "/",
        r#"[{"port":{"number":"9080","protocol":"HTTP","name":"egress","target_port":0},"bind":null,"capture_mode":2,
             "hosts":["prod-us1/*"],"unknown":{"is":["ignored"]}},
            {"hosts":["istio-system/*"],"captureMode":"DEFAULT"}]"#,
    );
    objects.apply(&generator("spelled", &web.url("/"), &json!({}))).await?;
    objects.reconciled("spelled").await?;
    let egress = json!([
        {"port": {"number": 9080, "protocol": "HTTP", "name": "egress"}, "captureMode": "NONE", "hosts": ["prod-us1/*"]},
        {"hosts": ["istio-system/*"]},
    ]);
    assert_eq!(objects.sidecar("spelled").await?["spec"]["egress"], egress);
    Ok(())
}

/// What Istio accepts with a warning is applied, and reported with the item.
pub async fn what_istio_only_warns_of_is_applied_and_told(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", r#"[{"hosts":["*/*","shop/*"]}]"#);
    objects.apply(&generator("wide", &web.url("/"), &json!({}))).await?;
    let generator = objects.reconciled("wide").await?;
    objects.hosts("wide", &["*/*", "shop/*"]).await?;
    let message = condition(&generator, "Ready")["message"].as_str().unwrap_or_default();
    assert!(message.contains("egress[0].hosts"), "{message}");
    Ok(())
}

/// With `onEmpty: Apply` an empty list means that nothing can be reached, which Istio writes as `~/*`.
pub async fn an_empty_answer_is_applied_only_where_that_is_wanted(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    for (path, body) in [("/list", "[]"), ("/null", "null")] {
        let name = &path[1..];
        web.says(path, body);
        objects.apply(&generator(name, &web.url(path), &json!({"onEmpty": "Apply"}))).await?;
        objects.reconciled(name).await?;
        objects.hosts(name, &["~/*"]).await?;
    }
    // Without it there is not even a first Sidecar.
    objects.apply(&generator("first", &web.url("/list"), &json!({}))).await?;
    objects.failed_with("first", "EmptyAnswer", &["onEmpty"]).await?;
    ensure!(objects.sidecars.get_opt("first").await?.is_none());
    Ok(())
}

/// An answer that removes too many hosts is not applied. One that removes fewer, or adds some, is.
pub async fn an_answer_that_shrinks_too_much_is_not_applied(case: Case<Outrigger>) -> Result<()> {
    let (web, objects, name) = (Web::http().await?, Objects::of(&case), "shrinking");
    let ten: Vec<String> = (0..10).map(|n| format!("ns{n}/*")).collect();
    let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    let says = |hosts: &[&str]| web.says("/", json!([{"hosts": hosts}]).to_string());
    says(&ten);
    let more = json!({"refreshPeriod": "1s", "maxShrinkPercent": 30});
    objects.apply(&generator(name, &web.url("/"), &more)).await?;
    objects.reconciled(name).await?;
    let before = objects.sidecar(name).await?;
    says(&ten[..6]);
    objects.failed_with(name, "ShrunkAnswer", &["maxShrinkPercent"]).await?;
    assert_eq!(objects.sidecar(name).await?, before);
    says(&ten[..7]);
    objects.hosts(name, &ten[..7]).await?;
    objects.reconciled(name).await?;
    says(&ten[..2]);
    objects.failed(name, "ShrunkAnswer").await?;
    objects.change(name, json!({"spec": {"maxShrinkPercent": 80}})).await?;
    objects.hosts(name, &ten[..2]).await?;
    Ok(())
}

/// 304 to a request with `If-None-Match` or `If-Modified-Since` is a success: its time is updated, and the Sidecar is
/// not written.
pub async fn an_answer_that_has_not_changed_is_a_success(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    let modified = "Tue, 06 Jan 2026 10:00:00 GMT";
    web.replies("/tag", Reply::ok(GOOD).header("etag", "\"one\""));
    web.replies("/date", Reply::ok(GOOD).header("last-modified", modified));
    for (path, header, value) in [("/tag", "if-none-match", "\"one\""), ("/date", "if-modified-since", modified)] {
        let name = &path[1..];
        objects.apply(&generator(name, &web.url(path), &every_second())).await?;
        let first = super::objects::last(&objects.reconciled(name).await?)?;
        let before = objects.sidecar(name).await?;
        assert_eq!(web.asked(path, 1).await?.header(header), "");
        assert_eq!(web.asked(path, 2).await?.header(header), value);
        let later = objects
            .generator_where(name, "asked again", |generator| {
                super::objects::last(generator).is_ok_and(|last| last > first)
            })
            .await?;
        assert_eq!(condition(&later, "Ready")["status"], "True");
        assert_eq!(objects.sidecar(name).await?, before);
        // A repair in the meantime restores the answer from when it had a body.
        objects.edit(name, json!({"spec": {"egress": [{"hosts": ["*/*"]}]}})).await?;
        objects.hosts(name, &["./*", "istio-system/*"]).await?;
    }
    web.replies("/tag", Reply::ok(r#"[{"hosts":["./*"]}]"#).header("etag", "\"two\""));
    objects.hosts("tag", &["./*"]).await?;
    let connections: BTreeSet<_> = web.requests("/tag").iter().map(|asked| asked.connection).collect();
    assert!(connections.len() <= 2, "connections are not used again: {connections:?}");

    // An unexpected 304 is an error.
    web.replies("/unasked", Reply::status(304));
    objects.apply(&generator("unasked", &web.url("/unasked"), &json!({}))).await?;
    objects.failed_with("unasked", "FetchFailed", &["304"]).await?;
    ensure!(objects.sidecars.get_opt("unasked").await?.is_none());
    Ok(())
}

/// The limit of a body is 1 MiB, and an answer of that size works.
pub async fn an_answer_of_thousands_of_hosts_works(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    let hosts: Vec<String> = (0..15_000).map(|n| format!("namespace-{n:05}/service.example.com")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let body = |hosts: &[&str]| -> String { Value::from(vec![json!({"hosts": hosts})]).to_string() };
    assert!((500_000..1_000_000).contains(&body(&hosts).len()));
    web.says("/", body(&hosts));
    objects.apply(&generator("large", &web.url("/"), &json!({}))).await?;
    objects.reconciled("large").await?;
    objects.hosts("large", &hosts).await?;
    Ok(())
}
