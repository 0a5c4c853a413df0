//! Downloads and requests over real sockets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{calls, urls};
use crate::fetch::tests::server::{Reply, Server, Then, ok, with_head};
use crate::fetch::{Answer, FetchTarget, Places, RequestPlace, Validators};
use crate::file_sync::calls::{CallError, Caller};
use crate::file_sync::folder::{Arrived, Folder};
use crate::file_sync::options::{Calls, Login, Payload, ReloadRequest, Urls};
use crate::file_sync::plan::digest;

fn target(url: &str) -> FetchTarget {
    url.parse().expect(url)
}

fn login() -> Login {
    Login { username: Some("user".to_owned()), password: Some("s3cret".to_owned()), ..Login::default() }
}

/// Answers by the number of requests so far.
async fn counting(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    (Server::start(move |_, _| answer(counted.fetch_add(1, Ordering::SeqCst))).await, count)
}

async fn download(root: &Path, caller: &Caller, url: &str) -> Result<Answer<Arrived>, CallError> {
    let folder = Folder::new(root, "id");
    caller.download(url, &Validators::default(), turn(), || folder.draft("x", None)).await
}

fn turn() -> impl AsyncFn() -> RequestPlace {
    let places = Places::new(1, 1);
    async move || places.take("object").await
}

fn files(root: &Path) -> usize {
    std::fs::read_dir(root).expect("listed").count()
}

#[tokio::test]
async fn a_download_goes_to_a_file_beside_its_place_and_no_further_than_its_limit() {
    let root = tempfile::tempdir().expect("a folder");
    let server = Server::start(|head, _| match head.split(' ').nth(1) {
        Some("/good") => ok("content"),
        Some("/endless") => (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Then::Repeat(vec![b'x'; 64 * 1024])),
        Some("/cut") => (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut".to_vec(), Then::Close),
        _ => with_head("404 Not Found", "", "not this"),
    })
    .await;
    let caller = Caller::new(Calls { retries: 1, ..calls() }, urls(), None).expect("a caller");
    std::fs::write(root.path().join("x"), "before").expect("written");
    for path in ["/endless", "/cut", "/none"] {
        let error = download(root.path(), &caller, &server.url(path)).await.expect_err(path).to_string();
        assert!(error.contains(path) && !error.contains("not this"), "{error}");
        assert_eq!(files(root.path()), 1, "{path}: no unfinished file stays");
    }
    let Ok(Answer::Body { bytes: arrived, .. }) = download(root.path(), &caller, &server.url("/good")).await else {
        panic!("no answer")
    };
    assert_eq!(std::fs::read(root.path().join("x")).expect("read"), b"before", "not before all is there");
    assert_eq!(arrived.digest, digest(b"content"));
    arrived.draft.publish().expect("published");
    assert_eq!((std::fs::read(root.path().join("x")).expect("read"), files(root.path())), (b"content".to_vec(), 1));
}

#[tokio::test]
async fn a_download_that_cannot_be_written_is_told_and_not_tried_again() {
    let root = tempfile::tempdir().expect("a folder");
    let (server, count) = counting(|_| ok("content")).await;
    let caller = Caller::new(calls(), urls(), None).expect("a caller");
    let folder = Folder::new(&root.path().join("x"), "id");
    std::fs::write(root.path().join("x"), "no folder").expect("written");
    let url = server.url("/");
    let got = caller.download(&url, &Validators::default(), turn(), || folder.draft("y", None)).await;
    assert!(matches!(got, Err(CallError::Draft(_))), "{got:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_passes_is_tried_again_as_often_as_asked_and_what_does_not_pass_is_not() {
    let root = tempfile::tempdir().expect("a folder");
    for (status, tries) in [("503 Busy", 6), ("429 Slow Down", 6), ("500 Broken", 6), ("404 None", 1), ("401 Who", 1)] {
        let (server, count) = counting(move |_| with_head(status, "retry-after: 0\n", "no")).await;
        let caller = Caller::new(calls(), urls(), None).expect("a caller");
        download(root.path(), &caller, &server.url("/")).await.expect_err(status);
        assert_eq!(count.load(Ordering::SeqCst), tries, "{status}");
    }
    let (server, _) = counting(|count| if count < 3 { with_head("503 Busy", "", "") } else { ok("up") }).await;
    let caller = Caller::new(calls(), urls(), None).expect("a caller");
    download(root.path(), &caller, &server.url("/")).await.expect("the fourth is good");
    assert_eq!(files(root.path()), 0);
}

#[tokio::test]
async fn what_5xx_come_with_is_content_only_where_that_is_asked_for() {
    let root = tempfile::tempdir().expect("a folder");
    let (server, _) = counting(|_| with_head("500 Broken", "", "why")).await;
    let caller = Caller::new(calls(), Urls { store_5xx: true, ..urls() }, None).expect("a caller");
    let Ok(Answer::Body { bytes, .. }) = download(root.path(), &caller, &server.url("/")).await else {
        panic!("no content")
    };
    assert_eq!(bytes.digest, digest(b"why"));
}

#[tokio::test]
async fn credentials_go_to_the_app_and_to_hosts_that_are_named_and_nowhere_else() {
    let root = tempfile::tempdir().expect("a folder");
    let (app, _) = counting(|_| ok("")).await;
    let (other, _) = counting(|_| ok("")).await;
    let basic = "authorization: Basic dXNlcjpzM2NyZXQ=";
    let named = || Some(vec![other.url("").parse().expect("a host")]);
    for (credentials, credentials_home, app_gets, other_gets) in [
        (Some(Vec::new()), true, true, false),
        (named(), true, true, true),
        (named(), false, false, true),
        (None, true, true, true),
        (Some(Vec::new()), false, false, false),
    ] {
        let calls = Calls { login: login(), ..calls() };
        let of_urls = Urls { credentials, credentials_home, ..urls() };
        let caller = Caller::new(calls, of_urls, Some(&target(&app.url("/")))).expect("a caller");
        download(root.path(), &caller, &app.url("/x")).await.expect("it answers");
        assert_eq!(app.head().await.contains(basic), app_gets);
        download(root.path(), &caller, &other.url("/x")).await.expect("it answers");
        assert_eq!(other.head().await.contains(basic), other_gets);
    }
}

#[tokio::test]
async fn urls_of_objects_lead_to_no_address_of_this_machine_unless_allowed() {
    let root = tempfile::tempdir().expect("a folder");
    let (server, count) = counting(|_| ok("secret")).await;
    let api_server = Server::start(|_, _| ok("secret")).await;
    let refused = Urls { refused: vec![api_server.address], ..urls() };
    let caller = Caller::new(calls(), refused, None).expect("a caller");
    let error = download(root.path(), &caller, &api_server.url("/")).await.expect_err("refused").to_string();
    assert!(error.contains("the API server's"), "{error}");
    let caller = Caller::new(calls(), Urls { allow: Vec::new(), ..urls() }, None).expect("a caller");
    for url in [server.url("/"), server.url_at("localhost", "/"), "http://169.254.169.254/".to_owned()] {
        let error = download(root.path(), &caller, &url).await.expect_err("refused").to_string();
        assert!(error.contains("OUTRIGGER_URL_ALLOW"), "{error}");
    }
    for url in ["file:///etc/passwd", "ftp://h/", "no url", ""] {
        let got = download(root.path(), &caller, url).await;
        assert!(matches!(got, Err(CallError::Target(_))), "{url}: {got:?}");
    }
    assert_eq!((count.load(Ordering::SeqCst), files(root.path())), (0, 0));
}

#[tokio::test]
async fn a_request_has_the_method_payload_and_credentials_that_are_asked_for() {
    let (server, _) = counting(|_| ok("")).await;
    let ask = |post, payload: Option<&str>| ReloadRequest {
        target: target(&server.url("/reload")),
        post,
        payload: payload.map(Payload::of),
    };
    let calls = Calls { login: login(), ..calls() };
    let caller = Caller::new(calls, urls(), Some(&target(&server.url("/")))).expect("a caller");
    let sent = async |request: &ReloadRequest| {
        caller.reload(request, "/f/x", 3).await.expect("answered");
        server.head().await
    };
    let head = sent(&ask(false, Some("{}"))).await;
    assert!(head.starts_with("GET /reload ") && head.ends_with("\r\n\r\n"), "{head}");
    let head = sent(&ask(true, Some(r#"{"n":"{{count}}","f":"{{files}}"}"#))).await;
    assert!(head.starts_with("POST /reload ") && head.ends_with(r#"{"n":"3","f":"/f/x"}"#), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("authorization: Basic dXNlcjpzM2NyZXQ="), "{head}");
}
