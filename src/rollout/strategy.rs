//! Pure: in which order the Pods of a set are updated in place, how many of them, and how many at a time. The order and the
//! rounding are OpenKruise's.

use super::pod::{ObservedPod, PodPhase};
use crate::api::sidecarset::{ScatterTerm, UpdateStrategy, UpdateStrategyType, WeightTerm};
use crate::injection::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

/// `spec.updateStrategy`, but for whether there are updates at all ([`Updates`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    selector: Option<Selector>,
    partition: IntOrString,
    max_unavailable: IntOrString,
    priority: Priority,
    scatter: Vec<ScatterTerm>,
}

/// Whether Pods with older containers are to be updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updates {
    /// No: the strategy is `NotUpdate`, or updates are paused.
    Off,
    /// Those that the update strategy's selector selects.
    Selected,
    /// All but these: a number or a percentage.
    AllBut(IntOrString),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Priority {
    /// All are alike.
    None,
    /// The sum of the weights of the selectors that match; the largest first.
    Weights(Vec<(i64, Selector)>),
    /// The first of these labels that a Pod has; the largest number at the end of its value first.
    Labels(Vec<String>),
}

impl Updates {
    /// What a strategy says.
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
            _ => Self::AllBut(strategy.partition.clone().unwrap_or(IntOrString::Int(0))),
        }
    }

    /// Of so many Pods, how many keep their older containers at most; `None` where that is not told by a number.
    #[must_use]
    pub fn left_behind(&self, matched: usize) -> Option<usize> {
        match self {
            Self::Off => Some(matched),
            Self::Selected => None,
            Self::AllBut(IntOrString::Int(number)) => Some(usize::try_from(*number).unwrap_or_default()),
            Self::AllBut(IntOrString::String(text)) => {
                let percent: usize = text.strip_suffix('%')?.parse().ok()?;
                Some(matched.saturating_mul(percent).div_ceil(100))
            }
        }
    }
}

impl Strategy {
    /// That of a set whose selectors were accepted; one that cannot be read selects nothing.
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

    /// Whether a Pod is one of those to update.
    #[must_use]
    pub fn selects(&self, updates: &Updates, pod: &ObservedPod) -> bool {
        match updates {
            Updates::Off => false,
            Updates::AllBut(_) => true,
            Updates::Selected => {
                self.selector.as_ref().is_some_and(|selector| selector.unmet(|key| pod.label(key)).is_none())
            }
        }
    }

    /// How many of the candidates keep their older containers, where the set matches so many Pods. With a percentage below 100 one of
    /// several is updated all the same.
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

    /// How many Pods may be unavailable because of an update, where the set matches so many.
    #[must_use]
    pub fn max_unavailable(&self, matched: usize) -> usize {
        scaled(&self.max_unavailable, matched)
    }

    /// Puts candidates into the order in which they are updated.
    pub fn sort<T>(&self, candidates: &mut Vec<T>, pod: impl Fn(&T) -> &ObservedPod) {
        candidates.sort_by(|a, b| by_state(pod(a), pod(b)));
        match &self.priority {
            Priority::None => {}
            Priority::Weights(terms) => candidates.sort_by_cached_key(|candidate| {
                let matching =
                    terms.iter().filter(|(_, selector)| selector.unmet(|key| pod(candidate).label(key)).is_none());
                Reverse(matching.map(|(weight, _)| weight).sum::<i64>())
            }),
            Priority::Labels(keys) => candidates.sort_by_cached_key(|candidate| {
                let mut values =
                    keys.iter().enumerate().filter_map(|(rank, key)| Some((rank, pod(candidate).label(key)?)));
                // Those with none of the labels come first.
                values.next().map(|(rank, value)| (rank, Reverse(trailing_number(value))))
            }),
        }
        for term in &self.scatter {
            let values: BTreeSet<String> = match term.value.as_str() {
                "*" => candidates.iter().filter_map(|item| pod(item).label(&term.key)).map(str::to_owned).collect(),
                value => BTreeSet::from([value.to_owned()]),
            };
            for value in values {
                scatter(candidates, |item| pod(item).label(&term.key) == Some(&*value));
            }
        }
    }
}

/// A number, or a percentage of the Pods, rounded up. What is neither is 0.
fn scaled(value: &IntOrString, of: usize) -> usize {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or_default(),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<usize>().ok()).unwrap_or_default();
            of.saturating_mul(percent).div_ceil(100)
        }
    }
}

/// As Kubernetes orders the Pods of a `ReplicaSet` that are given up first; those alike by name.
fn by_state(a: &ObservedPod, b: &ObservedPod) -> Ordering {
    let phase = |pod: &ObservedPod| match pod.phase {
        PodPhase::Pending => 0,
        PodPhase::Running => 2,
        _ => 1,
    };
    // A time that is not known comes first, then the latest.
    let latest = |time: i64| (time != 0, Reverse(time));
    let key = |pod: &ObservedPod| {
        let ready_since = latest(if pod.ready { pod.ready_since } else { 0 });
        (pod.assigned, phase(pod), pod.ready, ready_since, Reverse(pod.restarts), latest(pod.created))
    };
    let name = |pod: &ObservedPod| (pod.namespace.clone(), pod.name.clone());
    key(a).cmp(&key(b)).then_with(|| name(a).cmp(&name(b)))
}

/// The number at the end of a label's value; 0 where there is none.
fn trailing_number(value: &str) -> u64 {
    let digits = value.bytes().rev().take_while(u8::is_ascii_digit).count();
    value[value.len() - digits..].parse().unwrap_or_default()
}

/// Spreads the items that match evenly among the others, from the first place to the last; each kind keeps its order.
fn scatter<T>(items: &mut Vec<T>, matches: impl Fn(&T) -> bool) {
    let (matching, others): (Vec<T>, Vec<T>) = std::mem::take(items).into_iter().partition(matches);
    let (gaps, count) = (matching.len().saturating_sub(1), others.len());
    let (mut matching, mut others) =
        (matching.into_iter().enumerate().peekable(), others.into_iter().enumerate().peekable());
    loop {
        // Those that match are at 0, 1/gaps, …, 1, and the others at 1/2n, 3/2n, …
        let is_matching = match (matching.peek(), others.peek()) {
            (None, None) => return,
            (Some((place, _)), Some((other, _))) => {
                u128::from(*place as u64) * 2 * u128::from(count as u64)
                    <= u128::from(2 * *other as u64 + 1) * u128::from(gaps.max(1) as u64)
            }
            (matching, _) => matching.is_some(),
        };
        items.extend(if is_matching { matching.next() } else { others.next() }.map(|(_, item)| item));
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
        let mut pods: Vec<ObservedPod> = pods.iter().map(|pod| ObservedPod::of(&pod.watched(), &mut texts)).collect();
        strategy(of).sort(&mut pods, |pod| pod);
        pods.iter().map(|pod| &*pod.name).collect::<Vec<_>>().join(" ")
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
        let all = sorted(&term("*"), &pods);
        assert!(all.split(' ').collect::<BTreeSet<_>>().len() == 9 && !all.starts_with("p0 p1"), "{all}");
    }
}
