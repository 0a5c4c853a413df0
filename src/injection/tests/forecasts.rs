//! Warnings about Pods and sets that do not fit together. The table is also compared with the API server.

use super::{decode, index, injected, patched, set};
use crate::injection::Consequence;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A row of the table.
#[derive(Deserialize)]
struct Row {
    case: String,
    #[serde(default)]
    annotations: Map<String, Value>,
    container: Option<Map<String, Value>>,
    set: Option<Value>,
    pod: Value,
    #[serde(default)]
    says: Vec<String>,
}

impl Row {
    fn set(&self) -> Value {
        let spec = self.set.clone().unwrap_or_else(|| {
            let mut container = json!({"name": "sidecar", "image": "side:1"});
            container.as_object_mut().unwrap().extend(self.container.clone().unwrap_or_default());
            json!({"containers": [container]})
        });
        let mut set = set("a", spec);
        set["metadata"]["annotations"] = json!(self.annotations);
        set
    }

    fn pod(&self) -> Value {
        let mut pod = super::pod(&self.pod);
        if pod["spec"]["containers"].is_null() {
            pod["spec"]["containers"] = json!([{"name": "app", "image": "app:1"}]);
        }
        pod
    }
}

fn rows() -> Vec<Row> {
    serde_saphyr::from_str(include_str!("../../../tests/data/forecasts.yaml")).unwrap()
}

fn word(consequence: Consequence) -> &'static str {
    match consequence {
        Consequence::Refused => "refused",
        Consequence::Fails => "fails",
        Consequence::Changes => "changes",
    }
}

#[test]
fn what_does_not_fit_is_told_with_container_and_field_and_nothing_else_is() {
    for row in rows() {
        let valid = crate::injection::validate::judge(
            &decode::sidecarset(row.set()).unwrap(),
            None,
            &crate::injection::validate::World::default(),
        );
        assert_eq!(valid.errors, [], "{}", row.case);
        let (index, pod) = (index(&[row.set()]), row.pod());
        let injected = injected(&index, &pod);
        let forecasts = &injected.sets[0].forecasts;
        let told: Vec<String> = forecasts.iter().map(|it| format!("{}: {it}", word(it.consequence))).collect();
        assert_eq!(told, row.says, "{}", row.case);
        let lines = injected.warnings.iter().filter(|line| line.starts_with("SidecarSet \"a\": "));
        assert_eq!(lines.count(), usize::from(!told.is_empty()), "{}: a line for each set", row.case);
        let again = super::injected(&index, &patched(&pod, &injected));
        assert_eq!(again.patch, None, "{}: a second pass", row.case);
    }
}

#[test]
fn all_of_a_set_is_one_line() {
    let container = json!({"name": "c", "image": "x:1", "ports": [{"name": "http", "containerPort": 1}],
                           "securityContext": {"runAsUser": 0, "procMount": "Unmasked"}, "resources": {"claims": [{"name": "gpu"}]}});
    let pod = super::pod(&json!({
        "securityContext": {"runAsNonRoot": true},
        "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 2}]}]
    }));
    let warnings = injected(&index(&[set("a", json!({"containers": [container]}))]), &pod).warnings;
    assert_eq!(
        warnings,
        [concat!(
            "SidecarSet \"a\": Kubernetes will refuse this Pod: spec.containers \"c\" resources.claims: the Pod has no spec.resourceClaims \"gpu\"; ",
            "spec.containers \"c\" securityContext.procMount: Unmasked needs a Pod with hostUsers: false. ",
            "this Pod will not run: spec.containers \"c\" securityContext.runAsUser: is 0, and the Pod's securityContext has runAsNonRoot: true. ",
            "this Pod will behave differently: spec.containers \"c\" ports \"http\": a Service that uses this port name would reach 1 here instead of 2 of \"app\": ",
            "rename it, or place the container after (podInjectPolicy: AfterAppContainer)"
        )]
    );
}

/// A set with these containers, whose requests and limits are added to the Pod's own.
fn growing(spec: Value) -> Value {
    let mut set = set("a", spec);
    set["metadata"]["annotations"] = json!({"outrigger.dev/pod-level-resources": "grow"});
    set
}

#[test]
fn a_pods_own_resources_grow_by_what_sidecars_ask_for_as_kubernetes_counts() {
    let container = |name: &str, resources: Value| json!({"name": name, "image": "x:1", "resources": resources});
    let native = |name: &str, resources: Value| {
        let mut native = container(name, resources);
        native["restartPolicy"] = json!("Always");
        native
    };
    let app = json!({"name": "app", "resources": {"requests": {"cpu": "800m"}}});
    let own = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}});
    let both = json!({"requests": {"cpu": "500m", "memory": "64Mi"}, "limits": {"cpu": "1"}});
    for (why, spec, grown) in [
        (
            "requests by requests, limits by limits, by requests where there is no limit",
            json!({"containers": [container("c", both.clone())]}),
            json!({"requests": {"cpu": "1500m", "memory": "1088Mi"}, "limits": {"cpu": "3", "memory": "2112Mi"}}),
        ),
        (
            "native sidecars count",
            json!({"initContainers": [native("c", both)]}),
            json!({"requests": {"cpu": "1500m", "memory": "1088Mi"}, "limits": {"cpu": "3", "memory": "2112Mi"}}),
        ),
        (
            "one that ends counts as far as the Pod needs more to start than to run",
            json!({"initContainers": [container("c", json!({"requests": {"cpu": "900m"}}))]}),
            json!({"requests": {"cpu": "1100m", "memory": "1Gi"}, "limits": {"cpu": "2100m", "memory": "2Gi"}}),
        ),
        ("nothing is asked for", json!({"containers": [container("c", json!({}))]}), own.clone()),
    ] {
        let pod = super::pod(&json!({"resources": own, "containers": [app]}));
        let index = index(&[growing(spec)]);
        let first = injected(&index, &pod);
        let after = patched(&pod, &first);
        assert_eq!(after["spec"]["resources"], grown, "{why}");
        assert_eq!(injected(&index, &after).patch, None, "{why}");
        assert_eq!(first.warnings, [""; 0], "{why}");
    }
}

#[test]
fn a_set_that_lets_the_pod_grow_is_not_told_to() {
    let container = |name: &str| json!({"containers": [{"name": name, "image": "x:1", "resources": {"requests": {"cpu": "500m"}}}]});
    let other = set("b", container("d"));
    let app = json!({"name": "app", "resources": {"requests": {"cpu": "1"}}});
    let pod = super::pod(&json!({"resources": {"requests": {"cpu": "1"}}, "containers": [app]}));
    let told = injected(&index(&[growing(container("c")), other]), &pod);
    let of = |set: usize| told.sets[set].forecasts[0].problem.clone();
    assert!(of(0).ends_with("spec.containers \"c\" 500m: raise it"), "{}", of(0));
    assert!(of(1).ends_with("or annotate the SidecarSet with outrigger.dev/pod-level-resources: grow"), "{}", of(1));
}

#[test]
fn resources_of_a_pod_without_any_do_not_grow() {
    let spec = json!({"containers": [{"name": "c", "image": "x:1", "resources": {"requests": {"cpu": "1"}}}]});
    let pod = super::pod(&json!({"resources": {"limits": {"memory": "1Gi"}}, "containers": [{"name": "app"}]}));
    let after = patched(&pod, &injected(&index(&[growing(spec.clone())]), &pod));
    assert_eq!(after["spec"]["resources"], pod["spec"]["resources"]);
    let bare = super::bare();
    assert_eq!(patched(&bare, &injected(&index(&[growing(spec)]), &bare))["spec"].get("resources"), None);
}

#[test]
fn a_pod_that_has_too_little_room_for_its_own_containers_is_not_told_of_the_sidecars() {
    let spec = json!({"containers": [{"name": "c", "image": "x:1", "resources": {"requests": {"cpu": "100m"}}}]});
    let app = |cpu: &str| json!({"name": "app", "resources": {"requests": {"cpu": cpu}}});
    let of = |cpu| super::pod(&json!({"resources": {"requests": {"cpu": "1"}}, "containers": [app(cpu)]}));
    let told = |cpu| injected(&index(&[set("a", spec.clone())]), &of(cpu)).sets[0].forecasts.len();
    assert_eq!((told("900m"), told("1"), told("2")), (0, 1, 0));
}

#[test]
fn a_policy_takes_the_pods_own_limit_for_that_of_a_container_without() {
    let policy =
        json!({"targetContainersMode": "sum", "resourcesExpr": {"limits": {"cpu": "cpu*50%", "memory": "memory*50%"}}});
    let spec = json!({"containers": [{"name": "c", "image": "x:1", "resourcesPolicy": policy}]});
    let pod = super::pod(&json!({
        "resources": {"limits": {"cpu": "3"}},
        "containers": [{"name": "app", "resources": {"limits": {"cpu": "1"}}}, {"name": "other"}]
    }));
    let after = patched(&pod, &injected(&index(&[set("a", spec)]), &pod));
    assert_eq!(after["spec"]["containers"][0]["resources"], json!({"limits": {"cpu": "1500m"}}));
}

#[test]
fn a_set_because_of_which_a_pod_is_refused_says_so() {
    let spec = json!({"containers": [{"name": "c", "image": "x:1", "securityContext": {"procMount": "Unmasked"}}]});
    let verdicts = super::explanations::verdicts(&index(&[set("a", spec)]), &super::bare());
    let reason = "injected: c, but Kubernetes will refuse the Pod: spec.containers \"c\" securityContext.procMount: Unmasked needs a Pod with hostUsers: false";
    assert_eq!(verdicts, [["a", "refused", reason]]);
}
