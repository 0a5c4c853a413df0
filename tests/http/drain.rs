//! Shutdown of the server: no request is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outrigger::admission::Webhook;
use outrigger::admission::{Limits, Settings};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{PATH, PATIENCE, TestServer, head, measure, read_to_end, read_until, send, soon, until};

fn short() -> Settings {
    let milliseconds = Duration::from_millis;
    Settings { drain_delay: milliseconds(300), last_call: milliseconds(200), ..Settings::default() }
}

async fn wait_for_closed_port(server: &TestServer) {
    soon(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_request() {
    let server = TestServer::start(measure(), Limits::default(), short()).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (target, answered) = (server.target(), answered.clone());
        // A client ends when it finds the port closed. Until then every request must be answered.
        clients.spawn(async move {
            let mut closes = 0;
            while let Ok(mut client) = target.connect().await {
                while client.is_open() {
                    let answer = client.post(PATH, Bytes::from_static(b"123")).await.expect("no request is lost");
                    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"3"[..]));
                    answered.fetch_add(1, Ordering::Relaxed);
                    closes += usize::from(answer.close);
                }
            }
            closes
        });
    }
    until("the load runs", || answered.load(Ordering::Relaxed) > 500).await;
    assert!(server.readiness.report().is_ready());
    server.shutdown.cancel();
    until("it is not ready", || !server.readiness.report().is_ready()).await;
    let at_shutdown = answered.load(Ordering::Relaxed);
    soon(server.task).await.expect("no panic").expect("an orderly end");
    while let Some(client) = soon(clients.join_next()).await {
        assert!(client.expect("no request is lost") > 0, "each client is told Connection: close");
    }
    assert!(answered.load(Ordering::Relaxed) > at_shutdown, "it serves on while it drains");
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_request_under_way_is_answered_after_the_port_is_closed() {
    let patient = Limits { body_timeout: PATIENCE, ..Limits::default() };
    let server = TestServer::start(measure(), patient, short()).await;
    let mut idle = server.raw().await;
    let mut slow = server.raw().await;
    send(&mut slow, head(4) + "12").await;
    let webhook = server.metrics.webhook(Webhook::MutatePod);
    until("the slow review arrives", || webhook.arriving().get() == 1).await;
    server.shutdown.cancel();
    wait_for_closed_port(&server).await;
    // Idle connections end with the last call, before the grace period of active ones.
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(!server.task.is_finished());
    send(&mut slow, "34").await;
    let answer = read_to_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"), "{answer}");
    soon(server.task).await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn a_connection_that_is_open_when_the_port_closes_may_still_send() {
    let settings = Settings { last_call: Duration::from_secs(20), ..short() };
    let server = TestServer::start(measure(), Limits::default(), settings).await;
    let mut late = server.raw().await;
    server.shutdown.cancel();
    wait_for_closed_port(&server).await;
    send(&mut late, head(3) + "123").await;
    let answer = read_until(&mut late, "\r\n\r\n3").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"), "{answer}");
    drop(late);
    soon(server.task).await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_the_server_longer_than_its_grace() {
    let settings = Settings {
        drain_delay: Duration::ZERO,
        last_call: Duration::ZERO,
        grace: Duration::from_millis(50),
        ..short()
    };
    let server = TestServer::start(measure(), Limits::default(), settings).await;
    let mut stuck = server.raw().await;
    send(&mut stuck, head(4) + "12").await;
    let webhook = server.metrics.webhook(Webhook::MutatePod);
    until("the review arrives", || webhook.arriving().get() == 1).await;
    server.shutdown.cancel();
    soon(server.task).await.expect("no panic").expect("an orderly end");
}
