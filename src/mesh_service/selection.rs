//! Pure: whether the labels of a MeshService's subsets select any Pod, by the API server's last answer.
//!
//! There are many Pods and they change often, so they are not watched. One Pod of each subset is requested when a
//! MeshService changes, and again after some minutes.

use super::outcome::Plan;
use super::violation;
use crate::api::mesh_service::{Severity, Violation};
use crate::mesh_integrity::{Code, subset_selector};
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The pause for subsets that select Pods.
const PAUSE: Duration = Duration::from_secs(300);

/// The first pause for subsets that select none: Pods often come after the MeshService. The pause doubles up to
/// [`PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// Pods of a namespace that have these labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selection {
    /// The namespace.
    pub namespace: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

/// A subset of a planned rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    name: String,
    labels: BTreeMap<String, String>,
    host: String,
    /// The DestinationRule, as `Kind/namespace/name`.
    resource: String,
    /// The Pods that it selects; `None`: its labels contradict those of the Service, so that it selects none.
    pub selection: Option<Selection>,
}

/// The API server's answer for each selection.
#[derive(Debug, Default)]
pub struct Answers(HashMap<Selection, Answer>);

#[derive(Debug)]
struct Answer {
    /// Whether there is a Pod, if known.
    is_any: Option<bool>,
    asked: Timestamp,
    pause: Duration,
}

impl Selection {
    /// Returns the selector in the syntax of the API server.
    #[must_use]
    pub fn selector(&self) -> String {
        text(&self.labels)
    }
}

impl Subset {
    /// Returns the subsets with labels of the planned rules, for a Service of this namespace and selector.
    #[must_use]
    pub fn of_plan(plan: &Plan, namespace: &str, selector: &BTreeMap<String, String>) -> Vec<Self> {
        if selector.is_empty() {
            return Vec::new();
        }
        let of_rule = |rule: &DynamicObject| {
            let (spec, metadata) = (&rule.data["spec"], &rule.metadata);
            let name = |text: &Option<String>| text.clone().unwrap_or_default();
            let resource = format!("DestinationRule/{}/{}", name(&metadata.namespace), name(&metadata.name));
            let host = spec["host"].as_str().unwrap_or_default().to_owned();
            let subsets = spec["subsets"].as_array().cloned().unwrap_or_default();
            let subset = move |subset: Value| {
                let labels = labels(&subset["labels"]);
                let selected = subset_selector(selector, &labels);
                let selection = selected.map(|labels| Selection { namespace: namespace.to_owned(), labels });
                let name = subset["name"].as_str().unwrap_or_default().to_owned();
                (!labels.is_empty()).then(|| Self {
                    name,
                    labels,
                    host: host.clone(),
                    resource: resource.clone(),
                    selection,
                })
            };
            subsets.into_iter().filter_map(subset).collect::<Vec<_>>()
        };
        let is_rule =
            |object: &&DynamicObject| object.types.as_ref().is_some_and(|types| types.kind == "DestinationRule");
        plan.objects.iter().filter(is_rule).flat_map(of_rule).collect()
    }

    /// Returns the violation that it selects no Pod. Pods change, and may come after the MeshService, so this does not
    /// prevent `Consistent`.
    #[must_use]
    pub fn without_pods(&self) -> Violation {
        let Self { name, labels, host, resource, .. } = self;
        let message =
            format!("The labels {} of subset {name} select no Pod of {host} ({})", text(labels), Code::IST0173);
        Violation {
            type_: violation::SUBSET_WITHOUT_PODS.to_owned(),
            resource: resource.clone(),
            message,
            severity: Severity::Warning,
        }
    }
}

impl Answers {
    /// Forgets all selections but these.
    pub fn keep<'s>(&mut self, selections: impl Iterator<Item = &'s Selection>) {
        let mut kept = HashMap::new();
        for selection in selections {
            if let Some((selection, answer)) = self.0.remove_entry(selection) {
                kept.insert(selection, answer);
            }
        }
        self.0 = kept;
    }

    /// Returns the time until a selection is due to be checked.
    #[must_use]
    pub fn due(&self, selection: &Selection, now: Timestamp) -> Duration {
        let Some(answer) = self.0.get(selection) else { return Duration::ZERO };
        // A clock that is set back does not extend a pause.
        let passed = Duration::try_from(now.duration_since(answer.asked)).unwrap_or(answer.pause);
        answer.pause.saturating_sub(passed)
    }

    /// Returns whether it is known that a selection selects no Pod.
    #[must_use]
    pub fn is_empty(&self, selection: &Selection) -> bool {
        self.0.get(selection).is_some_and(|answer| answer.is_any == Some(false))
    }

    /// Takes the API server's answer whether there is such a Pod; `None`: no answer, and the old one counts.
    pub fn answered(&mut self, selection: Selection, is_any: Option<bool>, now: Timestamp) {
        let before = self.0.get(&selection);
        let is_known = is_any.or_else(|| before.and_then(|before| before.is_any));
        let pause = match before {
            _ if is_any != Some(false) => spread(PAUSE, &selection),
            Some(Answer { is_any: Some(false), pause, .. }) => (2 * *pause).min(PAUSE),
            _ => FIRST_PAUSE,
        };
        self.0.insert(selection, Answer { is_any: is_known, asked: now, pause });
    }
}

/// Returns the pause, up to a fifth longer. Otherwise all requests after a start would stay simultaneous.
fn spread(pause: Duration, selection: &Selection) -> Duration {
    let mut hasher = DefaultHasher::new();
    selection.hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 256).unwrap_or_default();
    pause + pause / 5 * part / 256
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    value.as_object().into_iter().flatten().filter_map(label).collect()
}

/// Returns labels as `KEY=VALUE,…`.
fn text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn selection(version: &str) -> Selection {
        Selection { namespace: "shop".to_owned(), labels: labels(&json!({"app": "web", "version": version})) }
    }

    fn subsets(selector: &Value, subsets: &Value) -> Vec<Subset> {
        let rule = DynamicObject {
            types: Some(kube::api::TypeMeta { api_version: String::new(), kind: "DestinationRule".to_owned() }),
            metadata: kube::api::ObjectMeta {
                name: Some("web".to_owned()),
                namespace: Some("shop".to_owned()),
                ..kube::api::ObjectMeta::default()
            },
            data: json!({"spec": {"host": "web.shop.svc.cluster.local", "subsets": subsets}}),
        };
        Subset::of_plan(&Plan { objects: vec![rule], ..Plan::default() }, "shop", &labels(selector))
    }

    #[test]
    fn a_subset_selects_pods_of_the_service_that_have_its_labels() {
        let one = |name: &str, labels: Value| json!([{"name": name, "labels": labels}]);
        let found = subsets(&json!({"app": "web"}), &one("v1", json!({"version": "v1"})));
        assert_eq!(found[0].selection, Some(selection("v1")));
        assert_eq!(found[0].selection.as_ref().unwrap().selector(), "app=web,version=v1");
        let message = "The labels version=v1 of subset v1 select no Pod of web.shop.svc.cluster.local (IST0173)";
        assert_eq!(found[0].without_pods().message, message);
        let contradicts = subsets(&json!({"app": "web"}), &one("x", json!({"app": "other"})));
        assert_eq!(contradicts[0].selection, None);
        for (selector, wanted) in [
            (json!({}), one("v1", json!({"version": "v1"}))), // another client writes its Endpoints
            (json!({"app": "web"}), one("all", json!({}))),
        ] {
            assert_eq!(subsets(&selector, &wanted), []);
        }
    }

    #[test]
    fn pods_are_asked_for_at_once_and_then_every_few_minutes() {
        let (mut answers, v1) = (Answers::default(), selection("v1"));
        assert_eq!(answers.due(&v1, at(0)), Duration::ZERO);
        answers.answered(v1.clone(), Some(true), at(0));
        let due = answers.due(&v1, at(0));
        assert!(due >= PAUSE && due <= PAUSE * 6 / 5, "{due:?}");
        assert_eq!(answers.due(&v1, at(360)), Duration::ZERO);
        assert!(!answers.is_empty(&v1));
    }

    #[test]
    fn where_there_is_no_pod_it_is_asked_again_sooner_at_first() {
        let (mut answers, v1) = (Answers::default(), selection("v1"));
        let pauses = (0..5).map(|_| {
            answers.answered(v1.clone(), Some(false), at(0));
            answers.due(&v1, at(0)).as_secs()
        });
        assert_eq!(pauses.collect::<Vec<_>>(), [60, 120, 240, 300, 300]);
        assert!(answers.is_empty(&v1));
        answers.answered(v1.clone(), None, at(0));
        assert!(answers.is_empty(&v1), "nothing was learnt");
        answers.answered(v1.clone(), Some(true), at(0));
        assert!(!answers.is_empty(&v1));
        answers.answered(v1.clone(), Some(false), at(0));
        assert_eq!(answers.due(&v1, at(0)), FIRST_PAUSE);
    }

    #[test]
    fn only_what_is_still_asked_for_is_remembered() {
        let mut answers = Answers::default();
        for version in ["v1", "v2"] {
            answers.answered(selection(version), Some(true), at(0));
        }
        answers.keep([selection("v2"), selection("v3")].iter());
        assert_eq!(answers.0.len(), 1);
        assert_eq!(answers.due(&selection("v1"), at(0)), Duration::ZERO);
    }
}
