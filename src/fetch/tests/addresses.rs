//! Which addresses are connected to, however a URL refers to them.

use std::sync::Arc;

use super::super::Settings;
use super::server::{Server, ok, redirect};
use super::*;

const LINK_LOCAL: &str = "a link-local address, refused unless --fetch-allow opens it";
const LOOPBACK: &str = "a loopback address, refused unless --fetch-allow opens it";

fn knowing(names: &[(&str, &[&[&str]])]) -> Settings {
    Settings { resolver: Arc::new(Names::of(names)), ..settings() }
}

fn guarded(names: &[(&str, &[&[&str]])]) -> Asker {
    Asker::new(knowing(names), Rules { guard: Guard::default(), ..open() })
}

#[tokio::test]
async fn addresses_in_a_url_are_judged_however_they_are_written() {
    let server = Server::start(|_, _| ok("secret")).await;
    let asker = guarded(&[]);
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
    ] {
        let url = server.url_at(host, "/");
        let expected = (FetchOutcome::RefusedAddress, format!("its host is {LOOPBACK}"));
        assert_eq!(failure(&url, asker.get(&url).await), expected, "{host}");
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_name_with_a_refused_address_beside_a_good_one_is_refused() {
    let asker = Asker::new(knowing(&[("mixed", &[&["127.0.0.1", "169.254.169.254"]])]), open());
    let server = Server::start(|_, _| ok("not asked")).await;
    let url = server.url_at("mixed", "/");
    let expected = (FetchOutcome::RefusedAddress, format!("its name resolves to {LINK_LOCAL}"));
    assert_eq!(failure(&url, asker.get(&url).await), expected);
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn names_that_lead_nowhere_are_told() {
    let asker = guarded(&[("empty", &[&[]])]);
    for url in ["http://unknown/", "http://empty/"] {
        let expected = (FetchOutcome::Dns, "its name cannot be resolved".to_owned());
        assert_eq!(failure(url, asker.get(url).await), expected);
    }
}

#[tokio::test]
async fn a_connection_is_made_to_the_address_that_was_judged() {
    // The second answer would be given to a resolver that asks again between check and connection.
    let names: &[(&str, &[&[&str]])] = &[("rebound", &[&["127.0.0.1"], &["169.254.169.254"]])];
    let asker = Asker::new(knowing(names), open());
    let server = Server::start(|_, _| (ok("good").0, super::server::Then::Close)).await;
    let url = server.url_at("rebound", "/");
    assert_eq!(body(asker.get(&url).await), "good");
    server.closed().await;
    assert_eq!(failure(&url, asker.get(&url).await).0, FetchOutcome::RefusedAddress);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn an_allowed_name_opens_what_it_resolves_to_and_nothing_else() {
    let names: &[(&str, &[&[&str]])] = &[("mine", &[&["127.0.0.1"]]), ("other", &[&["127.0.0.1"]])];
    let allow = vec!["mine".parse().expect("a name")];
    let rules = Rules { guard: Guard { allow, ..Guard::default() }, ..open() };
    let asker = Asker::new(knowing(names), rules);
    let server = Server::start(|_, _| ok("mine")).await;
    assert_eq!(body(asker.get(&server.url_at("mine", "/")).await), "mine");
    for (host, expected) in [("other", "its name resolves to "), ("127.0.0.1", "its host is ")] {
        let url = server.url_at(host, "/");
        let expected = (FetchOutcome::RefusedAddress, format!("{expected}{LOOPBACK}"));
        assert_eq!(failure(&url, asker.get(&url).await), expected);
    }
}

#[tokio::test]
async fn a_redirect_is_judged_like_the_url_itself() {
    for location in ["http://169.254.169.254/latest/meta-data/?s3cret", "http://metadata/latest/meta-data/#s3cret"] {
        let asker = Asker::new(knowing(&[("metadata", &[&["169.254.169.254"]])]), open());
        let server = Server::start(move |_, _| redirect(location)).await;
        let url = server.url("/");
        let (outcome, text) = failure(&url, asker.get(&url).await);
        assert_eq!(outcome, FetchOutcome::RefusedAddress);
        let origin = location.split("/latest").next().expect("an origin");
        assert!(text.starts_with(&format!("redirected to {origin}: its ")) && text.ends_with(LINK_LOCAL), "{text}");
    }
}

#[tokio::test]
async fn what_is_never_fetched_from_cannot_be_opened() {
    let asker = Asker::open();
    let refused = asker.rules.guard.refused.clone();
    let (api_server, other) = (Server::start(|_, _| ok("secret")).await, Server::start(|_, _| ok("open")).await);
    refused.set([api_server.address]);
    for host in ["127.0.0.1", "a.test"] {
        let url = api_server.url_at(host, "/");
        let (outcome, text) = failure(&url, asker.get(&url).await);
        assert_eq!(outcome, FetchOutcome::RefusedAddress);
        assert!(text.ends_with("an address never fetched from (the API server's)"), "{text}");
        assert_eq!(body(asker.get(&other.url_at(host, "/")).await), "open");
    }
    assert_eq!(api_server.accepted(), 0);
}

#[tokio::test]
async fn a_kept_connection_to_what_is_refused_since_is_not_used_again() {
    let asker = Asker::open();
    let refused = asker.rules.guard.refused.clone();
    let server = Server::start(|_, _| ok("open")).await;
    let url = server.url("/");
    assert_eq!(body(asker.get(&url).await), "open");
    refused.set([server.address]);
    assert_eq!(failure(&url, asker.get(&url).await).0, FetchOutcome::RefusedAddress);
    server.closed().await;
}
