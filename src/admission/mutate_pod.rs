//! `/mutate-pod`: from the bytes of an AdmissionReview to its answer.
//!
//! A body that cannot be read is a 400 with the reason; a Pod that a matching SidecarSet cannot be injected into is denied with
//! code 422. Both are decided without any call to the outside.

use super::reply::Reply;
use crate::api::admission_review::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, AdmissionReviewAnswer, Status,
};
use crate::api::decode::without_value;
use crate::api::pod::PodView;
use crate::injection::{InjectError, Injected, Injection, PodRequest, Snapshot};
use crate::telemetry::{InjectionResult, Metrics};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Objects and lists inside each other beyond this are refused; the API server's own reader stops there too.
const MAX_DEPTH: usize = 10_000;
/// Kubernetes cuts a warning after this many characters,
const WARNING_CHARACTERS: usize = 256;
/// and all warnings of an answer after this many.
const ALL_WARNINGS_CHARACTERS: usize = 4096;
/// What callers wrote is quoted up to this length: they choose it, and it goes into the log.
const QUOTED_CHARACTERS: usize = 64;

/// Answers one review of a Pod, and counts what it decided.
#[must_use]
pub fn answer(body: &[u8], snapshot: &Snapshot, now: Timestamp, metrics: &Metrics) -> Reply {
    match review(body, snapshot, now) {
        Ok((reply, result)) => {
            metrics.injections(result).inc();
            reply
        }
        Err(reason) => {
            tracing::info!(reason, "a review cannot be read");
            Reply::text(400, format!("{reason}\n"))
        }
    }
}

fn review(body: &[u8], snapshot: &Snapshot, now: Timestamp) -> Result<(Reply, InjectionResult), String> {
    let text = std::str::from_utf8(body)
        .map_err(|e| format!("the body is not UTF-8: a wrong byte stands at offset {}", e.valid_up_to()))?;
    if is_deeper_than(text, MAX_DEPTH) {
        return Err(format!("the body has objects or lists more than {MAX_DEPTH} deep"));
    }
    let review: AdmissionReview<'_, PodView<'_>> = serde_json::from_str(text).map_err(|e| diagnosis(text, &e))?;
    let api_version = match &*review.api_version {
        known @ ("admission.k8s.io/v1" | "admission.k8s.io/v1beta1") => known,
        other => return Err(format!("apiVersion: expected admission.k8s.io/v1 or v1beta1, found {}", quoted(other))),
    };
    if &*review.kind != "AdmissionReview" {
        return Err(format!("kind: expected AdmissionReview, found {}", quoted(&review.kind)));
    }
    let request = review.request.ok_or("request: required in an AdmissionReview that is sent to a webhook")?;
    let pod = pod_of(&request)?;

    let request = PodReview { api_version, uid: &request.uid, request: &request, now };
    Ok(match pod {
        Some(pod) => request.decide(pod, snapshot)?,
        None => (request.allow(&[], None, BTreeMap::new()), InjectionResult::Excluded),
    })
}

/// The Pod to create; `None` where the request has none because it creates none.
fn pod_of<'r, 'a>(request: &'r AdmissionRequest<'a, PodView<'a>>) -> Result<Option<&'r PodView<'a>>, String> {
    if request.uid.is_empty() {
        return Err("request.uid: required".to_owned());
    }
    let (group, version, kind) = (&*request.kind.group, &*request.kind.version, &*request.kind.kind);
    if !(group.is_empty() && kind == "Pod") {
        let (kind, group, version) = (quoted(kind), quoted(group), quoted(version));
        return Err(format!("request.kind: expected a Pod, found {kind} of {group} {version}"));
    }
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

/// A review under way.
struct PodReview<'a> {
    api_version: &'a str,
    uid: &'a str,
    request: &'a AdmissionRequest<'a, PodView<'a>>,
    now: Timestamp,
}

impl PodReview<'_> {
    fn decide(&self, pod: &PodView<'_>, snapshot: &Snapshot) -> Result<(Reply, InjectionResult), String> {
        let request = PodRequest {
            namespace: self.request.namespace.as_deref().unwrap_or_default(),
            operation: &self.request.operation,
            sub_resource: self.request.sub_resource.as_deref().unwrap_or_default(),
            uid: self.uid,
            now: self.now,
        };
        let namespace = request.namespace_of(pod);
        let metadata = pod.metadata.as_ref();
        let pod_name = metadata
            .and_then(|m| m.name.as_deref().filter(|name| !name.is_empty()).or(m.generate_name.as_deref()))
            .unwrap_or_default();
        match snapshot.inject(pod, &request) {
            Ok(Injection::Excluded(reason)) => {
                tracing::debug!(namespace, pod = pod_name, %reason, "excluded");
                Ok((self.allow(&[], None, BTreeMap::new()), InjectionResult::Excluded))
            }
            Ok(Injection::NotMatched) => {
                tracing::debug!(namespace, pod = pod_name, "no SidecarSet matches");
                Ok((self.allow(&[], None, BTreeMap::new()), InjectionResult::NotMatched))
            }
            Ok(Injection::Matched(injected)) => {
                let sets = sets_text(&injected);
                tracing::debug!(namespace, pod = pod_name, sets, patched = injected.patch.is_some(), "injected");
                let result =
                    if injected.patch.is_some() { InjectionResult::Injected } else { InjectionResult::Unchanged };
                let audit = BTreeMap::from([("sidecarsets", sets)]);
                Ok((self.allow(&bounded(injected.warnings), injected.patch.as_deref(), audit), result))
            }
            Err(InjectError::Denied(denial)) => {
                let message = denial.to_string();
                tracing::warn!(namespace, pod = pod_name, reason = message, "a Pod is denied");
                let status = Status { code: 422, reason: "Invalid", message: &message };
                Ok((self.reply(false, Some(status), &[], None, BTreeMap::new()), InjectionResult::Denied))
            }
            Err(unreadable @ InjectError::Unreadable(_)) => Err(format!("request.object: {unreadable}")),
        }
    }

    fn allow(&self, warnings: &[String], patch: Option<&str>, audit: BTreeMap<&str, String>) -> Reply {
        self.reply(true, None, warnings, patch, audit)
    }

    fn reply(
        &self,
        allowed: bool,
        status: Option<Status<'_>>,
        warnings: &[String],
        patch: Option<&str>,
        audit_annotations: BTreeMap<&str, String>,
    ) -> Reply {
        let answer = AdmissionReviewAnswer {
            api_version: self.api_version,
            kind: "AdmissionReview",
            response: AdmissionResponse {
                uid: self.uid,
                allowed,
                status,
                patch_type: patch.map(|_| "JSONPatch"),
                patch: patch.map(|patch| STANDARD.encode(patch)),
                warnings,
                audit_annotations,
            },
        };
        match serde_json::to_vec(&answer) {
            Ok(body) => Reply::json(body),
            Err(e) => Reply::text(500, format!("the answer cannot be written: {e}\n")),
        }
    }
}

/// `name@revision,…`, for the audit log.
fn sets_text(injected: &Injected) -> String {
    let names = injected.sets.iter().map(|set| match &set.revision {
        Some(revision) => format!("{}@{revision}", set.name),
        None => set.name.clone(),
    });
    names.collect::<Vec<_>>().join(",")
}

/// Warnings as far as Kubernetes shows them, each cut at the end rather than dropped.
fn bounded(warnings: Vec<String>) -> Vec<String> {
    let mut left = ALL_WARNINGS_CHARACTERS;
    let cut = warnings.into_iter().map(|warning| match warning.char_indices().nth(WARNING_CHARACTERS - 1) {
        Some((end, last)) if end + last.len_utf8() < warning.len() => format!("{}…", &warning[..end]),
        _ => warning,
    });
    cut.take_while(|warning| {
        let fits = warning.chars().count() <= left;
        left = left.saturating_sub(warning.chars().count());
        fits
    })
    .collect()
}

/// A text of the caller's for a message, as far as it may be long.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What is wrong with a body, as precisely as it can be said. Only runs once reading has failed.
fn diagnosis(text: &str, error: &serde_json::Error) -> String {
    if text.trim().is_empty() {
        return "the body is empty: an AdmissionReview is expected".to_owned();
    }
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return format!("the body is not JSON: {error}");
    }
    let deserializer = &mut serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, AdmissionReview<'_, PodView<'_>>>(deserializer) {
        Err(e) if e.path().iter().next().is_some() => {
            format!("{}: {}", e.path(), without_value(&e.inner().to_string()))
        }
        _ => format!("the body is not an AdmissionReview: {}", without_value(&error.to_string())),
    }
}

/// Whether objects and lists stand more than `limit` deep in each other. What the readers skip they skip at any depth, so this
/// is looked at first; counting the opening brackets settles it for almost every body.
fn is_deeper_than(text: &str, limit: usize) -> bool {
    let opening = |byte: &u8| u8::from(matches!(byte, b'{' | b'['));
    // By chunks whose count fits a byte, which the compiler turns into vector instructions.
    let count =
        |text: &str| text.as_bytes().chunks(255).map(|c| usize::from(c.iter().map(opening).sum::<u8>())).sum::<usize>();
    if text.len() <= limit || count(text) <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use crate::injection::{Index, InjectableSet, Options, Revision};
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
        answer(body, &snapshot(), Timestamp::UNIX_EPOCH, &Metrics::new())
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
        let reply = answer(body.as_bytes(), &index.snapshot(), Timestamp::UNIX_EPOCH, &Metrics::new());
        let response = serde_json::from_slice::<Value>(&reply.body).unwrap()["response"].take();
        assert_eq!(response["auditAnnotations"], json!({"sidecarsets": "a@a-4,b"}));
        assert_eq!(
            response["warnings"],
            json!([
                "SidecarSet \"a\" replaces the Pod's own spec.containers[0] \"app\": rename that container if it is needed",
                "SidecarSet \"a\" mounts a volume \"gone\" in spec.containers \"app\" that neither the set nor the Pod has",
                "SidecarSet \"b\" mounts a volume \"gone\" in spec.containers \"logs\" that neither the set nor the Pod has",
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

    #[test]
    fn warnings_are_cut_as_kubernetes_would() {
        let warnings = bounded(vec!["ü".repeat(300); 20]);
        assert_eq!(warnings.len(), 16);
        assert!(warnings.iter().all(|w| w.chars().count() == 256 && w.ends_with('…')));
        assert_eq!(bounded(vec!["x".repeat(256)]), ["x".repeat(256)]);
    }
}
