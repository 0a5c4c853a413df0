//! Tests of feeds: lists arrive page by page, and a slice is watched once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::script::Script;
use super::soon;
use super::things::{Slim, Watched, broken, slice, slim, start, thing};
use crate::cluster::{Event, Feeds, Slice};

/// A page of a list with a next page.
fn page(objects: &[Value]) -> Value {
    json!({"metadata": {"continue": "next", "resourceVersion": "10"}, "items": objects})
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_page_by_page_and_counts_when_its_last_page_has_come() {
    let (mut watched, mut script) = start();
    assert!(!watched.watch.is_synced() && watched.watch.age().is_none());
    assert_eq!(watched.watch.check(), Err("not listed yet".to_owned()));

    let first = script.list().await;
    assert!(first.target.starts_with("/api/v1/configmaps?") && first.target.contains("limit=2"), "{}", first.target);
    watched.assert_silent();
    first.reply(200, &page(&[thing("a", 1, "1"), thing("b", 2, "2")]));
    let second = script.list().await;
    assert!(second.target.contains("continue=next"), "{}", second.target);
    assert_eq!(watched.told(), [Event::Begin, Event::Item(slim("a", 1)), Event::Item(slim("b", 2))]);
    assert!(!watched.watch.is_synced());
    second.objects("10", &[thing("c", 3, "3")]);

    assert_eq!(watched.next().await, Event::Item(slim("c", 3)));
    assert_eq!(watched.next().await, Event::End);
    soon("synced", watched.watch.synced()).await;
    assert_eq!(watched.watch.check(), Ok("in step with the cluster".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_begins_again() {
    let (mut watched, mut script) = start();
    script.list().await.reply(200, &page(&[thing("a", 1, "1"), thing("b", 2, "2")]));
    script.list().await.refuse(410, "the continue token is too old");
    let again = script.list().await;
    assert!(!again.target.contains("continue="), "{}", again.target);
    assert_eq!(watched.told(), [Event::Begin, Event::Item(slim("a", 1)), Event::Item(slim("b", 2))]);
    assert!(!watched.watch.is_synced(), "half a list is none");
    again.objects("20", &[thing("b", 2, "2")]);
    assert_eq!(watched.list().await, [slim("b", 2)]);
}

#[tokio::test(start_paused = true)]
async fn while_a_list_is_under_way_others_have_what_they_share_with_it() {
    let (client, mut script) = Script::new();
    let mut feeds = Feeds::new(client);
    // Like the Pods and sets of a controller, which share a lock.
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = |told: &Arc<Mutex<Vec<String>>>, of: &'static str| {
        let told = told.clone();
        move |event: Event<Slim>| {
            event.filter_map(|thing| {
                told.lock().unwrap().push(format!("{of} {}", thing.metadata.name));
                Some(())
            });
        }
    };
    let pods = feeds.subscribe(slice(), sink(&told, "pod"));
    let sets = feeds.subscribe(Slice::all::<Namespace>("sets"), sink(&told, "set"));
    tokio::spawn(feeds.run());
    let (mut first, mut other) = (script.list().await, script.list().await);
    if !first.target.contains("configmaps") {
        std::mem::swap(&mut first, &mut other);
    }
    first.reply(200, &page(&[thing("a", 1, "1"), thing("b", 2, "2")]));
    let next = script.list().await;
    assert!(told.try_lock().is_ok());
    other.objects("10", &[thing("s", 1, "1")]);
    soon("the other list", sets.synced()).await;
    assert!(!pods.is_synced());
    next.objects("10", &[thing("c", 3, "3")]);
    soon("the list", pods.synced()).await;
    assert_eq!(*told.lock().unwrap(), ["pod a", "pod b", "set s", "pod c"]);
}

#[tokio::test(start_paused = true)]
async fn within_a_page_others_have_their_turn() {
    let (client, mut script) = Script::new();
    let (mut feeds, told) = (Feeds::new(client), Arc::new(AtomicUsize::new(0)));
    let count = told.clone();
    let watch =
        feeds.subscribe(Slice::all::<ConfigMap>("things"), move |_: Event<Slim>| _ = count.fetch_add(1, Relaxed));
    tokio::spawn(feeds.run());
    let things: Vec<Value> = (0..100).map(|number| thing(&format!("t-{number}"), 1, "1")).collect();
    script.list().await.objects("10", &things);
    let mut turns = 0;
    while !watch.is_synced() {
        tokio::task::yield_now().await;
        turns += usize::from((1..=100).contains(&told.load(Relaxed)));
    }
    assert!(turns >= 6, "{turns}");
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_two_jobs_want_is_watched_once_and_decoded_for_each() {
    let (client, mut script) = Script::new();
    let mut feeds = Feeds::new(client);
    let mut numbers: Watched<Slim> = Watched::subscribe(&mut feeds, slice());
    let mut names: Watched<PartialObjectMeta<ConfigMap>> = Watched::subscribe(&mut feeds, slice().metadata_only());
    assert_eq!(feeds.watches().len(), 1);
    tokio::spawn(feeds.run());
    let list = script.list().await;
    assert!(!list.accept.contains("PartialObjectMetadata"), "one of them wants more: {}", list.accept);
    list.objects("10", &[thing("a", 1, "1"), broken("b", "2")]);
    assert_eq!(numbers.list().await, [slim("a", 1)]);
    let listed = names.list().await;
    assert_eq!(listed.iter().filter_map(|map| map.metadata.name.as_deref()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(names.watch.undecodable().len(), 1, "what one of them cannot decode is a problem of the kind");
    let stream = script.watch("10").await.stream();
    stream.event("MODIFIED", &thing("b", 3, "11"));
    assert_eq!(numbers.next().await, Event::Applied(slim("b", 3)));
    assert!(matches!(names.next().await, Event::Applied(_)));
    assert_eq!(numbers.watch.undecodable(), []);
}

#[tokio::test(start_paused = true)]
async fn other_names_namespaces_and_labels_are_other_slices() {
    let (client, _script) = Script::new();
    let mut feeds = Feeds::new(client);
    let all = || Slice::all::<ConfigMap>("things");
    for slice in [all(), all().named("a"), all().named("b"), all().in_namespace("n"), all().labels("team=mesh")] {
        feeds.subscribe(slice.clone(), |_: Event<Slim>| {});
        feeds.subscribe(slice, |_: Event<Slim>| {});
    }
    assert_eq!(feeds.watches().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn one_object_is_told_as_it_is_or_that_there_is_none() {
    let (client, mut script) = Script::new();
    let (mut feeds, (sender, mut told)) = (Feeds::new(client), mpsc::unbounded_channel());
    feeds.subscribe_one(Slice::all::<ConfigMap>("things"), "a", move |thing: Option<Slim>| drop(sender.send(thing)));
    tokio::spawn(feeds.run());
    let mut next = async || soon("the object", told.recv()).await.expect("the watch goes on");
    script.list().await.objects("10", &[]);
    assert_eq!(next().await, None);
    let stream = script.watch("10").await.stream();
    stream.event("ADDED", &thing("a", 1, "11"));
    assert_eq!(next().await, Some(slim("a", 1)));
    stream.event("DELETED", &thing("a", 1, "12"));
    assert_eq!(next().await, None);
    drop(stream);
    script.watch("12").await.refuse(410, "too old");
    script.list().await.objects("20", &[thing("a", 2, "15")]);
    assert_eq!(next().await, Some(slim("a", 2)));
}

#[tokio::test(start_paused = true)]
async fn selectors_go_along_and_metadata_alone_can_be_asked_for() {
    let (client, mut script) = Script::new();
    let slice = Slice::all::<Namespace>("things").labels("team=mesh").named("a").metadata_only();
    let mut watched: Watched<PartialObjectMeta<Namespace>> = Watched::start(client, slice);
    let list = script.list().await;
    assert!(list.accept.contains("PartialObjectMetadataList"), "{}", list.accept);
    assert!(
        list.target.contains("labelSelector=team%3Dmesh")
            && list.target.contains("fieldSelector=metadata.name%3Da")
            && list.target.contains("limit=500")
    );
    list.objects("10", &[json!({"metadata": {"name": "a", "resourceVersion": "1"}})]);
    assert_eq!(watched.list().await[0].metadata.name.as_deref(), Some("a"));
    let watch = script.watch("10").await;
    assert!(watch.accept.contains("PartialObjectMetadata;"), "{}", watch.accept);
    assert!(watch.target.contains("labelSelector=team%3Dmesh") && watch.target.contains("timeoutSeconds=60"));
}
