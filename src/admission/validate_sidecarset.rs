//! `/validate-apps-kruise-io-sidecarset`: decides whether a SidecarSet may be stored next to the existing ones.
//!
//! A set that breaks a rule is denied with code 422 and all causes, as the API server denies its own kinds. An error
//! that the stored object already has is a warning.

use super::memory::Reserved;
use super::reply::Reply;
use super::review::{ADMISSION_REVIEW, Refusal, bounded, message, short, written};
use super::sidecarset::{self, SidecarSetReview, Unreadable, Write, name, received};
use crate::api::admission_review::{AdmissionResponse, AdmissionReviewAnswer, Status, StatusCause, StatusDetails};
use crate::api::sidecarset::{GROUP, KIND, SidecarSet};
use crate::injection::validate::{
    Cause, KnownRevision, OtherSet, Verdict, Whitelist, WhitelistError, World, advice, judge,
};
use crate::telemetry::seldom;
use std::collections::BTreeMap;
use std::sync::Arc;

/// At most 64 causes of an object are reported. A SidecarSet may conflict with all the others.
const CAUSES: usize = 64;

/// What validation knows of the cluster at one moment. By default it knows nothing: then only the object itself is
/// validated.
///
/// The parts are shared, so that a new snapshot costs only the changes, and a review copies nothing.
#[derive(Clone, Debug)]
pub struct KnownWorld {
    /// All SidecarSets by name, as v1beta1 and with their defaults ([`crate::api::decode::sidecarset`]). `None` when
    /// they are not known: then neither conflicts nor the base of a canary are checked.
    pub sets: Option<Arc<BTreeMap<String, Arc<OtherSet>>>>,
    /// The `ControllerRevisions` of each set by the set's name. `None` when they are not known: then a chosen revision
    /// is not checked.
    pub revisions: Option<Arc<BTreeMap<String, Vec<RevisionName>>>>,
    /// The annotations that sets may put on Pods: the `ConfigMap` [`crate::injection::validate::WHITELIST_CONFIG_MAP`],
    /// if it has the key.
    pub whitelist: Option<Arc<Result<Whitelist, WhitelistError>>>,
    /// Whether sets without a rule in the whitelist may put any annotation on Pods. Default: yes.
    pub patch_without_whitelist: bool,
}

/// The names by which a SidecarSet chooses one of its `ControllerRevisions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionName {
    /// Its name.
    pub name: String,
    /// Its label `apps.kruise.io/sidecarset-custom-version`.
    pub custom_version: Option<String>,
}

impl Default for KnownWorld {
    fn default() -> Self {
        Self { sets: None, revisions: None, whitelist: None, patch_without_whitelist: true }
    }
}

impl KnownWorld {
    fn judge(&self, set: &SidecarSet, old: Option<&SidecarSet>) -> Verdict {
        let others: Option<Vec<&OtherSet>> = self.sets.as_ref().map(|sets| sets.values().map(|set| &**set).collect());
        let revisions: Option<Vec<_>> = self.revisions.as_ref().map(|revisions| {
            let own = revisions.get(name(set)).into_iter().flatten();
            own.map(|RevisionName { name, custom_version }| KnownRevision {
                name,
                custom_version: custom_version.as_deref(),
            })
            .collect()
        });
        let world = World {
            others: others.as_deref(),
            whitelist: self.whitelist.as_deref(),
            patch_without_whitelist: self.patch_without_whitelist,
            revisions: revisions.as_deref(),
        };
        judge(set, old, &world)
    }
}

/// The result of a review.
#[derive(Debug)]
pub enum Decision {
    /// The answer.
    Final(Reply),
    /// The set may be stored.
    Allowed(Box<Allowed>),
}

/// A SidecarSet that may be stored, and the answer.
#[derive(Debug)]
pub struct Allowed {
    /// As v1beta1, with its defaults.
    pub set: SidecarSet,
    /// Whether it is not stored even so (a dry run).
    pub dry_run: bool,
    warnings: Vec<String>,
    uid: String,
    api_version: &'static str,
    _memory: Reserved,
}

impl Allowed {
    /// Returns the answer, with one more warning if there is one.
    #[must_use]
    pub fn reply(self, warning: Option<String>) -> Reply {
        let warnings = bounded(warning.into_iter().chain(self.warnings));
        let response =
            AdmissionResponse { uid: &self.uid, allowed: true, warnings: &warnings, ..AdmissionResponse::default() };
        written(&AdmissionReviewAnswer { api_version: self.api_version, kind: ADMISSION_REVIEW, response })
    }
}

/// Answers one review of a SidecarSet. It takes up to milliseconds when there are many sets.
#[must_use]
pub fn answer(body: &[u8], world: &KnownWorld) -> Reply {
    match decide(body, world) {
        Decision::Final(reply) => reply,
        Decision::Allowed(allowed) => allowed.reply(None),
    }
}

/// Answers like [`answer`], for callers that act before a set is stored.
#[must_use]
pub fn decide(body: &[u8], world: &KnownWorld) -> Decision {
    decided(body, world).unwrap_or_else(|refusal| Decision::Final(refusal.reply()))
}

fn decided(body: &[u8], world: &KnownWorld) -> Result<Decision, Refusal> {
    let review = sidecarset::read(body)?;
    let Write { set, old, .. } = match Write::of(&review) {
        Ok(Some(write)) => write,
        Ok(None) => return Ok(Decision::Final(review.reply(review.allow()))),
        Err(Unreadable::Set(error)) => {
            let object = review.request.object.and_then(|object| received(object).ok()).unwrap_or_default();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            return Ok(Decision::Final(denial(&review, name, &[Cause::unreadable(error)], &[])));
        }
        Err(Unreadable::Review(reason)) => return Err(reason.into()),
    };
    let Verdict { errors, warnings } = world.judge(&set, old.as_ref());
    let stored = warnings.iter().map(|cause| format!("invalid, but stored like this before: {cause}"));
    let warnings: Vec<String> = stored.chain(advice(&set)).collect();
    if !errors.is_empty() {
        return Ok(Decision::Final(denial(&review, name(&set), &errors, &bounded(warnings))));
    }
    let dry_run = review.request.dry_run.unwrap_or_default();
    let (uid, api_version) = (review.request.uid.to_string(), review.api_version);
    let allowed = Allowed { set, dry_run, warnings, uid, api_version, _memory: review.memory };
    Ok(Decision::Allowed(Box::new(allowed)))
}

fn denial(review: &SidecarSetReview<'_>, set: &str, errors: &[Cause], warnings: &[String]) -> Reply {
    let told: Vec<(String, String)> = errors.iter().take(CAUSES).map(told_of).collect();
    let mut sentences: Vec<String> = told.iter().map(|(field, problem)| format!("{field}: {problem}")).collect();
    let set = &short(set);
    seldom!(info, set, causes = errors.len(), first = sentences.first(), "a SidecarSet is denied");
    if errors.len() > told.len() {
        sentences.push(format!("and {} more", errors.len() - told.len()));
    }
    let causes = match &*sentences {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let message = format!("{KIND}.{GROUP} {set:?} is invalid: {causes}");
    let causes = errors.iter().zip(&told).map(|(cause, (field, message))| StatusCause {
        reason: cause.reason.cause_type(),
        message,
        field,
    });
    let details = StatusDetails { name: set, group: GROUP, kind: KIND, causes: causes.collect() };
    let status = Status { code: 422, reason: "Invalid", message: &message, details: Some(details) };
    review.reply(AdmissionResponse { warnings, ..review.deny(status) })
}

/// Returns the field of a cause and its error, cut to their limits: both contain text of the set's author.
fn told_of(cause: &Cause) -> (String, String) {
    (short(&cause.field), message(cause.message.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::review::NAME_CHARACTERS;
    use super::super::sidecarset::tests::{reads_reviews_of_sidecarsets, response, review_of};
    use super::*;
    use crate::api::decode;
    use serde_json::{Value, json};

    fn set(name: &str, fields: &Value) -> Value {
        let mut spec =
            json!({"selector": {"matchLabels": {"app": "web"}}, "containers": [{"name": "c", "image": "x:1"}]});
        for (field, value) in fields.as_object().unwrap() {
            spec[field] = value.clone();
        }
        json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name}, "spec": spec})
    }

    fn world_of(sets: &[Value]) -> KnownWorld {
        let sets = sets.iter().map(|set| decode::sidecarset(set.clone()).unwrap());
        let sets = sets.map(|set| (name(&set).to_owned(), Arc::new(OtherSet::of(&set)))).collect();
        KnownWorld { sets: Some(Arc::new(sets)), ..KnownWorld::default() }
    }

    fn judged(object: &Value, old: Option<&Value>, world: &KnownWorld) -> Value {
        response(&answer(review_of(object, old).to_string().as_bytes(), world))
    }

    #[test]
    fn a_valid_set_is_allowed_in_both_versions() {
        let mut valid = set("s", &json!({}));
        for version in ["apps.kruise.io/v1beta1", "apps.kruise.io/v1alpha1"] {
            valid["apiVersion"] = json!(version);
            assert_eq!(judged(&valid, None, &KnownWorld::default()), json!({"uid": "u-1", "allowed": true}));
        }
    }

    #[test]
    fn a_denial_is_422_with_all_causes_as_the_api_server_writes_them() {
        let one = judged(&set("s", &json!({"revisionHistoryLimit": -1})), None, &KnownWorld::default());
        let problem = "Invalid value: -1: must be at least 0";
        let text = format!("SidecarSet.apps.kruise.io \"s\" is invalid: spec.revisionHistoryLimit: {problem}");
        let cause = json!({"reason": "FieldValueInvalid", "message": problem, "field": "spec.revisionHistoryLimit"});
        let details = json!({"name": "s", "group": "apps.kruise.io", "kind": "SidecarSet", "causes": [cause]});
        let status = json!({"code": 422, "reason": "Invalid", "message": text, "details": details});
        assert_eq!(one, json!({"uid": "u-1", "allowed": false, "status": status}));

        let two = set("s", &json!({"revisionHistoryLimit": -1, "containers": [{"name": "c"}]}));
        let two = judged(&two, None, &KnownWorld::default());
        assert_eq!(
            two["status"]["message"],
            format!(
                "SidecarSet.apps.kruise.io \"s\" is invalid: [spec.revisionHistoryLimit: {problem}, spec.containers[0].image: Required value]"
            )
        );
        assert_eq!(two["status"]["details"]["causes"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_was_stored_like_this_is_a_warning() {
        let old = set("s", &json!({"revisionHistoryLimit": -1}));
        let response = judged(&old, Some(&old), &KnownWorld::default());
        assert_eq!(
            response,
            json!({"uid": "u-1", "allowed": true, "warnings": [
                "invalid, but stored like this before: spec.revisionHistoryLimit: Invalid value: -1: must be at least 0"
            ]})
        );
        let changed = set("s", &json!({"revisionHistoryLimit": -2}));
        assert_eq!(judged(&changed, Some(&old), &KnownWorld::default())["allowed"], false);
    }

    #[test]
    fn a_field_that_no_kubernetes_knows_is_a_warning_and_kept() {
        let misspelt = set("s", &json!({"containers": [{"name": "c", "image": "x:1", "livenesProbe": {}}]}));
        let response = judged(&misspelt, None, &KnownWorld::default());
        let warning = "spec.containers[0].livenesProbe: no Kubernetes up to 1.37 has this field: one that does not know it drops it without a word";
        assert_eq!(response, json!({"uid": "u-1", "allowed": true, "warnings": [warning]}));
    }

    #[test]
    fn a_set_that_cannot_be_read_is_denied_with_the_field() {
        let status =
            judged(&set("s", &json!({"initContainers": [{"upgradeStrategy": 5}]})), None, &KnownWorld::default());
        let status = &status["status"];
        assert_eq!(status["code"], 422);
        assert_eq!(
            status["message"],
            "SidecarSet.apps.kruise.io \"s\" is invalid: spec.initContainers[0].upgradeStrategy: Invalid value: invalid type: integer `5`, expected an object"
        );
        assert_eq!(status["details"]["causes"][0]["reason"], "FieldValueTypeInvalid");
        for version in ["apps.kruise.io/v1beta1", "apps.kruise.io/v1alpha1"] {
            let list = json!({"apiVersion": version, "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": []});
            let message = judged(&list, None, &KnownWorld::default())["status"]["message"].take();
            assert_eq!(message, "SidecarSet.apps.kruise.io \"s\" is invalid: spec: Invalid value: expected an object");
        }
    }

    #[test]
    fn a_set_of_more_containers_than_any_pod_has_is_denied() {
        let many = set("s", &json!({"initContainers": vec![json!({}); 1_001]}));
        let cause = judged(&many, None, &KnownWorld::default())["status"]["details"]["causes"][0].take();
        assert_eq!(cause["field"], "spec.initContainers");
        assert_eq!(cause["message"], "Invalid value: has 1001 items, at most 1000 are possible");
    }

    #[test]
    fn a_stored_set_that_cannot_be_read_can_be_repaired() {
        let mut old = set("s", &json!({}));
        old["spec"]["selector"] = json!("broken");
        assert_eq!(judged(&set("s", &json!({})), Some(&old), &KnownWorld::default())["allowed"], true);
    }

    #[test]
    fn other_sets_count_and_the_one_that_is_written_does_not() {
        let world = world_of(&[set("s", &json!({})), set("other", &json!({}))]);
        let denied = judged(&set("s", &json!({})), None, &world);
        assert_eq!(
            denied["status"]["details"]["causes"],
            json!([{"reason": "FieldValueInvalid", "field": "spec.containers[0].name",
                    "message": "Invalid value: \"c\": container c already exist in other"}])
        );
        assert_eq!(judged(&set("s", &json!({})), None, &world_of(&[set("s", &json!({}))]))["allowed"], true);
    }

    #[test]
    fn of_very_many_causes_the_first_are_told() {
        let others: Vec<_> = (0..100).map(|index| set(&format!("other-{index}"), &json!({}))).collect();
        let status = judged(&set("s", &json!({})), None, &world_of(&others))["status"].take();
        assert_eq!(status["details"]["causes"].as_array().unwrap().len(), CAUSES);
        assert!(status["message"].as_str().unwrap().ends_with(", and 36 more]"), "{status}");
    }

    #[test]
    fn long_values_and_names_are_told_by_their_beginning() {
        let long = "x".repeat(100_000);
        let resources = json!({"limits": {&long: "-1"}});
        let container = json!({"name": &long, "image": "x:1", "resources": resources});
        let status = judged(&set(&long, &json!({"containers": [container]})), None, &KnownWorld::default());
        let status = &status["status"];
        let length = |text: &Value| text.as_str().unwrap().chars().count();
        let causes = status["details"]["causes"].as_array().unwrap();
        let name = causes.iter().find(|cause| cause["field"] == "spec.containers[0].name").unwrap();
        assert!(name["message"].as_str().unwrap().starts_with("Invalid value: \"xxx"), "{name}");
        assert!(length(&name["message"]) < 400, "{name}");
        for cause in causes {
            assert!(length(&cause["message"]) <= 1_024 && length(&cause["field"]) <= NAME_CHARACTERS, "{cause}");
        }
        assert!(causes.iter().any(|cause| length(&cause["field"]) == NAME_CHARACTERS));
        assert_eq!(length(&status["details"]["name"]), NAME_CHARACTERS);
        assert!(length(&status["message"]) < causes.len() * 1_400 + 400, "{status}");
    }

    #[test]
    fn a_revision_that_is_chosen_is_one_of_the_sets_own() {
        let own = RevisionName { name: "s-1".to_owned(), custom_version: Some("v1".to_owned()) };
        let revisions = BTreeMap::from([("s".to_owned(), vec![own])]);
        let world = KnownWorld { revisions: Some(Arc::new(revisions)), ..KnownWorld::default() };
        let choosing = |name: &str, choice: Value| {
            judged(&set(name, &json!({"injectionStrategy": {"revision": choice}})), None, &world)["allowed"].take()
        };
        assert_eq!(choosing("s", json!({"revisionName": "s-1"})), true);
        assert_eq!(choosing("s", json!({"customVersion": "v1"})), true);
        assert_eq!(choosing("s", json!({"revisionName": "s-2"})), false);
        assert_eq!(choosing("other", json!({"revisionName": "s-1"})), false);
    }

    #[test]
    fn annotations_are_those_of_the_whitelist() {
        let patching = set("s", &json!({"patchPodMetadata": [{"annotations": {"k": "v"}}]}));
        let allowed = |whitelist: Option<&str>, patch_without_whitelist| {
            let whitelist = whitelist.map(|text| Arc::new(Whitelist::parse(text)));
            let world = KnownWorld { whitelist, patch_without_whitelist, ..KnownWorld::default() };
            judged(&patching, None, &world)["allowed"].take()
        };
        assert_eq!(allowed(None, true), true);
        assert_eq!(allowed(None, false), false);
        assert_eq!(allowed(Some(r#"{"rules": [{"allowedAnnotationKeyExprs": ["k"]}]}"#), false), true);
        assert_eq!(allowed(Some("broken"), true), false);
    }

    #[test]
    fn reviews_that_cannot_be_read_are_400_and_others_pass() {
        reads_reviews_of_sidecarsets(|body| answer(body, &KnownWorld::default()));
    }
}
