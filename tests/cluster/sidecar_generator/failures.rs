//! URLs that fail in every way: the Sidecar stays, others do not wait, and no secret is revealed.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::config::Kubeconfig;
use outrigger_testbed::{Case, free_port, wait_for};
use serde_json::{Value, json};

use super::objects::{GOOD, Objects, condition, every_second, generator, last, next};
use crate::certificates::Certificates;
use crate::outrigger::{Outrigger, PATIENCE};
use crate::web::{Reply, Web};

/// A URL that fails is requested again long before the next period, and the Sidecar stays.
pub async fn a_url_that_fails_keeps_the_sidecar_and_is_tried_again_soon(case: Case<Outrigger>) -> Result<()> {
    let (web, objects, name) = (Web::http().await?, Objects::of(&case), "failing");
    web.says("/", GOOD);
    objects.apply(&generator(name, &web.url("/"), &json!({}))).await?;
    let good = objects.reconciled(name).await?;
    let before = objects.sidecar(name).await?;

    web.replies("/", Reply::status(500).body("an error page"));
    // A changed spec is fetched at once.
    objects.change(name, json!({"spec": {"refreshPeriod": "2h"}})).await?;
    let failed = objects.failed_with(name, "FetchFailed", &["500"]).await?;
    assert_eq!(condition(&failed, "Reconciling")["status"], "True");
    assert_eq!(condition(&failed, "Stalled")["status"], "False");
    assert_eq!(last(&failed)?, last(&good)?, "`last…` is the last success");
    let until_retry = next(&failed)?.duration_since(jiff::Timestamp::now());
    assert!(until_retry.as_secs() <= 5, "the next attempt is in {until_retry}");
    let event = objects.event(name, "Warning", "FetchFailed").await?;
    assert!(event.note.as_deref().unwrap_or_default().contains("500"), "{event:?}");

    // After another failure, the message and the time of the condition are unchanged.
    web.more("/", 1).await?;
    let again = objects.generator_where(name, "asked again", |now| next(now).ok() > next(&failed).ok()).await?;
    assert_eq!(again["status"]["conditions"], failed["status"]["conditions"]);
    assert_eq!(objects.sidecar(name).await?, before);

    web.says("/", GOOD);
    let recovered = objects.reconciled(name).await?;
    assert_eq!(next(&recovered)?.duration_since(last(&recovered)?).as_secs(), 2 * 60 * 60);
    assert_eq!(objects.sidecar(name).await?, before);
    Ok(())
}

/// Without a good answer there is no Sidecar. It is created with the first one.
pub async fn the_first_good_answer_makes_the_sidecar(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.answers("/", |_, count| if count < 3 { Reply::status(503) } else { Reply::ok(GOOD) });
    objects.apply(&generator("late", &web.url("/"), &every_second())).await?;
    objects.failed("late", "FetchFailed").await?;
    ensure!(objects.sidecars.get_opt("late").await?.is_none());
    objects.hosts("late", &["./*", "istio-system/*"]).await?;
    Ok(())
}

/// Only 200 is good. The message names the status, never the body.
pub async fn only_the_status_200_is_good(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    let each = [201, 204, 206, 300, 400, 401, 403, 404, 500, 503].into_iter().map(async |status: u16| {
        let (name, path) = (format!("status-{status}"), format!("/{status}"));
        let body = if status == 204 { "" } else { GOOD };
        web.replies(&path, Reply::status(status).body(body));
        objects.apply(&generator(&name, &web.url(&path), &json!({}))).await?;
        let generator = objects.failed_with(&name, "FetchFailed", &[&status.to_string()]).await?;
        ensure!(
            !generator["status"].to_string().contains("istio-system"),
            "the body is shown: {}",
            generator["status"]
        );
        ensure!(objects.sidecars.get_opt(&name).await?.is_none(), "{status} made a Sidecar");
        anyhow::Ok(())
    });
    try_join_all(each).await?;
    Ok(())
}

/// Generators whose URLs do not answer delay no others. Each reports what happened.
pub async fn a_url_that_does_not_answer_delays_no_other(case: Case<Outrigger>) -> Result<()> {
    let (slow, web, objects) = (Web::http().await?, Web::http().await?, Objects::of(&case));
    let bad = [
        ("hang", Reply::hang(), "10s"),
        ("drip", Reply::drip(), "10s"),
        ("endless", Reply::endless(), "1048576 bytes"),
    ];
    for (name, reply, _) in &bad {
        slow.replies(&format!("/{name}"), reply.clone());
    }
    web.says("/", GOOD);
    // All at once: the bad ones are given up after ten seconds.
    let bad_ones = bad.iter().map(|(name, ..)| (name.to_string(), format!("/{name}")));
    let hanging = (0..8).map(|n| (format!("hang-{n}"), "/hang".to_owned()));
    let applied = bad_ones.chain(hanging).map(|(name, path)| {
        let (objects, url) = (&objects, slow.url(&path));
        async move { objects.apply(&generator(&name, &url, &json!({}))).await }
    });
    try_join_all(applied).await?;
    slow.asked("/hang", 9).await?;
    slow.asked("/drip", 1).await?;
    let good_ones = (0..4).map(async |n| {
        let name = format!("good-{n}");
        objects.apply(&generator(&name, &web.url("/"), &json!({}))).await?;
        objects.reconciled(&name).await
    });
    try_join_all(good_ones).await?;
    assert_eq!((slow.open("/hang"), slow.open("/drip")), (9, 1), "the good ones waited for the bad ones");

    for (name, _, word) in &bad {
        objects.failed_with(name, "FetchFailed", &[word]).await?;
    }
    // One request at a time: cancelled ones are closed.
    assert!(slow.open("/hang") <= 9 && slow.open("/endless") <= 1 && slow.open("/drip") <= 1);
    Ok(())
}

/// URLs and redirects that are refused, with the message. `API` stands for the API server's address.
const REFUSED: &[(&str, &str, &[&str])] = &[
    ("metadata", "http://169.254.169.254/latest/meta-data/", &["link-local", "--fetch-allow"]),
    ("metadata-v6", "http://[fd00:ec2::254]/", &["metadata service"]),
    ("mapped", "http://[::ffff:169.254.169.254]/", &["link-local"]),
    ("unspecified", "http://0.0.0.0:9/", &["unspecified"]),
    ("loopback-v6", "http://[::1]:9/", &["loopback"]),
    ("loopback-other", "http://127.0.0.2:9/", &["loopback"]),
    ("decimal", "http://2852039166/", &["link-local"]),
    ("multicast", "http://224.0.0.1/", &["multicast"]),
    ("api-server", "https://API/api/v1/namespaces", &["API server"]),
    ("file", "file:///etc/passwd", &["redirected", "http:// or https://"]),
];

/// Addresses that are refused by default are refused in URLs and redirects. The API server's is refused even if its
/// address is allowed.
pub async fn no_url_and_no_redirect_leads_to_a_refused_address(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    let cluster = Kubeconfig::read_from(case.plane.kubeconfig())?.clusters.pop().context("no cluster")?;
    let server = cluster.cluster.and_then(|cluster| cluster.server).context("no server")?;
    let api_server = server.strip_prefix("https://").context("not https")?;
    let skip = json!({"insecureSkipTLSVerify": true});
    let each = REFUSED.iter().map(async |(name, url, words)| {
        let url = url.replace("API", api_server);
        if url.starts_with("http") {
            objects.apply(&generator(name, &url, &skip)).await?;
            objects.failed_with(name, "FetchFailed", words).await?;
        }
        let (redirected, path) = (format!("redirected-{name}"), format!("/{name}"));
        web.replies(&path, Reply::redirect(&url));
        objects.apply(&generator(&redirected, &web.url(&path), &skip)).await?;
        objects.failed_with(&redirected, "FetchFailed", words).await?;
        anyhow::Ok(())
    });
    try_join_all(each).await?;
    ensure!(objects.sidecars.list(&kube::api::ListParams::default()).await?.items.is_empty());
    Ok(())
}

/// Redirects are followed to allowed targets: relative ones, from http to https but not back, and not forever.
pub async fn redirects_are_followed_within_bounds(case: Case<Outrigger>) -> Result<()> {
    let certificates = Certificates::new()?;
    let (web, tls, objects) = (Web::http().await?, Web::https(&certificates).await?, Objects::of(&case));
    web.says("/end", GOOD);
    tls.says("/end", GOOD);
    web.replies("/relative", Reply::redirect("end"));
    web.replies("/to-https", Reply::redirect(tls.url("/end")));
    tls.replies("/to-http", Reply::redirect(web.url("/end")));
    web.replies("/loop", Reply::redirect("/loop"));
    web.replies("/nowhere", Reply::status(302));
    let skip = json!({"insecureSkipTLSVerify": true});
    for (name, url) in [("relative", web.url("/relative")), ("to-https", web.url("/to-https"))] {
        objects.apply(&generator(name, &url, &skip)).await?;
        objects.reconciled(name).await?;
    }
    for (name, url, word) in [
        ("to-http", tls.url("/to-http"), "from https to http"),
        ("loop", web.url("/loop"), "more than 10 times"),
        ("nowhere", web.url("/nowhere"), "without saying where to"),
    ] {
        objects.apply(&generator(name, &url, &skip)).await?;
        objects.failed_with(name, "FetchFailed", &[word]).await?;
    }
    assert!(web.count("/loop") >= 10, "{} hops were followed", web.count("/loop"));
    Ok(())
}

/// A server with an untrusted certificate is refused, unless verification is disabled. A server that is down is
/// reported.
pub async fn servers_that_cannot_be_trusted_or_reached_are_told(case: Case<Outrigger>) -> Result<()> {
    let certificates = Certificates::new()?;
    let (web, tls, objects) = (Web::http().await?, Web::https(&certificates).await?, Objects::of(&case));
    tls.says("/", GOOD);
    web.says("/", GOOD);
    let nobody = format!("http://127.0.0.1:{}/", free_port()?);
    let not_tls = web.url("/").replace("http:", "https:");
    for (name, url, word) in [
        ("unknown-ca", tls.url("/"), "signed by no authority that is trusted"),
        ("refused", nobody, "cannot connect"),
        ("not-tls", not_tls, "does not speak TLS"),
        ("no-such-name", "http://no-such-name.invalid/".to_owned(), "cannot be resolved"),
    ] {
        objects.apply(&generator(name, &url, &json!({}))).await?;
        objects.failed_with(name, "FetchFailed", &[word]).await?;
    }
    objects.change("unknown-ca", json!({"spec": {"insecureSkipTLSVerify": true}})).await?;
    objects.reconciled("unknown-ca").await?;
    objects.change("unknown-ca", json!({"spec": {"insecureSkipTLSVerify": false}})).await?;
    objects.failed("unknown-ca", "FetchFailed").await?;
    Ok(())
}

/// A URL that alternates between good and bad changes conditions, and never the Sidecar.
pub async fn a_url_that_flaps_changes_the_status_only(case: Case<Outrigger>) -> Result<()> {
    let (web, objects, name) = (Web::http().await?, Objects::of(&case), "flapping");
    web.answers("/", |_, count| if count % 2 == 1 { Reply::ok(GOOD) } else { Reply::status(502) });
    objects.apply(&generator(name, &web.url("/"), &every_second())).await?;
    objects.reconciled(name).await?;
    let before = objects.sidecar(name).await?;
    for _ in 0..2 {
        let failed = objects.failed(name, "FetchFailed").await?;
        let since = &condition(&failed, "Ready")["lastTransitionTime"];
        let good = objects.reconciled(name).await?;
        assert!(condition(&good, "Ready")["lastTransitionTime"].as_str() >= since.as_str());
    }
    assert_eq!(objects.sidecar(name).await?, before);
    let events = objects.events(name).await?;
    let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
    assert!(
        reasons.iter().all(|reason| ["SidecarCreated", "FetchFailed", "Recovered"].contains(reason)),
        "{reasons:?}"
    );
    assert!(reasons.len() <= 3, "the same Event again and again: {reasons:?}");
    Ok(())
}

/// User and password in a URL are sent as basic authentication. They, the query and the fragment are not shown
/// anywhere.
pub async fn what_is_secret_in_a_url_is_shown_nowhere(case: Case<Outrigger>) -> Result<()> {
    let (web, other, objects) = (Web::http().await?, Web::http().await?, Objects::of(&case));
    let secrets = ["s3cr3t-password", "s3cr3t-query", "s3cr3t-fragment", "cDNjcmV0"];
    let url = |path: &str| {
        let host = format!("p3cret-user:{}@{}", secrets[0], web.host());
        format!("http://{host}{path}?token={}#{}", secrets[1], secrets[2])
    };
    web.says("/good", GOOD);
    web.replies("/bad", Reply::status(500).body(secrets[1]));
    web.says("/invalid", r#"[{"hosts":["s3cr3t-query"]}]"#);
    web.replies("/away", Reply::redirect(format!("{}?token={}", other.url("/"), secrets[1])));
    let none = format!("http://p3cret-user:{}@127.0.0.1:{}/?token={}", secrets[0], free_port()?, secrets[1]);
    for (name, url) in [
        ("good", url("/good")),
        ("bad", url("/bad")),
        ("invalid", url("/invalid")),
        ("away", url("/away")),
        ("none", none),
    ] {
        objects.apply(&generator(name, &url, &json!({}))).await?;
    }
    objects.reconciled("good").await?;
    let basic = "Basic cDNjcmV0LXVzZXI6czNjcjN0LXBhc3N3b3Jk";
    assert_eq!(web.asked("/good", 1).await?.header("authorization"), basic);
    for (name, reason) in
        [("bad", "FetchFailed"), ("invalid", "InvalidAnswer"), ("away", "FetchFailed"), ("none", "FetchFailed")]
    {
        objects.failed(name, reason).await?;
        objects.event(name, "Warning", reason).await?;
    }
    assert_eq!(other.asked("/", 1).await?.header("authorization"), "", "sent to another origin");

    for name in ["good", "bad", "invalid", "away", "none"] {
        let status = objects.generator(name).await?["status"].to_string();
        let events = serde_json::to_string(&objects.events(name).await?)?;
        let sidecar = objects.sidecar(name).await.map_or_else(|_| String::new(), |sidecar| sidecar.to_string());
        for secret in secrets {
            assert!(!status.contains(secret), "{secret}: {status}");
            assert!(!events.contains(secret), "{secret}: {events}");
            // The managed fields contain no values.
            assert!(!sidecar.contains(secret), "{secret}: {sidecar}");
        }
    }
    let log = case.world.log()?;
    let line = log.lines().find(|line| secrets.iter().any(|secret| line.contains(secret)));
    assert_eq!(line, None);
    Ok(())
}

/// `Retry-After` is respected within the period.
pub async fn a_server_that_says_when_to_come_back_is_not_asked_before(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.replies("/later", Reply::status(429).header("retry-after", "600"));
    web.replies("/soon", Reply::status(503).header("retry-after", "86400"));
    objects.apply(&generator("later", &web.url("/later"), &json!({}))).await?;
    objects.apply(&generator("soon", &web.url("/soon"), &json!({"refreshPeriod": "2s"}))).await?;
    let until = |generator: &Value| anyhow::Ok(next(generator)?.duration_since(jiff::Timestamp::now()).as_secs());
    let later = until(&objects.failed_with("later", "FetchFailed", &["429"]).await?)?;
    assert!((500..=900).contains(&later), "asked again in {later} s");
    web.asked("/soon", 3).await?;
    assert_eq!(web.count("/later"), 1);
    Ok(())
}

/// The outcomes of fetches are counted.
pub async fn fetches_are_counted_by_outcome(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/good", GOOD);
    web.replies("/bad", Reply::status(418));
    let count =
        async |outcome: &str| case.world.metric(&format!("outrigger_fetches_total{{outcome=\"{outcome}\"}}")).await;
    let before = (count("ok").await?, count("status").await?);
    objects.apply(&generator("good", &web.url("/good"), &json!({}))).await?;
    objects.apply(&generator("bad", &web.url("/bad"), &json!({}))).await?;
    objects.reconciled("good").await?;
    objects.failed_with("bad", "FetchFailed", &["418"]).await?;
    wait_for("the fetches to be counted", PATIENCE, async || {
        let now = (count("ok").await?, count("status").await?);
        ensure!(now.0 > before.0 && now.1 > before.1, "{before:?} and then {now:?}");
        Ok(Some(()))
    })
    .await
}
