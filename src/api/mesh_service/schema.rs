//! The schema of those fields of a MeshService that Rust's types do not say.

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

/// Protocols of ports as Istio knows them.
const PROTOCOLS: [&str; 12] =
    ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "HTTP_PROXY", "MONGO", "TCP", "TLS", "UDP", "REDIS", "MYSQL"];

/// `mirror`: a destination, and the share of the requests.
const MIRROR: &[Field] =
    &[("host", Text), ("subset", Text), ("port", Message(&[("number", Unsigned)])), ("percentage", PERCENT)];

/// `authorization`: what an AuthorizationPolicy has, but for other objects that it may be for.
const AUTHORIZATION: &[Field] = &[
    ("selector", SELECTOR),
    ("rules", List(&RULE)),
    ("action", Enum(&["ALLOW", "DENY", "AUDIT", "CUSTOM"])),
    ("provider", PROVIDER),
];

/// Each subset, and each rule of a policy, is for a MeshService; more are for several.
const MOST_ITEMS: u32 = 64;

pub(super) fn dns_label(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
}

/// As Kubernetes has it for ports of Services.
pub(super) fn port_name(generator: &mut SchemaGenerator) -> Schema {
    dns_label(generator)
}

pub(super) fn protocol(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": PROTOCOLS})
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
            "rule": "self.all(one, self.exists_one(other, other.port == one.port))",
            "message": "no number may stand twice",
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

/// A DestinationRule but for its host.
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
