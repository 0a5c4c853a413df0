//! The schema of the fields of a MeshService that Rust's types do not describe.

use crate::api::istio::message::{Field, Type};
use crate::api::istio::networking::{
    DESTINATION_RULE, FAULT, HEADERS, PERCENT, RETRIES, SERVICE_ENTRY, TRAFFIC_POLICY,
};
use crate::api::istio::openapi;
use crate::api::istio::security::{PEER_AUTHENTICATION, PROVIDER, RULE, SELECTOR};
use crate::api::istio::sidecar::SERVER_TLS;
use Type::{Enum, List, Message, Text, Unsigned};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Istio's protocols of ports. Each is also accepted in lower case.
const PROTOCOLS: [&str; 12] =
    ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "HTTP_PROXY", "MONGO", "TCP", "TLS", "UDP", "REDIS", "MYSQL"];

/// `mirror`: a destination and its share of the requests.
const MIRROR: &[Field] =
    &[("host", Text), ("subset", Text), ("port", Message(&[("number", Unsigned)])), ("percentage", PERCENT)];

/// `authorization`: an AuthorizationPolicy without `targetRefs`.
const AUTHORIZATION: &[Field] = &[
    ("selector", SELECTOR),
    ("rules", List(&RULE)),
    ("action", Enum(&["ALLOW", "DENY", "AUDIT", "CUSTOM"])),
    ("provider", PROVIDER),
];

/// The maximum number of items of most lists, enough for one service.
const MOST_ITEMS: u32 = 64;

pub(super) fn dns_label(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
}

/// The rule of Kubernetes for names of Service ports.
pub(super) fn port_name(generator: &mut SchemaGenerator) -> Schema {
    dns_label(generator)
}

pub(super) fn protocol(_: &mut SchemaGenerator) -> Schema {
    let both = PROTOCOLS.iter().flat_map(|protocol| [(*protocol).to_owned(), protocol.to_ascii_lowercase()]);
    json_schema!({"type": "string", "enum": both.collect::<Vec<_>>()})
}

pub(super) fn hosts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MOST_ITEMS,
        "items": {"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[-*.:0-9A-Za-z]+$"},
        "x-kubernetes-validations": [{
            "rule": "self.all(host, self.exists_one(other, other == host))",
            "message": "no host may stand twice",
        }],
    })
}

pub(super) fn distinct_ports() -> Value {
    json!([
        {
            "rule": "self.all(one, self.exists_one(other, other.port == one.port && \
                     (has(other.protocol) && other.protocol in ['UDP', 'udp']) == (has(one.protocol) && one.protocol in ['UDP', 'udp'])))",
            "message": "no number may stand twice, but for one of UDP and one of another protocol",
        },
        {
            "rule": "self.all(one, !has(one.name) || self.exists_one(other, has(other.name) && other.name == one.name))",
            "message": "no name may stand twice",
        },
    ])
}

pub(super) fn distinct_names() -> Value {
    json!([{
        "rule": "self.all(one, self.exists_one(other, other.name == one.name))",
        "message": "no name may stand twice",
    }])
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MOST_ITEMS,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    of(openapi::schema(&Type::Duration))
}

pub(super) fn traffic_policy(_: &mut SchemaGenerator) -> Schema {
    of(openapi::message(TRAFFIC_POLICY))
}

pub(super) fn fault(_: &mut SchemaGenerator) -> Schema {
    of(openapi::schema(&FAULT))
}

pub(super) fn headers(_: &mut SchemaGenerator) -> Schema {
    of(openapi::schema(&HEADERS))
}

pub(super) fn retries(_: &mut SchemaGenerator) -> Schema {
    of(openapi::schema(&RETRIES))
}

pub(super) fn server_tls(_: &mut SchemaGenerator) -> Schema {
    of(openapi::message(SERVER_TLS))
}

pub(super) fn mirror(_: &mut SchemaGenerator) -> Schema {
    of(requiring(openapi::message(MIRROR), &["host"]))
}

pub(super) fn service_entries(_: &mut SchemaGenerator) -> Schema {
    let entry = requiring(openapi::message(SERVICE_ENTRY), &["hosts"]);
    json_schema!({"type": "array", "maxItems": MOST_ITEMS, "items": entry})
}

/// A DestinationRule without its host.
pub(super) fn destination_rule(_: &mut SchemaGenerator) -> Schema {
    let mut rule = openapi::message(DESTINATION_RULE);
    if let Some(fields) = rule["properties"].as_object_mut() {
        fields.shift_remove("host");
    }
    rule["properties"]["subsets"]["maxItems"] = MOST_ITEMS.into();
    let subset = &mut rule["properties"]["subsets"]["items"];
    *subset = requiring(subset.take(), &["name"]);
    of(rule)
}

pub(super) fn peer_authentication(_: &mut SchemaGenerator) -> Schema {
    of(openapi::message(PEER_AUTHENTICATION))
}

pub(super) fn authorization(_: &mut SchemaGenerator) -> Schema {
    let mut policy = openapi::message(AUTHORIZATION);
    policy["properties"]["rules"]["maxItems"] = MOST_ITEMS.into();
    of(policy)
}

fn requiring(mut schema: Value, fields: &[&str]) -> Value {
    schema["required"] = json!(fields);
    schema
}

/// A schema that is always an object.
fn of(schema: Value) -> Schema {
    Schema::try_from(schema).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::crds;

    /// Appends the paths of all fields of unlimited length.
    fn unbounded(schema: &Value, at: &str, found: &mut Vec<String>) {
        let has = |field: &str| schema.get(field).is_some();
        let is_bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum"),
            Some("array") => has("maxItems"),
            Some("object") => {
                has("maxProperties") || !has("additionalProperties") && !has("x-kubernetes-preserve-unknown-fields")
            }
            Some("integer" | "number" | "boolean") => true,
            _ => false,
        };
        if !is_bounded {
            found.push(at.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            unbounded(field, &format!("{at}.{name}"), found);
        }
        for below in ["items", "additionalProperties"].into_iter().filter(|below| has(below)) {
            unbounded(&schema[below], &format!("{at}[]"), found);
        }
    }

    /// Each route of each port would contain a map of a hundred thousand headers.
    #[test]
    fn every_text_list_and_map_of_a_spec_has_a_bound() {
        let crd = serde_json::to_value(crds::meshservices()).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(spec["properties"].as_object().unwrap().len() > 10, "{spec}");
        let mut found = Vec::new();
        unbounded(spec, "spec", &mut found);
        assert_eq!(found, [""; 0]);
    }

    /// The type of istio-integrity-operator is any text, and it ignores the case.
    #[test]
    fn a_protocol_is_taken_in_small_letters_too() {
        let schema = Value::from(protocol(&mut SchemaGenerator::default()));
        let taken = schema["enum"].as_array().unwrap();
        assert!(["TCP", "tcp", "http", "grpc-web", "GRPC-WEB"].iter().all(|text| taken.contains(&json!(text))));
    }
}
