//! The API server's changes of a Pod between two calls of a webhook, as far as the generated fields need them.

use serde_json::{Map, Value, json};

/// Returns the Pod for a second call: decoded, defaulted and encoded again, so nulls are gone and keys sorted.
pub fn default_pod(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for field in ["labels", "annotations"] {
        for value in pod["metadata"][field].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if value.is_null() {
                *value = json!("");
            }
        }
    }
    drop_nulls(&mut pod);
    if let Some(spec) = pod["spec"].as_object_mut() {
        for list in ["initContainers", "containers"] {
            elements(spec.get_mut(list)).for_each(default_container);
        }
        elements(spec.get_mut("volumes")).for_each(default_volume);
        set_missing(
            spec,
            &json!({
                "restartPolicy": "Always",
                "dnsPolicy": "ClusterFirst",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": 30,
                "enableServiceLinks": true,
                "serviceAccountName": "default",
            }),
        );
    }
    pod["status"]["phase"] = json!("Pending");
    pod["status"]["qosClass"] = json!("BestEffort");
    sorted(pod)
}

/// Returns the Pod with changes of others between the two calls: the service account plugin has mounted a token in every
/// container, including injected ones, and another mutator has added a variable to each.
pub fn complete_by_others(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let Some(spec) = pod["spec"].as_object_mut() else { return pod };
    for list in ["initContainers", "containers"] {
        for container in elements(spec.get_mut(list)) {
            append(container, "env", json!({"name": "TRACE_AGENT", "value": "10.0.0.1"}));
        }
    }
    mount_token(&mut pod);
    pod
}

/// Mounts the service account token in each container without a mount at its path, like the API server's plugin.
pub fn mount_token(pod: &mut Value) {
    const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let Some(spec) = pod["spec"].as_object_mut() else { return };
    let mut changed = false;
    for list in ["initContainers", "containers"] {
        for container in elements(spec.get_mut(list)) {
            let has_token = elements(container.get_mut("volumeMounts")).any(|mount| mount["mountPath"] == TOKEN_PATH);
            if !has_token {
                let mount = json!({"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": TOKEN_PATH});
                append(container, "volumeMounts", mount);
                changed = true;
            }
        }
    }
    let mut volumes = elements(spec.get_mut("volumes"));
    let has_volume = volumes.any(|volume| volume["name"] == "kube-api-access-x7k2p");
    drop(volumes);
    if changed && !has_volume {
        let token = json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}});
        append(spec, "volumes", json!({"name": "kube-api-access-x7k2p", "projected": {"sources": [token]}}));
    }
}

/// Appends to a list, which may be missing.
fn append(object: &mut Map<String, Value>, list: &str, element: Value) {
    match object.get_mut(list) {
        Some(Value::Array(elements)) => elements.push(element),
        _ => _ = object.insert(list.to_owned(), json!([element])),
    }
}

fn default_container(container: &mut Map<String, Value>) {
    for variable in elements(container.get_mut("env")) {
        if let Some(field) = variable.get_mut("valueFrom").and_then(|source| source["fieldRef"].as_object_mut()) {
            set_missing(field, &json!({"apiVersion": "v1"}));
        }
    }
    for port in elements(container.get_mut("ports")) {
        set_missing(port, &json!({"protocol": "TCP"}));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            let defaults =
                json!({"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
            set_missing(probe, &defaults);
            if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
                set_missing(get, &json!({"path": "/", "scheme": "HTTP"}));
            }
        }
    }
    set_missing(
        container,
        &json!({
            "resources": {},
            "imagePullPolicy": "IfNotPresent",
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        }),
    );
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume.len() == 1 {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["configMap", "secret"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            set_missing(source, &json!({"defaultMode": 420}));
        }
    }
}

fn set_missing(object: &mut Map<String, Value>, defaults: &Value) {
    for (key, default) in defaults.as_object().cloned().unwrap_or_default() {
        object.entry(key).or_insert(default);
    }
}

fn elements(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn sorted(mut value: Value) -> Value {
    value.sort_all_objects();
    value
}
