//! The mount of the service account token: a sidecar gets it only if the API server would add it.

use super::{index, injected, patched, pod, set};
use serde_json::{Value, json};

const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn token() -> Value {
    json!({"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": PATH})
}

/// A Pod as the API server sends it to webhooks.
fn admitted() -> Value {
    pod(&json!({
        "initContainers": [{"name": "setup", "volumeMounts": [token()]}],
        "containers": [{"name": "app", "volumeMounts": [{"name": "data", "mountPath": "/data"}, token()]}],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "kube-api-access-x7k2p", "projected": {"sources": []}}]
    }))
}

/// A set with a plain container, one with mounts, one that shares, an init container, and one that has something at the
/// token's path.
fn sets() -> [Value; 1] {
    let own = json!([{"name": "own", "mountPath": "/own"}]);
    let at_path = json!([{"name": "own", "mountPath": PATH}]);
    [set(
        "a",
        json!({
            "initContainers": [{"name": "prepare", "image": "x:1"}],
            "containers": [
                {"name": "plain", "image": "x:1"}, {"name": "mounting", "image": "x:1", "volumeMounts": own},
                {"name": "sharing", "image": "x:1", "shareVolumePolicy": {"type": "enabled"}},
                {"name": "special", "image": "x:1", "volumeMounts": at_path}
            ],
            "volumes": [{"name": "own", "emptyDir": {}}]
        }),
    )]
}

/// Returns the mounts of each container after injection.
fn mounts(pod: &Value) -> Vec<(String, Vec<Value>)> {
    let index = index(&sets());
    let after = patched(pod, &injected(&index, pod));
    assert_eq!(injected(&index, &after).patch, None, "a second pass");
    let list = |field: &str| after["spec"][field].as_array().cloned().unwrap_or_default();
    let all = list("initContainers").into_iter().chain(list("containers"));
    all.map(|container| {
        let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
        (container["name"].as_str().unwrap().to_owned(), mounts)
    })
    .collect()
}

#[test]
fn a_sidecar_gets_the_token_as_the_api_server_would_mount_it() {
    let own = json!({"name": "own", "mountPath": "/own"});
    let data = json!({"name": "data", "mountPath": "/data"});
    let expected = [
        ("setup", vec![token()]),
        ("prepare", vec![token()]),
        ("plain", vec![token()]),
        ("mounting", vec![own, token()]),
        ("sharing", vec![data.clone(), token()]),
        ("special", vec![json!({"name": "own", "mountPath": PATH})]),
        ("app", vec![data, token()]),
    ];
    assert_eq!(mounts(&admitted()), expected.map(|(name, mounts)| (name.to_owned(), mounts)));
}

#[test]
fn without_the_api_servers_word_for_it_no_sidecar_gets_a_token() {
    let without = |change: fn(&mut Value)| {
        let mut pod = admitted();
        change(&mut pod["spec"]);
        pod
    };
    for (why, pod) in [
        ("the Pod does not want it", without(|spec| spec["automountServiceAccountToken"] = json!(false))),
        ("the volume is not there", without(|spec| spec["volumes"] = json!([{"name": "data", "emptyDir": {}}]))),
        ("a container does without", without(|spec| spec["initContainers"][0]["volumeMounts"] = json!([]))),
        ("none mounts the volume", without(|spec| spec["volumes"][1]["name"] = json!("kube-api-access-other"))),
    ] {
        let plain = mounts(&pod).into_iter().find(|(name, _)| name == "plain").unwrap();
        assert_eq!(plain.1, [json!(null); 0], "{why}");
    }
}
