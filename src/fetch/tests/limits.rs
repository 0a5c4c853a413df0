//! Time limits and places: slow servers are cut off and delay no others.

use std::task::Poll;

use futures::poll;

use super::server::{Server, Then, ok, redirect};
use super::*;

fn hasty() -> Asker {
    Asker::ruled(|rules| rules.total = SHORT)
}

async fn fails_in_time(server: Server) {
    let url = server.url("/");
    let expected = (FetchOutcome::Timeout, format!("no complete answer within {SHORT:?}"));
    assert_eq!(failure(&url, hasty().get(&url).await), expected);
    server.closed().await;
}

#[tokio::test]
async fn a_server_that_says_nothing_ends_in_time() {
    fails_in_time(Server::start(|_, _| (Vec::new(), Then::Hang)).await).await;
}

#[tokio::test]
async fn a_body_that_stops_ends_in_time() {
    fails_in_time(
        Server::start(|_, _| (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbody".to_vec(), Then::Hang)).await,
    )
    .await;
}

#[tokio::test]
async fn drops_of_head_or_body_do_not_buy_time() {
    fails_in_time(Server::start(|_, _| (b"HTTP/1.1 200 OK\r\n".to_vec(), Then::Repeat(b"a: b\r\n".to_vec()))).await)
        .await;
    fails_in_time(Server::start(|_, _| (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Then::Repeat(b" ".to_vec()))).await).await;
}

#[tokio::test]
async fn redirects_share_the_time_of_their_request() {
    let asker = Asker::ruled(|rules| {
        rules.total = SHORT;
        rules.redirects = usize::MAX;
    });
    let server = Server::start(|_, _| redirect("/again")).await;
    let expected = (FetchOutcome::Timeout, format!("no complete answer within {SHORT:?}"));
    assert_eq!(failure(&server.url("/again"), asker.get(&server.url("/again")).await), expected);
}

/// A resolver that never answers.
struct Silence;

impl Resolve for Silence {
    fn resolve(&self, _name: &str) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        future::pending().boxed()
    }
}

#[tokio::test]
async fn names_and_handshakes_end_in_the_time_of_a_connection() {
    let expected = (FetchOutcome::Timeout, format!("no connection within {SHORT:?}"));
    let asker = Asker::new(Settings { resolver: Arc::new(Silence), ..settings() }, Rules { connect: SHORT, ..open() });
    let server = Server::start(|_, _| ok("never asked")).await;
    let url = server.url_at("a.test", "/");
    assert_eq!(failure(&url, asker.get(&url).await), expected);
    // The server waits for a request while the client waits for the handshake.
    let url = format!("https://{}/", server.address);
    assert_eq!(failure(&url, asker.get(&url).await), expected);
}

#[tokio::test]
async fn nobody_there_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gone = format!("http://{}/", listener.local_addr().expect("an address"));
    drop(listener);
    let expected = (FetchOutcome::Connect, "cannot connect: connection refused".to_owned());
    assert_eq!(failure(&gone, Asker::open().get(&gone).await), expected);
}

#[tokio::test]
async fn a_host_whose_places_are_taken_delays_itself_only() {
    let slow = Server::start(|_, _| (Vec::new(), Then::Hang)).await;
    let quick = Server::start(|_, _| ok("quick")).await;
    let asker = Asker::limited(|limits| {
        limits.requests = 3;
        limits.requests_per_host = 2;
    });
    let (first, second) = (slow.url_at("a.test", "/1"), slow.url_at("a.test", "/2"));
    let taken = [first, second].map(|url| {
        let asker = asker.clone();
        tokio::spawn(async move { asker.get(&url).await })
    });
    slow.head().await;
    slow.head().await;
    let waiting = quick.url_at("a.test", "/");
    let mut waiting = Box::pin(asker.get(&waiting));
    assert!(poll!(&mut waiting).is_pending());
    assert_eq!(body(asker.get(&quick.url_at("b.test", "/")).await), "quick");
    assert!(matches!(poll!(&mut waiting), Poll::Pending));
    assert_eq!(quick.accepted(), 1);
    for task in taken {
        task.abort();
    }
    assert_eq!(body(waiting.await), "quick");
}

#[tokio::test]
async fn what_fails_again_and_again_takes_no_place_of_others() {
    let slow = Server::start(|_, _| (Vec::new(), Then::Hang)).await;
    let quick = Server::start(|_, _| ok("quick")).await;
    let asker = Asker::limited(|limits| {
        limits.requests = 1;
        limits.failing_requests = 1;
    });
    let failing = |url: &str| request(url).failed_before(true);
    let (hanging, next) = (failing(&slow.url("/1")), failing(&quick.url("/2")));
    let taken = tokio::spawn({
        let asker = asker.clone();
        async move { asker.fetch(hanging).await }
    });
    slow.head().await;
    let mut next = Box::pin(asker.fetch(next));
    assert!(poll!(&mut next).is_pending(), "one of those at a time");
    assert_eq!(body(asker.get(&quick.url("/")).await), "quick");
    assert!(poll!(&mut next).is_pending());
    taken.abort();
    assert_eq!(body(next.await), "quick");
}

#[tokio::test]
async fn waiting_for_a_place_takes_nothing_of_the_time() {
    let slow = Server::start(|_, _| (Vec::new(), Then::Hang)).await;
    let quick = Server::start(|_, _| ok("quick")).await;
    let mut asker = Asker::limited(|limits| limits.requests = 1);
    asker.rules = Rules { total: Duration::from_secs(1), ..open() }.into();
    let (slow, quick) = (slow.url("/"), quick.url("/"));
    let (slow, quick) = tokio::join!(asker.get(&slow), asker.get(&quick));
    assert_eq!(slow.expect_err("too slow").outcome(), FetchOutcome::Timeout);
    assert_eq!(body(quick), "quick");
}

#[tokio::test]
async fn redirects_between_hosts_whose_places_are_all_taken_come_to_an_end() {
    let server = Server::start(|head, _| match head.split(' ').nth(1) {
        Some("/end") => ok("end"),
        path => {
            let host = if path == Some("/a") { "b.test" } else { "a.test" };
            let port = head.split(".test:").nth(1).and_then(|rest| rest.split('\r').next()).unwrap_or_default();
            redirect(&format!("http://{host}:{port}/end"))
        }
    })
    .await;
    let asker = Asker::limited(|limits| {
        limits.requests = 2;
        limits.requests_per_host = 1;
    });
    let urls: Vec<_> = (0..8).flat_map(|_| [server.url_at("a.test", "/a"), server.url_at("b.test", "/b")]).collect();
    for answer in future::join_all(urls.iter().map(|url| asker.get(url))).await {
        assert_eq!(body(answer), "end");
    }
}
