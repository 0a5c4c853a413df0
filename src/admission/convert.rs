//! `/convert`: SidecarSets from one version to another, one by one or a whole list at once.
//!
//! Nothing but the review decides: no other object has to be known, so this is served from the first moment on. One stored
//! object must not make all of them unreadable: what cannot be converted faithfully is converted as well as can be.

use super::reply::Reply;
use super::review::{expect_kind, quoted, read, unreadable, written};
use crate::api::conversion::{ConversionError, Version, convert};
use crate::api::conversion_review::{
    API_VERSION, ConversionRequest, ConversionResponse, ConversionResult, ConversionReview, ConversionReviewAnswer,
    KIND,
};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// Bytes that all annotations of an object may have together; the API server refuses what is converted to more.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Answers one `ConversionReview`.
#[must_use]
pub fn answer(body: &[u8]) -> Reply {
    match request(body) {
        Ok(request) => convert_all(&request),
        Err(reason) => unreadable(&reason),
    }
}

fn request(body: &[u8]) -> Result<ConversionRequest<'_>, String> {
    let review: ConversionReview<'_> = read(body, KIND)?;
    if &*review.api_version != API_VERSION {
        return Err(format!("apiVersion: expected {API_VERSION}, found {}", quoted(&review.api_version)));
    }
    expect_kind(&review.kind, KIND)?;
    let request = review.request.ok_or("request: required in a ConversionReview that is sent to a webhook")?;
    if request.uid.is_empty() {
        return Err("request.uid: required".to_owned());
    }
    Ok(request)
}

fn convert_all(request: &ConversionRequest<'_>) -> Reply {
    let Ok(version) = request.desired_api_version.parse() else {
        let wanted = quoted(&request.desired_api_version);
        let versions = [Version::V1alpha1, Version::V1beta1].map(|version| version.to_string()).join(" and ");
        return reply(&request.uid, Err(&format!("desiredAPIVersion: {wanted} is not known: there are {versions}")));
    };
    let mut objects = Vec::with_capacity(request.objects.len());
    let mut unfaithful = Vec::new();
    for (index, object) in request.objects.iter().enumerate() {
        match converted(object, version) {
            Ok(converted) => objects.push(converted),
            Err(Fault::Unfaithful(reason)) => {
                objects.push(relabelled(object, version));
                unfaithful.push(format!("objects[{index}] {}: {reason}", name_of(object)));
            }
            // No list of SidecarSets holds one: the review was sent to the wrong webhook.
            Err(Fault::Foreign(reason)) => return reply(&request.uid, Err(&format!("objects[{index}].{reason}"))),
        }
    }
    if let Some(first) = unfaithful.first() {
        let objects = unfaithful.len();
        tracing::error!(objects, first, %version, "SidecarSets that cannot be converted were given the other version as they are");
    }
    reply(&request.uid, Ok(objects))
}

/// Why an object was not converted.
enum Fault {
    /// It is a SidecarSet that cannot be converted faithfully.
    Unfaithful(String),
    /// It is no SidecarSet.
    Foreign(String),
}

fn converted(object: &RawValue, to: Version) -> Result<Box<RawValue>, Fault> {
    let unfaithful = |error: &dyn std::fmt::Display| Fault::Unfaithful(error.to_string());
    let object: Value = serde_json::from_str(object.get()).map_err(|error| unfaithful(&error))?;
    let converted = convert(object, to).map_err(|error| match error {
        ConversionError::NotASidecarSet(_) => Fault::Foreign(error.to_string()),
        error => unfaithful(&error),
    })?;
    let size = annotations_size(&converted);
    if size > ANNOTATIONS_LIMIT {
        return Err(Fault::Unfaithful(format!("metadata.annotations: would have {size} bytes")));
    }
    to_raw_value(&converted).map_err(|error| unfaithful(&error))
}

fn annotations_size(object: &Value) -> usize {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.into_iter().flatten().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

/// The object with another `apiVersion`, and every other field as it is.
fn relabelled(object: &RawValue, to: Version) -> Box<RawValue> {
    let relabelled = || {
        let version = to_raw_value(&to.to_string())?;
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(object.get())?;
        fields.insert("apiVersion".to_owned(), &version);
        to_raw_value(&fields)
    };
    relabelled().unwrap_or_else(|_: serde_json::Error| object.to_owned())
}

/// For messages: by reading as little as possible of an object that cannot be read as a whole.
fn name_of(object: &RawValue) -> String {
    #[derive(serde::Deserialize)]
    struct Named {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        name: String,
    }
    serde_json::from_str(object.get())
        .map_or_else(|_| "without a name".to_owned(), |named: Named| quoted(&named.metadata.name))
}

fn reply(uid: &str, converted: Result<Vec<Box<RawValue>>, &str>) -> Reply {
    let (converted_objects, result) = match converted {
        Ok(objects) => (objects, ConversionResult::Success),
        Err(message) => {
            tracing::error!(message, "a conversion failed");
            (Vec::new(), ConversionResult::Failure { message })
        }
    };
    let response = ConversionResponse { uid, converted_objects, result };
    written(&ConversionReviewAnswer { api_version: API_VERSION, kind: KIND, response })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(version: &str, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": format!("apps.kruise.io/{version}"), "kind": "SidecarSet",
               "metadata": {"name": name, "uid": format!("uid-of-{name}")}, "spec": spec})
    }

    fn review_of(objects: &[Value], desired: &str) -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
               "request": {"uid": "u-1", "desiredAPIVersion": desired, "objects": objects}})
    }

    #[track_caller]
    fn response(review: &str) -> Value {
        let reply = answer(review.as_bytes());
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let mut answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("apiextensions.k8s.io/v1"), &json!("ConversionReview"))
        );
        answer["response"].take()
    }

    #[track_caller]
    fn converted(objects: &[Value], to: &str) -> Vec<Value> {
        let mut response = response(&review_of(objects, &format!("apps.kruise.io/{to}")).to_string());
        assert_eq!((&response["uid"], &response["result"]), (&json!("u-1"), &json!({"status": "Success"})));
        serde_json::from_value(response["convertedObjects"].take()).unwrap()
    }

    fn rejects(review: &Value, message: &str) {
        let reply = answer(review.to_string().as_bytes());
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(reply.status, 400, "{text}");
        assert!(text.starts_with(message), "{text}");
    }

    #[test]
    fn a_list_is_converted_in_its_order_and_back() {
        let old = [
            set("v1alpha1", "a", &json!({"namespace": "shop", "future": {"n": 1.5}})),
            set("v1alpha1", "b", &json!({"containers": [{"name": "c", "unknown": [null]}]})),
        ];
        let new = converted(&old, "v1beta1");
        assert_eq!(
            new[0]["spec"]["namespaceSelector"],
            json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}})
        );
        assert_eq!(new[1], set("v1beta1", "b", &old[1]["spec"]));
        assert_eq!(converted(&new, "v1alpha1"), old);
        assert_eq!(converted(&[], "v1beta1"), Vec::<Value>::new());
    }

    #[test]
    fn an_object_that_cannot_be_converted_gets_the_version_and_fails_no_list() {
        let good = set("v1beta1", "good", &json!({}));
        for broken in [
            set("v1alpha1", "spec-is-a-list", &json!([])),
            set("v1beta2", "stored-by-a-newer-version", &json!({"namespace": "shop"})),
            set("v1beta1", "too-long-for-an-annotation", &json!({"customVersion": "x".repeat(300_000)})),
        ] {
            let to = if broken["apiVersion"] == "apps.kruise.io/v1alpha1" { "v1beta1" } else { "v1alpha1" };
            let mut expected = broken.clone();
            expected["apiVersion"] = json!(format!("apps.kruise.io/{to}"));
            let converted = converted(&[good.clone(), broken, good.clone()], to);
            assert_eq!(converted.len(), 3);
            assert_eq!(converted[1], expected);
            assert_eq!(converted[2]["metadata"], good["metadata"]);
        }
    }

    #[test]
    fn an_object_too_deep_to_be_read_keeps_its_text() {
        let deep = format!("{}1.10{}", "[".repeat(500), "]".repeat(500));
        let object = set("v1alpha1", "deep", &json!({"future": "here"})).to_string().replace("\"here\"", &deep);
        let review = review_of(&[json!("object")], "apps.kruise.io/v1beta1").to_string().replace("\"object\"", &object);
        let reply = answer(review.as_bytes());
        let text = String::from_utf8(reply.body).unwrap();
        assert!(text.contains("\"convertedObjects\":[{\"apiVersion\":\"apps.kruise.io/v1beta1\""), "{text}");
        assert!(text.contains(&format!("{{\"future\":{deep}}}")), "{text}");
    }

    #[test]
    fn an_unknown_version_or_another_kind_is_a_failed_result() {
        let failure = |review: &Value| {
            let response = response(&review.to_string());
            assert_eq!((&response["uid"], &response["result"]["status"]), (&json!("u-1"), &json!("Failure")));
            assert_eq!(response["convertedObjects"], json!([]));
            response["result"]["message"].as_str().unwrap().to_owned()
        };
        let good = set("v1beta1", "good", &json!({}));
        assert_eq!(
            failure(&review_of(&[good], "apps.kruise.io/v2")),
            "desiredAPIVersion: \"apps.kruise.io/v2\" is not known: there are apps.kruise.io/v1alpha1 and apps.kruise.io/v1beta1"
        );
        let other = json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "metadata": {"name": "c"}});
        assert_eq!(
            failure(&review_of(&[other], "apps.kruise.io/v1beta1")),
            "objects[0].kind: expected SidecarSet, found \"CloneSet\""
        );
    }

    #[test]
    fn what_is_no_review_is_a_400_that_says_why() {
        let with = |path: &str, value: Value| {
            let mut review = review_of(&[], "apps.kruise.io/v1beta1");
            *review.pointer_mut(path).unwrap() = value;
            review
        };
        let beta = with("/apiVersion", json!("apiextensions.k8s.io/v1beta1"));
        rejects(&beta, "apiVersion: expected apiextensions.k8s.io/v1, found \"apiextensions.k8s.io/v1beta1\"");
        rejects(&with("/kind", json!("AdmissionReview")), "kind: expected ConversionReview, found \"AdmissionReview\"");
        rejects(&with("/request", Value::Null), "request: required");
        rejects(&with("/request/uid", json!("")), "request.uid: required");
        rejects(&with("/request/objects", json!({})), "request.objects: invalid type: map");
        assert_eq!(answer(b"").body, b"the body is empty: a ConversionReview is expected\n");
    }
}
