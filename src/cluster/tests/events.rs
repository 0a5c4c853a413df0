//! Tests of Events.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use serde_json::Value;
use tokio::time::sleep;

use super::soon;
use super::store::{Link, Store};
use crate::cluster::events::events;

const FOLDER: &str = "/apis/events.k8s.io/v1/namespaces/ours/events/";

fn event(reason: &str, note: &str) -> Event {
    Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        note: Some(note.to_owned()),
        action: "Inject".to_owned(),
        secondary: None,
    }
}

fn pod() -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        name: Some("a".to_owned()),
        namespace: Some("ours".to_owned()),
        ..ObjectReference::default()
    }
}

/// Waits until the written Events meet the condition, and returns them.
async fn written(store: &Store, condition: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let wait = async {
        loop {
            let events = store.below(FOLDER);
            if condition(&events) {
                return events;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon("events", wait).await
}

#[tokio::test(start_paused = true)]
async fn a_repeated_event_is_counted_on_the_first() {
    let store = Store::default();
    let (events, send) = events(store.good_client(), "host_1".to_owned());
    tokio::spawn(send);
    for (version, note) in [("1", "volume x"), ("2", "volume y"), ("2", "volume z")] {
        let pod = ObjectReference { resource_version: Some(version.to_owned()), ..pod() };
        events.publish(&pod, event("Clash", note));
    }
    events.publish(&pod(), event("Other", ""));
    let all = written(&store, |all| all.len() == 2).await;
    let clash = all.iter().find(|event| event["reason"] == "Clash").expect("written");
    assert_eq!((&clash["series"]["count"], &clash["note"]), (&3.into(), &"volume x".into()));
    assert_eq!((&clash["reportingController"], &clash["reportingInstance"]), (&"outrigger".into(), &"host_1".into()));
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_be_sent_are_in_nobodys_way() {
    let store = Store::default();
    let (client, link) = store.client();
    let (events, send) = events(client, "host_1".to_owned());
    link.send_replace(Link::Refuses);
    for _ in 0..1000 {
        events.publish(&pod(), event("Clash", "volume x")); // most do not fit
    }
    tokio::spawn(send);
    sleep(Duration::from_secs(1)).await;
    link.send_replace(Link::Up);
    events.publish(&pod(), event("Later", ""));
    let all = written(&store, |all| !all.is_empty()).await;
    assert_eq!(all[0]["reason"], "Later");
}

#[tokio::test(start_paused = true)]
async fn a_note_longer_than_the_api_server_takes_is_cut_between_characters() {
    let store = Store::default();
    let (events, send) = events(store.good_client(), "host_1".to_owned());
    tokio::spawn(send);
    events.publish(&pod(), event("Long", &format!("x{}", "é".repeat(1000))));
    let all = written(&store, |all| !all.is_empty()).await;
    let note = all[0]["note"].as_str().expect("a note");
    assert!((1022..=1024).contains(&note.len()) && note.ends_with("é…"), "{} bytes", note.len());
}
