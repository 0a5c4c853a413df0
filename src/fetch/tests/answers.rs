//! Which answers are good, and the errors of others.

use std::time::Duration;

use super::super::{FetchProblem, Validators};
use super::server::{Server, Then, ok, with_head};
use super::*;

#[tokio::test]
async fn a_complete_200_is_good_with_or_without_a_length() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        "HTTP/1.1 200 Fine\r\ncontent-type: text/plain\r\n\r\nbody",
        "HTTP/1.0 200 OK\r\ncontent-encoding: Identity\r\n\r\nbody",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
    ] {
        let server = Server::answering(answer.as_bytes()).await;
        assert_eq!(body(Asker::open().get(&server.url("/")).await), "body", "{answer}");
    }
}

#[tokio::test]
async fn the_request_says_what_it_is_and_asks_for_no_compression() {
    let server = Server::start(|_, _| ok("")).await;
    let asker = Asker::new(Settings { user_agent: "Somebody/1.0".parse().expect("a name"), ..settings() }, open());
    let accept = "application/json".parse().expect("a type");
    let request = asker.request(&server.url_at("a.test", "/path?query#part")).accept(accept);
    asker.fetch(request).await.expect("an answer");
    let head = server.head().await;
    let (line, headers) = head.split_once("\r\n").expect("lines");
    assert_eq!(line, "GET /path?query HTTP/1.1");
    let mut headers: Vec<_> = headers.trim_end().split("\r\n").collect();
    headers.sort_unstable();
    let host = format!("host: a.test:{}", server.address.port());
    assert_eq!(headers, ["accept: application/json", &host, "user-agent: Somebody/1.0"]);
}

#[tokio::test]
async fn any_other_status_is_refused() {
    for (status, text) in [
        ("201 Created", "status 201 Created, only 200 is good"),
        ("204 No Content", "status 204 No Content, only 200 is good"),
        ("206 Partial Content", "status 206 Partial Content, only 200 is good"),
        ("300 Multiple Choices", "status 300 Multiple Choices, only 200 is good"),
        ("304 Not Modified", "status 304 Not Modified, only 200 is good"),
        ("403 s3cret", "status 403 Forbidden, only 200 is good"),
        ("404 Not Found", "status 404 Not Found, only 200 is good"),
        ("500 Oops", "status 500 Internal Server Error, only 200 is good"),
        ("599 s3cret", "status 599 <unknown status code>, only 200 is good"),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nretry-after: 7\r\n\r\n");
        assert_eq!(failure_of(answer.as_bytes()).await, (FetchOutcome::Status, text.to_owned()));
    }
}

#[tokio::test]
async fn retry_after_is_told_of_a_server_that_is_busy() {
    for (status, head, expected) in [
        ("429 Too Many Requests", "retry-after: 7\n", Some(7)),
        ("503 Service Unavailable", "retry-after: 86400\n", Some(3600)),
        ("503 Service Unavailable", "", None),
        ("500 Internal Server Error", "retry-after: 7\n", None),
    ] {
        let server = Server::start(move |_, _| with_head(status, head, "busy")).await;
        let error = Asker::open().get(&server.url("/")).await.expect_err(status);
        assert_eq!(error.retry_after(), expected.map(Duration::from_secs), "{status} {head}");
    }
}

#[tokio::test]
async fn what_is_known_need_not_be_sent_again() {
    const DATE: &str = "Thu, 08 Jan 2026 19:07:21 GMT";
    let server = Server::start(|head, _| {
        if head.contains("if-none-match: W/\"1\"\r\n") && head.contains(&format!("if-modified-since: {DATE}\r\n")) {
            (b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(), Then::Next)
        } else {
            with_head("200 OK", &format!("etag: W/\"1\"\nlast-modified: {DATE}\n"), "new")
        }
    })
    .await;
    let asker = Asker::open();
    let conditional = |path: &str, validators: &Validators| {
        asker.fetch(asker.request(&server.url(path)).validators(validators.clone()))
    };
    let Ok(Answer::Body { validators, .. }) = conditional("/?a", &Validators::default()).await else {
        panic!("no body")
    };
    let answer = conditional("/?a", &validators).await;
    assert_eq!(FetchOutcome::of(&answer), FetchOutcome::NotModified);
    assert!(matches!(answer, Ok(Answer::NotModified)));
    // Validators of one URL are not valid for another.
    assert_eq!(body(conditional("/?b", &validators).await), "new");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_up_to_it_is_not() {
    let small = Asker::ruled(|rules| rules.body = 8);
    let chunked = |body: &str| {
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    let plain = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for write in [&chunked as &dyn Fn(&str) -> String, &plain] {
        let server = Server::answering(write("12345678").as_bytes()).await;
        assert_eq!(body(small.get(&server.url("/")).await), "12345678");
        let server = Server::answering(write("123456789").as_bytes()).await;
        let url = server.url("/");
        let expected = (FetchOutcome::TooLarge, "the body is larger than 8 bytes".to_owned());
        assert_eq!(failure(&url, small.get(&url).await), expected);
    }
    // The announced body is not waited for.
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n".to_vec();
    let server = Server::start(move |_, _| (announced.clone(), Then::Hang)).await;
    let error = Asker::open().get(&server.url("/")).await.expect_err("too large");
    assert_eq!(*error.problem(), FetchProblem::TooLarge(1024 * 1024));
    server.closed().await;
}

#[tokio::test]
async fn a_body_without_end_is_ended() {
    for head in ["", "transfer-encoding: chunked\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes();
        let server = Server::start(move |_, _| {
            (head.clone(), Then::Repeat(format!("10000\r\n{}\r\n", "x".repeat(65_536)).into()))
        })
        .await;
        let url = server.url("/");
        assert_eq!(failure(&url, Asker::open().get(&url).await).0, FetchOutcome::TooLarge);
        server.closed().await;
    }
}

#[tokio::test]
async fn what_is_no_complete_http_is_refused_without_quoting_it() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "s3cret".repeat(64 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "s3cret: x\r\n".repeat(200));
    for answer in [
        "",
        "s3cret: this is no HTTP\r\n\r\n",
        "HTTP/1.1 abc s3cret\r\n\r\n",
        "HTTP/1.1 200 OK\r\ns3cret",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ns3cret",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\ns3cret",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ns3cret\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\ns3cret",
        "HTTP/1.1 200 OK\r\ncontent-encoding: identity, br\r\ncontent-length: 6\r\n\r\ns3cret",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: s3cret\r\nconnection: upgrade\r\n\r\n",
        long.as_str(),
        many.as_str(),
    ] {
        let (outcome, text) = failure_of(answer.as_bytes()).await;
        let expected = if answer.contains(" 101 ") { FetchOutcome::Status } else { FetchOutcome::Protocol };
        assert_eq!(outcome, expected, "{answer:.60}: {text}");
        assert!(!text.is_empty() && !text.contains("s3cret"), "{text}");
    }
}
