//! The ports of a Service that has another owner, and a change of them.

use crate::istio::node::Node;
use json_patch::PatchOperation;
use serde_json::Value;

/// A port of a Service as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    pub(super) number: i64,
    pub(super) name: String,
    pub(super) is_udp: bool,
    pub(super) app_protocol: Option<String>,
}

/// The change of a Service that allows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mend {
    /// The patch.
    pub operations: Vec<PatchOperation>,
    /// What the repair does, for the Event.
    pub done: Vec<String>,
    /// How to undo it, for the Event.
    pub undo: Vec<String>,
}

impl ServicePort {
    /// Returns the ports of a Service with this `spec`.
    pub(super) fn all(spec: &Value) -> Vec<Self> {
        let read = |port: Node<'_>| Self {
            number: port.number("port").unwrap_or_default(),
            name: port.text("name").to_owned(),
            is_udp: port.text("protocol") == "UDP",
            app_protocol: Some(port.text("appProtocol").to_owned()).filter(|text| !text.is_empty()),
        };
        Node::new(spec, "spec").list("ports").into_iter().map(read).collect()
    }
}

impl Mend {
    /// Adds this change.
    pub(super) fn join(&mut self, other: Self) {
        self.operations.extend(other.operations);
        self.done.extend(other.done);
        self.undo.extend(other.undo);
    }
}
