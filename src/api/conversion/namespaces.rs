//! The namespaces that a set reaches: v1alpha1's `namespace` and `namespaceSelector` as one `namespaceSelector` in
//! v1beta1, and back.
//!
//! Both must match, like two requirements of one selector. No order of writes in the two versions can make a set reach more than
//! each of them says. The text of the selector alone must be enough to restore both fields:
//!
//! | v1alpha1 | v1beta1 |
//! |---|---|
//! | a selector without the Namespace's name among its `matchLabels` | the same |
//! | `namespace: x`, perhaps with such a selector | the selector and `matchLabels: {kubernetes.io/metadata.name: x}`, marked |
//! | `namespace: x` and a selector with that name among its `matchLabels` | that selector |
//! | `namespace: x` and a selector with another name there: they match nothing | the selector, and the name in a marked expression |
//! | only a selector with a name among its `matchLabels` | the selector, marked |
//!
//! A mark is a last expression on `kubernetes.io/metadata.name` with a value that cannot be a Namespace's name, so it has no
//! effect on matching. `NotIn [v1alpha1.spec.namespace]` says that the name is only v1alpha1's `namespace`. `NotIn
//! [v1alpha1.spec.namespaceSelector]` says that there is no `namespace`. `In [x, v1alpha1.spec.namespace]` is `namespace: x`.
//!
//! A selector that was written in v1beta1 has no mark. If it names a Namespace, v1alpha1 shows both fields, so that each
//! manager of v1alpha1 finds the field that it owns or applies.

use crate::api::keys::NAMESPACE_NAME;
use serde_json::{Map, Value, json};

/// The value that marks a `namespace`. Names of Namespaces have no dots.
const NAMESPACE: &str = "v1alpha1.spec.namespace";
/// The value that marks a selector without a `namespace`.
const SELECTOR: &str = "v1alpha1.spec.namespaceSelector";

/// The two fields of v1alpha1.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Namespaces {
    pub namespace: Option<Value>,
    pub selector: Option<Value>,
}

/// The meaning of the last expression of a selector.
enum Mark {
    /// The name in the labels is `namespace` and not part of the selector.
    NameIsNamespace,
    /// The name in the labels is part of the selector, and there is no `namespace`.
    NoNamespace,
    /// This is `namespace`.
    Namespace(String),
}

impl Namespaces {
    /// Returns the two fields for a v1beta1 selector.
    pub fn of_v1beta1(selector: Option<Value>) -> Self {
        let name = selector.as_ref().and_then(name_among_labels).map(str::to_owned);
        let (namespace, selector) = match (mark(selector.as_ref()), name) {
            (Some(Mark::Namespace(name)), _) => (Some(name), tidy(unmarked(selector))),
            (Some(Mark::NameIsNamespace), Some(name)) => (Some(name), tidy(without_name(unmarked(selector)))),
            (Some(Mark::NoNamespace), _) => (None, tidy(unmarked(selector))),
            (_, name) => (name, selector),
        };
        Self { namespace: namespace.map(Value::String), selector }
    }

    /// Returns the v1beta1 selector for the two fields: the first spelling that converts back to them.
    pub fn into_v1beta1(self) -> Option<Value> {
        let namespace = match self.namespace {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if name.is_empty() => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Some(nothing()),
        };
        let Some(name) = namespace else {
            let alone = Self { namespace: None, selector: self.selector };
            if Self::of_v1beta1(alone.selector.clone()) == alone {
                return alone.selector;
            }
            return with_expression(alone.selector.clone(), mark_of_no_namespace()).or(alone.selector);
        };
        let wanted = Self { namespace: Some(Value::String(name.clone())), selector: tidy(self.selector) };
        let ways: [&dyn Fn() -> Option<Value>; 3] = [
            &|| wanted.selector.clone(),
            &|| with_expression(with_name(wanted.selector.clone(), &name), mark_of_name()),
            &|| with_expression(wanted.selector.clone(), mark_of_namespace(&name)),
        ];
        let written = ways.into_iter().map(|way| way()).find(|way| Self::of_v1beta1(way.clone()) == wanted);
        // A selector that cannot be read must not count as absent.
        Some(written.flatten().unwrap_or_else(nothing))
    }
}

/// A selector that matches no Namespace.
pub(super) fn nothing() -> Value {
    json!({"matchExpressions": [expression("In", &[NAMESPACE])]})
}

fn expression(operator: &str, values: &[&str]) -> Value {
    json!({"key": NAMESPACE_NAME, "operator": operator, "values": values})
}

fn mark_of_name() -> Value {
    expression("NotIn", &[NAMESPACE])
}

fn mark_of_no_namespace() -> Value {
    expression("NotIn", &[SELECTOR])
}

fn mark_of_namespace(name: &str) -> Value {
    expression("In", &[name, NAMESPACE])
}

fn mark(selector: Option<&Value>) -> Option<Mark> {
    let last = selector?.get("matchExpressions")?.as_array()?.last()?;
    if *last == mark_of_name() {
        return Some(Mark::NameIsNamespace);
    }
    if *last == mark_of_no_namespace() {
        return Some(Mark::NoNamespace);
    }
    let name = last.get("values")?.get(0)?.as_str().filter(|name| !name.is_empty())?;
    (*last == mark_of_namespace(name)).then(|| Mark::Namespace(name.to_owned()))
}

fn name_among_labels(selector: &Value) -> Option<&str> {
    selector.get("matchLabels")?.get(NAMESPACE_NAME)?.as_str().filter(|name| !name.is_empty())
}

/// Returns the selector without its last expression.
fn unmarked(mut selector: Option<Value>) -> Option<Value> {
    if let Some(Value::Array(expressions)) = selector.as_mut().and_then(|selector| selector.get_mut("matchExpressions"))
    {
        expressions.pop();
    }
    selector
}

fn without_name(mut selector: Option<Value>) -> Option<Value> {
    if let Some(Value::Object(labels)) = selector.as_mut().and_then(|selector| selector.get_mut("matchLabels")) {
        labels.shift_remove(NAMESPACE_NAME);
    }
    selector
}

/// Returns the selector with this name in its labels; `None` if it already has one or cannot be read.
fn with_name(selector: Option<Value>, name: &str) -> Option<Value> {
    let mut selector = selector.unwrap_or_else(|| Value::Object(Map::new()));
    let labels = selector.as_object_mut()?.entry("matchLabels").or_insert_with(|| Value::Object(Map::new()));
    let before = labels.as_object_mut()?.insert(NAMESPACE_NAME.to_owned(), Value::from(name));
    before.is_none().then_some(selector)
}

/// Returns the selector with one more expression; `None` if it cannot be read.
fn with_expression(selector: Option<Value>, expression: Value) -> Option<Value> {
    let mut selector = selector.unwrap_or_else(|| Value::Object(Map::new()));
    let list = selector.as_object_mut()?.entry("matchExpressions").or_insert_with(|| Value::Array(Vec::new()));
    list.as_array_mut()?.push(expression);
    Some(selector)
}

/// Returns the selector without empty requirements; `None` if nothing is left.
fn tidy(mut selector: Option<Value>) -> Option<Value> {
    if let Some(Value::Object(fields)) = &mut selector {
        fields.retain(|_, field| match field {
            Value::Null => false,
            Value::Object(labels) => !labels.is_empty(),
            Value::Array(expressions) => !expressions.is_empty(),
            _ => true,
        });
    }
    selector.filter(|selector| !selector.is_null() && selector.as_object().is_none_or(|fields| !fields.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v1alpha1(namespace: &Value, selector: &Value) -> Namespaces {
        let field = |value: &Value| Some(value.clone()).filter(|value| !value.is_null());
        Namespaces { namespace: field(namespace), selector: field(selector) }
    }

    #[track_caller]
    fn is_both_ways(namespace: &Value, selector: &Value, v1beta1: &Value) {
        let fields = v1alpha1(namespace, selector);
        let written = fields.clone().into_v1beta1();
        assert_eq!(written.clone().unwrap_or_default(), *v1beta1);
        assert_eq!(Namespaces::of_v1beta1(written), fields);
    }

    #[test]
    fn both_fields_have_their_place_in_one_selector() {
        let none = Value::Null;
        let named = |name: &str| json!({"matchLabels": {NAMESPACE_NAME: name}});
        let team = json!({"matchLabels": {"team": "b"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]});
        let namespace_mark = json!({"key": NAMESPACE_NAME, "operator": "NotIn", "values": ["v1alpha1.spec.namespace"]});
        let marked = |mut selector: Value, mark: Value| {
            let expressions = &mut selector["matchExpressions"];
            match expressions.as_array_mut() {
                Some(list) => list.push(mark),
                None => *expressions = json!([mark]),
            }
            selector
        };
        is_both_ways(&none, &none, &none);
        is_both_ways(&none, &team, &team);
        is_both_ways(&none, &json!({}), &json!({}));
        is_both_ways(&json!("shop"), &none, &marked(named("shop"), namespace_mark.clone()));
        let mut team_in_shop = team.clone();
        team_in_shop["matchLabels"][NAMESPACE_NAME] = json!("shop");
        is_both_ways(&json!("shop"), &team, &marked(team_in_shop.clone(), namespace_mark));
        is_both_ways(&json!("shop"), &team_in_shop, &team_in_shop);
        is_both_ways(&json!("shop"), &named("shop"), &named("shop"));
        let shop = json!({"key": NAMESPACE_NAME, "operator": "In", "values": ["shop", "v1alpha1.spec.namespace"]});
        is_both_ways(&json!("shop"), &named("other"), &marked(named("other"), shop));
        let no_namespace =
            json!({"key": NAMESPACE_NAME, "operator": "NotIn", "values": ["v1alpha1.spec.namespaceSelector"]});
        is_both_ways(&none, &named("shop"), &marked(named("shop"), no_namespace));
    }

    #[test]
    fn what_was_copied_from_the_other_version_with_its_mark_is_told_apart() {
        for (namespace, selector) in [
            (json!("shop"), Value::Null),
            (json!("shop"), json!({"matchLabels": {NAMESPACE_NAME: "other"}})),
            (Value::Null, json!({"matchLabels": {NAMESPACE_NAME: "shop"}})),
        ] {
            let copied = v1alpha1(&namespace, &selector).into_v1beta1().unwrap();
            for namespace in [Value::Null, json!("shop"), json!("other")] {
                let fields = v1alpha1(&namespace, &copied);
                assert_eq!(Namespaces::of_v1beta1(fields.clone().into_v1beta1()), fields);
            }
        }
    }

    #[test]
    fn beside_a_selector_that_cannot_be_read_a_namespace_reaches_nothing() {
        let matches_nothing = Some(json!({"matchExpressions": [
            {"key": NAMESPACE_NAME, "operator": "In", "values": ["v1alpha1.spec.namespace"]}
        ]}));
        for selector in [json!([]), json!("all"), json!({"matchLabels": 5, "matchExpressions": "x"})] {
            assert_eq!(v1alpha1(&json!("shop"), &selector).into_v1beta1(), matches_nothing, "{selector}");
            assert_eq!(v1alpha1(&Value::Null, &selector).into_v1beta1(), Some(selector));
        }
        for namespace in [json!(5), json!(["shop"]), json!({})] {
            assert_eq!(v1alpha1(&namespace, &Value::Null).into_v1beta1(), matches_nothing, "{namespace}");
        }
        for none in [json!(""), Value::Null] {
            let fields = Namespaces { namespace: Some(none), selector: None };
            assert_eq!(fields.into_v1beta1(), None);
        }
    }
}
