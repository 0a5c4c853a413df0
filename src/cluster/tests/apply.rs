//! Tests of conditional writes.

use std::error::Error;
use std::sync::Arc;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::store::{Link, Store};
use crate::cluster::apply::{Written, covers, delete, ensure, patch, set_status};

const PATH: &str = "/apis/example.com/v1/namespaces/ours/things/a";

fn api(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Thing");
    Api::namespaced_with(client, "ours", &ApiResource::from_gvk_with_plural(&kind, "things"))
}

fn thing(spec: &Value) -> DynamicObject {
    serde_json::from_value(object(spec)).expect("an object")
}

fn object(spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec})
}

fn done(written: Written<DynamicObject>) -> DynamicObject {
    match written {
        Written::Done(object) => object,
        other => panic!("not written: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_not_there_is_created_once() {
    let store = Store::default();
    let api = api(store.good_client());
    let desired = thing(&json!({"size": 1}));
    let created = done(ensure(&api, &desired, None).await.expect("an answer"));
    assert_eq!(created.metadata.resource_version.as_deref(), Some("1"));
    assert_eq!(ensure(&api, &desired, None).await.expect("an answer"), Written::Conflict);
}

#[tokio::test]
async fn nothing_is_sent_where_nothing_differs() {
    let store = Store::default();
    let api = api(store.good_client());
    let mut defaulted = object(&json!({"size": 1, "mode": "default", "list": [{"name": "x", "scope": "*"}]}));
    defaulted["metadata"]["annotations"] = json!({"of": "others"});
    store.put(PATH, defaulted);
    let present = api.get("a").await.expect("there");
    let before = store.log();
    let desired = thing(&json!({"size": 1, "none": {}, "no": [], "null": null, "list": [{"name": "x"}]}));
    assert_eq!(ensure(&api, &desired, Some(&present)).await.expect("no request"), Written::Unchanged);
    assert_eq!(set_status(&api, &present, &Value::Null).await.expect("no request"), Written::Unchanged);
    assert_eq!(store.log(), before);
}

#[tokio::test]
async fn a_replacement_keeps_what_others_wrote() {
    let store = Store::default();
    let api = api(store.good_client());
    let mut theirs = object(&json!({"size": 1, "mode": "default", "selector": {"a": "b"}, "list": [
        {"name": "y", "caBundle": "WQ==", "url": "old"}, {"name": "x", "caBundle": "WA=="},
    ]}));
    theirs["metadata"]["annotations"] = json!({"of": "others"});
    store.put(PATH, theirs);
    let present = api.get("a").await.expect("there");
    let desired =
        thing(&json!({"size": 2, "selector": {}, "list": [{"name": "x"}, {"name": "y", "url": "new"}, {"name": "z"}]}));
    done(ensure(&api, &desired, Some(&present)).await.expect("an answer"));
    let written = store.get(PATH).expect("there");
    assert_eq!(written["metadata"]["annotations"], json!({"of": "others"}));
    assert_eq!(
        written["spec"],
        json!({"size": 2, "mode": "default", "selector": {}, "list": [
            {"name": "x", "caBundle": "WA=="}, {"name": "y", "caBundle": "WQ==", "url": "new"}, {"name": "z"},
        ]})
    );
}

#[tokio::test]
async fn a_write_over_a_state_that_is_no_more_is_a_conflict() {
    let store = Store::default();
    let api = api(store.good_client());
    store.put(PATH, object(&json!({"size": 1})));
    let old = api.get("a").await.expect("there");
    store.put(PATH, object(&json!({"size": 5})));
    let desired = thing(&json!({"size": 2}));
    let add = PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(["spec", "size"]), value: 2.into() });
    assert_eq!(ensure(&api, &desired, Some(&old)).await.expect("an answer"), Written::Conflict);
    assert_eq!(set_status(&api, &old, &json!({"ready": 1})).await.expect("an answer"), Written::Conflict);
    assert_eq!(patch(&api, &old, None, vec![add]).await.expect("an answer"), Written::Conflict);
    assert_eq!(delete(&api, &old).await.expect("an answer"), Written::Conflict);
    assert_eq!(store.get(PATH).expect("there")["spec"]["size"], 5);

    store.remove(PATH);
    assert_eq!(ensure(&api, &desired, Some(&old)).await.expect("an answer"), Written::Conflict);
    assert_eq!(set_status(&api, &old, &json!({"ready": 1})).await.expect("an answer"), Written::Conflict);
    assert_eq!(delete(&api, &old).await.expect("an answer"), Written::Unchanged, "it is gone, as wished");
}

#[tokio::test]
async fn a_status_is_written_once_and_touches_nothing_else() {
    let store = Store::default();
    let api = api(store.good_client());
    store.put(PATH, object(&json!({"size": 1})));
    let present = api.get("a").await.expect("there");
    let status = json!({"ready": 1, "conditions": []});
    let written = done(set_status(&api, &present, &status).await.expect("an answer"));
    assert_eq!(set_status(&api, &written, &status).await.expect("no request"), Written::Unchanged);
    assert_eq!(store.get(PATH).expect("there")["status"], status);
    assert_eq!(
        store.log().iter().filter(|line| line.starts_with("PATCH")).collect::<Vec<_>>(),
        [&format!("PATCH {PATH}/status")]
    );
}

#[tokio::test]
async fn a_state_without_its_version_is_not_written_over() {
    let store = Store::default();
    let api = api(store.good_client());
    store.put(PATH, object(&json!({"size": 1})));
    let blind = thing(&json!({"size": 1}));
    for error in [
        ensure(&api, &thing(&json!({"size": 2})), Some(&blind)).await.expect_err("blind").to_string(),
        set_status(&api, &blind, &json!({})).await.expect_err("blind").to_string(),
        delete(&api, &blind).await.expect_err("blind").to_string(),
    ] {
        assert!(
            error.ends_with("things/a in namespace ours: it was looked at without its metadata.resourceVersion"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_failed_write_says_what_and_why() {
    let store = Store::default();
    let (client, link) = store.client();
    link.send_replace(Link::Refuses);
    let error = ensure(&api(client), &thing(&json!({})), None).await.expect_err("refused");
    assert_eq!(error.code(), Some(503));
    assert_eq!(
        error.to_string(),
        "cannot create things/a in namespace ours: the server is currently unable to handle the request (503)"
    );
}

#[tokio::test]
async fn a_failed_write_keeps_what_it_was_told_from() {
    let store = Store::default();
    let (client, link) = store.client();
    link.send_replace(Link::Refuses);
    let error = ensure(&api(client), &thing(&json!({})), None).await.expect_err("refused");
    let source = error.source().expect("a source").downcast_ref::<Arc<dyn Error + Send + Sync>>().expect("shared");
    let source = source.downcast_ref::<kube::Error>().expect("the client's");
    assert!(matches!(source, kube::Error::Api(status) if status.code == 503), "{source:?}");
    assert_eq!(error.clone().to_string(), error.to_string());
}

#[test]
fn covering_is_about_what_is_desired_only() {
    let present = json!({"a": 1, "list": [{"x": 1, "y": 2}, 3], "empty": [], "full": [1], "null": null});
    for (desired, expected) in [
        (json!({}), false),
        (json!({"a": 1}), true),
        (json!({"a": 2}), false),
        (json!({"b": 1}), false),
        (json!({"list": [{"x": 1}, 3]}), true),
        (json!({"list": [3, {"x": 1}]}), false),
        (json!({"list": [{"x": 1}]}), false),
        (json!({"full": []}), false),
        (json!({"full": null}), false),
        (json!({"empty": null, "null": {}, "absent": []}), true),
    ] {
        assert_eq!(covers(&present, &desired), expected, "{desired}");
    }
}
