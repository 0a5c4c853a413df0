//! Connections: kept while they are usable, and never shared with other credentials.

use super::server::{Server, Then, ok};
use super::*;

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let server = Server::start(|_, _| ok("again")).await;
    let asker = Asker::open();
    for _ in 0..3 {
        assert_eq!(body(asker.clone().get(&server.url("/")).await), "again");
    }
    assert_eq!(server.accepted(), 1);
    drop(asker);
    server.closed().await;
}

#[tokio::test]
async fn an_unused_connection_is_given_up() {
    let server = Server::start(|_, _| ok("once")).await;
    let asker = Asker::limited(|limits| limits.idle = SHORT);
    assert_eq!(body(asker.get(&server.url("/")).await), "once");
    server.closed().await;
}

#[tokio::test]
async fn a_kept_connection_that_ends_when_it_is_used_is_no_failure() {
    // The first connection answers once and is closed on the second request.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_, connection| {
        let asked = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if connection == 0 && asked > 0 { (Vec::new(), Then::Close) } else { ok("answer") }
    })
    .await;
    let client = Asker::open();
    for _ in 0..2 {
        assert_eq!(body(client.get(&server.url("/")).await), "answer");
    }
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_always_hangs_up_is_asked_twice_and_no_more() {
    let server = Server::answering(b"").await;
    let url = server.url("/");
    assert_eq!(failure(&url, Asker::open().get(&url).await).0, FetchOutcome::Protocol);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_request_that_is_dropped_ends_its_connection() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbody"] {
        let server = Server::start(move |_, _| (answer.to_vec(), Then::Hang)).await;
        let asker = Asker::open();
        let request = asker.request(&server.url("/"));
        let task = tokio::spawn({
            let asker = asker.clone();
            async move { asker.fetch(request).await }
        });
        server.head().await;
        task.abort();
        server.closed().await;
    }
}
