//! `volumeMounts` and `volumeDevices` of a container.

use super::super::node::Body;
use super::super::syntax;
use super::super::volumes::Volumes;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn check(body: &Body<'_>, volumes: &Volumes<'_>) {
    let (mounts, devices) = (body.get("volumeMounts"), body.get("volumeDevices"));
    let privileged = body.get("securityContext").value.and_then(|context| context.get("privileged")?.as_bool());
    let mut paths = BTreeSet::new();
    let mut mounted = BTreeSet::new();
    for mount in mounts.items("mountPath") {
        let name = mount.get("name");
        if let Some(text) = name.required_text() {
            mounted.insert(text);
            if !volumes.has(text) {
                name.place.not_found(text, "");
            }
        }
        let path = mount.get("mountPath");
        if let Some(text) = path.required_text()
            && !paths.insert(text)
        {
            path.place.invalid(text, "must be unique");
        }
        let (sub_path, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        sub_path.syntax(syntax::descending_path);
        expression.syntax(syntax::descending_path);
        if let Some(text) = expression.text().filter(|text| !text.is_empty())
            && !sub_path.text_or_empty().is_empty()
        {
            expression.place.invalid(text, "subPathExpr and subPath are mutually exclusive");
        }
        let propagation = mount.get("mountPropagation");
        propagation.one_of(&["None", "HostToContainer", "Bidirectional"]);
        if propagation.text() == Some("Bidirectional") && privileged != Some(true) {
            propagation.forbidden("Bidirectional is for privileged containers");
        }
        let recursive = mount.get("recursiveReadOnly");
        recursive.one_of(&["Disabled", "IfPossible", "Enabled"]);
        if matches!(recursive.text(), Some("IfPossible" | "Enabled")) {
            if !mount.get("readOnly").is_true() {
                recursive.forbidden("needs readOnly: true");
            }
            if propagation.text().is_some_and(|text| text != "None") {
                recursive.forbidden("needs mountPropagation: None");
            }
        }
        mount.get("readOnly").bool();
    }
    let mut names = BTreeSet::new();
    for device in devices.items("devicePath") {
        let name = device.get("name");
        if let Some(text) = name.required_text() {
            if !volumes.has(text) {
                name.place.not_found(text, "");
            } else if !volumes.may_be_block(text) {
                name.place.invalid(text, "must be a volume of a PersistentVolumeClaim or an ephemeral one");
            }
            if mounted.contains(text) {
                name.place.invalid(text, "must not be mounted in volumeMounts too");
            }
            if !names.insert(text) {
                name.place.invalid(text, "must be unique");
            }
        }
        let path = device.get("devicePath");
        if let Some(text) = path.required_text() {
            path.syntax(syntax::no_backsteps);
            if !paths.insert(text) {
                path.place.invalid(Value::from(text), "must be unique among device paths and mount paths");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_spec, rejects_spec};
    use serde_json::{Value, json};

    fn spec(container: &Value) -> Value {
        let mut whole = json!({"name": "c", "image": "x"});
        whole.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        json!({
            "volumes": [{"name": "v"}, {"name": "w"}, {"name": "disk", "persistentVolumeClaim": {"claimName": "d"}},
                        {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": {
                            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}
                        }}}}],
            "containers": [whole]
        })
    }

    fn mounts(mounts: &Value) -> Value {
        spec(&json!({"volumeMounts": mounts}))
    }

    #[test]
    fn mounts_name_a_volume_of_the_set() {
        accepts_spec(&mounts(&json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "C:\\w"}])));
        for (mount, field, reason) in [
            (json!({"mountPath": "/v"}), "name", "FieldValueRequired"),
            (json!({"name": "log-volume", "mountPath": "/v"}), "name", "FieldValueNotFound"),
            (json!({"name": "v"}), "mountPath", "FieldValueRequired"),
            (json!({"name": "v", "mountPath": "/v", "subPath": "/a"}), "subPath", "FieldValueInvalid"),
            (json!({"name": "v", "mountPath": "/v", "subPathExpr": "../a"}), "subPathExpr", "FieldValueInvalid"),
            (
                json!({"name": "v", "mountPath": "/v", "subPath": "a", "subPathExpr": "b"}),
                "subPathExpr",
                "FieldValueInvalid",
            ),
            (
                json!({"name": "v", "mountPath": "/v", "mountPropagation": "Both"}),
                "mountPropagation",
                "FieldValueNotSupported",
            ),
            (
                json!({"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}),
                "mountPropagation",
                "FieldValueForbidden",
            ),
            (
                json!({"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}),
                "recursiveReadOnly",
                "FieldValueForbidden",
            ),
            (
                json!({"name": "v", "mountPath": "/v", "recursiveReadOnly": "Yes"}),
                "recursiveReadOnly",
                "FieldValueNotSupported",
            ),
            (json!({"name": "v", "mountPath": "/v", "readOnly": "yes"}), "readOnly", "FieldValueTypeInvalid"),
        ] {
            rejects_spec(&mounts(&json!([mount])), &format!("spec.containers[0].volumeMounts[0].{field}"), reason);
        }
        accepts_spec(&spec(&json!({
            "securityContext": {"privileged": true},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"},
                             {"name": "w", "mountPath": "/w", "readOnly": true, "recursiveReadOnly": "Enabled"}]
        })));
    }

    #[test]
    fn paths_are_unique_over_mounts_and_devices() {
        rejects_spec(
            &mounts(&json!([{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/v"}])),
            "spec.containers[0].volumeMounts[1].mountPath",
            "FieldValueInvalid",
        );
        let device =
            |device| spec(&json!({"volumeMounts": [{"name": "own", "mountPath": "/v"}], "volumeDevices": device}));
        accepts_spec(&device(json!([{"name": "disk", "devicePath": "/dev/a"}])));
        for (devices, field, reason) in [
            (json!([{"name": "disk", "devicePath": "/v"}]), "[0].devicePath", "FieldValueInvalid"),
            (json!([{"name": "disk", "devicePath": "/dev/../a"}]), "[0].devicePath", "FieldValueInvalid"),
            (json!([{"name": "disk"}]), "[0].devicePath", "FieldValueRequired"),
            (json!([{"devicePath": "/a"}]), "[0].name", "FieldValueRequired"),
            (json!([{"name": "none", "devicePath": "/a"}]), "[0].name", "FieldValueNotFound"),
            (json!([{"name": "w", "devicePath": "/a"}]), "[0].name", "FieldValueInvalid"),
            (json!([{"name": "own", "devicePath": "/a"}]), "[0].name", "FieldValueInvalid"),
            (
                json!([{"name": "disk", "devicePath": "/a"}, {"name": "disk", "devicePath": "/b"}]),
                "[1].name",
                "FieldValueInvalid",
            ),
        ] {
            rejects_spec(&device(devices), &format!("spec.containers[0].volumeDevices{field}"), reason);
        }
    }
}
