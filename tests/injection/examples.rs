//! The reference injector against hand-made expectations, with objects as users write them.

use serde_json::{Value, json};

use crate::reference::{HASH, HASH_WITHOUT_IMAGE, INJECTED_LIST, Outcome, Request, World, inject, items};
use crate::{NOW, world};

const LOG_AND_MESH: &str = r"
apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata: {name: log-and-mesh}
spec:
  selector:
    matchLabels: {app: nginx}
  updateStrategy: {type: NotUpdate}
  initContainers:
  - {name: proxy, image: example.com/proxy:1, restartPolicy: Always, podInjectPolicy: BeforeAppContainer}
  - name: a-setup
    image: example.com/setup:1
    volumeMounts: [{name: conf, mountPath: /conf}]
  containers:
  - name: log
    image: example.com/log:1
    x-unknown: {kept: [1]}
    resources: {}
    volumeMounts: [{name: logs, mountPath: /var/log}, {name: conf, mountPath: /conf}]
  - {name: after, image: example.com/after:1, podInjectPolicy: AfterAppContainer}
  volumes:
  - {name: unused, emptyDir: {}}
  - {name: logs, emptyDir: {}}
  - {name: conf, configMap: {name: conf}}
  imagePullSecrets: [{name: registry}, {name: mirror}]
";

const NGINX: &str = r"
apiVersion: v1
kind: Pod
metadata:
  name: nginx
  labels: {app: nginx}
spec:
  initContainers: [{name: fetch, image: busybox}]
  containers: [{name: nginx, image: nginx:1}]
  volumes: [{name: logs, hostPath: {path: /logs}}]
  imagePullSecrets: [{name: mirror}, {name: mirror}]
";

pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("the YAML of a test")
}

pub fn request(pod: &Value) -> Request {
    let create = "CREATE".to_owned();
    Request { operation: create, sub_resource: String::new(), namespace: "shop".to_owned(), pod: pod.clone() }
}

pub fn injected(world: &World, pod: &Value) -> Value {
    match inject(world, &request(pod), NOW) {
        Outcome::Injected(pod) => pod,
        other => panic!("{other:?}"),
    }
}

pub fn names(pod: &Value, list: &str) -> Vec<String> {
    items(pod, &format!("/spec/{list}"))
        .iter()
        .map(|item| item["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

pub fn with(mut value: Value, pointer: &str, new: &Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer to a member");
    value.pointer_mut(parent).expect("a parent")[key.replace("~1", "/")] = new.clone();
    value
}

/// A set with one app container of the set's name and a selector on `app: nginx`.
pub fn small_set(name: &str) -> Value {
    yaml(&format!(
        "{{apiVersion: apps.kruise.io/v1beta1, kind: SidecarSet, metadata: {{name: '{name}'}}, spec: {{selector: \
         {{matchLabels: {{app: nginx}}}}, containers: [{{name: c-{name}, image: example.com/c:1}}]}}}}"
    ))
}

#[test]
fn containers_volumes_and_secrets_land_where_the_policies_say() {
    let pod = injected(&world(&[yaml(LOG_AND_MESH)], &[]), &yaml(NGINX));
    assert_eq!(names(&pod, "initContainers"), ["proxy", "fetch", "a-setup"]);
    assert_eq!(names(&pod, "containers"), ["log", "nginx", "after"]);
    assert_eq!(names(&pod, "volumes"), ["logs", "conf"]);
    assert_eq!(pod["spec"]["volumes"][0]["hostPath"]["path"], "/logs");
    assert_eq!(names(&pod, "imagePullSecrets"), ["mirror", "mirror", "registry"]);
}

#[test]
fn an_injected_container_is_the_stored_one_without_the_sets_fields_and_with_its_mark() {
    let pod = injected(&world(&[yaml(LOG_AND_MESH)], &[]), &yaml(NGINX));
    let log = yaml(
        r#"
        name: log
        image: example.com/log:1
        imagePullPolicy: IfNotPresent
        terminationMessagePath: /dev/termination-log
        terminationMessagePolicy: File
        x-unknown: {kept: [1]}
        resources: {}
        volumeMounts: [{name: logs, mountPath: /var/log}, {name: conf, mountPath: /conf}]
        env: [{name: IS_INJECTED, value: "true"}]
        "#,
    );
    assert_eq!(pod["spec"]["containers"][0], log);
    assert_eq!(pod["spec"]["containers"][2]["resources"], json!({}), "as Go stores its empty struct");
}

#[test]
fn the_annotations_name_set_hash_time_and_sidecars() {
    let world = world(&[yaml(LOG_AND_MESH)], &[]);
    let annotations = &injected(&world, &yaml(NGINX))["metadata"]["annotations"];
    let entry = |hash: &str| {
        format!(
            r#"{{"log-and-mesh":{{"updateTimestamp":"{NOW}","hash":"{hash}","sidecarSetName":"log-and-mesh","sidecarList":["after","log","proxy"]}}}}"#
        )
    };
    assert_eq!(annotations[HASH], entry(&world.sets[0].hash));
    assert_eq!(annotations[HASH_WITHOUT_IMAGE], entry(&world.sets[0].hash_without_image));
    assert_eq!(annotations[INJECTED_LIST], "log-and-mesh");
}

#[test]
fn entries_of_other_sets_stay_as_written_and_legacy_ones_are_upgraded() {
    let pod = with(
        yaml(NGINX),
        "/metadata/annotations",
        &json!({HASH: "{\"z\": { \"n\": 1.10 } ,\"old\":\"h<\"}", INJECTED_LIST: "zzz,, aaa"}),
    );
    let world = world(&[small_set("m")], &[]);
    let annotations = &injected(&world, &pod)["metadata"]["annotations"];
    let hash = &world.sets[0].hash;
    assert_eq!(
        annotations[HASH],
        format!(r#"{{"m":{{"updateTimestamp":"{NOW}","hash":"{hash}","sidecarSetName":"m","sidecarList":["c-m"]}},"#)
            + &format!(
                r#""old":{{"updateTimestamp":"{NOW}","hash":"h\u003c","sidecarSetName":"old","sidecarList":null}},"z":{{ "n": 1.10 }}}}"#
            )
    );
    assert_eq!(annotations[INJECTED_LIST], "aaa,m,zzz");
}

#[test]
fn an_annotation_that_says_it_all_is_not_touched() {
    let world = world(&[small_set("m")], &[]);
    let text = format!(r#" {{ "z":{{}}, "m" : {{"hash":"{}"}} }}"#, world.sets[0].hash);
    let pod = with(yaml(NGINX), "/metadata/annotations", &json!({HASH: text}));
    assert_eq!(injected(&world, &pod)["metadata"]["annotations"][HASH], text);
}

#[test]
fn sets_apply_in_name_order_and_init_containers_by_name() {
    let init = |name: &str| json!([{"name": name, "image": "i"}]);
    let sets = [
        with(small_set("set-2"), "/spec/initContainers", &init("a-init")),
        with(small_set("set-10"), "/spec/initContainers", &init("b-init")),
    ];
    let pod = injected(&world(&sets, &[]), &yaml(NGINX));
    assert_eq!(names(&pod, "containers"), ["c-set-10", "c-set-2", "nginx"]);
    assert_eq!(names(&pod, "initContainers"), ["fetch", "a-init", "b-init"]);
}

#[test]
fn a_users_container_is_replaced_in_place_and_a_known_one_stays() {
    let world = world(&[small_set("m")], &[]);
    let own =
        json!([{"name": "nginx"}, {"name": "c-m", "image": "own", "env": [{"name": "IS_INJECTED", "value": "true"}]}]);
    let pod = with(yaml(NGINX), "/spec/containers", &own);
    let result = injected(&world, &pod);
    assert_eq!(names(&result, "containers"), ["nginx", "c-m"]);
    assert_eq!(result["spec"]["containers"][1]["image"], "example.com/c:1");

    let known = |hash: &str| json!({HASH: json!({"m": {"hash": hash}}).to_string()});
    let image = |pod: &Value| injected(&world, pod)["spec"]["containers"][1]["image"].clone();
    let up_to_date = known(&world.sets[0].hash);
    assert_eq!(image(&with(pod.clone(), "/metadata/annotations", &up_to_date)), "own");
    assert_eq!(image(&with(pod.clone(), "/metadata/annotations", &known("stale"))), "example.com/c:1");
    let unmarked = with(pod, "/metadata/annotations", &up_to_date);
    assert_eq!(image(&with(unmarked, "/spec/containers/1/env", &json!([]))), "example.com/c:1");
}

#[test]
fn name_clashes_and_broken_annotations_are_denied() {
    let denied = |sets: &[Value], pod: &Value| match inject(&world(sets, &[]), &request(pod), NOW) {
        Outcome::Denied(reason) => !reason.is_empty(),
        _ => false,
    };
    let clash = with(small_set("n"), "/spec/initContainers", &json!([{"name": "c-m", "image": "i"}]));
    assert!(denied(&[small_set("m"), clash], &yaml(NGINX)));
    assert!(denied(&[small_set("m")], &with(yaml(NGINX), "/spec/initContainers", &json!([{"name": "c-m"}]))));
    for key in [HASH, HASH_WITHOUT_IMAGE] {
        for (text, broken) in [
            ("[1]", true),
            ("{", true),
            ("\"text\"", true),
            (r#"{"a":5}"#, true),
            (r#"{"a":null}"#, false),
            (r#"{"a":"legacy","b":{}}"#, false),
            (" \n", false),
            ("null", false),
        ] {
            let pod = with(yaml(NGINX), "/metadata/annotations", &json!({key: text}));
            assert_eq!(denied(&[small_set("m")], &pod), broken, "{key}: {text}");
        }
        let pod = with(yaml(NGINX), "/metadata/annotations", &json!({key: null}));
        assert!(!denied(&[small_set("m")], &pod));
    }
}

#[test]
fn missing_and_null_parents_are_made() {
    let everywhere = with(
        small_set("m"),
        "/spec/selector",
        &json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
    );
    for pod in [
        json!({}),
        json!({"metadata": null, "spec": null}),
        json!({"metadata": {"annotations": null}, "spec": {"containers": null}}),
    ] {
        let result = injected(&world(std::slice::from_ref(&everywhere), &[]), &pod);
        assert_eq!(names(&result, "containers"), ["c-m"]);
        assert_eq!(result["metadata"]["annotations"][INJECTED_LIST], "m");
        assert_eq!(result["spec"].get("volumes"), None);
    }
}

#[test]
fn a_set_matches_by_selector_and_namespace_unless_paused() {
    let namespaces = [yaml("{kind: Namespace, metadata: {name: shop, labels: {env: prod}}}")];
    let v1alpha1 = |namespace: &str| {
        let set = with(small_set("m"), "/apiVersion", &json!("apps.kruise.io/v1alpha1"));
        with(set, "/spec/namespace", &json!(namespace))
    };
    let selector = |text: &str| with(small_set("m"), "/spec/selector", &yaml(text));
    let namespace_selector = |text: &str| with(small_set("m"), "/spec/namespaceSelector", &yaml(text));
    for (matches, set) in [
        (true, small_set("m")),
        (true, v1alpha1("shop")),
        (false, v1alpha1("default")),
        (true, with(v1alpha1("shop"), "/spec/namespaceSelector", &yaml("matchLabels: {env: test}"))),
        (false, selector("{}")),
        (false, selector("null")),
        (false, selector("{matchLabels: {}, matchExpressions: []}")),
        (true, selector("matchExpressions: [{key: app, operator: In, values: [a, nginx]}]")),
        (true, selector("matchExpressions: [{key: tier, operator: NotIn, values: [a]}]")),
        (false, selector("matchExpressions: [{key: app, operator: NotIn, values: [nginx]}]")),
        (false, selector("{matchLabels: {app: nginx}, matchExpressions: [{key: tier, operator: Exists}]}")),
        (true, selector("matchExpressions: [{key: tier, operator: DoesNotExist}]")),
        (true, namespace_selector("matchLabels: {env: prod}")),
        (false, namespace_selector("matchLabels: {env: test}")),
        (true, namespace_selector("matchLabels: {kubernetes.io/metadata.name: shop}")),
        (false, with(small_set("m"), "/spec/injectionStrategy", &json!({"paused": true}))),
        (true, with(small_set("m"), "/spec/updateStrategy", &json!({"paused": true}))),
    ] {
        let outcome = inject(&world(std::slice::from_ref(&set), &namespaces), &request(&yaml(NGINX)), NOW);
        assert_eq!(outcome != Outcome::Nothing, matches, "{}", set["spec"]);
    }
}

#[test]
fn only_the_creation_of_a_living_pod_outside_kube_system_is_injected() {
    let world = world(&[small_set("m")], &[]);
    let nginx = request(&yaml(NGINX));
    let pod = |pointer: &str, new: Value| Request { pod: with(yaml(NGINX), pointer, &new), ..nginx.clone() };
    for excluded in [
        Request { operation: "UPDATE".to_owned(), ..nginx.clone() },
        Request { sub_resource: "status".to_owned(), ..nginx.clone() },
        Request { namespace: "kube-system".to_owned(), ..nginx.clone() },
        pod("/metadata/namespace", json!("kube-system")),
        pod("/metadata/annotations", json!({"kubernetes.io/config.mirror": "x"})),
        pod("/metadata/deletionTimestamp", json!(NOW)),
        pod("/status", json!({"phase": "Failed"})),
        pod("/status", json!({"phase": "Succeeded"})),
    ] {
        assert_eq!(inject(&world, &excluded, NOW), Outcome::Nothing, "{excluded:?}");
    }
    let elsewhere = Request { namespace: "kube-system".to_owned(), ..pod("/metadata/namespace", json!("shop")) };
    assert!(matches!(inject(&world, &elsewhere, NOW), Outcome::Injected(_)));
}
