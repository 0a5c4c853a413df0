//! Tests of watches.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::script::Script;
use super::soon;
use super::things::{Slim, Watched, broken, settle, slim, start, started, thing};
use crate::cluster::watch::recover_together;
use crate::cluster::{Event, Slice};

#[tokio::test(start_paused = true)]
async fn changes_come_in_order_and_a_watch_that_ends_goes_on_where_it_was() {
    let (mut watched, mut script, stream) = started().await;
    stream.event("ADDED", &thing("b", 2, "11"));
    stream.event("MODIFIED", &thing("a", 3, "12"));
    stream.event("DELETED", &thing("b", 2, "13"));
    for event in [Event::Applied(slim("b", 2)), Event::Applied(slim("a", 3)), Event::Deleted(slim("b", 2))] {
        assert_eq!(watched.next().await, event);
    }
    drop(stream);
    let stream = script.watch("13").await.stream();
    stream.bookmark("20");
    drop(stream);
    let again = script.watch("20").await;
    assert!(again.target.contains("timeoutSeconds=60") && again.target.contains("allowWatchBookmarks=true"));
    watched.assert_silent();
    assert_eq!(watched.watch.problem(), None);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_refuses_is_a_problem_until_it_does_not_and_the_sink_keeps_what_it_has() {
    let (mut watched, mut script, stream) = started().await;
    drop(stream);
    script.watch("10").await.refuse(403, "user outrigger cannot watch things");
    settle().await;
    assert_eq!(watched.watch.problem().as_deref(), Some("watching: user outrigger cannot watch things (403)"));
    script.watch("10").await.refuse(503, "");
    settle().await;
    assert_eq!(watched.watch.problem().as_deref(), Some("watching: the API server answered 503"));
    assert!(watched.watch.is_synced(), "what was listed still serves");
    let said = watched.watch.check().expect("good enough to serve from");
    assert!(said.starts_with("as of ") && said.ends_with(" s ago: watching: the API server answered 503"), "{said}");

    // Nothing changes in the cluster, and still it is known that all is well.
    let _stream = script.watch("10").await.stream();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(watched.watch.problem(), None);
    watched.assert_silent();
}

#[tokio::test(start_paused = true)]
async fn the_age_is_the_time_since_the_api_server_was_last_heard() {
    let (watched, mut script, stream) = started().await;
    sleep(Duration::from_secs(20)).await;
    assert!(watched.watch.age().is_some_and(|age| (19..=20).contains(&age.as_secs())), "{:?}", watched.watch.age());
    stream.bookmark("11");
    settle().await;
    assert_eq!(watched.watch.age().map(|age| age.as_secs()), Some(0));
    drop(stream);
    script.watch("11").await.refuse(500, "no");
    let _unanswered = script.watch("11").await;
    sleep(Duration::from_secs(40)).await;
    assert!(watched.watch.age().is_some_and(|age| age.as_secs() >= 40), "{:?}", watched.watch.age());
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_and_the_watch_goes_on() {
    let (watched, mut script, _dead) = started().await;
    let before = tokio::time::Instant::now();
    // It may have been silent because its version is one that the API server has not reached.
    script.list().await.objects("11", &[]);
    let _stream = script.watch("11").await.stream();
    assert!((65..=66).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    assert_eq!(watched.watch.problem(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_page_of_many_bytes_fewer_objects_are_asked_for() {
    let (_watched, mut script) = start();
    let limit = |target: &str| {
        let limit = target.split(['?', '&']).find_map(|part| part.strip_prefix("limit="));
        limit.and_then(|limit| limit.parse().ok()).unwrap_or(0)
    };
    let page = |bytes: usize, next: &str| {
        let object = json!({"metadata": {"name": "a", "resourceVersion": "1"}, "data": {"number": 1, "other": "x".repeat(bytes)}});
        json!({"kind": "List", "metadata": {"resourceVersion": "1", "continue": next}, "items": [object]})
    };
    let mut limits = Vec::new();
    for bytes in [4 * 1024 * 1024, 1024, 1024, 1024, 1024] {
        let call = script.next().await;
        limits.push(limit(&call.target));
        call.reply(200, &page(bytes, "more"));
    }
    assert_eq!(limits, [2, 1, 2, 2, 2], "and as many as before when pages are small");
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_not_begun_without_a_pause() {
    let (watched, mut script, stream) = started().await;
    drop(stream);
    let before = tokio::time::Instant::now();
    for _ in 0..4 {
        let call = script.watch("10").await;
        assert!(before.elapsed().is_zero() || watched.watch.problem().is_some(), "it is not well in between");
        drop(call.stream());
    }
    settle().await;
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
    assert_eq!(watched.watch.problem().as_deref(), Some("watching: the watch ended at once"));
}

#[tokio::test(start_paused = true)]
async fn where_the_version_is_too_old_all_is_listed_anew_and_until_then_that_is_a_problem() {
    let (mut watched, mut script, stream) = started().await;
    stream.event(
        "ERROR",
        &json!({"kind": "Status", "status": "Failure", "code": 410, "message": "too old", "reason": "Expired"}),
    );
    let list = script.list().await;
    let problem = Some("watching: too old (410); listing everything again");
    assert_eq!(watched.watch.problem().as_deref(), problem);
    list.objects("50", &[thing("b", 2, "40")]);
    assert_eq!(watched.list().await, [slim("b", 2)]);
    let stream = script.watch("50").await;
    assert_eq!(watched.watch.problem(), None);
    stream.refuse(410, "too old");
    script.list().await.refuse(410, "the continue token is too old");
    let list = script.list().await;
    assert_eq!(watched.watch.problem().as_deref(), Some("listing: the continue token is too old (410)"));
    list.objects("60", &[]);
    assert_eq!(watched.list().await, []);
    script.watch("60").await.refuse(400, "invalid resource version");
    script.list().await.objects("1", &[]);
    assert_eq!(watched.list().await, []);
}

#[tokio::test(start_paused = true)]
async fn however_long_an_outage_was_it_ends_within_four_seconds_and_pauses_begin_anew_after_it() {
    let (_watched, mut script, stream) = started().await;
    drop(stream);
    for _ in 0..20 {
        script.watch("10").await.refuse(503, "away");
    }
    let before = tokio::time::Instant::now();
    let stream = script.watch("10").await.stream();
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    stream.bookmark("11");
    settle().await;
    drop(stream);
    script.watch("11").await.refuse(503, "away");
    let before = tokio::time::Instant::now();
    script.watch("11").await;
    assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn lists_that_expire_at_once_come_ever_later() {
    let (_watched, mut script, stream) = started().await;
    drop(stream);
    let before = tokio::time::Instant::now();
    for _ in 0..5 {
        script.watch("10").await.refuse(410, "too old");
        script.list().await.objects("10", &[]);
    }
    assert!(before.elapsed() > Duration::from_secs(4), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_after_an_outage_wakes_all_watches() {
    let ((first, mut script, stream), (second, mut other, other_stream)) = (started().await, started().await);
    tokio::spawn(recover_together(vec![first.watch.clone(), second.watch.clone()]));
    drop((stream, other_stream));
    for _ in 0..8 {
        script.watch("10").await.refuse(503, "away");
        other.watch("10").await.refuse(503, "away");
    }
    // Whichever comes first, the other one must not wait.
    let (answered, mut waiting) = tokio::select! {
        call = script.watch("10") => (call, other),
        call = other.watch("10") => (call, script),
    };
    let before = tokio::time::Instant::now();
    let _stream = answered.stream();
    waiting.watch("10").await.refuse(429, "storage is (re)initializing");
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
    waiting.watch("10").await;
    assert!(before.elapsed() < Duration::from_millis(500), "it will soon be ready: {:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn watches_that_break_off_at_once_do_not_wake_themselves_or_each_other() {
    let ((first, mut script, stream), (second, mut other, other_stream)) = (started().await, started().await);
    tokio::spawn(recover_together(vec![first.watch.clone(), second.watch.clone()]));
    drop((stream, other_stream));
    script.watch("10").await.refuse(503, "away");
    other.watch("10").await.refuse(503, "away");
    let before = tokio::time::Instant::now();
    for _ in 0..6 {
        drop(script.watch("10").await.stream());
        drop(other.watch("10").await.stream());
    }
    assert!(before.elapsed() > Duration::from_secs(4), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_change_ends_the_pause() {
    let (watched, mut script, stream) = started().await;
    drop(stream);
    for _ in 0..8 {
        script.watch("10").await.refuse(503, "away");
    }
    settle().await;
    let before = tokio::time::Instant::now();
    watched.watch.retry();
    script.watch("10").await;
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_installed_is_absent_and_looked_for() {
    let (mut watched, mut script) = start();
    script.list().await.text(404, "404 page not found\n".to_owned());
    soon("settled", watched.watch.settled()).await;
    assert!(watched.watch.is_absent() && !watched.watch.is_synced());
    assert_eq!(watched.watch.check(), Ok("the kind is not installed: there are none".to_owned()));
    watched.assert_silent();

    let before = tokio::time::Instant::now();
    script.list().await.objects("10", &[]);
    assert_eq!(before.elapsed().as_secs(), 5);
    assert_eq!(watched.list().await, []);
    assert!(!watched.watch.is_absent() && watched.watch.is_synced());
    assert_eq!(watched.watch.problem(), None);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_of_a_kind_that_was_not_installed_too() {
    let (watched, mut script) = start();
    script.list().await.text(404, "404 page not found\n".to_owned());
    script.list().await.refuse(503, "away");
    settle().await;
    assert_eq!(watched.watch.check(), Ok("as of 5 s ago: listing: away (503)".to_owned()));
    assert!(watched.watch.is_absent());
}

/// A watch of a kind that has disappeared from the API server. The next request asks whether it is installed.
async fn unknown() -> (Watched<Slim>, Script) {
    let (client, mut script) = Script::new();
    let mut watched = Watched::start(client, Slice::all::<ControllerRevision>("things"));
    script.list().await.objects("10", &[thing("a", 1, "1")]);
    assert_eq!(watched.list().await, [slim("a", 1)]);
    script.watch("10").await.text(404, "404 page not found\n".to_owned());
    (watched, script)
}

/// Answers whether the kind's definition exists, and which resources its group has.
async fn answer_installed(script: &mut Script, definitions: Option<&[Value]>, resources: Option<&[&str]>) {
    let call = script.list().await;
    let wanted = "/customresourcedefinitions?&fieldSelector=metadata.name%3Dcontrollerrevisions.apps";
    assert!(call.target.ends_with(wanted), "{}", call.target);
    match definitions {
        Some(definitions) => call.objects("20", definitions),
        None => call.refuse(403, "forbidden"),
    }
    let Some(resources) = resources else { return };
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
        {"name": "apps", "versions": [version]}, {"name": "batch", "versions": [{"groupVersion": "batch/v1", "version": "v1"}]}
    ]});
    let call = script.next().await;
    assert_eq!(call.target, "/apis");
    call.reply(200, &groups);
    let resources: Vec<Value> = resources
        .iter()
        .map(|name| json!({"name": name, "kind": "Thing", "namespaced": true, "singularName": "", "verbs": ["list"]}))
        .collect();
    let call = script.next().await;
    assert_eq!(call.target, "/apis/apps/v1");
    call.reply(200, &json!({"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": resources}));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_vanishes_leaves_an_empty_list_when_it_is_certain() {
    let (mut watched, mut script) = unknown().await;
    answer_installed(&mut script, Some(&[]), Some(&["deployments"])).await;
    let list = script.list().await;
    watched.assert_silent();
    assert!(watched.watch.is_synced() && watched.watch.problem().is_some(), "said once");
    list.text(404, "404 page not found\n".to_owned());
    answer_installed(&mut script, None, Some(&[])).await;
    assert_eq!(watched.list().await, []);
    settle().await;
    assert!(watched.watch.is_absent());
    script.list().await.objects("90", &[thing("a", 1, "80")]);
    assert_eq!(watched.list().await, [slim("a", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_has_not_vanished_because_it_was_asked_for_twice_at_once() {
    let (mut watched, mut script) = unknown().await;
    answer_installed(&mut script, Some(&[]), Some(&["deployments"])).await;
    for _ in 0..3 {
        settle().await;
        watched.watch.retry();
        script.list().await.text(404, "404 page not found\n".to_owned());
        answer_installed(&mut script, None, Some(&[])).await;
    }
    settle().await;
    watched.assert_silent();
    assert!(watched.watch.is_synced());
    script.list().await.text(404, "404 page not found\n".to_owned());
    answer_installed(&mut script, None, Some(&[])).await;
    assert_eq!(watched.list().await, []);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_an_installed_kind_is_kept_whatever_the_api_server_answers() {
    let (mut watched, mut script) = unknown().await;
    let definition = json!({"metadata": {"name": "controllerrevisions.apps"}});
    answer_installed(&mut script, Some(&[definition]), None).await;
    script.list().await.text(404, "404 page not found\n".to_owned());
    answer_installed(&mut script, Some(&[]), Some(&["controllerrevisions"])).await;
    script.list().await.text(404, "404 page not found\n".to_owned());
    script.list().await.refuse(500, "cannot say");
    settle().await;
    let problem = watched.watch.problem().unwrap_or_default();
    assert!(problem.contains("and not whether it is installed: cannot say (500); what was known is kept"), "{problem}");
    assert!(watched.watch.check().is_ok_and(|told| told.starts_with("as of ")), "{:?}", watched.watch.check());
    script.list().await.objects("30", &[thing("a", 2, "11")]);
    assert_eq!(watched.list().await, [slim("a", 2)], "nothing was dropped meanwhile");
    settle().await;
    assert_eq!(watched.watch.problem(), None);
}

#[tokio::test(start_paused = true)]
async fn a_single_404_is_not_believed() {
    let (mut watched, mut script, stream) = started().await;
    drop(stream);
    script.watch("10").await.text(404, "404 page not found\n".to_owned());
    let list = script.list().await;
    assert!(watched.watch.is_synced() && watched.watch.problem().is_some());
    list.objects("11", &[thing("a", 2, "11")]);
    assert_eq!(watched.list().await, [slim("a", 2)]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_decoded_is_told_and_left_out_of_the_list() {
    let (mut watched, mut script) = start();
    script.list().await.objects("10", &[thing("a", 1, "1"), broken("bad", "2"), thing("b", 2, "3")]);
    assert_eq!(watched.list().await, [slim("a", 1), slim("b", 2)]);
    let told = watched.watch.undecodable();
    assert_eq!((told.len(), told[0].name.as_str(), told[0].namespace.as_str()), (1, "bad", "ours"));
    assert!(
        told[0].problem.starts_with("data.number: invalid type: string, expected a whole number"),
        "{}",
        told[0].problem
    );
    assert!(!told[0].problem.contains("hunter2"), "a value may be a secret: {}", told[0].problem);
    let check = watched.watch.check().expect("the others are there");
    let expected = "in step with the cluster; 1 cannot be read and are skipped: \"ours/bad\": data.number: invalid \
        type";
    assert!(check.starts_with(expected), "{check}");

    let stream = script.watch("10").await.stream();
    stream.event("MODIFIED", &thing("bad", 7, "11"));
    assert_eq!(watched.next().await, Event::Applied(slim("bad", 7)));
    assert_eq!(watched.watch.undecodable(), []);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_be_decoded_does_not_stop_the_watch() {
    let (mut watched, mut script, stream) = started().await;
    stream.event("MODIFIED", &broken("a", "11"));
    stream.event("ADDED", &thing("b", 2, "12"));
    assert_eq!(watched.next().await, Event::Applied(slim("b", 2)));
    assert_eq!(watched.watch.undecodable()[0].name, "a");
    assert_eq!(watched.watch.problem(), None, "the watch itself is well");
    drop(stream);
    let stream = script.watch("12").await.stream();

    // The sink still has the old "a". Only a list can remove it.
    stream.event("DELETED", &broken("a", "13"));
    script.list().await.objects("20", &[thing("b", 2, "12")]);
    assert_eq!(watched.list().await, [slim("b", 2)]);
    assert_eq!(watched.watch.undecodable(), []);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_list_is_a_problem_and_no_empty_list() {
    let (mut watched, mut script) = start();
    for answer in ["<html>sign in</html>", "{}", r#"{"metadata": {}, "items": []}"#, r#"{"items": 3}"#] {
        script.list().await.text(200, answer.to_owned());
        settle().await;
        assert!(watched.watch.problem().is_some_and(|problem| problem.starts_with("listing: ")), "{answer}");
    }
    watched.assert_silent();
    assert!(!watched.watch.is_synced());
}

#[tokio::test(start_paused = true)]
async fn fresh_waits_for_a_list_that_was_begun_after_it() {
    let (mut watched, mut script, _stream) = started().await;
    let watch = watched.watch.clone();
    let mut fresh = tokio::spawn(async move { watch.fresh().await });
    let list = script.list().await;
    assert!(!fresh.is_finished());

    // Another list is requested during that list.
    let watch = watched.watch.clone();
    let later = tokio::spawn(async move { watch.fresh().await });
    settle().await;
    list.objects("30", &[thing("a", 3, "30")]);
    soon("fresh", &mut fresh).await.expect("no panic");
    assert!(watched.told().into_iter().eq(Event::list([slim("a", 3)])), "before fresh returns");

    let list = script.list().await;
    assert!(!later.is_finished());
    list.objects("31", &[thing("a", 4, "31")]);
    soon("fresh", later).await.expect("no panic");
    assert!(watched.told().into_iter().eq(Event::list([slim("a", 4)])));
}

#[tokio::test(start_paused = true)]
async fn a_long_list_begins_again_once_for_who_needs_a_newer_one() {
    let (mut watched, mut script) = start();
    let fresh = |watched: &Watched<Slim>| {
        let watch = watched.watch.clone();
        tokio::spawn(async move { watch.fresh().await })
    };
    let page = |number: u32, next: &str| json!({"kind": "List", "metadata": {"resourceVersion": "10", "continue": next}, "items": [thing("a", number, "1")]});
    let old = script.list().await;
    let first = fresh(&watched);
    settle().await;
    old.reply(200, &page(1, "more"));
    assert_eq!(watched.next().await, Event::Begin);
    assert_eq!(watched.next().await, Event::Item(slim("a", 1)));

    let new = script.list().await;
    assert!(!new.target.contains("continue="), "it goes on with the old list: {}", new.target);
    let second = fresh(&watched);
    settle().await;
    new.reply(200, &page(2, "more"));
    let rest = script.list().await;
    assert!(rest.target.contains("continue=more"), "it never ends: {}", rest.target);
    assert!(!first.is_finished());
    rest.reply(200, &page(3, ""));
    soon("fresh", first).await.expect("no panic");
    assert_eq!(watched.list().await, [slim("a", 2), slim("a", 3)]);

    assert!(!second.is_finished());
    script.list().await.reply(200, &page(4, ""));
    soon("fresh", second).await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn fresh_does_not_wait_out_the_pause_after_a_failure() {
    let (watched, mut script, stream) = started().await;
    drop(stream);
    for _ in 0..6 {
        script.watch("10").await.refuse(503, "away");
    }
    settle().await;
    let watch = watched.watch.clone();
    let fresh = tokio::spawn(async move { watch.fresh().await });
    let before = tokio::time::Instant::now();
    script.list().await.objects("20", &[]);
    soon("fresh", fresh).await.expect("no panic");
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn fresh_returns_when_the_kind_is_not_installed() {
    let (watched, mut script) = start();
    let watch = watched.watch.clone();
    let fresh = tokio::spawn(async move {
        watch.fresh().await;
        watch.is_absent()
    });
    settle().await;
    // The first one may have been sent before fresh was called.
    for _ in 0..2 {
        script.list().await.text(404, "404 page not found\n".to_owned());
    }
    assert!(soon("fresh", fresh).await.expect("no panic"));
}
