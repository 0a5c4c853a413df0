//! The whole agent with an API server whose answers are given by the test, and a paused clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{advance, sleep};
use tokio_util::sync::CancellationToken;

use super::options;
use crate::cluster::tests::script::{Call, Script};
use crate::file_sync::options::Method;
use crate::file_sync::{Agent, AgentError};
use crate::telemetry::Metrics;

fn object(namespace: &str, name: &str, text: &str) -> Value {
    json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "5", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "data": {name: text},
    })
}

fn content(root: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(root.join(name)).ok()
}

/// Lets the agent work until it waits for an answer or the clock.
async fn settle() {
    sleep(Duration::from_millis(50)).await;
}

/// Returns the next two requests, the one for namespace `a` first.
async fn two(script: &mut Script) -> (Call, Call) {
    let (one, two) = (script.next().await, script.next().await);
    if one.target.contains("/namespaces/a/") { (one, two) } else { (two, one) }
}

fn agent(root: &Path, method: Method, namespaces: &[&str]) -> (Agent, Script) {
    let (client, script) = Script::new();
    (Agent::new(options(root, method, namespaces), client, Arc::new(Metrics::new())).expect("an agent"), script)
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_namespace_keeps_no_file_of_another_waiting_and_is_no_reason_to_start_again() {
    let root = tempfile::tempdir().expect("a folder");
    let (agent, mut script) = agent(root.path(), Method::Watch, &["a", "b"]);
    let health = agent.health();
    let test = async {
        let (a, b) = two(&mut script).await;
        assert_eq!(health.live(), (503.try_into().expect("a status"), "NOT READY"));
        b.refuse(403, "forbidden");
        settle().await;
        assert_eq!(health.live().1, "NOT READY", "there is nothing that works");
        a.objects("10", &[object("a", "x", "1")]);
        let mut stream = None;
        for _ in 0..20 {
            let call = script.next().await;
            if call.target.contains("/namespaces/b/") {
                call.refuse(403, "forbidden");
            } else {
                stream = Some(call.stream());
            }
            if let Some(stream) = &stream {
                stream.bookmark("10");
            }
        }
        assert_eq!(content(root.path(), "x").as_deref(), Some("1"));
        assert_eq!(health.live().1, "OK");
        let report = health.readiness().report();
        assert!(
            !report.is_ready() && report.text(true).contains("namespace b: not listed yet: listing: forbidden"),
            "{}",
            report.text(true)
        );
        let stream = stream.expect("a watch");
        stream.event("MODIFIED", &object("a", "x", "2"));
        settle().await;
        assert_eq!(content(root.path(), "x").as_deref(), Some("2"));
        script.next().await.objects("10", &[object("b", "y", "1")]);
        settle().await;
        assert!(health.readiness().report().is_ready(), "{}", health.readiness().report().text(true));
        assert_eq!(content(root.path(), "y").as_deref(), Some("1"));
    };
    tokio::select! {
        ended = agent.run(CancellationToken::new()) => panic!("{ended:?}"),
        () = test => {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_while_a_watch_was_too_old_is_gone_and_a_watch_that_died_is_told() {
    let root = tempfile::tempdir().expect("a folder");
    let (agent, mut script) = agent(root.path(), Method::Watch, &["a"]);
    let health = agent.health();
    let test = async {
        script.list().await.objects("10", &[object("a", "x", "1"), object("a", "y", "1")]);
        script.watch("10").await.refuse(410, "too old");
        script.list().await.refuse(500, "starting");
        script.list().await.objects("20", &[object("a", "y", "2")]);
        let stream = script.watch("20").await.stream();
        settle().await;
        assert_eq!((content(root.path(), "x"), content(root.path(), "y").as_deref()), (None, Some("2")));
        stream.bookmark("21");
        settle().await;
        drop(stream);
        assert_eq!(health.live().1, "OK");
        let unanswered = script.watch("21").await;
        advance(Duration::from_secs(121)).await;
        assert_eq!(health.live().1, "NOT LIVE (K8s contact lost)");
        let stream = unanswered.stream();
        stream.event("MODIFIED", &object("a", "y", "3"));
        settle().await;
        assert_eq!((health.live().1, content(root.path(), "y").as_deref()), ("OK", Some("3")));
    };
    tokio::select! {
        ended = agent.run(CancellationToken::new()) => panic!("{ended:?}"),
        () = test => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_run_ends_when_all_is_written_and_tells_what_kept_it() {
    let root = tempfile::tempdir().expect("a folder");
    let limit = Duration::from_secs(60);
    let (agent, mut script) = agent(root.path(), Method::Once(limit), &["a", "b"]);
    let test = async {
        let (a, b) = two(&mut script).await;
        a.objects("10", &[object("a", "x", "1")]);
        b.objects("10", &[]);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = agent.run(CancellationToken::new()) => ended.expect("it is complete"),
        () = test => {}
    }
    assert_eq!(content(root.path(), "x").as_deref(), Some("1"));
    let (agent, mut script) = self::agent(root.path(), Method::Once(limit), &["a", "b"]);
    let test = async {
        let (a, b) = two(&mut script).await;
        a.objects("10", &[object("a", "x", "2")]);
        b.refuse(403, "forbidden");
        loop {
            script.next().await.refuse(403, "forbidden");
        }
    };
    tokio::select! {
        ended = agent.run(CancellationToken::new()) => {
            let Err(AgentError::Late { problems, .. }) = ended else { panic!("{ended:?}") };
            assert!(problems.contains("namespace b") && problems.contains("forbidden"), "{problems}");
        }
        () = test => {}
    }
    assert_eq!(content(root.path(), "x").as_deref(), Some("2"), "the other namespace's files are there all the same");
}

#[tokio::test(start_paused = true)]
async fn by_lists_alone_changes_and_deletions_come_once_a_period() {
    let root = tempfile::tempdir().expect("a folder");
    let (agent, mut script) = agent(root.path(), Method::Poll(Duration::from_secs(60)), &["a"]);
    let test = async {
        script.list().await.objects("10", &[object("a", "x", "1"), object("a", "y", "1")]);
        let before = tokio::time::Instant::now();
        script.list().await.objects("20", &[object("a", "x", "2")]);
        assert_eq!(before.elapsed().as_secs(), 60);
        settle().await;
        assert_eq!((content(root.path(), "x").as_deref(), content(root.path(), "y")), (Some("2"), None));
    };
    tokio::select! {
        ended = agent.run(CancellationToken::new()) => panic!("{ended:?}"),
        () = test => {}
    }
}
