//! Pods and sets that are larger than any reasonable one.

use super::*;
use crate::injection::InjectError;
use std::sync::atomic::AtomicBool;

/// A set with this number of sidecars with these fields.
fn sidecars(count: usize, fields: &Value) -> Value {
    let sidecar = |number: usize| {
        let mut sidecar = fields.clone();
        sidecar["name"] = json!(format!("c{number}"));
        sidecar["image"] = json!("x:1");
        sidecar
    };
    set("s", json!({"containers": (0..count).map(sidecar).collect::<Vec<_>>()}))
}

#[test]
fn a_pod_that_nobody_waits_for_is_left() {
    let text = bare().to_string();
    let pod: PodView<'_> = serde_json::from_str(&text).unwrap();
    let snapshot = index(&[plain("s", "c")]).snapshot();
    let of = |abandoned: &AtomicBool| {
        let request = PodRequest { abandoned: Some(abandoned), ..PodRequest::create("shop", Timestamp::UNIX_EPOCH) };
        snapshot.inject(&pod, &request).map(drop)
    };
    assert_eq!(of(&AtomicBool::new(false)), Ok(()));
    assert_eq!(of(&AtomicBool::new(true)), Err(InjectError::Abandoned));
}

#[test]
fn a_pod_that_would_grow_beyond_what_can_be_stored_is_denied() {
    let path = "x".repeat(4000);
    let mounts: Vec<Value> =
        (0..250).map(|i| json!({"name": "v", "mountPath": format!("/{i}/{path}"), "readOnly": true})).collect();
    let pod = pod(&json!({"containers": [{"name": "app", "image": "nginx:1", "volumeMounts": mounts}]}));
    let sharing = |count| index(&[sidecars(count, &json!({"shareVolumePolicy": {"type": "enabled"}}))]);
    assert!(decide(&sharing(8), &pod).is_ok());
    assert_eq!(
        decide(&sharing(9), &pod).unwrap_err(),
        "SidecarSet \"s\" cannot be injected: spec.containers \"c8\": the mounts, devices and variables that this and other \
         sidecars share make the Pod grow by more than 8 MiB, more than can be stored: give it fewer, or let fewer sidecars \
         share them"
    );
}

#[test]
fn a_source_that_no_container_can_have_is_not_repeated_in_each_warning() {
    let from = json!({"fieldRef": {"fieldPath": "metadata.annotations['from']"}});
    let names: Vec<String> = (0..50).map(|number| format!("V{number}")).collect();
    let transfer = json!({"transferEnv": [{"sourceContainerNameFrom": from, "envNames": names}]});
    let mut pod = bare();
    pod["metadata"]["annotations"] = json!({"from": "x".repeat(100_000)});
    let warnings = injected(&index(&[sidecars(1, &transfer)]), &pod).warnings;
    assert_eq!(
        warnings,
        [
            "SidecarSet \"s\", container \"c0\" copies no variables with transferEnv: the source container's name has more than 63 characters"
        ]
    );
}

#[test]
fn a_name_that_no_container_can_have_is_no_target_of_a_policy() {
    let policy = json!({"resourcesPolicy": {"targetContainersMode": "sum", "targetContainersNameRegex": "x",
                                            "resourcesExpr": {"limits": {"cpu": "1"}}}});
    let index = index(&[sidecars(1, &policy)]);
    let named = |name: String| pod(&json!({"containers": [{"name": name, "resources": {"limits": {"cpu": "1"}}}]}));
    assert!(decide(&index, &named("x".repeat(63))).is_ok());
    assert!(decide(&index, &named("x".repeat(64))).unwrap_err().contains("no containers match the regex pattern"));
}

#[test]
fn the_regular_expressions_of_a_set_are_bounded_together() {
    let mut set = sidecars(100, &json!({}));
    for (number, sidecar) in set["spec"]["containers"].as_array_mut().unwrap().iter_mut().enumerate() {
        let regex = format!("^{number}\\pL{{50}}$");
        sidecar["resourcesPolicy"] = json!({"targetContainersMode": "sum", "targetContainersNameRegex": regex,
                                            "resourcesExpr": {"limits": {"cpu": "cpu"}}});
    }
    let error = InjectableSet::new(decode::sidecarset(set).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("SidecarSet \"s\": spec.containers["), "{error}");
    assert!(error.contains("].resourcesPolicy.targetContainersNameRegex: invalid regex pattern"), "{error}");
    assert!(error.contains("compile to more than 16777216 bytes together: repeat less in them"), "{error}");
}
