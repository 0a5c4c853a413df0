//! The OpenAPI schema of a message for a CustomResourceDefinition.

use super::message::{Field, Type};
use serde_json::{Map, Value, json};

/// Go's durations, which Istio accepts.
const DURATION: &str = r"^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$";

/// Text without a limit would be kept in memory and written again and again.
const LONGEST_TEXT: u32 = 4096;
/// For example, the addresses of a rule.
const LONGEST_LIST: u32 = 256;
const MOST_ENTRIES: u32 = 64;

/// Returns the schema of a value. All its parts have a limit.
pub(crate) fn schema(of: &Type) -> Value {
    match of {
        Type::Text => text(),
        Type::Bool | Type::OptionalBool => json!({"type": "boolean"}),
        Type::Signed => json!({"type": "integer", "format": "int32"}),
        Type::Unsigned => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        Type::Double => json!({"type": "number"}),
        Type::Enum(names) => json!({"type": "string", "enum": names}),
        Type::Duration => json!({"type": "string", "maxLength": 64, "pattern": DURATION}),
        Type::List(items) => json!({"type": "array", "maxItems": LONGEST_LIST, "items": schema(items)}),
        Type::Labels => map(&text()),
        Type::Map(values) => map(&schema(values)),
        Type::Message(fields) => message(fields),
    }
}

fn text() -> Value {
    json!({"type": "string", "maxLength": LONGEST_TEXT})
}

fn map(values: &Value) -> Value {
    json!({"type": "object", "maxProperties": MOST_ENTRIES, "additionalProperties": values})
}

/// Returns the schema of a message with these fields.
pub(crate) fn message(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|(name, of)| ((*name).to_owned(), schema(of))).collect();
    json!({"type": "object", "properties": properties})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::istio::networking::FAULT;

    #[test]
    fn a_message_is_an_object_with_the_schemas_of_its_fields() {
        let fault = schema(&FAULT);
        let delay = &fault["properties"]["delay"]["properties"];
        assert_eq!(delay["percentage"]["properties"]["value"], json!({"type": "number"}));
        assert_eq!(delay["fixedDelay"]["pattern"], DURATION);
        let modes = schema(&Type::List(&Type::Enum(&["A", "B"])));
        assert_eq!(modes, json!({"type": "array", "maxItems": 256, "items": {"type": "string", "enum": ["A", "B"]}}));
    }
}
