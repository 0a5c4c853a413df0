//! The Pods that the API server sends here: those with a label value that a SidecarSet requires, as a CEL expression.
//!
//! The expression has one required condition of each SidecarSet, so the Pods sent are a superset of those that match.
//! Only labels of Pods are used, never Namespaces: an API server may see a Pod before its Namespace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use crate::injection::{Operator, Selector};

/// The maximum of label keys in an expression. Each is one term, and the API server compiles many terms slowly.
const KEYS: usize = 32;
/// The maximum of values of all keys together.
const VALUES: usize = 10_000;
/// The maximum of characters: CEL's own limit,
/// <https://pkg.go.dev/github.com/google/cel-go/parser#ExpressionSizeCodePointLimit>.
const CHARACTERS: usize = 100_000;

/// Which Pods are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that have one of these labels; none if this is empty.
    Labels(Labels),
    /// All of them.
    Broad,
}

/// Keys of labels, each with values.
pub type Labels = BTreeMap<String, BTreeSet<String>>;

/// Why all Pods must be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooBroad {
    /// A set matches Pods with any label values.
    #[error("spec.selector of SidecarSet {0:?} names no value that a label must have")]
    Set(String),
    /// Too many keys.
    #[error("the SidecarSets need more than {KEYS} keys of labels")]
    Keys,
    /// Too many values.
    #[error("the SidecarSets need {0} values of labels, more than {VALUES}")]
    Values(usize),
    /// Too long.
    #[error("the SidecarSets need an expression of {0} characters, more than {CHARACTERS}")]
    Characters(usize),
}

/// A requirement that a label has one of these values.
type Positive<'s> = (&'s str, &'s [String]);

impl Default for Scope {
    /// No Pod.
    fn default() -> Self {
        Self::Labels(Labels::new())
    }
}

impl Scope {
    /// Returns what these SidecarSets need, each given by its name and selector. Of each set it takes the requirement
    /// whose key most sets have, so that few keys are needed. Paused sets count: they can be resumed without a wait.
    ///
    /// # Errors
    /// Only [`Scope::Broad`] is possible.
    pub fn of<'s>(sets: impl IntoIterator<Item = (&'s str, &'s Selector)>) -> Result<Self, TooBroad> {
        let mut open = Vec::new();
        for (set, selector) in sets {
            let choices: Vec<Positive<'s>> = positive(selector).collect();
            if choices.is_empty() {
                return Err(TooBroad::Set(set.to_owned()));
            }
            open.push(choices);
        }
        let mut labels = Labels::new();
        while let Some(key) = most_shared(&open) {
            if labels.len() == KEYS {
                return Err(TooBroad::Keys);
            }
            let values = labels.entry(key.to_owned()).or_default();
            open.retain(|choices| {
                let of_key = choices.iter().filter(|(of, _)| *of == key);
                let Some((_, least)) = of_key.min_by_key(|(_, values)| values.len()) else { return true };
                values.extend(least.iter().cloned());
                false
            });
        }
        bounded(labels)
    }

    /// Returns this and what sets with these selectors need in addition: of each the requirement that adds the fewest
    /// keys, then the fewest values. The cost depends on the new sets, not on all. The result may be wider than
    /// [`Scope::of`] all of them.
    #[must_use]
    pub fn extended<'s>(self, selectors: impl IntoIterator<Item = &'s Selector>) -> Self {
        let Self::Labels(mut labels) = self else { return Self::Broad };
        for selector in selectors {
            let cheapest = positive(selector).min_by_key(|(key, values)| {
                let sent = labels.get(*key);
                let new = values.iter().filter(|value| !sent.is_some_and(|sent| sent.contains(*value)));
                (sent.is_none(), new.count())
            });
            let Some((key, values)) = cheapest else { return Self::Broad };
            labels.entry(key.to_owned()).or_default().extend(values.iter().cloned());
        }
        bounded(labels).unwrap_or(Self::Broad)
    }

    /// Returns the number of label values in it.
    #[must_use]
    pub fn values(&self) -> usize {
        match self {
            Self::Broad => 0,
            Self::Labels(labels) => labels.values().map(BTreeSet::len).sum(),
        }
    }

    /// Returns whether every Pod that this selector matches is sent.
    #[must_use]
    pub fn covers(&self, selector: &Selector) -> bool {
        match self {
            Self::Broad => true,
            Self::Labels(labels) => positive(selector).any(|(key, values)| {
                labels.get(key).is_some_and(|sent| values.iter().all(|value| sent.contains(value)))
            }),
        }
    }

    /// Returns whether every Pod that the other one sends is sent.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Broad, _) => true,
            (Self::Labels(_), Self::Broad) => false,
            (Self::Labels(labels), Self::Labels(others)) => {
                others.iter().all(|(key, values)| labels.get(key).is_some_and(|sent| values.is_subset(sent)))
            }
        }
    }

    /// Returns the union of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Labels(mut labels), Self::Labels(others)) => {
                for (key, values) in others {
                    labels.entry(key).or_default().extend(values);
                }
                bounded(labels).unwrap_or(Self::Broad)
            }
            _ => Self::Broad,
        }
    }
}

/// Returns the CEL expression that is true for Pods with one of these labels.
#[must_use]
pub fn expression(labels: &Labels) -> String {
    let terms: Vec<String> = labels
        .iter()
        .map(|(key, values)| {
            // CEL's texts and lists have JSON's syntax.
            let (key, values) = (serde_json::json!(key), serde_json::json!(values));
            format!("({key}{IN_LABELS}{key}{AMONG}{values})")
        })
        .collect();
    format!("{START}{}{END}", terms.join(OR))
}

const START: &str = "has(object.metadata.labels) && (";
const IN_LABELS: &str = " in object.metadata.labels && object.metadata.labels[";
const AMONG: &str = "] in ";
const OR: &str = " || ";
const END: &str = ")";

/// Returns the labels of an [`expression`]; `None` for any other text.
#[must_use]
pub fn parse(expression: &str) -> Option<Labels> {
    let mut rest = expression.strip_prefix(START)?;
    let mut labels = Labels::new();
    loop {
        rest = rest.strip_prefix('(')?;
        let key: String = literal(&mut rest)?;
        rest = rest.strip_prefix(IN_LABELS)?;
        let same: String = literal(&mut rest)?;
        rest = rest.strip_prefix(AMONG)?;
        let values: BTreeSet<String> = literal(&mut rest)?;
        rest = rest.strip_prefix(')')?;
        if key != same || labels.insert(key, values).is_some() {
            return None;
        }
        match rest.strip_prefix(OR) {
            Some(next) => rest = next,
            None => return (rest == END).then_some(labels),
        }
    }
}

/// Reads a text or list at the start of `rest`, and moves `rest` behind it.
fn literal<T: DeserializeOwned>(rest: &mut &str) -> Option<T> {
    let mut values = serde_json::Deserializer::from_str(rest).into_iter();
    let value = values.next()?.ok()?;
    *rest = &rest[values.byte_offset()..];
    Some(value)
}

fn positive(selector: &Selector) -> impl Iterator<Item = Positive<'_>> {
    selector.requirements().iter().filter_map(|requirement| match &requirement.operator {
        Operator::In(values) => Some((&*requirement.key, &**values)),
        _ => None,
    })
}

/// Returns the key that covers most sets, or the first of several.
fn most_shared<'s>(sets: &[Vec<Positive<'s>>]) -> Option<&'s str> {
    let mut shared: BTreeMap<&str, usize> = BTreeMap::new();
    for choices in sets {
        let keys: BTreeSet<&str> = choices.iter().map(|(key, _)| *key).collect();
        for key in keys {
            *shared.entry(key).or_default() += 1;
        }
    }
    shared.into_iter().max_by_key(|(key, sets)| (*sets, Reverse(*key))).map(|(key, _)| key)
}

fn bounded(labels: Labels) -> Result<Scope, TooBroad> {
    let values = labels.values().map(BTreeSet::len).sum();
    if labels.len() > KEYS {
        return Err(TooBroad::Keys);
    }
    if values > VALUES {
        return Err(TooBroad::Values(values));
    }
    let characters = expression(&labels).chars().count();
    if characters > CHARACTERS { Err(TooBroad::Characters(characters)) } else { Ok(Scope::Labels(labels)) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::decode;
    use crate::api::pod::PodView;
    use crate::injection::{Index, InjectableSet, Options, PodRequest};
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::{Value, json};

    pub fn selector(text: &Value) -> Selector {
        Selector::parse(&serde_json::from_value(text.clone()).unwrap(), "spec.selector").unwrap()
    }

    /// Returns labels such as `{"a": ["1", "2"]}`.
    pub fn labels(text: Value) -> Scope {
        Scope::Labels(serde_json::from_value(text).unwrap())
    }

    fn scope_of(selectors: &[Value]) -> Result<Scope, TooBroad> {
        let selectors: Vec<Selector> = selectors.iter().map(selector).collect();
        Scope::of(selectors.iter().map(|selector| ("s", selector)))
    }

    fn within(key: &str, values: impl Serialize) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]})
    }

    #[test]
    fn without_sets_no_pod_is_sent() {
        assert_eq!(scope_of(&[]), Ok(Scope::default()));
    }

    #[test]
    fn of_each_set_one_requirement_counts_and_few_keys_are_needed() {
        let sets = [
            json!({"matchLabels": {"app": "web", "sidecar": "on"}}),
            json!({"matchLabels": {"sidecar": "off"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]}),
            json!({"matchLabels": {"app": "db", "tier": "back"}}),
            within("sidecar", ["on", "auto"]),
        ];
        assert_eq!(scope_of(&sets), Ok(labels(json!({"app": ["db"], "sidecar": ["auto", "off", "on"]}))));
    }

    #[test]
    fn a_set_that_names_no_value_needs_all_pods() {
        for requirement in
            [json!({"key": "a", "operator": "Exists"}), json!({"key": "a", "operator": "NotIn", "values": ["1"]})]
        {
            let refused = scope_of(&[json!({"matchExpressions": [requirement]})]);
            assert_eq!(refused, Err(TooBroad::Set("s".to_owned())));
        }
    }

    #[test]
    fn beyond_the_limits_all_pods_are_sent() {
        let keys = |count: usize| -> Vec<Value> {
            (0..count).map(|n| json!({"matchLabels": {format!("k{n}"): "v"}})).collect()
        };
        assert!(scope_of(&keys(KEYS)).is_ok());
        assert_eq!(scope_of(&keys(KEYS + 1)), Err(TooBroad::Keys));
        let values = |count: usize| within("k", (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
        assert!(scope_of(&[values(VALUES)]).is_ok());
        assert_eq!(scope_of(&[values(VALUES + 1)]), Err(TooBroad::Values(VALUES + 1)));
        let long = within("k", (0..2_000).map(|n| format!("{n:063}")).collect::<Vec<_>>());
        assert!(matches!(scope_of(&[long]), Err(TooBroad::Characters(_))));
        let (half, other) = (scope_of(&keys(KEYS)).unwrap(), labels(json!({"other": ["v"]})));
        assert_eq!(half.with(other), Scope::Broad);
    }

    #[test]
    fn an_expression_is_quoted_and_can_be_read_again() {
        let Scope::Labels(some) = labels(json!({"app": ["we\"b]) || true", "b\\"], "k.io/x": [""]})) else { panic!() };
        let text = expression(&some);
        assert_eq!(
            text,
            r#"has(object.metadata.labels) && (("app" in object.metadata.labels && object.metadata.labels["app"] in ["b\\","we\"b]) || true"]) || ("k.io/x" in object.metadata.labels && object.metadata.labels["k.io/x"] in [""]))"#
        );
        assert_eq!(parse(&text), Some(some));
        for other in
            ["true", &text[1..], &format!("{text} || true"), &text.replacen("labels[\"app\"]", "labels[\"b\"]", 1)]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_set_is_covered_when_all_values_of_a_requirement_are_sent() {
        let sent = labels(json!({"app": ["web", "db"]}));
        for (set, covered) in [
            (json!({"matchLabels": {"app": "web"}}), true),
            (within("app", ["web", "db"]), true),
            (within("app", ["web", "new"]), false),
            (json!({"matchLabels": {"app": "new", "tier": "x"}}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}), false),
        ] {
            assert_eq!(sent.covers(&selector(&set)), covered, "{set}");
            assert!(Scope::Broad.covers(&selector(&set)));
        }
    }

    #[test]
    fn a_scope_is_extended_by_what_adds_least() {
        let extended = |by: &[Value]| {
            let selectors: Vec<Selector> = by.iter().map(selector).collect();
            labels(json!({"app": ["web"]})).extended(&selectors)
        };
        let both = json!({"matchLabels": {"a": "1", "app": "db"}});
        assert_eq!(extended(&[both]), labels(json!({"app": ["db", "web"]})), "a known key");
        let few = json!({"matchLabels": {"z": "1"}, "matchExpressions": [{"key": "b", "operator": "In", "values": ["1", "2"]}]});
        assert_eq!(extended(&[few]), labels(json!({"app": ["web"], "z": ["1"]})), "few values");
        let covered = json!({"matchLabels": {"app": "web", "more": "1"}});
        assert_eq!(extended(&[covered]), labels(json!({"app": ["web"]})), "nothing");
        assert_eq!(extended(&[json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]})]), Scope::Broad);
        assert_eq!(extended(&[within("app", (0..VALUES).map(|n| n.to_string()).collect::<Vec<_>>())]), Scope::Broad);
    }

    #[test]
    fn a_scope_contains_its_parts() {
        let (part, whole) = (labels(json!({"a": ["1"]})), labels(json!({"a": ["1", "2"], "b": ["3"]})));
        assert!(whole.contains(&part) && !part.contains(&whole) && part.contains(&Scope::default()));
        assert!(Scope::Broad.contains(&whole) && !whole.contains(&Scope::Broad));
        assert_eq!(part.clone().with(labels(json!({"a": ["2"], "b": ["3"]}))), whole);
        assert_eq!(part.with(Scope::Broad), Scope::Broad);
    }

    fn is_sent(scope: &Scope, pod: &PodView<'_>) -> bool {
        match scope {
            Scope::Broad => true,
            Scope::Labels(labels) => {
                labels.iter().any(|(key, values)| pod.label(key).is_some_and(|value| values.contains(value)))
            }
        }
    }

    fn a_requirement() -> impl Strategy<Value = Value> {
        let operator = prop_oneof![4 => Just("In"), 1 => Just("NotIn"), 1 => Just("Exists"), 1 => Just("DoesNotExist")];
        ("[abc]", operator, prop::collection::vec("[xyz]", 1..3)).prop_map(|(key, operator, values)| {
            let values = if operator.ends_with("In") { values } else { Vec::new() };
            json!({"key": key, "operator": operator, "values": values})
        })
    }

    fn a_set() -> impl Strategy<Value = Value> {
        let requirements = prop::collection::vec(a_requirement(), 1..4);
        let match_labels = prop::collection::btree_map("[abc]", "[xyz]", 0..3);
        (requirements, match_labels, any::<bool>(), any::<bool>()).prop_map(
            |(all, match_labels, paused, everywhere)| {
                let mut spec = json!({
                    "selector": {"matchLabels": match_labels, "matchExpressions": all},
                    "injectionStrategy": {"paused": paused}, "containers": [{"name": "c", "image": "x:1"}]
                });
                if !everywhere {
                    spec["namespaceSelector"] = json!({"matchLabels": {"team": "a"}});
                }
                spec
            },
        )
    }

    proptest! {
        #[test]
        fn a_pod_that_matches_is_sent(
            specs in prop::collection::vec(a_set(), 0..6),
            pods in prop::collection::vec(prop::collection::btree_map("[abcd]", "[xyz]", 0..4), 1..8),
        ) {
            let mut index = Index::new(Options::default());
            index.apply_namespace("shop".to_owned(), [("team".to_owned(), "a".to_owned())].into());
            for (number, spec) in specs.iter().enumerate() {
                let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
                                 "metadata": {"name": format!("s-{number}")}, "spec": spec});
                index.apply_set(InjectableSet::new(decode::sidecarset(set).unwrap()).unwrap());
            }
            let snapshot = index.snapshot();
            let scope = Scope::of(snapshot.sets().map(|set| (&*set.name, &set.selector))).unwrap_or(Scope::Broad);
            if let Scope::Labels(labels) = &scope && !labels.is_empty() {
                prop_assert_eq!(parse(&expression(labels)), Some(labels.clone()));
            }
            for labels in pods {
                let text = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app"}]}}).to_string();
                let pod: PodView<'_> = serde_json::from_str(&text).unwrap();
                let request = PodRequest::create("shop", Timestamp::UNIX_EPOCH);
                let extended = Scope::default().extended(snapshot.sets().map(|set| &set.selector));
                for set in snapshot.sets() {
                    prop_assert!(extended.covers(&set.selector), "{} by {extended:?}", set.name);
                    prop_assert!(scope.covers(&set.selector), "{} by {:?}", set.name, scope);
                    if snapshot.mismatch(set, &pod, &request).is_none() {
                        prop_assert!(is_sent(&scope, &pod), "{text} for {} by {scope:?}", set.name);
                    }
                }
            }
        }
    }
}
