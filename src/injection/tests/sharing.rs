//! What a sidecar takes from the app containers keeps its meaning.

use super::{index, injected, patched, pod, set};
use serde_json::{Value, json};

/// Returns the containers of a Pod after injection.
fn containers(set_spec: Value, spec: &Value) -> (Vec<Value>, Vec<String>) {
    let index = index(&[set("a", set_spec)]);
    let pod = pod(spec);
    let injected = injected(&index, &pod);
    let after = patched(&pod, &injected);
    assert_eq!(super::injected(&index, &after).patch, None, "a second pass");
    (after["spec"]["containers"].as_array().unwrap().clone(), injected.warnings)
}

fn sharing(fields: &Value) -> Value {
    let mut container = json!({"name": "sidecar", "image": "x:1"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"containers": [container]})
}

#[test]
fn copied_variables_stand_as_in_the_app_and_one_that_cannot_resolve_is_told() {
    let spec = sharing(&json!({"transferEnv": [
        {"sourceContainerName": "app", "envNames": ["ENDPOINT", "SERVICE_NAME"]}, {"sourceContainerName": "app", "envName": "ZONE_HOST"}
    ]}));
    let env = json!([
        {"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": "ZONE_HOST", "value": "zone-$(NODE_IP)"},
        {"name": "SERVICE_NAME", "value": "shop"},
        {"name": "ENDPOINT", "value": "http://$(ZONE_HOST):8126/$(SERVICE_NAME)/$$(NODE_IP)/$(ELSEWHERE)"},
    ]);
    let (containers, warnings) = containers(spec, &json!({"containers": [{"name": "app", "env": env}]}));
    assert_eq!(super::names(&containers[0]["env"]), ["IS_INJECTED", "ZONE_HOST", "SERVICE_NAME", "ENDPOINT"]);
    assert_eq!(
        warnings,
        [
            "SidecarSet \"a\", container \"sidecar\" copies the variable \"ZONE_HOST\" of container \"app\", but not $(NODE_IP), which its value names: copy that too"
        ]
    );
}

#[test]
fn variables_of_an_apps_env_from_cannot_resolve_in_a_sidecar_without() {
    let warnings = |fields: Value| {
        let mut fields = fields;
        fields["transferEnv"] = json!([{"sourceContainerName": "app", "envName": "URL"}]);
        let value = "db://$(DB_HOST)/$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT_HTTPS)";
        let app = json!({"name": "app", "envFrom": [{"secretRef": {"name": "db"}}], "env": [{"name": "URL", "value": value}]});
        containers(sharing(&fields), &json!({"containers": [app]})).1
    };
    let lacks_host = "copies the variable \"URL\" of container \"app\", but not $(DB_HOST), which its value names: copy that too, if envFrom sets it there";
    assert_eq!(warnings(json!({})), [format!("SidecarSet \"a\", container \"sidecar\" {lacks_host}")]);
    assert_eq!(warnings(json!({"envFrom": [{"secretRef": {"name": "db"}}]})), [""; 0]);
    // Variables of Services are set in every container.
    assert_eq!(warnings(json!({"env": [{"name": "DB_HOST", "value": "db"}]})), [""; 0]);
}

#[test]
fn a_copied_resource_is_that_of_the_container_it_comes_from() {
    let spec = sharing(&json!({
        "resources": {"limits": {"memory": "64Mi"}}, "shareVolumePolicy": {"type": "enabled"},
        "transferEnv": [{"sourceContainerName": "app", "envNames": ["OWN", "NAMED", "PLAIN"]}]
    }));
    let resource = |name: &str, reference: Value| json!({"name": name, "valueFrom": {"resourceFieldRef": reference}});
    let env = json!([
        resource("OWN", json!({"resource": "limits.memory", "divisor": "1Mi"})),
        resource("NAMED", json!({"containerName": "other", "resource": "limits.cpu"})),
        {"name": "PLAIN", "value": "resourceFieldRef"},
        resource("IN_PATH", json!({"resource": "limits.cpu", "containerName": ""})),
    ]);
    let mounts = json!([{"name": "v", "mountPath": "/v", "subPathExpr": "$(IN_PATH)"}]);
    let app = json!({"name": "app", "env": env, "volumeMounts": mounts});
    let (containers, _) =
        containers(spec, &json!({"containers": [app, {"name": "other"}], "volumes": [{"name": "v"}]}));
    let of =
        |name: &str| containers[0]["env"].as_array().unwrap().iter().find(|env| env["name"] == name).unwrap().clone();
    let reference = |name: &str| of(name)["valueFrom"]["resourceFieldRef"].take();
    assert_eq!(reference("OWN"), json!({"resource": "limits.memory", "divisor": "1Mi", "containerName": "app"}));
    assert_eq!(reference("NAMED"), json!({"containerName": "other", "resource": "limits.cpu"}));
    assert_eq!(of("PLAIN"), json!({"name": "PLAIN", "value": "resourceFieldRef"}));
    assert_eq!(reference("IN_PATH")["containerName"], "app");
}

#[test]
fn one_place_is_mounted_once_however_it_is_spelled() {
    let own = json!([{"name": "logs", "mountPath": "/var/log"}, {"name": "info", "mountPath": "/etc/podinfo/"}]);
    let mut spec = sharing(&json!({"shareVolumePolicy": {"type": "enabled"}, "volumeMounts": own}));
    spec["volumes"] = json!([{"name": "logs", "emptyDir": {}}, {"name": "info", "emptyDir": {}}]);
    let mount = |path: &str| json!({"name": "t", "mountPath": path});
    let first = json!([mount("/test"), mount("/etc/podinfo"), mount("/var/log/"), mount("/test/inner")]);
    let second = json!([mount("/test/"), mount("/only2")]);
    let apps = json!([{"name": "app", "volumeMounts": first}, {"name": "second", "volumeMounts": second}]);
    let (containers, _) = containers(spec, &json!({"containers": apps, "volumes": [{"name": "t", "emptyDir": {}}]}));
    let paths: Vec<&str> =
        containers[0]["volumeMounts"].as_array().unwrap().iter().map(|m| m["mountPath"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/var/log", "/etc/podinfo/", "/test", "/test/inner", "/only2"]);
}

/// Kubernetes refuses `Bidirectional` in a container that is not privileged (`validateMountPropagation`).
#[test]
fn only_a_privileged_sidecar_takes_mounts_that_reach_the_node() {
    let app = json!({"name": "app", "securityContext": {"privileged": true}, "volumeMounts": [
        {"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"},
        {"name": "v", "mountPath": "/w", "mountPropagation": "HostToContainer"}, {"name": "v", "mountPath": "/x"}
    ]});
    for (privileged, propagation) in [(false, "HostToContainer"), (true, "Bidirectional")] {
        let fields = json!({"shareVolumePolicy": {"type": "enabled"}, "securityContext": {"privileged": privileged}});
        let spec = json!({"containers": [app], "volumes": [{"name": "v", "hostPath": {"path": "/v"}}]});
        let mounts = containers(sharing(&fields), &spec).0[0]["volumeMounts"].take();
        let mut expected = app["volumeMounts"].clone();
        expected[0]["mountPropagation"] = json!(propagation);
        assert_eq!(mounts, expected);
    }
}

#[test]
fn a_volume_that_only_a_variable_names_comes_along() {
    let reference = json!({"volumeName": "config", "path": "a.env", "key": "K"});
    let spec = json!({
        "containers": [{"name": "sidecar", "image": "x:1", "env": [{"name": "A", "valueFrom": {"fileKeyRef": reference}}]}],
        "volumes": [{"name": "config", "emptyDir": {}}, {"name": "unused", "emptyDir": {}}]
    });
    let pod = pod(&json!({"containers": [{"name": "app"}]}));
    let injected = injected(&index(&[set("a", spec)]), &pod);
    assert_eq!(super::names(&patched(&pod, &injected)["spec"]["volumes"]), ["config"]);
}

/// A twin has a different name than the container of the set, and Kubernetes would not find a container of that name.
#[test]
fn variables_about_a_hot_container_itself_name_the_twin_that_has_them() {
    let reference = |name: &str| {
        let reference = json!({"containerName": name, "resource": "limits.memory", "divisor": "0"});
        json!({"name": "M", "valueFrom": {"resourceFieldRef": reference}})
    };
    let container = json!({
        "name": "proxy", "image": "x:1", "env": [reference("proxy"), reference("app")],
        "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"}
    });
    let (containers, _) = containers(json!({"containers": [container]}), &json!({"containers": [{"name": "app"}]}));
    for (twin, name) in containers.iter().zip(["proxy-1", "proxy-2"]) {
        assert_eq!(twin["name"], name);
        assert_eq!(twin["env"].as_array().unwrap()[..2], [reference(name), reference("app")]);
    }
}
