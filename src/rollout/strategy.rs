//! Pure: which Pods of a set are updated in place, in which order, and how many at a time. The order and the rounding are
//! OpenKruise's.

use super::pod::{ObservedPod, PodPhase};
use super::text::Text;
use crate::api::sidecarset::{ScatterTerm, UpdateStrategy, UpdateStrategyType, WeightTerm};
use crate::injection::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// `spec.updateStrategy`, without the choice whether to update at all ([`Updates`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    selector: Option<Selector>,
    partition: IntOrString,
    max_unavailable: IntOrString,
    priority: Priority,
    scatter: Vec<ScatterTerm>,
}

/// Which Pods with older containers to update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updates {
    /// None: the strategy is `NotUpdate`, or updates are paused.
    Off,
    /// Those that the update strategy's selector matches.
    Selected,
    /// All.
    All,
}

/// Everything that determines a Pod's position in the order.
#[derive(Clone, Debug)]
pub struct Precedence {
    order: (Rank, State, Text, Box<str>),
    /// Its values of the labels in `scatterStrategy`.
    labels: Box<[Option<Text>]>,
}

/// By priority: the index of the first label that it has, and the sum of weights or the number.
type Rank = (Option<usize>, Reverse<i128>);

/// Whether it has a node, its phase, whether and since when it is ready, its restarts, and its creation time.
type State = (bool, u8, bool, Latest, Reverse<u32>, Latest);

/// An unknown time comes first, then the latest.
type Latest = (bool, Reverse<i64>);

/// At most this many values of one label are spread. With more values, each has few Pods.
const MOST_VALUES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Priority {
    /// All Pods are equal.
    None,
    /// The sum of the weights of matching selectors, largest first.
    Weights(Vec<(i64, Selector)>),
    /// The first of these labels that a Pod has, by the number at the end of its value, largest first.
    Labels(Vec<String>),
}

impl Updates {
    /// Reads a strategy.
    #[must_use]
    pub fn of(strategy: &UpdateStrategy) -> Self {
        if strategy.paused || strategy.strategy != Some(UpdateStrategyType::RollingUpdate) {
            return Self::Off;
        }
        let is_empty = |selector: &LabelSelector| {
            selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
                && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
        };
        match &strategy.selector {
            Some(selector) if !is_empty(selector) => Self::Selected,
            _ => Self::All,
        }
    }
}

/// The number of updated Pods by their values of the labels in `scatterStrategy`.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pods: usize,
    /// Keyed by label index and value.
    by_value: HashMap<(usize, Text), usize>,
}

impl Progress {
    /// Counts another updated Pod.
    pub fn add(&mut self, precedence: &Precedence) {
        self.pods += 1;
        for (number, value) in precedence.labels.iter().enumerate() {
            if let Some(value) = value {
                *self.by_value.entry((number, value.clone())).or_default() += 1;
            }
        }
    }
}

impl Strategy {
    /// Reads the strategy of an accepted set. An unreadable selector selects nothing.
    #[must_use]
    pub fn of(strategy: &UpdateStrategy) -> Self {
        let read = |selector: &LabelSelector, field| Selector::parse(selector, field).ok();
        let priority = strategy.priority_strategy.clone().unwrap_or_default();
        let priority = match (priority.weight_priority, priority.order_priority) {
            (Some(terms), _) if !terms.is_empty() => {
                let weight = |term: &WeightTerm| {
                    Some((term.weight.into(), read(&term.match_selector, "spec.updateStrategy.priorityStrategy")?))
                };
                Priority::Weights(terms.iter().filter_map(weight).collect())
            }
            (_, Some(terms)) if !terms.is_empty() => {
                Priority::Labels(terms.into_iter().map(|term| term.ordered_key).collect())
            }
            _ => Priority::None,
        };
        Self {
            selector: strategy.selector.as_ref().and_then(|selector| read(selector, "spec.updateStrategy.selector")),
            partition: strategy.partition.clone().unwrap_or(IntOrString::Int(0)),
            max_unavailable: strategy.max_unavailable.clone().unwrap_or(IntOrString::Int(1)),
            priority,
            scatter: strategy.scatter_strategy.clone().unwrap_or_default(),
        }
    }

    /// Whether a Pod is to be updated.
    #[must_use]
    pub fn selects(&self, updates: &Updates, pod: &ObservedPod) -> bool {
        match updates {
            Updates::Off => false,
            Updates::All => true,
            Updates::Selected => {
                self.selector.as_ref().is_some_and(|selector| selector.unmet(|key| pod.label(key)).is_none())
            }
        }
    }

    /// Returns how many candidates keep their older containers, for this number of matched Pods. With a percentage below 100, at
    /// least one of several is updated.
    #[must_use]
    pub fn kept_back(&self, matched: usize) -> usize {
        let kept = scaled(&self.partition, matched);
        let is_all = *"100%"
            == *match &self.partition {
                IntOrString::String(text) => text,
                IntOrString::Int(_) => return kept,
            };
        if is_all || matched <= 1 { kept } else { kept.min(matched - 1) }
    }

    /// Returns how many Pods may be unavailable because of an update, for this number of matched Pods.
    #[must_use]
    pub fn max_unavailable(&self, matched: usize) -> usize {
        scaled(&self.max_unavailable, matched)
    }

    /// Returns a Pod's position in the order.
    #[must_use]
    pub fn precedence(&self, pod: &ObservedPod) -> Precedence {
        let rank = match &self.priority {
            Priority::None => (None, Reverse(0)),
            Priority::Weights(terms) => {
                let matching = terms.iter().filter(|(_, selector)| selector.unmet(|key| pod.label(key)).is_none());
                (None, Reverse(matching.map(|(weight, _)| i128::from(*weight)).sum()))
            }
            // Pods with none of the labels come first.
            Priority::Labels(keys) => {
                let mut values = keys.iter().enumerate().filter_map(|(rank, key)| Some((rank, pod.label(key)?)));
                let first = values.next();
                (first.map(|(rank, _)| rank), Reverse(first.map_or(0, |(_, value)| trailing_number(value).into())))
            }
        };
        let labels = self.scatter.iter().map(|term| pod.label_text(&term.key).cloned()).collect();
        Precedence { order: (rank, state(pod), pod.namespace.clone(), pod.name.clone()), labels }
    }

    /// Whether the order also depends on the Pods that were already updated.
    #[must_use]
    pub fn scatters(&self) -> bool {
        !self.scatter.is_empty()
    }

    /// Sorts candidates into the order of updates.
    pub fn sort<T>(&self, candidates: &mut Vec<T>, progress: &Progress, of: impl Fn(&T) -> &Precedence) {
        candidates.sort_unstable_by(|a, b| of(a).order.cmp(&of(b).order));
        let mut terms: Vec<(usize, usize, Text)> = Vec::new();
        for (number, term) in self.scatter.iter().enumerate() {
            let mut of_value: BTreeMap<&Text, usize> = BTreeMap::new();
            for value in candidates.iter().filter_map(|item| of(item).labels.get(number)?.as_ref()) {
                if matches!(&*term.value, "*") || *term.value == **value {
                    *of_value.entry(value).or_default() += 1;
                }
            }
            terms.extend(of_value.into_iter().map(|(value, count)| (count, number, value.clone())));
        }
        // The largest groups come first, because later ones move what was spread before.
        terms.sort_by_key(|(count, ..)| Reverse(*count));
        for (_, number, spread) in terms.into_iter().take(MOST_VALUES) {
            let matches = |item: &T| of(item).labels.get(number).is_some_and(|value| value.as_ref() == Some(&spread));
            let done = progress.by_value.get(&(number, spread.clone())).copied().unwrap_or_default();
            scatter(candidates, done, progress.pods, matches);
        }
    }
}

/// Returns a number, or a percentage of the Pods, rounded up; 0 for anything else.
fn scaled(value: &IntOrString, of: usize) -> usize {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or_default(),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<usize>().ok()).unwrap_or_default();
            of.saturating_mul(percent).div_ceil(100)
        }
    }
}

/// The order in which Kubernetes deletes the Pods of a `ReplicaSet`.
fn state(pod: &ObservedPod) -> State {
    let phase = match pod.phase {
        PodPhase::Pending => 0,
        PodPhase::Running => 2,
        _ => 1,
    };
    let latest = |time: i64| (time != 0, Reverse(time));
    let ready_since = latest(if pod.ready { pod.ready_since } else { 0 });
    (pod.assigned, phase, pod.ready, ready_since, Reverse(pod.restarts), latest(pod.created))
}

/// Returns the number at the end of a label's value; 0 if there is none.
fn trailing_number(value: &str) -> u64 {
    let digits = value.bytes().rev().take_while(u8::is_ascii_digit).count();
    value[value.len() - digits..].parse().unwrap_or_default()
}

/// Spreads the matching items evenly among the others, from the first position to the last. Each kind keeps its order. If `placed`
/// items, `done` of them matching, were placed before, the pattern continues. A single item stays in place.
fn scatter<T>(items: &mut Vec<T>, done: usize, placed: usize, matches: impl Fn(&T) -> bool) {
    let count = items.iter().filter(|item| matches(item)).count();
    let (matching, all) = (count + done, items.len() + placed);
    if matching <= 1 || all - matching <= 1 || count == 0 || count == items.len() {
        return;
    }
    let (those, others): (Vec<T>, Vec<T>) = std::mem::take(items).into_iter().partition(matches);
    let (mut those, mut others) = (those.into_iter(), others.into_iter());
    let mut spread = done;
    for place in placed..all {
        let is_due = (spread * (all - 1)).div_ceil(matching - 1) <= place;
        let next = if is_due { those.next().inspect(|_| spread += 1) } else { None };
        items.extend(next.or_else(|| others.next()).or_else(|| those.next()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::tests::PodBuilder;
    use crate::rollout::text::Texts;
    use serde_json::{Value, json};

    fn strategy(strategy: &Value) -> Strategy {
        Strategy::of(&serde_json::from_value(strategy.clone()).unwrap())
    }

    fn sorted(of: &Value, pods: &[PodBuilder]) -> String {
        let mut texts = Texts::default();
        let (strategy, pods) = (strategy(of), pods.iter().map(|pod| ObservedPod::of(&pod.watched(), &mut texts)));
        let mut pods: Vec<_> = pods.map(|pod| (strategy.precedence(&pod), pod.name)).collect();
        strategy.sort(&mut pods, &Progress::default(), |(precedence, _)| precedence);
        pods.iter().map(|(_, name)| &**name).collect::<Vec<_>>().join(" ")
    }

    fn pod(name: &str) -> PodBuilder {
        PodBuilder::new(name).injected("s", "h").ready()
    }

    #[test]
    fn numbers_and_percentages_are_rounded_up_and_a_percentage_below_100_updates_one_of_several() {
        for (partition, matched, kept) in [
            (json!(null), 10, 0),
            (json!(3), 10, 3),
            (json!(30), 10, 30),
            (json!("25%"), 10, 3),
            (json!("99%"), 10, 9),
            (json!("100%"), 10, 10),
            (json!("99%"), 1, 1),
            (json!("1%"), 0, 0),
            (json!("many"), 10, 0),
        ] {
            assert_eq!(strategy(&json!({"partition": partition})).kept_back(matched), kept, "{partition} of {matched}");
        }
        for (limit, matched, most) in
            [(json!(null), 10, 1), (json!(0), 10, 0), (json!("10%"), 11, 2), (json!("1%"), 3, 1), (json!("0%"), 3, 0)]
        {
            assert_eq!(
                strategy(&json!({"maxUnavailable": limit})).max_unavailable(matched),
                most,
                "{limit} of {matched}"
            );
        }
    }

    #[test]
    fn what_is_updated_at_all_is_told_by_type_pause_and_selector() {
        let updates = |strategy: Value| {
            let mut of = json!({"type": "RollingUpdate"});
            of.as_object_mut().unwrap().extend(strategy.as_object().unwrap().clone());
            Updates::of(&serde_json::from_value(of).unwrap())
        };
        assert_eq!(updates(json!({"partition": 2})), Updates::All);
        assert_eq!(updates(json!({"selector": {"matchLabels": {"a": "b"}}})), Updates::Selected);
        assert_eq!(updates(json!({"selector": {}})), Updates::All);
        assert_eq!(updates(json!({"paused": true})), Updates::Off);
        assert_eq!(updates(json!({"type": "NotUpdate"})), Updates::Off);
    }

    #[test]
    fn the_pods_that_serve_least_come_first() {
        let of = |name: &str, state: Value| pod(name).state(&state);
        let ready = |since: &str| json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
        let node = json!({"nodeName": "n"});
        let pods = [
            of("z", json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": node})),
            of("newer", json!({"metadata": {"creationTimestamp": "2026-01-02T00:00:00Z"}, "spec": node})),
            of("unassigned", json!({})),
            of("pending", json!({"spec": node, "status": {"phase": "Pending"}})),
            of("not-ready", json!({"spec": node, "status": {"conditions": [{"type": "Ready", "status": "False"}]}})),
            of("long", json!({"spec": node, "status": {"conditions": ready("2026-01-01T00:00:00Z")}})),
            of("short", json!({"spec": node, "status": {"conditions": ready("2026-01-03T00:00:00Z")}})),
            of("restarted", json!({"spec": node, "status": {"containerStatuses": [{"name": "c", "restartCount": 3}]}})),
        ];
        assert_eq!(sorted(&json!({}), &pods), "unassigned pending not-ready restarted newer z short long");
    }

    #[test]
    fn weights_are_added_up_and_labels_are_compared_by_the_number_at_their_end() {
        let weight = |weight: i32, key: &str| json!({"weight": weight, "matchSelector": {"matchLabels": {key: "y"}}});
        let weights = json!({"priorityStrategy": {"weightPriority": [weight(20, "a"), weight(30, "b")]}});
        let pods =
            [pod("0"), pod("a").label("a", "y"), pod("ab").label("a", "y").label("b", "y"), pod("b").label("b", "y")];
        assert_eq!(sorted(&weights, &pods), "ab b a 0");
        let order = json!({"priorityStrategy": {"orderPriority": [{"orderedKey": "a"}, {"orderedKey": "b"}]}});
        let pods = [
            pod("b9").label("b", "x9"),
            pod("a2").label("a", "x-2").label("b", "x100"),
            pod("none"),
            pod("a10").label("a", "10"),
            pod("a").label("a", "x"),
        ];
        assert_eq!(sorted(&order, &pods), "none a10 a2 a b9");
    }

    #[test]
    fn pods_of_a_label_are_spread_from_the_first_place_to_the_last() {
        let pods: Vec<_> = (0..9).map(|n| pod(&format!("p{n}")).label("z", if n < 3 { "x" } else { "y" })).collect();
        let term = |value: &str| json!({"scatterStrategy": [{"key": "z", "value": value}]});
        assert_eq!(sorted(&term("x"), &pods), "p0 p3 p4 p5 p1 p6 p7 p8 p2");
        assert_eq!(sorted(&term("gone"), &pods), "p0 p1 p2 p3 p4 p5 p6 p7 p8");
        assert_eq!(sorted(&term("*"), &pods), "p0 p3 p4 p5 p1 p6 p7 p8 p2");
    }

    #[test]
    fn one_pod_at_a_time_leads_to_the_same_order_as_all_at_once() {
        let strategy = strategy(&json!({"scatterStrategy": [{"key": "z", "value": "x"}]}));
        let mut texts = Texts::default();
        let pods = (0..10).map(|n| pod(&format!("p{n}")).label("z", if n > 6 { "x" } else { "y" }));
        let pods = pods.map(|pod| ObservedPod::of(&pod.watched(), &mut texts));
        let mut left: Vec<_> = pods.map(|pod| (strategy.precedence(&pod), pod.name)).collect();
        let (mut progress, mut order) = (Progress::default(), Vec::new());
        while !left.is_empty() {
            strategy.sort(&mut left, &progress, |(precedence, _)| precedence);
            let (precedence, name) = left.remove(0);
            progress.add(&precedence);
            order.push(name.to_string());
        }
        assert_eq!(order.join(" "), "p7 p0 p1 p2 p3 p8 p4 p5 p6 p9", "the 1st, the 6th and the 10th, as OpenKruise");
    }
}
