//! Rules belong to a request: they do not affect others of the same fetcher.

use super::server::{ok, redirect};
use super::*;

/// The same asker with rules without exceptions.
fn guarded(asker: &Asker) -> Asker {
    Asker { rules: Arc::new(Rules { guard: Guard::default(), ..open() }), ..asker.clone() }
}

#[tokio::test]
async fn a_kept_connection_serves_nobody_whose_rules_do_not_reach_that_far() {
    let server = Server::start(|_, _| ok("here")).await;
    let open = Asker::open();
    let guarded = guarded(&open);
    for host in ["127.0.0.1", "a.test"] {
        let url = server.url_at(host, "/");
        assert_eq!(body(open.get(&url).await), "here");
        assert_eq!(failure(&url, guarded.get(&url).await).0, FetchOutcome::RefusedAddress, "{host}");
        assert_eq!(body(open.get(&url).await), "here");
    }
    assert_eq!(server.accepted(), 2, "one for each name");
}

#[tokio::test]
async fn what_one_must_never_reach_may_be_open_to_another() {
    let server = Server::start(|_, _| ok("here")).await;
    let one = Asker::open();
    let other = Asker { rules: Arc::new(open()), ..one.clone() };
    let url = server.url("/");
    for asker in [&one, &other] {
        assert_eq!(body(asker.get(&url).await), "here");
    }
    one.rules.guard.refused.set([server.address]);
    assert_eq!(failure(&url, one.get(&url).await).0, FetchOutcome::RefusedAddress);
    server.closed().await;
    assert_eq!(body(other.get(&url).await), "here");
    assert_eq!(server.accepted(), 2, "the other's connection was kept");
}

#[tokio::test]
async fn a_refusal_names_what_opens_it() {
    let mut rules = Rules::default();
    rules.guard.opened_by = "--reach";
    let url = "http://127.0.0.1/";
    let expected = "its host is a loopback address, refused unless --reach opens it".to_owned();
    let answer = Asker::new(settings(), rules).get(url).await;
    assert_eq!(failure(url, answer), (FetchOutcome::RefusedAddress, expected));
}

#[tokio::test]
async fn redirects_are_followed_only_where_the_rules_say_so() {
    let server = Server::start(|_, _| redirect("/elsewhere")).await;
    let url = server.url("/");
    let expected = (FetchOutcome::Redirect, "redirected although no redirect is followed".to_owned());
    assert_eq!(failure(&url, Asker::ruled(|rules| rules.redirects = 0).get(&url).await), expected);
    server.head().await;
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn each_request_has_its_own_limits() {
    let server = Server::start(|_, _| ok("123456789")).await;
    let (url, large) = (server.url("/"), Asker::open());
    let small = Asker { rules: Arc::new(Rules { body: 8, ..open() }), ..large.clone() };
    let expected = (FetchOutcome::TooLarge, "the body is larger than 8 bytes".to_owned());
    assert_eq!(failure(&url, small.get(&url).await), expected);
    assert_eq!(body(large.get(&url).await), "123456789");
}
