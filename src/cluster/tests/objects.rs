//! Tests of a controller's writes and reports.

use std::time::Duration;

use kube::api::{ApiResource, GroupVersionKind};
use kube::runtime::events::EventType;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::soon;
use super::store::Store;
use crate::cluster::events::events;
use crate::cluster::{ObjectVersion, Objects, Written};

fn objects(store: &Store) -> Objects {
    let (events, send) = events(store.good_client(), "host_1".to_owned());
    tokio::spawn(send);
    let kind = GroupVersionKind::gvk("example.com", "v1", "Thing");
    Objects::new(store.good_client(), ApiResource::from_gvk_with_plural(&kind, "things"), events)
}

/// The object `a` with a uid, as currently stored.
fn seen<'a>(namespace: &'a str, version: &'a str) -> ObjectVersion<'a> {
    ObjectVersion { namespace, name: "a", uid: "uid-1", resource_version: version }
}

#[tokio::test]
async fn a_status_is_written_over_what_was_seen_and_over_nothing_else() {
    for (namespace, path) in
        [("ours", "/apis/example.com/v1/namespaces/ours/things/a"), ("", "/apis/example.com/v1/things/a")]
    {
        let store = Store::default();
        let objects = objects(&store);
        store.put(path, json!({"metadata": {"name": "a"}, "spec": {"size": 1}}));
        let version = |store: &Store| {
            let object = store.get(path).expect("there");
            object["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()
        };
        let old = version(&store);
        let written = objects
            .write_status("rollout.status", seen(namespace, &old), &json!({"ready": 1}))
            .await
            .expect("an answer");
        assert!(matches!(written, Written::Done(_)));
        assert_eq!(store.get(path).expect("there")["status"], json!({"ready": 1}));
        let late = objects
            .write_status("rollout.status", seen(namespace, &old), &json!({"ready": 2}))
            .await
            .expect("an answer");
        assert_eq!(late, Written::Conflict);
        assert_eq!(
            objects.patch("generator.sidecar.change", seen(namespace, &old), Vec::new()).await.expect("an answer"),
            Written::Conflict
        );
        let now = version(&store);
        let patched =
            objects.patch("generator.sidecar.change", seen(namespace, &now), Vec::new()).await.expect("an answer");
        assert!(matches!(patched, Written::Done(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_names_the_object_and_no_version_of_it() {
    let store = Store::default();
    let objects = objects(&store);
    for version in ["7", "8"] {
        objects.tell(seen("ours", version), EventType::Warning, "Stalled", "spec.size: too small");
    }
    let wait = async {
        loop {
            let events: Vec<Value> = store.below("/apis/events.k8s.io/v1/namespaces/ours/events/");
            if events.first().is_some_and(|event| event["series"]["count"] == 2) {
                return events;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let all = soon("both told", wait).await;
    assert_eq!(all.len(), 1);
    let expected =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "namespace": "ours", "name": "a", "uid": "uid-1"});
    assert_eq!(all[0]["regarding"], expected);
    assert_eq!((&all[0]["reason"], &all[0]["note"]), (&json!("Stalled"), &json!("spec.size: too small")));
    assert_eq!((&all[0]["type"], &all[0]["action"]), (&json!("Warning"), &json!("Reconcile")));
}
