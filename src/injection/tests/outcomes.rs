//! Patched Pods: computed resources, and the parent objects that a patch needs.

use super::{index, injected, patched, plain, pod, set};
use serde_json::{Value, json};

/// Returns the resources of the sidecar `proxy`, whose policy computes half of those of the app containers.
fn resources(mode: &str, list: &str, pod: &Value) -> Value {
    let half = json!({"cpu": "cpu*50%", "memory": "memory*50%"});
    let policy = json!({"targetContainersMode": mode, "targetContainersNameRegex": "^app",
                        "resourcesExpr": {"limits": half, "requests": half}});
    let own = json!({"limits": {"cpu": "9", "nvidia.com/gpu": "1"}, "claims": [{"name": "gpu"}]});
    let proxy = json!({"name": "proxy", "image": "x:1", "resources": own, "resourcesPolicy": policy});
    let index = index(&[set("a", json!({list: [proxy]})), plain("b", "app-of-b")]);
    let after = patched(pod, &injected(&index, pod));
    let proxy = after["spec"][list].as_array().unwrap().iter().find(|container| container["name"] == "proxy");
    let proxy = proxy.unwrap();
    assert_eq!(proxy.get("resourcesPolicy"), None);
    proxy["resources"].clone()
}

fn app(name: &str, cpu: &str, memory: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": memory});
    json!({"name": name, "resources": {"limits": amounts, "requests": amounts}})
}

#[test]
fn computed_resources_are_of_the_sum_or_the_maximum_and_replace_the_written_ones() {
    let pod =
        pod(&json!({"containers": [app("app", "1", "1Gi"), app("other", "8", "8Gi"), app("app-2", "500m", "3Gi")]}));
    for list in ["containers", "initContainers"] {
        let sum = json!({"cpu": "750m", "memory": "2Gi"});
        assert_eq!(resources("sum", list, &pod), json!({"limits": sum, "requests": sum}));
        let max = json!({"cpu": "500m", "memory": "1536Mi"});
        assert_eq!(resources("max", list, &pod), json!({"limits": max, "requests": max}));
    }
}

#[test]
fn native_sidecars_of_the_pod_count_and_plain_init_containers_do_not() {
    let mut native = app("app-native", "1", "1Gi");
    native["restartPolicy"] = json!("Always");
    let pod = pod(&json!({
        "initContainers": [native, app("app-init", "8", "8Gi")], "containers": [app("app", "1", "1Gi")]
    }));
    let both = json!({"cpu": "1", "memory": "1Gi"});
    assert_eq!(resources("sum", "containers", &pod), json!({"limits": both, "requests": both}));
}

#[test]
fn containers_that_a_matching_set_names_do_not_count() {
    let pod = pod(&json!({"containers": [app("app", "1", "1Gi"), app("app-of-b", "8", "8Gi")]}));
    let half = json!({"cpu": "500m", "memory": "512Mi"});
    assert_eq!(resources("sum", "containers", &pod), json!({"limits": half, "requests": half}));
}

#[test]
fn a_missing_limit_is_unlimited_and_a_missing_request_is_zero() {
    let bare = json!({"name": "app-2", "resources": {"limits": {"cpu": "1"}}});
    let pod = pod(&json!({"containers": [app("app", "1", "1Gi"), bare, {"name": "other"}]}));
    assert_eq!(
        resources("sum", "containers", &pod),
        json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m", "memory": "512Mi"}})
    );
}

/// A set for every Pod without the label `skip`.
fn for_all() -> Value {
    let mut set = set(
        "a",
        json!({
            "initContainers": [{"name": "prepare", "image": "x:1"}],
            "containers": [{"name": "logs", "image": "x:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}], "imagePullSecrets": [{"name": "registry"}]
        }),
    );
    set["spec"]["selector"] = json!({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]});
    set
}

#[test]
fn parents_that_the_pod_lacks_are_created() {
    let index = index(&[for_all()]);
    for pod in [
        json!({}),
        json!({"metadata": null, "spec": null}),
        json!({"metadata": {}, "spec": {}}),
        json!({"metadata": {"annotations": null},
               "spec": {"containers": null, "initContainers": null, "volumes": null, "imagePullSecrets": null}}),
        json!({"metadata": {"annotations": {}},
               "spec": {"containers": [], "initContainers": [], "volumes": [], "imagePullSecrets": []}}),
    ] {
        let after = patched(&pod, &injected(&index, &pod));
        for (list, name) in
            [("containers", "logs"), ("initContainers", "prepare"), ("volumes", "v"), ("imagePullSecrets", "registry")]
        {
            assert_eq!(super::names(&after["spec"][list]), [name], "{list} of {pod}");
        }
        let annotations = &after["metadata"]["annotations"];
        assert_eq!(annotations["kruise.io/sidecarset-injected-list"], "a", "{pod}");
        assert_eq!(annotations.as_object().unwrap().len(), 3, "{annotations}");
    }
}
