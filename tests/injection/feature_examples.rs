//! The reference injector against hand-made expectations, beyond the placement of containers.

use serde_json::{Value, json};

use crate::NOW;
use crate::examples::{injected, names, request, small_set, with, yaml};
use crate::reference::{BASE, CANARY, DEFAULT_CONTAINER, HASH, Outcome, WORKING, World, inject};
use crate::world;

const WEB: &str = r#"
metadata:
  labels: {app: nginx, main: web}
  annotations: {example.com/main: db}
spec:
  containers:
  - name: web
    env:
    - {name: LEVEL, value: first}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: LEVEL, value: last}
    - {name: OWN, value: of the web}
    volumeMounts:
    - {name: data, mountPath: /data, subPathExpr: "$(NODE)/$(LEVEL)$(MISSING)$(9)$(OWN)"}
    - {name: logs, mountPath: /logs}
    volumeDevices: [{name: disk, devicePath: /dev/a}]
  - name: db
    env: [{name: LEVEL, value: of the db}]
    volumeMounts: [{name: other, mountPath: /data}, {name: other, mountPath: /dev/own}]
    volumeDevices: [{name: disk, devicePath: /dev/own}, {name: raw, devicePath: /own}]
  - name: earlier
    env: [{name: IS_INJECTED, value: "true"}, {name: TOKEN, value: of the sidecar}]
    volumeMounts: [{name: sidecar, mountPath: /sidecar}]
  initContainers:
  - {name: fetch, volumeMounts: [{name: init, mountPath: /init}]}
"#;

/// A set with these fields in its only container, `c-m`.
fn set_with(fields: &str) -> Value {
    let mut set = small_set("m");
    let fields = yaml(fields);
    for (key, value) in fields.as_object().into_iter().flatten() {
        set["spec"]["containers"][0][key] = value.clone();
    }
    set
}

/// A set with this annotation patch.
fn set_patching(name: &str, policy: &str, key: &str, text: &str) -> Value {
    let patches = json!([{"annotations": {key: text}, "patchPolicy": policy}]);
    with(small_set(name), "/spec/patchPodMetadata", &patches)
}

fn the_world(sets: &[Value]) -> World {
    world(sets, &[])
}

fn environment(container: &Value) -> Vec<String> {
    let text = |variable: &Value| format!("{}={}", variable["name"], variable["value"]).replace('"', "");
    container["env"].as_array().into_iter().flatten().map(text).collect()
}

fn paths(container: &Value, list: &str, path: &str) -> Vec<String> {
    container[list].as_array().into_iter().flatten().map(|item| item[path].to_string().replace('"', "")).collect()
}

#[test]
fn mounts_and_devices_of_app_containers_are_shared_where_the_path_is_free() {
    let set = set_with(
        "{shareVolumePolicy: {type: enabled}, shareVolumeDevicePolicy: {type: enabled}, env: [{name: OWN, value: own}],
          volumeMounts: [{name: x, mountPath: /own}], volumeDevices: [{name: y, devicePath: /dev/own}]}",
    );
    let pod = injected(&the_world(&[set]), &yaml(WEB));
    let sidecar = &pod["spec"]["containers"][0];
    assert_eq!(paths(sidecar, "volumeMounts", "mountPath"), ["/own", "/data", "/logs"]);
    assert_eq!(sidecar["volumeMounts"][1]["name"], "data");
    assert_eq!(paths(sidecar, "volumeDevices", "devicePath"), ["/dev/own", "/dev/a"]);
    assert_eq!(environment(sidecar), ["OWN=own", "IS_INJECTED=true", "LEVEL=first", "NODE=null"]);
}

#[test]
fn variables_are_transferred_from_the_container_an_entry_names() {
    let set = set_with(
        "{env: [{name: OWN, value: own}], shareVolumePolicy: {type: enabled}, transferEnv: [
            {sourceContainerName: earlier, envName: TOKEN},
            {sourceContainerName: web, envName: OWN, envNames: [NODE, LEVEL, MISSING]},
            {sourceContainerName: db, envName: LEVEL}]}",
    );
    let pod = injected(&the_world(&[set]), &yaml(WEB));
    // `earlier` was injected, so it is not a source; otherwise a second pass would find more than the first
    let expected = ["OWN=own", "IS_INJECTED=true", "NODE=null", "LEVEL=last"];
    assert_eq!(environment(&pod["spec"]["containers"][0]), expected);
    assert_eq!(pod["spec"]["containers"][0]["env"][2]["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
}

#[test]
fn the_source_of_variables_may_be_named_by_a_label_or_an_annotation() {
    for (path, expected) in [
        ("metadata.labels['main']", "LEVEL=last"),
        ("metadata.annotations['example.com/main']", "LEVEL=of the db"),
        ("metadata.labels['missing']", ""),
        ("metadata.name", ""),
    ] {
        let entry = json!({
            "sourceContainerName": "web", "envName": "LEVEL",
            "sourceContainerNameFrom": {"fieldRef": {"fieldPath": path}},
        });
        let set = with(small_set("m"), "/spec/containers/0/transferEnv", &json!([entry]));
        let pod = injected(&the_world(&[set]), &yaml(WEB));
        assert_eq!(environment(&pod["spec"]["containers"][0]).get(1).map_or("", String::as_str), expected, "{path}");
    }
}

#[test]
fn a_container_that_stays_gets_only_what_others_brought_since() {
    let set =
        set_with("{shareVolumePolicy: {type: enabled}, transferEnv: [{sourceContainerName: web, envName: LEVEL}]}");
    let world = the_world(&[set]);
    let first = injected(&world, &yaml(WEB));
    assert_eq!(inject(&world, &request(&first), NOW), Outcome::Nothing);

    let moved = with(first, "/spec/containers/0/image", &json!("from elsewhere"));
    let moved = with(moved, "/spec/containers/1/volumeMounts", &json!([{"name": "late", "mountPath": "/late"}]));
    let sidecar = &injected(&world, &moved)["spec"]["containers"][0];
    assert_eq!(sidecar["image"], "from elsewhere");
    assert_eq!(paths(sidecar, "volumeMounts", "mountPath"), ["/data", "/logs", "/dev/own", "/late"]);
}

const HOT: &str = "{upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: empty}}";

#[test]
fn a_hot_upgraded_container_becomes_two_of_which_the_first_works() {
    let hot = yaml(HOT)["upgradeStrategy"].clone();
    let set = with(
        set_with(HOT),
        "/spec/initContainers",
        &json!([
            {"name": "native", "image": "n", "restartPolicy": "Always", "upgradeStrategy": hot},
            {"name": "plain", "image": "p", "upgradeStrategy": hot},
        ]),
    );
    let world = the_world(&[set]);
    let pod = injected(&world, &with(yaml(WEB), "/spec/containers/1/name", &json!("c-m-2")));
    assert_eq!(names(&pod, "initContainers"), ["fetch", "native-1", "native-2", "plain"]);
    assert_eq!(names(&pod, "containers"), ["c-m-1", "web", "c-m-2", "earlier"]);
    assert_eq!(pod["spec"]["containers"][0]["image"], "example.com/c:1");
    assert_eq!(pod["spec"]["containers"][2]["image"], "empty");
    let field = |key: &str| json!({"fieldRef": {"fieldPath": format!("metadata.annotations['{key}']")}});
    assert_eq!(
        pod["spec"]["containers"][2]["env"],
        json!([
            {"name": "IS_INJECTED", "value": "true"},
            {"name": "SIDECARSET_VERSION", "valueFrom": field("version.sidecarset.kruise.io/c-m-2")},
            {"name": "SIDECARSET_VERSION_ALT", "valueFrom": field("versionalt.sidecarset.kruise.io/c-m-2")},
        ])
    );
    let annotations = &pod["metadata"]["annotations"];
    assert_eq!(annotations[WORKING], r#"{"c-m":"c-m-1","native":"native-1"}"#);
    for (key, version) in [("version", ["1", "0"]), ("versionalt", ["0", "1"])] {
        for container in ["c-m", "native"] {
            assert_eq!(annotations[format!("{key}.sidecarset.kruise.io/{container}-1")], version[0]);
            assert_eq!(annotations[format!("{key}.sidecarset.kruise.io/{container}-2")], version[1]);
        }
    }
    assert!(annotations[HASH].as_str().is_some_and(|text| text.contains(r#""sidecarList":["c-m","native"]"#)));
}

#[test]
fn the_state_of_a_hot_upgrade_outlives_a_second_pass_unless_it_is_broken() {
    let world = the_world(&[set_with(HOT)]);
    let first = injected(&world, &yaml(WEB));
    let annotated = |key: &str, text: &str| {
        with(first.clone(), &format!("/metadata/annotations/{}", key.replace('/', "~1")), &json!(text))
    };
    let upgraded = annotated(WORKING, r#"{"c-m": "c-m-2"}"#);
    assert_eq!(inject(&world, &request(&upgraded), NOW), Outcome::Nothing);
    let counted = annotated("version.sidecarset.kruise.io/c-m-1", "7");
    assert_eq!(inject(&world, &request(&counted), NOW), Outcome::Nothing);
    for broken in ["{", "null", "", "[]", r#"{"c-m":5}"#] {
        let reset = injected(&world, &annotated(WORKING, broken));
        assert_eq!(reset["metadata"]["annotations"][WORKING], r#"{"c-m":"c-m-1"}"#, "{broken}");
    }
}

#[test]
fn a_pair_of_which_one_half_is_new_starts_anew() {
    let world = the_world(&[set_with(HOT)]);
    let upgraded = with(
        injected(&world, &yaml(WEB)),
        &format!("/metadata/annotations/{}", WORKING.replace('/', "~1")),
        &json!(r#"{"c-m":"c-m-2"}"#),
    );
    for half in [0, 1] {
        let unmarked = with(upgraded.clone(), &format!("/spec/containers/{half}/env"), &json!([]));
        let again = injected(&world, &unmarked);
        assert_eq!(again["metadata"]["annotations"][WORKING], r#"{"c-m":"c-m-1"}"#, "half {half} is new");
    }
}

#[test]
fn the_source_of_variables_may_be_named_by_an_annotation_that_a_set_patches() {
    let entry = json!({
        "envName": "LEVEL",
        "sourceContainerNameFrom": {"fieldRef": {"fieldPath": "metadata.annotations['example.com/source']"}},
    });
    let set = set_patching("m", "Retain", "example.com/source", "web");
    let set = with(set, "/spec/containers/0/transferEnv", &json!([entry]));
    let pod = injected(&the_world(&[set]), &yaml(WEB));
    assert_eq!(environment(&pod["spec"]["containers"][0]), ["IS_INJECTED=true", "LEVEL=last"]);
}

#[test]
fn metadata_is_patched_as_the_policies_say_and_sets_follow_one_another() {
    let patched = |policy: &str, pod: &Value| {
        let world =
            the_world(&[set_patching("m", policy, "example.com/main", "new"), set_patching("n", "Retain", "k", "n")]);
        injected(&world, pod)["metadata"]["annotations"].clone()
    };
    assert_eq!(patched("Retain", &yaml(WEB))["example.com/main"], "db");
    assert_eq!(patched("Retain", &yaml(WEB))["k"], "n");
    assert_eq!(patched("Overwrite", &yaml(WEB))["example.com/main"], "new");
    assert_eq!(patched("Retain", &with(yaml(WEB), "/metadata/annotations", &json!({})))["example.com/main"], "new");

    let world = the_world(&[set_patching("n", "Overwrite", "k", "n"), set_patching("m", "Overwrite", "k", "m")]);
    assert_eq!(injected(&world, &yaml(WEB))["metadata"]["annotations"]["k"], "n");
    let world = the_world(&[set_patching("m", "Overwrite", WORKING, "x")]);
    assert_eq!(injected(&world, &yaml(WEB))["metadata"]["annotations"].get(WORKING), None);
}

#[test]
fn json_is_merged_into_an_annotation() {
    for (present, patch, expected) in [
        ("", " {\"b\": 1}", Some(" {\"b\": 1}")),
        ("not JSON", "not JSON", Some("not JSON")),
        (" \n", "{\"b\": null, \"a\": 1.10}", Some("{\"a\":1.10}")),
        (
            "{\"z\": 1, \"a\": {\"y\": 1e3, \"b\" :[ ]}}",
            "{\"c\": \"<\"}",
            Some("{\"a\":{\"y\":1e3,\"b\":[]},\"c\":\"\\u003c\",\"z\":1}"),
        ),
        (
            "{\"a\": {\"y\": 1, \"b\": 2}}",
            "{\"a\": {\"c\": {\"x\": null}}}",
            Some("{\"a\":{\"b\":2,\"c\":{},\"y\":1}}"),
        ),
        ("{\"z\": 1, \"a\" : 2}", "{\"a\":2,\"q\":null}", Some("{\"z\": 1, \"a\" : 2}")),
        (
            "{\"a\":12345678901234567890123}",
            "{\"b\":null,\"c\":[null]}",
            Some("{\"a\":12345678901234567890123,\"c\":[null]}"),
        ),
        ("[1]", "{\"a\":1,\"b\":null}", Some("{\"a\":1}")),
        ("\"s\"", "{}", Some("{}")),
        ("null", "{}", None),
        ("{", "{}", None),
        ("{}", "5", None),
        ("{}", "not JSON", None),
    ] {
        let world = the_world(&[set_patching("m", "MergePatchJson", "k", patch)]);
        let pod = with(yaml(WEB), "/metadata/annotations", &json!({"k": present}));
        let merged = match inject(&world, &request(&pod), NOW) {
            Outcome::Injected(pod) => Some(pod["metadata"]["annotations"]["k"].clone()),
            Outcome::Denied(_) => None,
            Outcome::Nothing => panic!("nothing injected"),
        };
        assert_eq!(merged, expected.map(Value::from), "{patch} into {present}");
    }
}

#[test]
fn a_canary_takes_the_place_of_its_base_where_both_match() {
    let canary =
        |says: &str, base: &str| with(small_set("canary"), "/metadata/annotations", &json!({CANARY: says, BASE: base}));
    let elsewhere = |set: Value| with(set, "/spec/selector", &json!({"matchLabels": {"app": "elsewhere"}}));
    for (canary, expected) in [
        (canary("true", "base"), &["c-canary", "web"][..]),
        (canary("True", "base"), &["c-base", "c-canary", "web"]),
        (canary("true", "other"), &["c-base", "c-canary", "web"]),
        (elsewhere(canary("true", "base")), &["c-base", "web"]),
    ] {
        let pod = injected(&the_world(&[small_set("base"), canary]), &yaml(WEB));
        assert_eq!(names(&pod, "containers")[..expected.len()], *expected);
    }
}

#[test]
fn the_default_container_is_the_first_own_one_if_others_come_before_it() {
    let named = |set: &Value, pod: &Value| {
        let world = World { default_container: true, ..the_world(std::slice::from_ref(set)) };
        injected(&world, pod)["metadata"]["annotations"].get(DEFAULT_CONTAINER).cloned()
    };
    let set = small_set("m");
    let sidecar_first = with(yaml(WEB), "/spec/containers/0/env", &json!([{"name": "IS_INJECTED", "value": "true"}]));
    assert_eq!(named(&set, &yaml(WEB)), Some(json!("web")));
    assert_eq!(named(&set, &sidecar_first), Some(json!("db")));
    assert_eq!(named(&set_with("{podInjectPolicy: AfterAppContainer}"), &yaml(WEB)), None);
    let said = with(yaml(WEB), "/metadata/annotations/kubectl.kubernetes.io~1default-container", &json!("db"));
    assert_eq!(named(&set, &said), Some(json!("db")));
    let world = the_world(&[set]);
    assert_eq!(injected(&world, &yaml(WEB))["metadata"]["annotations"].get(DEFAULT_CONTAINER), None);
}
