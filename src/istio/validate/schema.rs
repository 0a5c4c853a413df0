//! Whether an object has the structure of an Istio message. A file with a field newer than Istio 1.32 is also rejected
//! by Istio 1.32.

use super::duration;
use super::faults::{By, FaultKind, Faults};
use crate::api::decode::type_of;
use crate::api::istio::message::{Field, Type};
use crate::api::istio::networking::{DESTINATION_RULE, GATEWAY, SERVICE_ENTRY, VIRTUAL_SERVICE};
use crate::api::istio::security::{AUTHORIZATION_POLICY, PEER_AUTHENTICATION};
use crate::api::istio::sidecar::SIDECAR;
use crate::istio::node::Node;
use Type::{Bool, Double, Duration, Enum, Labels, List, Map, Message, OptionalBool, Signed, Text, Unsigned};
use serde_json::Value;

/// Returns the fields of a kind's `spec`.
pub(super) fn of(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "VirtualService" => VIRTUAL_SERVICE,
        "DestinationRule" => DESTINATION_RULE,
        "Gateway" => GATEWAY,
        "ServiceEntry" => SERVICE_ENTRY,
        "Sidecar" => SIDECAR,
        "PeerAuthentication" => PEER_AUTHENTICATION,
        "AuthorizationPolicy" => AUTHORIZATION_POLICY,
        _ => return None,
    })
}

/// Fields that may be `null`, in addition to those whose type allows it.
const NULLABLE: [&str; 9] = [
    "aggression",
    "consecutive5xxErrors",
    "consecutiveGatewayErrors",
    "consecutiveLocalOriginFailures",
    "minClusterSize",
    "minimumPercent",
    "mirrorPercent",
    "mirror_percent",
    "percent",
];

/// Checks whether a value has the structure of a message, and reports everything else. Returns whether istiod can read it, which is
/// less strict than the API server.
pub(super) fn check(fields: &'static [Field], node: &Node<'_>, faults: &mut Faults) -> bool {
    let before = faults.0.len();
    if node.is_present() {
        value(&Message(fields), node, faults);
    }
    faults.0[before..].iter().all(|fault| fault.kind == FaultKind::Error(By::Crd))
}

fn value(expected: &Type, node: &Node<'_>, faults: &mut Faults) {
    let found = node.value;
    let problem = match expected {
        Message([]) if found.is_object() => return,
        Message(fields) if found.is_object() => return message(fields, node, faults),
        List(items) if found.is_array() => {
            for item in node.items() {
                entry(items, &item, faults);
            }
            return;
        }
        Labels | Map(_) if found.is_object() => {
            let values = if let Map(values) = expected { values } else { &Text };
            for one in node.values() {
                entry(values, &one, faults);
            }
            return;
        }
        Text => (!found.is_string()).then(|| "must be a string".to_owned()),
        Bool | OptionalBool => (!found.is_boolean()).then(|| "must be true or false".to_owned()),
        Signed => whole(found, i32::MIN.into(), i32::MAX.into()).then(|| "must be a whole number".to_owned()),
        Unsigned => whole(found, 0, u32::MAX.into()).then(|| "must be a whole number of at least 0".to_owned()),
        Double => (!found.is_number()).then(|| "must be a number".to_owned()),
        Enum(names) => (!found.as_str().is_some_and(|name| names.contains(&name)))
            .then(|| format!("must be one of {}", names.join(", "))),
        Duration => found
            .as_str()
            .and_then(duration::micros)
            .is_none()
            .then(|| "must be a duration such as \"1.5s\"".to_owned()),
        List(_) => Some("must be a list".to_owned()),
        Labels | Map(_) | Message(_) => Some("must be a mapping".to_owned()),
    };
    let Some(problem) = problem else { return };
    // istiod reads numbers in quotes, and enumerations by number.
    let is_read_by_istiod = match (expected, found) {
        (Signed | Unsigned | Double, Value::String(text)) => text.parse::<f64>().is_ok(),
        (Enum(names), Value::Number(place)) => {
            place.as_u64().is_some_and(|place| usize::try_from(place).is_ok_and(|place| place < names.len()))
        }
        _ => false,
    };
    // A text instead of another needs no explanation.
    let instead =
        if found.is_string() && !is_read_by_istiod { String::new() } else { format!(", not {}", type_of(found)) };
    let by = if is_read_by_istiod { By::Crd } else { By::Both };
    faults.add(FaultKind::Error(by), node.path(), problem + &instead);
}

/// Whether a value is not an integer in a range.
fn whole(found: &Value, least: i64, most: i64) -> bool {
    !found.as_i64().is_some_and(|number| (least..=most).contains(&number))
}

/// Checks an item of a list, or a value of a mapping.
fn entry(expected: &Type, node: &Node<'_>, faults: &mut Faults) {
    if node.is_present() {
        value(expected, node, faults);
    } else {
        faults.add(FaultKind::Error(By::Crd), node.path(), "must not be null");
    }
}

fn message(fields: &'static [Field], node: &Node<'_>, faults: &mut Faults) {
    for (key, found) in node.value.as_object().into_iter().flatten() {
        let Some((_, field_type)) = fields.iter().find(|(name, _)| name == key) else {
            // istiod ignores it.
            faults.add(FaultKind::Error(By::Crd), node.at(key), "is not known to Istio");
            continue;
        };
        if !found.is_null() {
            value(field_type, &node.field(key), faults);
        } else if !matches!(field_type, OptionalBool) && !NULLABLE.contains(&key.as_str()) {
            faults.add(FaultKind::Error(By::Crd), node.at(key), "must not be null");
        }
    }
}
