//! The resources that the containers of a Pod share (`spec.resources`).

use crate::api::quantity::Quantity;
use crate::injection::amounts::ContainerAmounts;
use crate::injection::expression::Resource;
use serde_json::value::RawValue;

/// The resources that the containers of a Pod share.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct PodResources<'a>(pub(super) ContainerAmounts<'a>);

/// An increase of one of the Pod's own amounts.
pub(in super::super) struct Growth {
    /// `limits` or `requests`.
    pub part: &'static str,
    pub resource: String,
    pub amount: Quantity,
}

impl<'a> PodResources<'a> {
    /// Reads `spec.resources`, if it is not empty.
    pub fn of(raw: Option<&'a RawValue>) -> Option<Self> {
        let amounts = ContainerAmounts::read(raw);
        (!amounts.limits.is_empty() || !amounts.requests.is_empty()).then_some(Self(amounts))
    }

    /// Returns the Pod's limit of a resource.
    pub fn limit(&self, resource: Resource) -> Option<Quantity> {
        self.0.limits.get(resource.name()).copied()
    }
}
