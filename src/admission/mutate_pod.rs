//! `/mutate-pod`: from the bytes of an AdmissionReview to its answer.
//!
//! A body that cannot be read gets a 400 with the reason. A Pod that a matching SidecarSet cannot be injected into is
//! denied with code 422. Neither needs a call to another server.

use super::metrics::{InjectionResult, Metrics};
use super::reply::Reply;
use super::review::{Refusal, Review, bounded, message, quoted, short};
use crate::api::admission_review::{AdmissionRequest, AdmissionResponse, Status};
use crate::api::pod::{ContainerView, PodView};
use crate::injection::{InjectError, Injected, Injection, PodRequest, Snapshot};
use crate::telemetry::seldom;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// A container is the largest object made of a value: `{}` takes as much, in a list grown to twice its length.
const BYTES_A_VALUE: usize = 2 * size_of::<ContainerView<'_>>();

/// Answers one review of a Pod and counts the decision. It ends early once `abandoned` is set.
#[must_use]
pub fn answer(body: &[u8], abandoned: &AtomicBool, snapshot: &Snapshot, now: Timestamp, metrics: &Metrics) -> Reply {
    match decide(body, abandoned, snapshot, now) {
        Ok((reply, result)) => {
            metrics.injections(result).inc();
            reply
        }
        Err(refusal) => refusal.reply(),
    }
}

/// Reads a body. The error names the field at fault.
pub(super) fn read(body: &[u8]) -> Result<Review<'_, PodView<'_>>, Refusal> {
    Review::read(body, "", "Pod", BYTES_A_VALUE)
}

fn decide(
    body: &[u8],
    abandoned: &AtomicBool,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<(Reply, InjectionResult), Refusal> {
    let review = read(body)?;
    match pod_of(&review.request)? {
        Some(pod) => inject(&review, pod, abandoned, snapshot, now),
        None => Ok((review.reply(review.allow()), InjectionResult::Excluded)),
    }
}

/// Returns the Pod to create; `None` when the request creates none.
fn pod_of<'r, 'a>(request: &'r AdmissionRequest<'a, PodView<'a>>) -> Result<Option<&'r PodView<'a>>, String> {
    let Some(pod) = &request.object else {
        return match &*request.operation {
            "CREATE" => Err("request.object: required to create a Pod".to_owned()),
            _ => Ok(None),
        };
    };
    match pod.kind.as_deref() {
        None | Some("" | "Pod") => Ok(Some(pod)),
        Some(other) => Err(format!("request.object.kind: expected Pod, found {}", quoted(other))),
    }
}

fn inject<'a>(
    review: &Review<'a, PodView<'a>>,
    pod: &PodView<'a>,
    abandoned: &AtomicBool,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<(Reply, InjectionResult), Refusal> {
    let request = PodRequest {
        namespace: review.request.namespace.as_deref().unwrap_or_default(),
        operation: &review.request.operation,
        sub_resource: review.request.sub_resource.as_deref().unwrap_or_default(),
        uid: &review.request.uid,
        now: Some(now),
        abandoned: Some(abandoned),
    };
    let namespace = request.namespace_of(pod);
    let metadata = pod.metadata.as_ref();
    let pod_name = metadata
        .and_then(|m| m.name.as_deref().filter(|name| !name.is_empty()).or(m.generate_name.as_deref()))
        .unwrap_or_default();
    match snapshot.inject(pod, &request) {
        Ok(Injection::Excluded(reason)) => {
            tracing::debug!(namespace, pod = pod_name, %reason, "excluded");
            Ok((review.reply(review.allow()), InjectionResult::Excluded))
        }
        Ok(Injection::NotMatched) => {
            tracing::debug!(namespace, pod = pod_name, "no SidecarSet matches");
            Ok((review.reply(review.allow()), InjectionResult::NotMatched))
        }
        Ok(Injection::Matched(injected)) => {
            let sets = sets_text(&injected);
            tracing::debug!(namespace, pod = pod_name, sets, patched = injected.patch.is_some(), "injected");
            let warnings = bounded(injected.warnings);
            let audit_annotations = BTreeMap::from([("sidecarsets", sets)]);
            let allowed = AdmissionResponse { warnings: &warnings, audit_annotations, ..review.allow() };
            Ok(match injected.patch {
                Some(patch) => (review.reply_with_patch(allowed, patch.as_bytes()), InjectionResult::Injected),
                None => (review.reply(allowed), InjectionResult::Unchanged),
            })
        }
        Err(InjectError::Denied(denial)) => {
            let message = message(denial.to_string());
            seldom!(warn, namespace = short(namespace), pod = short(pod_name), reason = message, "a Pod is denied");
            let status = Status { code: 422, reason: "Invalid", message: &message, details: None };
            Ok((review.reply(review.deny(status)), InjectionResult::Denied))
        }
        Err(unreadable @ InjectError::Unreadable(_)) => Err(format!("request.object: {unreadable}").into()),
        Err(InjectError::Abandoned) => {
            tracing::debug!(namespace, pod = pod_name, "nobody waits for this review any more");
            Err(Refusal::Abandoned)
        }
    }
}

/// Returns `name@revision,…`, for the audit log.
fn sets_text(injected: &Injected) -> String {
    let names = injected.sets.iter().map(|set| match &set.revision {
        Some(revision) => format!("{}@{revision}", set.name),
        None => set.name.clone(),
    });
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use crate::injection::{Index, InjectableSet, Options, Revision};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    fn snapshot() -> Snapshot {
        let mut index = Index::new(Options::default());
        let set = json!({
            "apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"name": "test-sidecarset"},
            "spec": {"selector": {"matchLabels": {"app": "nginx"}},
                     "containers": [{"name": "sidecar1", "image": "centos:7", "command": ["sleep", "999d"]}]}
        });
        index.apply_set(InjectableSet::new(decode::sidecarset(set).unwrap()).unwrap());
        index.snapshot()
    }

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "test-pod", "labels": {"app": "nginx"}},
               "spec": {"containers": [{"name": "app", "image": "nginx:1.15.1"}]}})
    }

    fn review_of(object: &Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": "default", "object": object
        }})
    }

    fn post(body: &[u8]) -> Reply {
        answer(body, &AtomicBool::new(false), &snapshot(), Timestamp::UNIX_EPOCH, &Metrics::default())
    }

    fn response(review: &Value) -> Value {
        let reply = post(review.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        serde_json::from_slice::<Value>(&reply.body).unwrap()["response"].take()
    }

    fn rejects(body: &[u8], message: &str) {
        let reply = post(body);
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(reply.status, 400, "{text}");
        assert!(text.starts_with(message), "{text}");
    }

    #[test]
    fn a_matching_pod_gets_a_patch_in_base64() {
        let response = response(&review_of(&pod()));
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("u-1"), &json!(true)));
        assert_eq!(response["patchType"], "JSONPatch");
        assert_eq!(response["auditAnnotations"], json!({"sidecarsets": "test-sidecarset"}));
        let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut patched = pod();
        json_patch::patch(&mut patched, &patch).unwrap();
        assert_eq!(patched["spec"]["containers"][0]["name"], "sidecar1");
        assert_eq!(patched["spec"]["containers"][1]["name"], "app");
    }

    #[test]
    fn warnings_and_the_revisions_of_the_sets_reach_the_answer() {
        let mut index = Index::new(Options::default());
        let mount = json!([{"name": "gone", "mountPath": "/gone"}]);
        for (name, container) in [("a", "app"), ("b", "logs")] {
            let containers = json!([{"name": container, "image": "x:1", "volumeMounts": mount}]);
            let set = json!({
                "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name},
                "spec": {"selector": {"matchLabels": {"app": "nginx"}}, "containers": containers}
            });
            index.apply_set(InjectableSet::new(decode::sidecarset(set).unwrap()).unwrap());
        }
        let revision = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 4,
            "metadata": {"name": "a-4", "labels": {"kruise.io/sidecarset-name": "a"}},
            "data": {"spec": {"containers": [{"name": "app", "image": "x:1", "volumeMounts": mount}]}}
        });
        index.apply_revision(Revision::read(revision).unwrap().unwrap());
        let body = review_of(&pod()).to_string();
        let waited_for = AtomicBool::new(false);
        let reply = answer(body.as_bytes(), &waited_for, &index.snapshot(), Timestamp::UNIX_EPOCH, &Metrics::default());
        let response = serde_json::from_slice::<Value>(&reply.body).unwrap()["response"].take();
        assert_eq!(response["auditAnnotations"], json!({"sidecarsets": "a@a-4,b"}));
        assert_eq!(
            response["warnings"],
            json!([
                "SidecarSet \"a\" replaces the Pod's own spec.containers[0] \"app\": rename that container if it is needed",
                "SidecarSet \"a\": Kubernetes will refuse this Pod: spec.containers \"app\" volumeMounts: neither the set nor the Pod has a volume \"gone\"",
                "SidecarSet \"b\": Kubernetes will refuse this Pod: spec.containers \"logs\" volumeMounts: neither the set nor the Pod has a volume \"gone\"",
            ])
        );
        assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    }

    #[test]
    fn an_answer_without_warnings_does_not_mention_them() {
        assert_eq!(response(&review_of(&pod())).get("warnings"), None);
    }

    #[test]
    fn the_answer_has_the_version_of_the_review() {
        let mut review = review_of(&pod());
        review["apiVersion"] = json!("admission.k8s.io/v1beta1");
        let reply = post(review.to_string().as_bytes());
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1beta1");
    }

    #[test]
    fn a_pod_that_nothing_matches_is_allowed_without_a_patch() {
        let mut pod = pod();
        pod["metadata"]["labels"] = Value::Null;
        assert_eq!(response(&review_of(&pod)), json!({"uid": "u-1", "allowed": true}));
    }

    #[test]
    fn a_denial_is_422_and_names_the_set_and_the_field() {
        let mut pod = pod();
        pod["metadata"]["annotations"] = json!({"kruise.io/sidecarset-hash": "{not json"});
        let response = response(&review_of(&pod));
        assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(422)));
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("\"test-sidecarset\"") && message.contains("kruise.io/sidecarset-hash"), "{message}");
    }

    #[test]
    fn deletion_carries_no_object_and_is_allowed() {
        let mut review = review_of(&Value::Null);
        review["request"]["operation"] = json!("DELETE");
        assert_eq!(response(&review)["allowed"], true);
    }

    #[test]
    fn what_cannot_be_read_is_a_400_that_says_why() {
        let with = |path: &str, value: Value| {
            let mut review = review_of(&pod());
            *review.pointer_mut(path).unwrap() = value;
            review.to_string().into_bytes()
        };
        rejects(b"", "the body is empty");
        rejects(b"{", "the body is not JSON: ");
        rejects(b"[]", "the body is not an AdmissionReview: ");
        rejects(b"{}", "apiVersion: expected admission.k8s.io/v1 or v1beta1, found \"\"");
        rejects(&with("/kind", json!("Pod")), "kind: expected AdmissionReview, found \"Pod\"");
        rejects(
            &with("/kind", json!("x".repeat(100))),
            &format!("kind: expected AdmissionReview, found {:?}…\n", "x".repeat(64)),
        );
        rejects(
            &with("/request/object/metadata/labels", json!("hunter2")),
            "request.object.metadata.labels: invalid type: string, expected a map of strings",
        );
        rejects(&with("/request", Value::Null), "request: required");
        rejects(&with("/request/uid", json!("")), "request.uid: required");
        rejects(&with("/request/object", Value::Null), "request.object: required to create a Pod");
        rejects(&with("/request/object", json!(5)), "request.object: invalid type: integer `5`");
        rejects(&with("/request/object/kind", json!("Secret")), "request.object.kind: expected Pod, found \"Secret\"");
        rejects(
            &with("/request/kind", json!({"group": "apps", "version": "v1", "kind": "Deployment"})),
            "request.kind: expected a Pod, found \"Deployment\" of \"apps\" \"v1\"",
        );
        rejects(
            &with("/request/object/metadata/labels/app", json!(5)),
            "request.object.metadata.labels.app: invalid type: integer `5`, expected a string",
        );
        rejects(
            &with("/request/object/spec/containers/0/name", json!(5)),
            "request.object: the Pod's spec.containers[0].name: invalid type: integer `5`, expected a string",
        );
        rejects(
            &with("/request/object/spec/containers", json!({})),
            "request.object: the Pod's spec.containers: invalid type: map",
        );
        let mut bytes = review_of(&pod()).to_string().into_bytes();
        let length = bytes.len();
        bytes[length - 20] = 0xff;
        rejects(&bytes, "the body is not UTF-8: a wrong byte stands at offset ");
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_texts_do_not_count() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let with = |value: &str| {
            let mut review = review_of(&pod()).to_string();
            review.insert_str(1, &format!("\"future\":{value},"));
            review.into_bytes()
        };
        rejects(&with(&deep(10_000)), "the body has objects or lists more than 10000 deep");
        assert_eq!(post(&with(&deep(9_999))).status, 200);
        assert_eq!(post(&with(&format!("\"\\\"{}\"", "[".repeat(20_000)))).status, 200);
    }
}
