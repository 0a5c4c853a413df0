//! Generated annotations for patches and `transferEnv`, and the patches.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::reference::{DEFAULT_CONTAINER, HASH, INJECTED_LIST, WORKING};

const MERGED: &str = "example.com/merged";
/// The annotations with which `transferEnv` finds a container.
const SOURCES: [&str; 2] = ["example.com/source", "UPPER/Source"];

/// A set's annotation patches, if any.
pub fn metadata_patches() -> impl Strategy<Value = Option<Value>> {
    let plain_key = select(
        [&["example.com/own", "example.com/new", DEFAULT_CONTAINER, HASH, INJECTED_LIST, WORKING], &SOURCES[..]]
            .concat(),
    );
    let plain_text = select(&["web", "app", "shared", "{}", ""][..]);
    let policy = option::of(select(&["Retain", "Overwrite"][..]));
    let plain = (vec((plain_key, plain_text), 1..=2), policy).prop_map(|(members, policy)| {
        let annotations: Map<_, _> = members.into_iter().map(|(key, text)| (key.to_owned(), json!(text))).collect();
        match policy {
            None => json!({"annotations": annotations}),
            Some(policy) => json!({"annotations": annotations, "patchPolicy": policy}),
        }
    });
    let merged = prop_oneof![
        12 => object_texts(),
        1 => select(&["5", "null", "[1]", "not JSON", "", " "][..]).prop_map(str::to_owned),
    ];
    let merged = (select(&["MergePatchJson", "MergePatchJson", "MergePatchJson", "Overwrite", "Retain"][..]), merged)
        .prop_map(|(policy, text)| json!({"annotations": {MERGED: text}, "patchPolicy": policy}));
    option::weighted(0.4, vec(prop_oneof![1 => plain, 1 => merged], 0..=3).prop_map(Value::from))
}

/// The Pod's annotations with the keys that sets patch.
pub fn patched_annotations() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let merged = prop_oneof![
        12 => object_texts().prop_map(Value::from),
        4 => select(vec![json!(""), json!(" \n"), json!("[1, 2]"), json!("\"s\""), json!("5"), json!(null)]),
        1 => select(vec![json!("null"), json!("not JSON"), json!("{\"a\":1}}")]),
    ];
    let container = || select(vec![json!("app"), json!("web"), json!(""), json!(null)]);
    let default = option::weighted(0.1, container());
    (option::of(merged), vec(option::of(container()), SOURCES.len()), default).prop_map(|(merged, sources, default)| {
        let sources = SOURCES.into_iter().zip(sources);
        let all = sources.chain([(MERGED, merged), (DEFAULT_CONTAINER, default)]);
        all.filter_map(|(key, text)| Some((key, text?))).collect()
    })
}

/// The Pod's annotations from hot upgrades, as far as they do not depend on the containers.
pub fn working_annotation() -> impl Strategy<Value = Option<Value>> {
    let text = select(vec![
        json!(null),
        json!(""),
        json!("null"),
        json!("[]"),
        json!("{"),
        json!("{\"other\": 5}"),
        json!("{ \"other<\" : \"other<-2\" }"),
        json!("{\"shared\":\"shared-2\"}"),
        json!("{}"),
    ]);
    option::weighted(0.3, text)
}

/// JSON objects with few keys in several spellings.
fn object_texts() -> impl Strategy<Value = String> {
    let value = select(
        &[
            "1",
            "1.0",
            "1.10",
            "1e3",
            "123456789012345678901",
            "true",
            "null",
            "\"<\\u00e9é&\"",
            "[1, {\"z\":null,\"a\" : 1}]",
            "{}",
            "{\"z\": 1.50, \"a\":\"\\\"x y\"}",
            "{\"a\" :null,\"z\":{\"n\":null, \"<\": [ ]}}",
            "[]",
        ][..],
    );
    let key = select(&["a", "b", "z", "<\\u00e9"][..]);
    let member =
        (key, value, select(&["", " "][..])).prop_map(|(key, value, space)| format!("{space}\"{key}\"{space}:{value}"));
    vec(member, 0..=4).prop_map(|members| format!("{{{}}}", members.join(",")))
}
