//! What a Pod says its containers may use together (`spec.resources`).

use crate::api::quantity::Quantity;
use crate::injection::amounts::ContainerAmounts;
use crate::injection::expression::Resource;
use serde_json::value::RawValue;

/// What a Pod says its containers may use together.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct PodResources<'a>(pub(super) ContainerAmounts<'a>);

/// An amount of the Pod's that grows.
pub(in super::super) struct Growth {
    /// `limits` or `requests`.
    pub part: &'static str,
    pub resource: String,
    pub amount: Quantity,
}

impl<'a> PodResources<'a> {
    /// `spec.resources`, where it says something.
    pub fn of(raw: Option<&'a RawValue>) -> Option<Self> {
        let amounts = ContainerAmounts::read(raw);
        (!amounts.limits.is_empty() || !amounts.requests.is_empty()).then_some(Self(amounts))
    }

    /// The Pod's limit of a resource.
    pub fn limit(&self, resource: Resource) -> Option<Quantity> {
        self.0.limits.get(resource.name()).copied()
    }
}
