//! What is sent: methods, bodies, headers, and repetitions.

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::super::{Authorization, Credentials, Statuses};
use super::server::{Then, ok, redirect, with_head};
use super::*;

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain");

fn post(asker: &Asker, url: &str) -> Request {
    Request::new(Method::POST, target(url), &asker.rules).good(Statuses::SUCCESS).body(PLAIN, "payload")
}

#[tokio::test]
async fn a_post_tells_a_server_of_this_machine_to_read_its_files_again() {
    let server = Server::start(|_, _| (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), Then::Next)).await;
    let (asker, url) = (Asker::open(), server.url("/api/reload?all"));
    let authorization = Some(Authorization::basic(b"admin", b"pass"));
    let recipients = vec![server.url("").parse().expect("a host")];
    let name = HeaderName::from_static("x-reason");
    let request = post(&asker, &url)
        .credentials(Some(Credentials { authorization, recipients, ..Credentials::default() }))
        .header(name, HeaderValue::from_static("files changed"))
        .expect("a header");
    let answer = asker.fetch(request).await;
    assert!(matches!(answer, Ok(Answer::Body { status: StatusCode::NO_CONTENT, .. })), "{answer:?}");
    let request = server.head().await;
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, "payload");
    let mut lines: Vec<_> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /api/reload?all HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", server.address);
    let agent = format!("user-agent: outrigger/{}", env!("CARGO_PKG_VERSION"));
    let expected = [
        "accept: */*",
        "authorization: Basic YWRtaW46cGFzcw==",
        "content-length: 7",
        "content-type: text/plain",
        &host,
        &agent,
        "x-reason: files changed",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn statuses_are_good_as_the_request_says() {
    let server =
        Server::start(|_, _| with_head("503 Service Unavailable", "retry-after: 7\n", "kept all the same")).await;
    let (asker, url) = (Asker::open(), server.url("/"));
    let expected = (FetchOutcome::Status, "status 503 Service Unavailable, only 200-299 is good".to_owned());
    assert_eq!(failure(&url, asker.fetch(post(&asker, &url)).await), expected);
    let request = asker.request(&url).good(Statuses::of(&[200..=299, 500..=504]));
    assert_eq!(body(asker.fetch(request).await), "kept all the same");
}

#[tokio::test]
async fn a_server_that_hangs_up_is_sent_again_only_what_may_be_done_twice() {
    for (method, sent) in [(Method::POST, 1), (Method::PATCH, 1), (Method::PUT, 2), (Method::DELETE, 2)] {
        let server = Server::answering(b"").await;
        let (asker, url) = (Asker::open(), server.url("/"));
        let request = Request::new(method.clone(), target(&url), &asker.rules).body(PLAIN, "payload");
        assert_eq!(failure(&url, asker.fetch(request).await).0, FetchOutcome::Protocol, "{method}");
        assert_eq!(server.accepted(), sent, "{method}");
    }
}

#[tokio::test]
async fn a_redirect_of_a_post_is_a_get_unless_it_says_to_send_the_same_again() {
    for (status, method, sent) in [
        ("301 Moved", "GET", ""),
        ("302 Found", "GET", ""),
        ("303 See Other", "GET", ""),
        ("307 Temporary Redirect", "POST", "payload"),
        ("308 Permanent Redirect", "POST", "payload"),
    ] {
        let server =
            Server::start(
                move |head, _| {
                    if head.contains(" /end ") { ok("end") } else { with_head(status, "location: /end\n", "") }
                },
            )
            .await;
        let asker = Asker::open();
        assert_eq!(body(asker.fetch(post(&asker, &server.url("/"))).await), "end", "{status}");
        server.head().await;
        let request = server.head().await;
        assert!(request.starts_with(&format!("{method} /end ")) && request.ends_with(sent), "{status}: {request}");
        assert_eq!(request.contains("content-"), !sent.is_empty(), "{status}: {request}");
    }
}

#[tokio::test]
async fn neither_a_body_nor_a_given_header_goes_to_another_origin() {
    let other = Server::start(|_, _| ok("other")).await;
    let location = other.url("/");
    let server = Server::start(move |_, _| with_head("307 Again", &format!("location: {location}\n"), "")).await;
    let (asker, url) = (Asker::open(), server.url("/"));
    let expected = (FetchOutcome::Redirect, "redirected to another origin, which the body is not for".to_owned());
    assert_eq!(failure(&url, asker.fetch(post(&asker, &url)).await), expected);
    assert_eq!(other.accepted(), 0);

    let location = other.url("/");
    let server = Server::start(move |_, _| redirect(&location)).await;
    let request = asker.request(&server.url("/"));
    let request = request.header(HeaderName::from_static("x-api-key"), HeaderValue::from_static("s3cret"));
    assert_eq!(body(asker.fetch(request.expect("a header")).await), "other");
    assert!(server.head().await.contains("x-api-key: s3cret\r\n"));
    assert!(!other.head().await.contains("x-api-key"));
}
