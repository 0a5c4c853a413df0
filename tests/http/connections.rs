//! Connections over real TLS sockets: how long they may be idle or slow, and that nothing remains.

use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger::admission::metrics::Certificate;
use outrigger::admission::metrics::{Shed, Webhook};
use outrigger::admission::{Client, Limits, Reply, Settings, at_once};
use outrigger::connections::{Bounds, Timeouts};
use outrigger::telemetry::metrics::Closed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::harness::{PATH, TestServer, certificate, head, held, measure, read_to_end, read_until, send, soon, until};

const SHORT: Duration = Duration::from_millis(100);

/// Waits until no more tasks exist than in `before`.
async fn tasks_end(before: usize) {
    until("the connections' tasks end", || Handle::current().metrics().num_alive_tasks() <= before).await;
}

#[tokio::test]
async fn a_connection_idles_longer_than_a_head_may_take() {
    let server = TestServer::with_timeouts(Timeouts { head: SHORT, ..Timeouts::default() }).await;
    let mut client = server.target().connect().await.expect("a connection");
    for _ in 0..3 {
        let answer = soon(client.post(PATH, Bytes::from_static(b"123"))).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), &answer.body[..], answer.close), (200, &b"3"[..], false));
        // The subject of this test is the passing of time.
        tokio::time::sleep(SHORT * 3).await;
        assert!(client.is_open());
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_order_after_the_idle_time_and_not_before() {
    let server = TestServer::with_timeouts(Timeouts { idle: SHORT, ..Timeouts::default() }).await;
    let start = Instant::now();
    let mut silent = server.raw().await;
    let mut rest = Vec::new();
    // `Ok`: the end was announced by TLS's close_notify.
    soon(silent.read_to_end(&mut rest)).await.expect("an orderly end");
    assert_eq!((rest.len(), start.elapsed() >= SHORT), (0, true));

    let mut used = server.raw().await;
    send(&mut used, head(3) + "123").await;
    assert!(read_until(&mut used, "\r\n\r\n3").await.starts_with("HTTP/1.1 200 OK\r\n"));
    let start = Instant::now();
    soon(used.read_to_end(&mut rest)).await.expect("an orderly end");
    assert!(start.elapsed() >= SHORT / 2);
}

#[tokio::test]
async fn a_partial_head_is_cut_even_when_it_trickles() {
    let server = TestServer::with_timeouts(Timeouts { head: SHORT, ..Timeouts::default() }).await;
    let mut stuck = server.raw().await;
    send(&mut stuck, "POST /mutate-pod HT").await;
    assert_eq!(read_to_end(&mut stuck).await, "");

    let (mut answers, mut requests) = tokio::io::split(server.raw().await);
    let trickle = tokio::spawn(async move {
        while requests.write_all(b"x").await.is_ok() && requests.flush().await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let mut rest = Vec::new();
    let _end = soon(answers.read_to_end(&mut rest)).await;
    trickle.abort();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn the_head_of_a_later_request_is_cut_too() {
    let server = TestServer::with_timeouts(Timeouts { head: SHORT, ..Timeouts::default() }).await;
    let mut stream = server.raw().await;
    send(&mut stream, head(3) + "123").await;
    read_until(&mut stream, "\r\n\r\n3").await;
    send(&mut stream, "POST /mutate-pod HT").await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_tls_handshake_that_does_not_begin_is_cut_and_counted() {
    let server = TestServer::with_timeouts(Timeouts { handshake: SHORT, ..Timeouts::default() }).await;
    let mut silent = TcpStream::connect(server.address).await.expect("a connection");
    let mut rest = Vec::new();
    let _end = soon(silent.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
    let counts = &server.metrics.connections;
    until("it is counted", || counts.closed(Closed::SlowHandshake).get() == 1).await;
    // It says nothing about the certificate.
    assert_eq!(server.metrics.certificates.handshake_errors.get(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_trust_our_ca_is_counted_and_a_port_check_is_not() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let before = Handle::current().metrics().num_alive_tasks();
    drop(TcpStream::connect(server.address).await.expect("a connection"));
    let other_ca = certificate();
    let error = Client::connect(server.address, other_ca.ca_pem().expect("generated")).await.expect_err("no trust");
    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
    tasks_end(before).await;
    assert_eq!(server.metrics.certificates.handshake_errors.get(), 1);
}

#[tokio::test]
async fn plain_http_is_a_failed_handshake() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let mut plain = TcpStream::connect(server.address).await.expect("a connection");
    plain.write_all(head(0).as_bytes()).await.expect("written");
    until("it is counted", || server.metrics.certificates.handshake_errors.get() == 1).await;
}

#[tokio::test]
async fn a_client_that_writes_100_mb_before_it_reads_gets_its_413() {
    // Gives a slow machine time to write.
    let server = TestServer::with_timeouts(Timeouts { close: Duration::from_secs(60), ..Timeouts::default() }).await;
    let mut stream = server.raw().await;
    let piece = vec![b' '; 1_000_000];
    send(&mut stream, head(100 * piece.len())).await;
    for _ in 0..100 {
        send(&mut stream, &piece).await;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("at most 7340032 bytes"), "{answer}");
}

#[tokio::test]
async fn a_client_that_reads_while_it_writes_100_mb_gets_its_413() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let mut client = server.target().connect().await.expect("a connection");
    let answer = soon(client.post(PATH, Bytes::from(vec![b' '; 100_000_000]))).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.close, client.is_open()), (413, true, false));
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_gets_its_413() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let mut stream = server.raw().await;
    let request = head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    send(&mut stream, request).await;
    let piece = " ".repeat(1_000_000);
    for _ in 0..12 {
        send(&mut stream, format!("{:x}\r\n{}\r\n", piece.len(), piece)).await;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answer}");
}

#[tokio::test]
async fn gzip_is_415_and_the_connection_goes_on() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let mut stream = server.raw().await;
    send(&mut stream, head(4).replace("Host", "Content-Encoding: gzip\r\nHost") + "\x1f\x1f\x1f\x1f").await;
    let answer = read_until(&mut stream, "not supported\n").await;
    assert!(answer.starts_with("HTTP/1.1 415 Unsupported Media Type\r\n"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
    send(&mut stream, head(3) + "123").await;
    assert!(read_until(&mut stream, "\r\n\r\n3").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_shed_review_leaves_its_connection_usable() {
    let (go, handler) = held();
    let server = TestServer::start(handler, Limits { reviews: 1, ..Limits::default() }, Settings::default()).await;
    let mut first = server.raw().await;
    send(&mut first, head(4) + "1234").await;
    let webhook = server.metrics.webhook(Webhook::MutatePod);
    until("the first review is in flight", || webhook.in_flight().get() == 1).await;
    let mut client = server.target().connect().await.expect("a connection");
    let body = Bytes::from(vec![b' '; 20_000]);
    let answer = soon(client.post(PATH, body.clone())).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.close), (503, false));
    assert_eq!(server.metrics.shed(Shed::Reviews).get(), 1);
    go.send(true).expect("it waits");
    read_until(&mut first, "\r\n\r\n4").await;
    let answer = soon(client.post(PATH, body)).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"20000"[..]));
}

#[tokio::test]
async fn a_body_that_drips_is_answered_503_and_its_connection_closed() {
    let limits = Limits { body_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start(measure(), limits, Settings::default()).await;
    let (mut answers, mut requests) = tokio::io::split(server.raw().await);
    let drip = tokio::spawn(async move {
        requests.write_all(head(7_000_000).as_bytes()).await.expect("written");
        while requests.write_all(b"x").await.is_ok() && requests.flush().await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let mut answer = Vec::new();
    let _end = soon(answers.read_to_end(&mut answer)).await;
    drip.abort();
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("retry-after: 1\r\n"), "{answer}");
}

#[tokio::test]
async fn a_head_over_16_kib_is_431() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let mut stream = server.raw().await;
    send(&mut stream, head(3).replace("Host", &format!("X: {}\r\nHost", "x".repeat(15_000))) + "123").await;
    assert!(read_until(&mut stream, "\r\n\r\n3").await.starts_with("HTTP/1.1 200 OK\r\n"));
    send(&mut stream, "POST /mutate-pod HTTP/1.1\r\nX: ".to_owned() + &"x".repeat(40_000)).await;
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 431 "));
}

async fn with_places(all: usize, per_peer: usize) -> TestServer {
    let settings = Settings { connections: Bounds { all, per_peer }, ..Settings::default() };
    TestServer::start(measure(), Limits::default(), settings).await
}

#[tokio::test]
async fn silent_connections_keep_nobody_out_and_a_used_one_keeps_its_place() {
    for (bounds, reason) in [((4, 100), Closed::Full), ((100, 4), Closed::Peer)] {
        let server = with_places(bounds.0, bounds.1).await;
        let target = server.target();
        let mut used = target.connect().await.expect("a connection");
        let mut silent = Vec::new();
        for number in 0..20 {
            // Before the handshake, before a head, within a head, within a body.
            silent.push(tokio::spawn(TcpStream::connect(server.address)));
            let mut stream = server.raw().await;
            let begins = [String::new(), "POST /mutate-pod HT".to_owned(), head(7_000_000)];
            send(&mut stream, &begins[number % 3]).await;
            silent.push(tokio::spawn(async { Ok(stream.into_inner().0) }));
            let mut new = target.connect().await.expect("a connection");
            for client in [&mut used, &mut new] {
                let answer = soon(client.post(PATH, Bytes::from_static(b"123"))).await.expect("an answer");
                assert_eq!(answer.status, 200);
            }
        }
        let counts = &server.metrics.connections;
        assert!(counts.closed(reason).get() >= 30, "{}", counts.closed(reason).get());
        until("those that gave way end", || counts.open.get() <= 4).await;
        assert!(used.is_open());
    }
}

#[tokio::test]
async fn a_connection_that_had_one_review_answered_gives_way_like_any_other() {
    let server = with_places(2, 2).await;
    let target = server.target();
    let mut used = target.connect().await.expect("a connection");
    let mut once = target.connect().await.expect("a connection");
    soon(once.post(PATH, Bytes::new())).await.expect("an answer");
    for _ in 0..3 {
        soon(used.post(PATH, Bytes::new())).await.expect("an answer");
    }
    let mut new = target.connect().await.expect("a connection");
    assert_eq!(soon(new.post(PATH, Bytes::new())).await.expect("an answer").status, 200);
    until("it gives way", || !once.is_open()).await;
    assert!(used.is_open());
}

#[tokio::test]
async fn a_panic_leaves_its_connection_usable() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let mut client = server.target().connect().await.expect("a connection");
    assert_eq!(soon(client.post(PATH, Bytes::from_static(b"panic"))).await.expect("an answer").status, 500);
    assert_eq!(soon(client.post(PATH, Bytes::from_static(b"fine"))).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn closed_connections_leave_no_task_behind() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let target = server.target();
    let before = Handle::current().metrics().num_alive_tasks();
    for _ in 0..50 {
        let mut client = target.connect().await.expect("a connection");
        soon(client.post(PATH, Bytes::new())).await.expect("an answer");
    }
    tasks_end(before).await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let large = at_once(|_| Reply::json(vec![b' '; 16 * 1024 * 1024]));
    let timeouts = Timeouts { answer: SHORT, close: SHORT, ..Timeouts::default() };
    let server = TestServer::start(large, Limits::default(), Settings { timeouts, ..Settings::default() }).await;
    let before = Handle::current().metrics().num_alive_tasks();
    let mut stream = server.raw().await;
    send(&mut stream, head(0)).await;
    let webhook = server.metrics.webhook(Webhook::MutatePod);
    until("it is answered", || webhook.requests(200).get() == 1).await;
    tasks_end(before).await;
}

#[tokio::test]
async fn an_answer_of_a_megabyte_that_is_not_taken_does_not_vanish_into_the_buffers_of_the_kernel() {
    let large = at_once(|_| Reply::json(vec![b' '; 1024 * 1024]));
    let timeouts = Timeouts { answer: SHORT, ..Timeouts::default() };
    let server = TestServer::start(large, Limits::default(), Settings { timeouts, ..Settings::default() }).await;
    let mut stream = server.raw().await;
    send(&mut stream, head(0)).await;
    let counts = &server.metrics.connections;
    until("it is cut and counted", || counts.closed(Closed::SlowAnswer).get() == 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_close_after_the_last_answer_is_cut() {
    let server = TestServer::with_timeouts(Timeouts { close: SHORT, ..Timeouts::default() }).await;
    let before = Handle::current().metrics().num_alive_tasks();
    let mut stream = server.raw().await;
    send(&mut stream, head(100_000_000)).await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answer}");
    tasks_end(before).await;
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let server = TestServer::with_timeouts(Timeouts::default()).await;
    let mut old = server.target().connect().await.expect("a connection");
    let end = server.certificate.current().expect("a certificate").not_after().as_second();
    assert_eq!(server.metrics.certificates.expiration(Certificate::Serving).get(), end);
    let pair = certificate();
    let ca = pair.ca_pem().expect("generated").to_owned();
    server.certificate.replace(pair);
    assert!(server.target().connect().await.is_err());
    let mut new = Client::connect(server.address, &ca).await.expect("a connection");
    assert_eq!(soon(new.post(PATH, Bytes::new())).await.expect("an answer").status, 200);
    assert_eq!(soon(old.post(PATH, Bytes::new())).await.expect("an answer").status, 200);
}
