//! Sidecars that end with a Job: native sidecars in Pods that run to completion, if their set asks for it.

use super::{decide, index, injected, names, patched, pod, set};
use serde_json::{Value, json};

/// A set with an init container, a container that ends with a Job, and one that does not.
fn sets(annotations: &Value) -> [Value; 1] {
    let env = json!([{"name": "KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT", "value": "true"}]);
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let mut set = set(
        "a",
        json!({
            "initContainers": [{"name": "z-setup", "image": "x:1"}],
            "containers": [
                {"name": "agent", "image": "x:1", "env": env, "restartPolicy": "Never", "restartPolicyRules": rules,
                 "volumeMounts": [{"name": "logs", "mountPath": "/logs"}]},
                {"name": "other", "image": "x:1"}
            ],
            "volumes": [{"name": "logs", "emptyDir": {}}]
        }),
    );
    set["metadata"]["annotations"] = annotations.clone();
    [set]
}

fn native() -> Value {
    json!({"outrigger.dev/job-sidecars": "native"})
}

fn ending(restart_policy: &str) -> Value {
    pod(&json!({
        "restartPolicy": restart_policy, "initContainers": [{"name": "own", "image": "x:1"}],
        "containers": [{"name": "app", "image": "x:1"}]
    }))
}

#[test]
fn in_pods_that_end_such_a_container_is_a_native_sidecar_behind_all_init_containers() {
    let index = index(&sets(&native()));
    for policy in ["Never", "OnFailure"] {
        let first = injected(&index, &ending(policy));
        let after = patched(&ending(policy), &first);
        assert_eq!(names(&after["spec"]["initContainers"]), ["own", "z-setup", "agent"], "{policy}");
        assert_eq!(names(&after["spec"]["containers"]), ["other", "app"]);
        assert_eq!(names(&after["spec"]["volumes"]), ["logs"]);
        let agent = &after["spec"]["initContainers"][2];
        assert_eq!((&agent["restartPolicy"], agent.get("restartPolicyRules")), (&json!("Always"), None));
        let recorded = after["metadata"]["annotations"]["kruise.io/sidecarset-hash"].as_str().unwrap();
        assert!(recorded.contains(r#"["agent","other"]"#), "{recorded}");
        let second = injected(&index, &after);
        assert_eq!((second.patch, second.warnings), (None, vec![]), "{policy}");
    }
}

#[test]
fn in_all_other_pods_and_for_all_other_sets_it_is_a_container() {
    for (annotations, policy) in [(native(), "Always"), (json!({}), "Never")] {
        let index = index(&sets(&annotations));
        let after = patched(&ending(policy), &injected(&index, &ending(policy)));
        assert_eq!(names(&after["spec"]["containers"]), ["agent", "other", "app"], "{annotations} {policy}");
        assert_eq!(after["spec"]["containers"][0]["restartPolicy"], "Never");
        assert_eq!(injected(&index, &after).patch, None);
    }
}

#[test]
fn one_that_the_pod_has_already_stays_where_it_is() {
    let (with, without) = (index(&sets(&native())), index(&sets(&json!({}))));
    for (first, second) in [(&with, &without), (&without, &with)] {
        let after = patched(&ending("Never"), &injected(first, &ending("Never")));
        assert_eq!(injected(second, &after).patch, None);
    }
}

#[test]
fn a_container_of_its_name_is_a_clash_in_either_list() {
    let mut pod = ending("Never");
    pod["spec"]["containers"][0]["name"] = json!("agent");
    let denied = decide(&index(&sets(&native())), &pod).unwrap_err();
    assert!(denied.contains("spec.initContainers \"agent\": the Pod's spec.containers[0] has that name"), "{denied}");
}

#[test]
fn a_container_that_only_claims_to_be_the_native_sidecar_is_told() {
    let index = index(&sets(&native()));
    let mut forged = patched(&ending("Never"), &injected(&index, &ending("Never")));
    forged["spec"]["initContainers"][2]["image"] = json!("evil:1");
    let told = injected(&index, &forged).warnings;
    assert!(
        told.len() == 1 && told[0].contains("spec.initContainers \"agent\" does not have the set's image"),
        "{told:?}"
    );
}
