//! Pure: finds where an object differs from the planned one, field by field.
//!
//! The whole spec of an Istio object is ours: an added field changes its effect, so it is drift, and so is an empty
//! field, which has a meaning in Istio. The API server fills in a Service, so only planned fields are compared there,
//! and added labels of the selector and ports. Labels and annotations that others add always stay.

use json_patch::jsonptr::PointerBuf;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// The difference between the planned and the present object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Fields that are missing or have another value, as `spec.hosts[0]`.
    pub different: Vec<String>,
    /// Unplanned fields: applying our fields does not remove them.
    pub extra: Vec<PointerBuf>,
}

/// Whether unplanned fields are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extras {
    /// They belong to the API server or to others.
    Allowed,
    /// They are drift.
    Drift,
}

/// At most this many fields are named.
const TOLD: usize = 5;

impl Drift {
    /// Compares the planned and the present object, each with `metadata` and `spec`.
    #[must_use]
    pub fn between(desired: &Value, present: &Value, extras: Extras) -> Self {
        let mut drift = Self::default();
        for field in ["labels", "annotations"] {
            let part = |object: &Value| object["metadata"][field].clone();
            drift.compare(&mut vec!["metadata", field], &part(desired), &part(present), Extras::Allowed);
        }
        let uids = |object: &Value| -> Vec<Value> {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.into_iter().flatten().map(|owner| owner["uid"].clone()).collect()
        };
        let owners = uids(present);
        if !uids(desired).iter().all(|owner| owners.contains(owner)) {
            drift.different.push("metadata.ownerReferences".to_owned());
        }
        drift.compare(&mut vec!["spec"], &desired["spec"], &present["spec"], extras);
        if extras == Extras::Allowed {
            // One more label selects other Pods.
            drift.compare_labels(&desired["spec"]["selector"], &present["spec"]["selector"]);
        }
        drift
    }

    /// Returns whether there is no drift.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.different.is_empty() && self.extra.is_empty()
    }

    /// Returns the fields, as text for messages.
    #[must_use]
    pub fn fields(&self) -> String {
        let extra = self.extra.iter().map(|path| path.to_string().trim_start_matches('/').replace('/', "."));
        let mut told: Vec<String> = self.different.iter().cloned().chain(extra).collect();
        let more = told.len().saturating_sub(TOLD);
        told.truncate(TOLD);
        let mut text = told.join(", ");
        if more > 0 {
            let _ = write!(text, " and {more} more"); // to a String: this cannot fail
        }
        text
    }

    fn compare_labels(&mut self, desired: &Value, present: &Value) {
        let labels = present.as_object().into_iter().flatten().filter(|(label, _)| desired.get(label).is_none());
        self.extra.extend(labels.map(|(label, _)| PointerBuf::from_tokens(["spec", "selector", label])));
    }

    fn compare<'v>(&mut self, path: &mut Vec<&'v str>, desired: &'v Value, present: &'v Value, extras: Extras) {
        match (desired, present) {
            (desired, present) if is_absent(desired, extras) && is_absent(present, extras) => {}
            (Value::Object(desired), Value::Object(present)) => self.compare_fields(path, desired, present, extras),
            (Value::Array(desired), Value::Array(present)) if extras == Extras::Allowed => {
                self.compare_ports(path, desired, present);
            }
            (Value::Array(desired), Value::Array(present)) if desired.len() == present.len() => {
                // A list is applied as a whole.
                for (number, (desired, present)) in desired.iter().zip(present).enumerate() {
                    let mut within = Self::default();
                    within.compare(&mut Vec::new(), desired, present, extras);
                    if !within.is_none() {
                        let field = within.fields();
                        let dot = if field.is_empty() { "" } else { "." };
                        self.different.push(format!("{}[{number}]{dot}{field}", path.join(".")));
                    }
                }
            }
            (desired, present) if is_same(desired, present) => {}
            (desired, _) if is_absent(desired, extras) && extras == Extras::Drift => {
                self.extra.push(PointerBuf::from_tokens(path.iter().copied()));
            }
            (desired, _) if is_absent(desired, extras) => {}
            _ => self.different.push(path.join(".")),
        }
    }

    /// Compares the ports of a Service, its only list that is made. They are applied one by one, by number and
    /// protocol. Ports of others stay until they are removed, the last first.
    fn compare_ports(&mut self, path: &[&str], desired: &[Value], present: &[Value]) {
        let id = |port: &Value| (port["port"].as_u64(), port["protocol"].as_str().unwrap_or("TCP").to_owned());
        for port in desired {
            let number = port["port"].as_u64().unwrap_or_default();
            let mut within = Self::default();
            match present.iter().find(|present| id(present) == id(port)) {
                Some(present) => within.compare(&mut Vec::new(), port, present, Extras::Allowed),
                None => within.different.push("port".to_owned()),
            }
            if !within.is_none() {
                self.different.push(format!("{}[{number}].{}", path.join("."), within.fields()));
            }
        }
        let others =
            present.iter().enumerate().rev().filter(|(_, present)| !desired.iter().any(|port| id(port) == id(present)));
        let pointer =
            |(place, _): (usize, _)| PointerBuf::from_tokens(path.iter().copied().chain([place.to_string().as_str()]));
        self.extra.extend(others.map(pointer));
    }

    fn compare_fields<'v>(
        &mut self,
        path: &mut Vec<&'v str>,
        desired: &'v Map<String, Value>,
        present: &'v Map<String, Value>,
        extras: Extras,
    ) {
        const ABSENT: &Value = &Value::Null;
        for (field, value) in desired {
            path.push(field);
            self.compare(path, value, present.get(field).unwrap_or(ABSENT), extras);
            path.pop();
        }
        let others = present.iter().filter(|(field, _)| extras == Extras::Drift && !desired.contains_key(*field));
        for (field, value) in others {
            path.push(field);
            self.compare(path, ABSENT, value, extras);
            path.pop();
        }
    }
}

/// Returns whether a value counts as absent.
fn is_absent(value: &Value, extras: Extras) -> bool {
    match extras {
        Extras::Allowed => is_empty(value),
        Extras::Drift => value.is_null(),
    }
}

/// Returns whether the API server omits such a value of a built-in kind, or sets it itself.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// Returns whether values are equal. A number is the same with a fraction or without.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn between(desired: &Value, present: &Value, extras: Extras) -> (Vec<String>, Vec<String>) {
        let drift = Drift::between(&json!({"spec": desired}), &json!({"spec": present}), extras);
        (drift.different, drift.extra.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_missing_different_or_too_much_is_drift() {
        for (desired, present, different, extra) in [
            (json!({"a": 1}), json!({"a": 1}), &[][..], &[][..]),
            (json!({"a": 1}), json!({"a": 1.0}), &[], &[]),
            (json!({"a": 1, "b": null}), json!({"a": 1}), &[], &[]),
            (json!({"a": 1, "b": {}}), json!({"a": 1}), &["spec.b"], &[]),
            (json!({"a": 1}), json!({"a": 1, "b": {}}), &[], &["/spec/b"]),
            (json!({"a": 1}), json!({"a": 1, "b": []}), &[], &["/spec/b"]),
            (json!({"a": {}}), json!({"a": {}}), &[], &[]),
            (json!({"a": 1}), json!({"a": 2}), &["spec.a"], &[]),
            (json!({"a": {"b": 1}}), json!({}), &["spec.a"], &[]),
            (json!({"a": {"b": 1}}), json!({"a": {"b": 1, "c": 2}, "d": 3}), &[], &["/spec/a/c", "/spec/d"]),
            (json!({"l": [{"a": 1}]}), json!({"l": [{"a": 1, "b": 2}]}), &["spec.l[0].b"], &[]),
            (json!({"l": [1, 2]}), json!({"l": [1, 3]}), &["spec.l[1]"], &[]),
            (json!({"l": [1, 2]}), json!({"l": [1]}), &["spec.l"], &[]),
            (json!({"a": "x"}), Value::Null, &["spec"], &[]),
        ] {
            let expected =
                (different.iter().map(|s| (*s).to_owned()).collect(), extra.iter().map(|s| (*s).to_owned()).collect());
            assert_eq!(between(&desired, &present, Extras::Drift), expected, "{desired} {present}");
        }
    }

    #[test]
    fn of_a_service_what_is_filled_in_is_no_drift() {
        let desired = json!({"ports": [{"port": 80}], "selector": {"app": "a"}});
        let stored = json!({"ports": [{"port": 80, "protocol": "TCP", "nodePort": 1}], "selector": {"app": "a"}, "clusterIP": "10.0.0.1"});
        assert_eq!(between(&desired, &stored, Extras::Allowed), (Vec::new(), Vec::new()));
        let moved = json!({"ports": [{"port": 81, "protocol": "TCP"}], "selector": {"app": "a"}});
        let (different, extra) = between(&desired, &moved, Extras::Allowed);
        assert_eq!((different, extra), (vec!["spec.ports[80].port".to_owned()], vec!["/spec/ports/0".to_owned()]));
        let narrowed = json!({"ports": [{"port": 80}], "selector": {"app": "a", "x/y": "b"}});
        assert_eq!(between(&desired, &narrowed, Extras::Allowed).1, ["/spec/selector/x~1y"]);
    }

    #[test]
    fn ports_that_others_add_to_a_service_are_taken_away_one_by_one() {
        let desired = json!({"ports": [{"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP"}]});
        let (http, dns) =
            (json!({"port": 80, "name": "http", "protocol": "TCP"}), json!({"port": 53, "protocol": "UDP"}));
        let (other, tcp) = (json!({"port": 99, "protocol": "TCP"}), json!({"port": 53, "protocol": "TCP"}));
        for (ports, different, extra) in [
            (json!([http, dns]), &[][..], &[][..]),
            (json!([dns, http]), &[], &[]),
            (json!([http, dns, other]), &[], &["/spec/ports/2"]),
            (json!([other, http, tcp, dns]), &[], &["/spec/ports/2", "/spec/ports/0"]),
            (json!([http, tcp]), &["spec.ports[53].port"], &["/spec/ports/1"]),
            (json!([{"port": 80, "name": "x"}, dns]), &["spec.ports[80].name"], &[]),
        ] {
            let found = between(&desired, &json!({"ports": ports}), Extras::Allowed);
            assert_eq!(
                (
                    found.0.iter().map(String::as_str).collect::<Vec<_>>(),
                    found.1.iter().map(String::as_str).collect::<Vec<_>>()
                ),
                (different.to_vec(), extra.to_vec()),
                "{ports}"
            );
        }
    }

    #[test]
    fn labels_and_annotations_of_others_stay() {
        let desired = json!({"metadata": {"labels": {"ours": "x"}}, "spec": {}});
        let with = |labels: Value| json!({"metadata": {"labels": labels, "annotations": {"b": "c"}}, "spec": {}});
        assert!(Drift::between(&desired, &with(json!({"ours": "x", "theirs": "y"})), Extras::Drift).is_none());
        let drift = Drift::between(&desired, &with(json!({"ours": "z"})), Extras::Drift);
        assert_eq!(drift.fields(), "metadata.labels.ours");
    }

    #[test]
    fn an_owner_of_before_is_drift() {
        let owned = |uid: &str| json!({"metadata": {"ownerReferences": [{"uid": uid, "name": "a"}]}});
        assert_eq!(Drift::between(&owned("2"), &owned("1"), Extras::Drift).fields(), "metadata.ownerReferences");
        assert!(Drift::between(&owned("1"), &owned("1"), Extras::Drift).is_none());
        assert!(Drift::between(&json!({}), &owned("1"), Extras::Drift).is_none());
    }
}
