//! Reads a list of egress listeners: the answer of a SidecarGenerator's URL.

use super::EgressListener;
use crate::api::decode::{FieldError, type_of, typed};
use crate::api::istio::sidecar::EGRESS_LISTENER;
use crate::istio::proto_json::{Unknown, canonical};
use serde_json::Value;
use thiserror::Error;

/// Why an answer cannot be read. It contains no text of the answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// It is not a list.
    #[error("the answer must be a JSON list of egress listeners, it is {0}")]
    NotAList(&'static str),
    /// A listener cannot be read.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Reads a list of egress listeners as proto-JSON: field names in both spellings (`captureMode`, `capture_mode`), numbers also
/// as texts, enumerations by name or number, `null` as absent, unknown fields ignored. `null` is the empty list.
///
/// # Errors
/// When a field cannot be read: its path, such as `egress[1].port.number`, and the reason.
pub fn read(answer: &Value) -> Result<Vec<EgressListener>, ReadError> {
    match answer {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items.iter().enumerate().map(listener).collect::<Result<_, _>>()?),
        other => Err(ReadError::NotAList(type_of(other))),
    }
}

fn listener((index, item): (usize, &Value)) -> Result<EgressListener, FieldError> {
    let place = format!("egress[{index}]");
    if item.is_null() {
        return Err(FieldError::new(place, "must be an egress listener, not null"));
    }
    let read = canonical(EGRESS_LISTENER, item, Unknown::Ignored).and_then(typed);
    read.map_err(|FieldError { field, problem }| {
        FieldError::new(if field.is_empty() { place } else { format!("{place}.{field}") }, problem)
    })
}
