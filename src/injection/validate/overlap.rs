//! Whether an object can match both of two selectors.
//!
//! Keys are independent, so the decision is made key by key and is exact. OpenKruise considers `Exists` and a selector without
//! the key disjoint; they overlap.

use crate::injection::selector::{Operator, Requirement, Selector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeSet;

/// Whether no object can match. Invalid selectors are reported elsewhere.
pub(super) fn matches_nothing(selector: &LabelSelector) -> bool {
    parse(selector).is_some_and(|selector| !overlap(&selector, &selector))
}

/// Parses a selector; `None` if it is invalid.
pub(super) fn parse(selector: &LabelSelector) -> Option<Selector> {
    Selector::parse(selector, "").ok()
}

/// Whether an object can match both selectors.
pub(super) fn overlap(one: &Selector, other: &Selector) -> bool {
    let requirements = || one.requirements().iter().chain(other.requirements());
    let keys: BTreeSet<&str> = requirements().map(|requirement| requirement.key.as_str()).collect();
    keys.into_iter().all(|key| can_hold(requirements().filter(|requirement| requirement.key == key)))
}

/// Whether a label can meet all these requirements.
fn can_hold<'a>(requirements: impl Iterator<Item = &'a Requirement>) -> bool {
    let mut absent = true;
    let mut present = true;
    let mut among: Option<BTreeSet<&str>> = None;
    let mut excluded = BTreeSet::new();
    for requirement in requirements {
        match &requirement.operator {
            Operator::In(values) => {
                absent = false;
                let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
                among = Some(among.map_or(values.clone(), |known| &known & &values));
            }
            Operator::NotIn(values) => excluded.extend(values.iter().map(String::as_str)),
            Operator::Exists => absent = false,
            Operator::DoesNotExist => present = false,
        }
    }
    // Without In there are always more values than NotIn can exclude.
    absent || present && among.is_none_or(|values| !values.is_subset(&excluded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    fn overlaps(one: &Value, other: &Value) -> bool {
        let selector = |text: &Value| parse(&serde_json::from_value(text.clone()).unwrap()).unwrap();
        let (one, other) = (selector(one), selector(other));
        assert_eq!(overlap(&one, &other), overlap(&other, &one), "{one:?} {other:?}");
        overlap(&one, &other)
    }

    #[test]
    fn selectors_overlap_unless_a_key_contradicts_itself() {
        let equals = |key: &str, value: &str| json!({"matchLabels": {key: value}});
        let (is_in, not_in) = (|v: &[&str]| expression("a", "In", v), |v: &[&str]| expression("a", "NotIn", v));
        let (exists, absent) = (expression("a", "Exists", &[]), expression("a", "DoesNotExist", &[]));
        for (one, other, expected) in [
            (equals("a", "1"), equals("a", "1"), true),
            (equals("a", "1"), equals("a", "2"), false),
            (equals("a", "1"), equals("b", "1"), true),
            (is_in(&["1", "2"]), is_in(&["2", "3"]), true),
            (is_in(&["1", "2"]), is_in(&["3"]), false),
            (is_in(&["1", "2"]), not_in(&["1"]), true),
            (is_in(&["1", "2"]), not_in(&["1", "2", "3"]), false),
            (not_in(&["1"]), not_in(&["2"]), true),
            (not_in(&["1"]), absent.clone(), true),
            (not_in(&["1"]), exists.clone(), true),
            (equals("a", "1"), absent.clone(), false),
            (exists.clone(), absent.clone(), false),
            (absent.clone(), absent, true),
            (exists.clone(), equals("a", "1"), true),
            (exists, equals("b", "1"), true),
        ] {
            assert_eq!(overlaps(&one, &other), expected, "{one} {other}");
        }
    }
}
