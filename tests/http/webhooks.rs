//! Several webhooks in one server: their paths, their own limits, long reviews. No sockets.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger::admission::validate_sidecarset::{self, KnownWorld};
use outrigger::admission::{Handler, Limits, Reply, at_once, convert, mutate_sidecarset, router};
use outrigger::admission::{Metrics, Webhook};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{PATIENCE, held, measure, read, review, routed, soon, until};

/// The whole server with this handler for Pods.
fn all(pods: Handler) -> (Router, Arc<Metrics>) {
    let handlers: [(Webhook, Handler); 4] = [
        (Webhook::MutatePod, pods),
        (Webhook::MutateSidecarSet, at_once(mutate_sidecarset::answer)),
        (Webhook::ValidateSidecarSet, at_once(|body| validate_sidecarset::answer(body, &KnownWorld::default()))),
        (Webhook::Convert, at_once(convert::answer)),
    ];
    let metrics = Arc::new(Metrics::default());
    (router(handlers.map(|(webhook, handler)| (webhook, handler, Limits::of(webhook))), &metrics), metrics)
}

fn to(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).expect("a request")
}

async fn json_from(router: &Router, path: &str, body: &Value) -> Value {
    let response = soon(router.clone().oneshot(to(path, body.to_string()))).await.expect("infallible");
    let (status, text) = read(response).await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn sidecarset(name: &str) -> Value {
    json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"name": name}, "spec": {
        "namespace": "shop", "selector": {"matchLabels": {"app": "web"}}, "containers": [{"name": "c", "image": "x:1"}]
    }})
}

fn review_of(object: &Value) -> Value {
    let kind = json!({"group": "apps.kruise.io", "version": "v1alpha1", "kind": "SidecarSet"});
    let request = json!({"uid": "u", "kind": kind, "operation": "CREATE", "object": object});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
}

fn conversion_of(objects: &[Value]) -> Value {
    let request = json!({"uid": "u", "desiredAPIVersion": "apps.kruise.io/v1beta1", "objects": objects});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request})
}

/// A handler that reports its thread, then waits to be released.
fn blocking() -> (Handler, Receiver<thread::ThreadId>, Sender<()>) {
    let (started, starts) = channel();
    let (go, goes) = channel();
    let goes = Mutex::new(goes);
    let handler = at_once(move |_| {
        started.send(thread::current().id()).expect("the test listens");
        goes.lock().expect("no panic").recv_timeout(PATIENCE).expect("let go in time");
        Reply::json(b"1".to_vec())
    });
    (handler, starts, go)
}

#[tokio::test]
async fn a_sidecarset_passes_all_its_webhooks_at_the_older_paths_too() {
    let (router, metrics) = all(measure());
    for (mutate, validate) in [
        ("/mutate-apps-kruise-io-sidecarset", "/validate-apps-kruise-io-sidecarset"),
        ("/mutate-apps-kruise-io-v1alpha1-sidecarset", "/validate-apps-kruise-io-v1alpha1-sidecarset"),
    ] {
        let mut set = sidecarset("s");
        let answer = json_from(&router, mutate, &review_of(&set)).await;
        let patch = STANDARD.decode(answer["response"]["patch"].as_str().expect("a patch")).expect("base64");
        json_patch::patch(&mut set, &serde_json::from_slice::<json_patch::Patch>(&patch).expect("a patch"))
            .expect("it fits");
        let answer = json_from(&router, validate, &review_of(&set)).await;
        assert_eq!(answer["response"], json!({"uid": "u", "allowed": true}));
        let answer = json_from(&router, "/convert", &conversion_of(&[set])).await;
        assert_eq!(answer["response"]["convertedObjects"][0]["apiVersion"], "apps.kruise.io/v1beta1");
    }
    for webhook in [Webhook::MutateSidecarSet, Webhook::ValidateSidecarSet, Webhook::Convert] {
        assert_eq!(metrics.webhook(webhook).requests(200).get(), 2, "{webhook:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_400_at_every_path() {
    let (router, _) = all(measure());
    for path in [Webhook::MutateSidecarSet, Webhook::ValidateSidecarSet, Webhook::Convert].map(Webhook::path) {
        let (status, text) = read(router.clone().oneshot(to(path, "{}")).await.expect("infallible")).await;
        assert_eq!(status, 400, "{path}: {text}");
        assert!(text.starts_with("apiVersion: expected "), "{text}");
    }
}

#[tokio::test]
async fn a_list_larger_than_any_pod_is_converted() {
    let (router, _) = all(measure());
    let mut set = sidecarset("s");
    set["metadata"]["annotations"] = json!({"note": "x".repeat(64 * 1024)});
    let list = conversion_of(&vec![set; 200]);
    let answer = json_from(&router, "/convert", &list).await;
    assert_eq!(answer["response"]["convertedObjects"].as_array().expect("a list").len(), 200);
    let (status, _) = read(router.oneshot(to("/mutate-pod", list.to_string())).await.expect("infallible")).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn a_storm_on_one_webhook_does_not_starve_another() {
    let (_go, pods) = held();
    let (router, metrics) = all(pods);
    let webhook = metrics.webhook(Webhook::MutatePod);
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..300 {
        answers.spawn(router.clone().oneshot(review("{}")));
    }
    until("all places for Pods are taken", || webhook.in_flight().get() == 256).await;
    let answer = json_from(&router, "/convert", &conversion_of(&[])).await;
    assert_eq!(answer["response"]["result"]["status"], "Success");
    let answer = json_from(&router, "/validate-apps-kruise-io-sidecarset", &review_of(&sidecarset("s"))).await;
    assert_eq!(answer["response"]["allowed"], true);
}

#[tokio::test]
async fn a_long_review_does_not_hold_the_thread_of_its_connection() {
    let (handler, starts, go) = blocking();
    let (router, _) = routed(handler, Limits { inline: 4, ..Limits::default() });
    let long = tokio::spawn(router.clone().oneshot(review("12345")));
    // This thread serves the connections and is free to wait.
    let thread = tokio::task::spawn_blocking(move || (starts.recv_timeout(PATIENCE), starts));
    let (started, starts) = soon(thread).await.expect("no panic");
    assert_ne!(started.expect("the review begins"), thread::current().id());
    go.send(()).expect("the handler waits");
    assert_eq!(read(soon(long).await.expect("no panic").expect("infallible")).await, (200, "1".to_owned()));

    go.send(()).expect("the handler waits");
    assert_eq!(read(router.oneshot(review("1234")).await.expect("infallible")).await.0, 200);
    assert_eq!(starts.recv().expect("the review began"), thread::current().id(), "a short one is not sent elsewhere");
}

#[tokio::test]
async fn a_long_review_that_nobody_waits_for_keeps_its_place_until_it_is_done() {
    let (handler, starts, go) = blocking();
    let (router, _) = routed(handler, Limits { inline: 0, reviews: 1, ..Limits::default() });
    let gone = tokio::spawn(router.clone().oneshot(review("{}")));
    let started = tokio::task::spawn_blocking(move || (starts.recv_timeout(PATIENCE), starts));
    let (_, _starts) = soon(started).await.expect("no panic");
    gone.abort();
    assert!(gone.await.is_err());
    let shed = router.clone().oneshot(review("{}")).await.expect("infallible");
    assert_eq!(read(shed).await.0, 503);
    go.send(()).expect("the handler waits");
    go.send(()).expect("the handler waits");
    let served = async {
        while read(router.clone().oneshot(review("{}")).await.expect("infallible")).await.0 == 503 {
            tokio::task::yield_now().await;
        }
    };
    soon(served).await;
}

#[tokio::test]
async fn a_panic_in_a_long_review_is_a_500_and_counted() {
    let (router, metrics) = routed(measure(), Limits { inline: 0, ..Limits::default() });
    let response = soon(router.oneshot(review("panic"))).await.expect("infallible");
    assert_eq!(read(response).await.0, 500);
    assert_eq!(metrics.webhook_panics.get(), 1);
}

#[tokio::test]
async fn a_review_that_waits_keeps_its_place_and_not_its_thread() {
    let (go, handler) = held();
    let (router, metrics) = routed(handler, Limits { reviews: 2, inline: 2, ..Limits::default() });
    let webhook = metrics.webhook(Webhook::MutatePod);
    let (short, long) = (router.clone().oneshot(review("1")), router.clone().oneshot(review("123")));
    let both = tokio::spawn(async move { tokio::join!(short, long) });
    until("both wait", || webhook.in_flight().get() == 2).await;
    let shed = router.clone().oneshot(review("{}")).await.expect("infallible");
    assert_eq!(read(shed).await.0, 503);
    go.send(true).expect("they wait");
    let (short, long) = soon(both).await.expect("no panic");
    assert_eq!(read(short.expect("infallible")).await, (200, "1".to_owned()));
    assert_eq!(read(long.expect("infallible")).await, (200, "3".to_owned()));

    let panicked = soon(router.oneshot(review("12345"))).await.expect("infallible");
    assert_eq!(read(panicked).await.0, 500);
    assert_eq!(metrics.webhook_panics.get(), 1);
}
