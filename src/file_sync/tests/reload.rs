//! Notification of the app: once for each burst, and until the app is up.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{calls, urls};
use crate::fetch::tests::server::{Server, ok, with_head};
use crate::file_sync::calls::Caller;
use crate::file_sync::metrics::SyncMetrics;
use crate::file_sync::options::{Calls, Payload, Reload, ReloadRequest};
use crate::file_sync::reload::{Changes, Reloader};

const WINDOW: Duration = Duration::from_millis(50);

fn reloader(server: &Server, reload: Reload) -> (Changes, Reloader) {
    let changes = Changes::default();
    let calls = Calls { retries: 0, ..calls() };
    let caller = Arc::new(Caller::new(calls, urls(), None).expect("a caller"));
    let target = server.url("/").parse().expect("a URL");
    let request = Some(ReloadRequest { target, post: true, payload: Some(Payload::of("\"{{count}} {{files}}\"")) });
    let reload = Reload { request, window: WINDOW, script_timeout: Duration::from_secs(20), ..reload };
    (changes.clone(), Reloader { reload, changes, caller, metrics: SyncMetrics::default() })
}

fn body(head: &str) -> &str {
    head.rsplit("\r\n").next().unwrap_or_default()
}

#[tokio::test]
async fn changes_of_one_burst_are_told_together_and_again_until_the_app_is_up() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let answer = move |_: &str, _| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => with_head("503 Starting", "", ""),
        _ => ok(""),
    };
    let server = Server::start(answer).await;
    let (changes, reloader) = reloader(&server, Reload::default());
    changes.first_list_is_over();
    (0..60).for_each(|number| changes.add(format!("/f/{}", number % 2), true));
    let asked = async {
        assert_eq!(body(&server.head().await), "\"60 /f/0,/f/1\"");
        assert_eq!(body(&server.head().await), "\"60 /f/0,/f/1\"", "it is told again");
        changes.add("/f/2".to_owned(), true);
        assert_eq!(body(&server.head().await), "\"1 /f/2\"", "and what was told is not told again");
    };
    tokio::select! {
        () = reloader.run() => {}
        () = asked => {}
    }
}

#[tokio::test]
async fn what_the_first_list_brings_is_told_unless_that_is_skipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, first_is_over) = (folder.path().join("script"), folder.path().join("ran"));
    std::fs::write(&script, format!("touch {}\n", first_is_over.display())).expect("written");
    let server = Server::start(|_, _| ok("")).await;
    let reload = Reload { skip_first: true, script: Some(script), ..Reload::default() };
    let (changes, reloader) = reloader(&server, reload);
    changes.add("/f/first".to_owned(), false);
    changes.first_list_is_over();
    let asked = async {
        let ran = async {
            while !first_is_over.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ran).await.expect("the script runs");
        changes.add("/f/later".to_owned(), true);
        assert_eq!(body(&server.head().await), "\"1 /f/later\"");
    };
    tokio::select! {
        () = reloader.run() => {}
        () = asked => {}
    }
}

#[tokio::test]
async fn a_script_runs_before_the_request_knows_what_changed_and_cannot_hang() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, seen) = (folder.path().join("script"), folder.path().join("seen"));
    let text = format!("printf '%s' \"$OUTRIGGER_CHANGED_FILES\" > {}\n", seen.display());
    for (text, mode, expected) in [
        (text.as_str(), 0o644, Some("/f/a\n/f/b")),
        (&format!("#!/bin/sh\n{text}"), 0o755, Some("/f/a\n/f/b")),
        ("exit 3\n", 0o644, None),
        (&format!("(sleep 1; {text}) & sleep 60\n"), 0o644, None),
    ] {
        let _ = std::fs::remove_file(&seen);
        std::fs::write(&script, text).expect("written");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(mode)).expect("set");
        let at_request = seen.clone();
        let server = Server::start(move |_, _| ok(if at_request.exists() { "1" } else { "0" })).await;
        let (changes, mut reloader) = reloader(&server, Reload { script: Some(script.clone()), ..Reload::default() });
        if expected.is_none() {
            reloader.reload.script_timeout = Duration::from_millis(100);
        }
        changes.add("/f/b".to_owned(), true);
        changes.add("/f/a".to_owned(), true);
        reloader.once().await;
        server.head().await;
        assert_eq!(std::fs::read_to_string(&seen).ok().as_deref(), expected, "{text}");
    }
}
