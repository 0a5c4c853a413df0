//! Following redirects.

use super::server::{Server, ok, redirect, with_head};
use super::*;

#[tokio::test]
async fn every_kind_of_redirect_is_followed_to_the_body() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let server = Server::start(move |head, _| {
            if head.starts_with("GET /end?x ") { ok("end") } else { with_head(status, "location: ../end?x\n", "moved") }
        })
        .await;
        assert_eq!(body(Asker::open().get(&server.url("/a/b")).await), "end", "{status}");
    }
}

#[tokio::test]
async fn a_loop_ends() {
    let server = Server::start(|_, _| redirect("/loop?s3cret")).await;
    let url = server.url("/");
    let asker = Asker::ruled(|rules| rules.redirects = 3);
    let expected = (FetchOutcome::Redirect, "redirected more than 3 times".to_owned());
    assert_eq!(failure(&url, asker.get(&url).await), expected);
    let heads = [server.head().await, server.head().await, server.head().await, server.head().await];
    assert!(heads[0].starts_with("GET / ") && heads[1..].iter().all(|head| head.starts_with("GET /loop?s3cret ")));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn redirects_that_lead_to_no_url_of_ours_are_refused() {
    for (head, expected) in [
        ("", "redirected without saying where to"),
        (
            "location: file:///etc/s3cret\n",
            "redirected to a URL that cannot be used: must begin with http:// or https://",
        ),
        ("location: http://s3cret:x/\n", "redirected to a URL that cannot be used: no URL: invalid port number"),
    ] {
        let server = Server::start(move |_, _| with_head("302 Found", head, "")).await;
        let url = server.url("/");
        let found = failure(&url, Asker::open().get(&url).await);
        assert_eq!(found, (FetchOutcome::Redirect, expected.to_owned()));
    }
}

#[tokio::test]
async fn validators_are_those_of_the_end_of_the_chain() {
    let server = Server::start(|head, _| {
        let conditional = head.contains("if-none-match");
        match head.split(' ').nth(1) {
            Some("/") if conditional => with_head("500 Asked for nothing of the kind", "", ""),
            Some("/") => redirect("/end"),
            _ if conditional => (b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(), super::server::Then::Next),
            _ => with_head("200 OK", "etag: \"end\"\n", "end"),
        }
    })
    .await;
    let asker = Asker::open();
    let Ok(Answer::Body { validators, .. }) = asker.get(&server.url("/")).await else { panic!("no body") };
    let again = asker.request(&server.url("/")).validators(validators);
    assert!(matches!(asker.fetch(again).await, Ok(Answer::NotModified)));
}
