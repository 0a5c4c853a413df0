//! Shutdown of a server by signals: no review is lost, and a second signal ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger::admission::client::{Client, ClientError, Destination};
use tokio::task::JoinSet;

use crate::harness::{Server, examples, in_time, object, review_of};
use crate::objects::SEED_POD;

/// Clients that send reviews at the same time, like the API servers of a cluster.
const CLIENTS: usize = 8;

fn serve(shutdown_delay: u32) -> Server {
    Server::start(&examples().join("test-sidecarset"), [format!("--shutdown-delay={shutdown_delay}")])
}

/// The number of reviews answered by each of two servers.
#[derive(Default)]
struct Counts {
    first: AtomicUsize,
    second: AtomicUsize,
    enough: AtomicBool,
}

/// Opens a connection to the first server, or to the second once the first refuses. Returns whether it is the first.
async fn connect(first: &Destination, second: &Destination) -> (Client, bool) {
    match first.connect().await {
        Ok(client) => (client, true),
        Err(ClientError::Connect { .. }) => (second.connect().await.expect("the second server serves"), false),
        Err(error) => panic!("{error}"),
    }
}

/// Sends reviews until there are enough. Each must be answered with 200. `Connection: close` ends the use of a
/// connection.
async fn load(first: Destination, second: Destination, review: Bytes, counts: Arc<Counts>) {
    while !counts.enough.load(Ordering::Relaxed) {
        let (mut client, is_first) = connect(&first, &second).await;
        while client.is_open() && !counts.enough.load(Ordering::Relaxed) {
            let answer = client.post("/mutate-pod", review.clone()).await.expect("no request is lost");
            assert_eq!(answer.status.as_u16(), 200);
            let count = if is_first { &counts.first } else { &counts.second };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn reach(count: &AtomicUsize, number: usize) {
    while count.load(Ordering::Relaxed) < number {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn sigterm_under_load_loses_no_review_and_ends_with_code_0() {
    let (mut first, second) = (serve(1), serve(1));
    let review = Bytes::from(review_of("v1", &object(SEED_POD)).to_string());
    let counts = Arc::new(Counts::default());
    in_time(async {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(load(first.target(), second.target(), review.clone(), counts.clone()));
        }
        let story = async {
            reach(&counts.first, 200).await;
            first.signal("TERM");
            first.logged("INFO", &["drains"]);
            // It continues to serve while clients move to the other server.
            reach(&counts.first, counts.first.load(Ordering::Relaxed) + 50).await;
            reach(&counts.second, 200).await;
            counts.enough.store(true, Ordering::Relaxed);
        };
        let lost = async {
            while let Some(client) = clients.join_next().await {
                client.expect("no request is lost");
            }
        };
        tokio::join!(story, lost);
    });
    assert_eq!(first.exit_code(), 0);
    assert_eq!(second.page("/readyz").0, 200);
}

#[test]
fn a_stopping_server_is_not_ready_and_still_serves() {
    let server = serve(600);
    server.signal("TERM");
    server.logged("INFO", &["drains"]);
    let (status, report) = server.page("/readyz");
    assert_eq!((status, report.as_str()), (503, "[-]shutdown failed: this process is stopping\nnot ready\n"));
    assert_eq!(server.page("/healthz").0, 200);
    assert_eq!(server.review(&object(SEED_POD))["allowed"], true);
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let mut server = serve(600);
        server.signal(first);
        server.logged("INFO", &["a second signal exits at once"]);
        let start = Instant::now();
        server.signal(second);
        assert_eq!(server.exit_code(), 1);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn sigint_and_sighup_end_in_order_too() {
    for signal in ["INT", "HUP"] {
        let mut server = serve(0);
        server.signal(signal);
        server.logged("INFO", &["drains"]);
        assert_eq!(server.exit_code(), 0, "{signal}");
    }
}
