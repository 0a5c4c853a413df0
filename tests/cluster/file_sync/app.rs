//! Notification of the app, and downloads of keys with a URL, end to end.

use anyhow::{Context, Result, ensure};
use outrigger_testbed::{Case, wait_for};
use serde_json::json;

use super::{Agent, config_map, put, rights};
use crate::outrigger::PATIENCE;
use crate::web::{Reply, Web};

/// Script and request follow each change, with retries and credentials. A failed download leaves the last good content, and no secret
/// is logged.
pub async fn the_app_is_told_and_what_urls_name_is_there<W>(case: Case<W>) -> Result<()> {
    let (namespace, kubeconfig, web) = (&case.namespace, rights(&case).await?, Web::http().await?);
    web.answers("/reload", |_, number| if number < 3 { Reply::status(503) } else { Reply::ok("s3cret answer") });
    web.says("/content", "s3cret content");
    let folder = tempfile::tempdir()?;
    let (script, seen) = (folder.path().join("script"), folder.path().join("seen"));
    std::fs::write(&script, format!("echo \"$OUTRIGGER_CHANGED_FILES\" >> {}\n", seen.display()))?;
    let of = |y: &str| config_map(namespace.name(), "a", &json!({"x.url": web.url("/content?k=s3cret"), "y": y}));
    put(namespace, &of("1")).await?;
    let (url, script) = (web.url("/reload?token=s3cret"), script.display().to_string());
    let variables = [
        ("NAMESPACE", namespace.name()),
        ("LABEL_VALUE", namespace.name()),
        ("REQ_URL", url.as_str()),
        ("REQ_USERNAME", "user"),
        ("REQ_PASSWORD", "s3cret"),
        ("REQ_SKIP_INIT", "true"),
        ("REQ_RETRY_TOTAL", "1"),
        ("REQ_RETRY_BACKOFF_FACTOR", "0.01"),
        ("SCRIPT", script.as_str()),
        ("OUTRIGGER_URL_ALLOW", "127.0.0.1"),
        ("OUTRIGGER_RESYNC_SECONDS", "1"),
        ("OUTRIGGER_BATCH_MILLISECONDS", "50"),
    ];
    let agent = Agent::start(&case.plane, &kubeconfig, &variables).await?;
    agent.has("x", Some("s3cret content")).await?;
    wait_for("the script to have run", PATIENCE, async || Ok(std::fs::read_to_string(&seen).ok())).await?;
    put(namespace, &of("2")).await?;
    agent.has("y", Some("2")).await?;
    let asked = web.asked("/reload", 3).await.context("it is retried, and told again after that")?;
    ensure!(asked.header("authorization") == "Basic dXNlcjpzM2NyZXQ=", "{:?}", asked.headers);
    let path = agent.path("y").display().to_string();
    let ran = std::fs::read_to_string(&seen)?;
    ensure!(ran.lines().last() == Some(&path), "{ran}");
    ensure!(web.requests("/content").iter().all(|asked| asked.header("authorization").starts_with("Basic ")));

    web.replies("/content", Reply::status(500).body("s3cret failure"));
    web.more("/content", 3).await?;
    agent.has("x", Some("s3cret content")).await?;
    let (_, metrics) = agent.page("/metrics").await?;
    ensure!(metrics.contains("outrigger_sync_failing{what=\"download\"} 1"), "{metrics}");
    web.says("/content", "new");
    agent.has("x", Some("new")).await?;
    put(namespace, &config_map(namespace.name(), "a", &json!({"y": "3"}))).await?;
    agent.is(&["y=3"]).await?;
    let log = agent.process.log()?;
    let lines = log.lines().filter(|line| line.contains("s3cret"));
    ensure!(lines.clone().next().is_none(), "{:?}", lines.collect::<Vec<_>>());
    Ok(())
}
