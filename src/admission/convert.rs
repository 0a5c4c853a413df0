//! `/convert`: converts SidecarSets from one version to another, one or a whole list at once.
//!
//! The result depends on the review alone, so this is served from the start. Objects are converted one after the other,
//! from the text of the body into the text of the answer. Nothing else is kept in memory.

use super::memory::{CONVERSIONS, LARGEST_OBJECT, MIB, NoMemory, Reserved};
use super::reply::Reply;
use super::review::{Refusal, check_uid, expect_kind, message, quoted, read, text_of};
use crate::api::conversion::{TextError, Version, convert_text};
use crate::api::conversion_review::{
    API_VERSION, ConversionRequest, ConversionResult, ConversionReview, ConversionReviewAnswer, KIND,
};
use crate::telemetry::seldom;
use serde_json::value::RawValue;

/// Answers of fewer bytes are not counted, because their reviews are.
const SMALL: usize = MIB;

/// Answers one `ConversionReview`.
#[must_use]
pub fn answer(body: &[u8]) -> Reply {
    answered(body).unwrap_or_else(Refusal::reply)
}

fn answered(body: &[u8]) -> Result<Reply, Refusal> {
    let (text, _) = text_of(body)?;
    let request = request(text)?;
    let Ok(version) = request.desired_api_version.parse() else {
        let wanted = quoted(&request.desired_api_version);
        let versions = [Version::V1alpha1, Version::V1beta1].map(|version| version.to_string()).join(" and ");
        let message = format!("desiredAPIVersion: {wanted} is not known: there are {versions}");
        return Ok(failure(&request.uid, message));
    };
    let size = request.objects.map_or(0, |objects| objects.get().len());
    // An object with a namespace grows by a few hundred bytes.
    let limit = size + size / 4 + SMALL;
    let memory = if size < SMALL { Ok(Reserved::NOTHING) } else { CONVERSIONS.reserve(limit) };
    let memory = memory.map_err(|no_memory| match no_memory {
        NoMemory::TooMuch => {
            Refusal::TooLarge(format!("request.objects: have {size} bytes, more than can be converted"))
        }
        NoMemory::Now => Refusal::Busy,
    })?;
    let mut converting = Converting::new(&request.uid, version, limit)?;
    let converted = request.for_each_object(|object| converting.next(object));
    match converted.map_err(|error| format!("request.objects: {error}"))? {
        Ok(()) => Ok(converting.end()?.holding(memory)),
        Err(message) => Ok(failure(&request.uid, message)),
    }
}

fn request(text: &str) -> Result<ConversionRequest<'_>, String> {
    let review: ConversionReview<'_> = read(text, KIND)?;
    if &*review.api_version != API_VERSION {
        return Err(format!("apiVersion: expected {API_VERSION}, found {}", quoted(&review.api_version)));
    }
    expect_kind(&review.kind, KIND)?;
    let request = review.request.ok_or("request: required in a ConversionReview that is sent to a webhook")?;
    check_uid(&request.uid)?;
    Ok(request)
}

/// Converts a list.
struct Converting {
    answer: ConversionReviewAnswer,
    version: Version,
    limit: usize,
    objects: usize,
    unfaithful: usize,
    first: Option<String>,
}

impl Converting {
    fn new(uid: &str, version: Version, limit: usize) -> Result<Self, String> {
        // An object that exceeds the limit must not copy the others.
        let capacity = limit + 2 * LARGEST_OBJECT;
        let answer = ConversionReviewAnswer::begin(uid, capacity).map_err(|error| error.to_string())?;
        Ok(Self { answer, version, limit, objects: 0, unfaithful: 0, first: None })
    }

    /// Converts the next object. It fails for an object that no list of SidecarSets has: the review was sent to the
    /// wrong webhook, or not by the API server.
    fn next(&mut self, object: &RawValue) -> Result<(), String> {
        let index = self.objects;
        let size = object.get().len();
        if size > LARGEST_OBJECT {
            return Err(format!("objects[{index}]: has {size} bytes, at most {LARGEST_OBJECT} are read"));
        }
        let converted = convert_text(object.get(), self.version, self.answer.next_object());
        let unfaithful = converted.map_err(|error| match error {
            TextError::Foreign(error) => format!("objects[{index}].{error}"),
            TextError::Json(error) => format!("objects[{index}]: {error}"),
        })?;
        if let Some(reason) = unfaithful {
            self.unfaithful += 1;
            self.first.get_or_insert_with(|| message(format!("objects[{index}] {}: {reason}", name_of(object))));
        }
        if self.answer.size() > self.limit {
            return Err(format!("objects[{index}]: the objects would have more than {} bytes", self.limit));
        }
        self.objects += 1;
        Ok(())
    }

    fn end(self) -> Result<Reply, String> {
        if let Some(first) = self.first {
            let (objects, version) = (self.unfaithful, self.version);
            seldom!(error, objects, first, %version, "SidecarSets that cannot be converted faithfully were converted as well as can be");
        }
        self.answer.end(&ConversionResult::Success).map(Reply::json).map_err(|error| error.to_string())
    }
}

/// Returns a name for messages. It reads as little as possible of an object that cannot be decoded.
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

fn failure(uid: &str, problem: String) -> Reply {
    let message = &message(problem);
    seldom!(error, message, "a conversion failed");
    let answer =
        ConversionReviewAnswer::begin(uid, 0).and_then(|answer| answer.end(&ConversionResult::Failure { message }));
    answer.map_or_else(|error| Reply::text(500, format!("the answer cannot be written: {error}\n")), Reply::json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
            set("v1alpha1", "a", &json!({"future": {"n": 1.5}, "namespace": "shop"})),
            set("v1alpha1", "b", &json!({"containers": [{"name": "c", "unknown": [null]}]})),
        ];
        let new = converted(&old, "v1beta1");
        assert_eq!(new[0]["spec"]["namespaceSelector"]["matchLabels"], json!({"kubernetes.io/metadata.name": "shop"}));
        assert_eq!(new[1], set("v1beta1", "b", &old[1]["spec"]));
        assert_eq!(converted(&new, "v1alpha1"), old);
        assert_eq!(converted(&[], "v1beta1"), Vec::<Value>::new());
    }

    #[test]
    fn a_part_of_an_object_is_answered_with_metadata() {
        let part = json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "spec": {"containers": []}});
        assert_eq!(converted(&[part], "v1beta1")[0]["metadata"], json!({}));
    }

    #[test]
    fn an_object_that_cannot_be_converted_faithfully_fails_no_list_and_keeps_its_restriction() {
        let good = set("v1beta1", "good", &json!({}));
        let annotated = |mut set: Value| {
            set["metadata"]["annotations"] = json!({"long": "x".repeat(256 * 1024)});
            set
        };
        for broken in [
            set("v1alpha1", "spec-is-a-list", &json!([])),
            set("v1alpha1", "no-selector", &json!({"namespace": "shop", "namespaceSelector": "x"})),
            set("v1beta2", "stored-by-a-newer-version", &json!({"namespace": "shop"})),
            annotated(set("v1alpha1", "much-annotated", &json!({"namespace": "shop"}))),
        ] {
            let converted = converted(&[good.clone(), broken.clone(), good.clone()], "v1beta1");
            assert_eq!((converted.len(), &converted[2]), (3, &good));
            assert_eq!(
                (&converted[1]["apiVersion"], &converted[1]["metadata"]),
                (&good["apiVersion"], &broken["metadata"])
            );
            let spec = &converted[1]["spec"];
            assert!(
                *spec == json!([]) || spec["namespaceSelector"].is_object() && spec.get("namespace").is_none(),
                "{spec}"
            );
        }
    }

    #[test]
    fn an_object_too_deep_to_be_read_keeps_its_text_and_its_restriction() {
        let deep = format!("{}1.10{}", "[".repeat(500), "]".repeat(500));
        let object = set("v1alpha1", "deep", &json!({"future": "here", "namespace": "shop"}));
        let object = object.to_string().replace("\"here\"", &deep);
        let review = review_of(&[json!("object")], "apps.kruise.io/v1beta1").to_string().replace("\"object\"", &object);
        let text = String::from_utf8(answer(review.as_bytes()).body).unwrap();
        assert!(text.contains("\"convertedObjects\":[{\"apiVersion\":\"apps.kruise.io/v1beta1\""), "{text}");
        assert!(text.contains(&format!("\"future\":{deep}")) && text.contains("namespaceSelector"), "{text}");
        assert!(!text.contains("\"namespace\":"), "{text}");
    }

    #[test]
    fn what_the_api_server_cannot_hold_is_a_failed_result() {
        let failure = |object: &str| {
            let review =
                review_of(&[json!("object")], "apps.kruise.io/v1beta1").to_string().replace("\"object\"", object);
            response(&review)["result"]["message"].as_str().unwrap().to_owned()
        };
        let long = set("v1alpha1", "long", &json!({"x": "here"})).to_string();
        let long = long.replace("\"here\"", &format!("[{}1]", "1,".repeat(LARGEST_OBJECT / 2)));
        assert_eq!(failure(&long), format!("objects[0]: has {} bytes, at most 4194304 are read", long.len()));
        let grows = set("v1alpha1", "", &json!({"namespace": "x"})).to_string();
        let many = vec![&*grows; 20_000].join(",");
        assert!(failure(&many).contains(": the objects would have more than "));
        for no_object in ["1", "[]", "null", "\"SidecarSet\""] {
            assert!(failure(no_object).starts_with("objects[0]: invalid type: "), "{}", failure(no_object));
        }
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
        rejects(&with("/request/uid", json!("x".repeat(257))), "request.uid: has 257 bytes, at most 256 are read");
        rejects(&with("/request/objects", json!({})), "request.objects: invalid type: map");
        assert_eq!(answer(b"").body, b"the body is empty: a ConversionReview is expected\n");
    }
}
