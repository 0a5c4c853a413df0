//! Long reviews whose caller disconnects: their work ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use outrigger::admission::{Answer, Handler, Limits, Reply, Settings, Work};
use tower::ServiceExt;

use crate::harness::{PATH, PATIENCE, TestServer, head, read, review, routed, send, soon};

/// All limits are long.
fn limits() -> Limits {
    Limits { inline: 0, reviews: 1, ..Limits::default() }
}

/// Work that continues until it is told that nobody waits for it. It reports that it began, and then what it was told.
fn endless() -> (Work, Receiver<&'static str>) {
    let (tells, told): (Sender<&str>, _) = channel();
    let work: Work = Arc::new(move |_, abandoned| {
        tells.send("begun").expect("the test listens");
        let end = Instant::now() + PATIENCE;
        while !abandoned.load(Ordering::Relaxed) && Instant::now() < end {
            thread::yield_now();
        }
        tells
            .send(if abandoned.load(Ordering::Relaxed) { "abandoned" } else { "never told" })
            .expect("the test listens");
        Reply::json(b"1".to_vec())
    });
    (work, told)
}

fn at_once(work: Work) -> Handler {
    Arc::new(move |body, abandoned| work(body, abandoned).into())
}

async fn next(told: Receiver<&'static str>) -> (&'static str, Receiver<&'static str>) {
    let heard = tokio::task::spawn_blocking(move || (told.recv_timeout(PATIENCE).expect("in time"), told));
    heard.await.expect("no panic")
}

#[tokio::test]
async fn work_ends_with_its_request() {
    let (work, told) = endless();
    let (router, _) = routed(at_once(work), limits());
    let gone = tokio::spawn(router.clone().oneshot(review("{}")));
    let (_, told) = next(told).await;
    gone.abort();
    assert!(gone.await.is_err());
    assert_eq!(next(told).await.0, "abandoned");
}

#[tokio::test]
async fn work_ends_with_its_connection() {
    let (work, told) = endless();
    let server = TestServer::start(at_once(work), limits(), Settings::default()).await;
    let mut stream = server.raw().await;
    send(&mut stream, head(2) + "{}").await;
    let (_, told) = next(told).await;
    drop(stream);
    assert_eq!(next(told).await.0, "abandoned");
}

#[tokio::test]
async fn work_ends_with_the_patience_of_its_caller() {
    let (work, told) = endless();
    let (router, _) = routed(at_once(work), limits());
    let request = Request::post(format!("{PATH}?timeout=20ms")).header("content-type", "application/json");
    let request = request.body(Body::from("{}")).expect("a request");
    let (status, text) = read(soon(router.oneshot(request)).await.expect("infallible")).await;
    assert_eq!((status, text.as_str()), (503, "the review was not done within 20ms, which its caller waits\n"));
    let (_, told) = next(told).await;
    assert_eq!(next(told).await.0, "abandoned");
}

#[tokio::test]
async fn work_after_a_wait_is_done_where_long_work_is() {
    let (tells, told) = channel();
    let work: Work = Arc::new(move |body, _| {
        tells.send(thread::current().id()).expect("the test listens");
        Reply::json(body.to_vec())
    });
    let handler: Handler =
        Arc::new(move |_, _| Answer::After(Box::pin(tokio::time::sleep(Duration::ZERO)), work.clone()));
    let (router, _) = routed(handler.clone(), limits());
    let long = read(soon(router.oneshot(review("123"))).await.expect("infallible")).await;
    assert_eq!(long, (200, "123".to_owned()));
    assert_ne!(told.recv().expect("it was done"), thread::current().id());
    let (router, _) = routed(handler, Limits::default());
    assert_eq!(read(soon(router.oneshot(review("123"))).await.expect("infallible")).await.0, 200);
    assert_eq!(told.recv().expect("it was done"), thread::current().id(), "a short one is not sent elsewhere");
}
