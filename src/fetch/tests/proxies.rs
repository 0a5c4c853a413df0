//! Proxies: used on request, and no way around the rules for addresses.

use std::process::Command;

use super::super::Proxies;
use super::server::{Server, ok};
use super::*;

fn behind(proxy: &Server, no: &str) -> Asker {
    let proxies = Proxies::all(&format!("http://user:pass@{}", proxy.address), no);
    Asker::new(Settings { proxies: Some(proxies), ..settings() }, Rules { guard: Guard::default(), ..open() })
}

#[tokio::test]
async fn a_request_goes_through_the_proxy_which_resolves_its_name() {
    let proxy = Server::start(|_, _| ok("from afar")).await;
    let asker = behind(&proxy, "");
    assert_eq!(body(asker.get("http://only.the.proxy.knows/path?query").await), "from afar");
    let head = proxy.head().await;
    assert!(head.starts_with("GET http://only.the.proxy.knows/path?query HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
    assert!(head.contains("host: only.the.proxy.knows\r\n"), "{head}");
}

#[tokio::test]
async fn a_request_with_tls_goes_through_a_tunnel() {
    let proxy = Server::answering(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    let url = "https://only.the.proxy.knows/";
    let (outcome, text) = failure(url, behind(&proxy, "").get(url).await);
    assert_eq!(outcome, FetchOutcome::Connect, "{text}");
    assert!(text.starts_with("cannot connect: the proxy: "), "{text}");
    let head = proxy.head().await;
    assert!(head.starts_with("CONNECT only.the.proxy.knows:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
}

#[tokio::test]
async fn addresses_in_a_url_are_judged_before_a_proxy_is_asked() {
    let proxy = Server::start(|_, _| ok("from afar")).await;
    for url in ["http://169.254.169.254/", "https://[::ffff:169.254.169.254]/"] {
        assert_eq!(failure(url, behind(&proxy, "").get(url).await).0, FetchOutcome::RefusedAddress);
    }
    assert_eq!(proxy.accepted(), 0);
}

#[tokio::test]
async fn hosts_that_need_no_proxy_are_judged_as_without_one() {
    let proxy = Server::start(|_, _| ok("from afar")).await;
    let url = "http://a.test/";
    assert_eq!(failure(url, behind(&proxy, "a.test").get(url).await).0, FetchOutcome::RefusedAddress);
    assert_eq!(proxy.accepted(), 0);
}

/// Set for the child process of the test below: the URL to fetch, and whether to use proxies.
const URL: &str = "OUTRIGGER_TEST_FETCH_URL";
const ASKED: &str = "OUTRIGGER_TEST_FETCH_ASKED";

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used_only_when_asked() {
    if let Ok(url) = std::env::var(URL) {
        let proxies = std::env::var(ASKED).is_ok().then(Proxies::from_env);
        Asker::new(Settings { proxies, ..settings() }, open()).get(&url).await.expect("an answer");
        return;
    }
    let (server, proxy) = (Server::start(|_, _| ok("here")).await, Server::start(|_, _| ok("from afar")).await);
    let fetch_in_another_process = |asked: bool| {
        // The environment of this process is shared by all tests.
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "fetch::tests::proxies::the_proxy_of_the_environment_is_used_only_when_asked"]);
        command.env(URL, server.url("/")).env("HTTP_PROXY", proxy.url("/")).env("ALL_PROXY", proxy.url("/"));
        command.env_remove("NO_PROXY").env_remove("no_proxy");
        if asked {
            command.env(ASKED, "yes");
        }
        let output = tokio::task::block_in_place(|| command.output()).expect("started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    fetch_in_another_process(false);
    assert_eq!((server.accepted(), proxy.accepted()), (1, 0));
    fetch_in_another_process(true);
    assert_eq!((server.accepted(), proxy.accepted()), (1, 1));
}
