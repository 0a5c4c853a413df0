//! The resource amounts of a container: `resources`, read as Kubernetes reads it.

use super::expression::Resource;
use super::resources::{ComputedResources, PerResource};
use crate::api::borrowed::Str;
use crate::api::pod::AmountView;
use crate::api::quantity::Quantity;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Amounts, keyed by resource name.
pub(super) type Amounts<'a> = BTreeMap<Cow<'a, str>, Quantity>;

/// Limits and requests as written.
#[derive(Clone, Debug, Default)]
pub(super) struct ContainerAmounts<'a> {
    pub limits: Amounts<'a>,
    pub requests: Amounts<'a>,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    limits: Option<BTreeMap<Str<'a>, AmountView<'a>>>,
    #[serde(borrow, default)]
    requests: Option<BTreeMap<Str<'a>, AmountView<'a>>>,
}

impl<'a> ContainerAmounts<'a> {
    /// Reads the amounts of a container. Unreadable amounts count as absent.
    pub fn read(raw: Option<&'a RawValue>) -> Self {
        let written = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let Some(Written { limits, requests }) = written else { return Self::default() };
        let amounts = |list: Option<BTreeMap<Str<'a>, AmountView<'a>>>| {
            let amounts = list.into_iter().flatten();
            amounts.filter_map(|(name, amount)| Some((name.into_cow(), Quantity::parse(amount.text()).ok()?))).collect()
        };
        Self { limits: amounts(limits), requests: amounts(requests) }
    }

    /// Whether CPU and memory both have a limit and no request differs from it. An absent request defaults to the limit; a request of
    /// zero does not (`ComputePodQOS` of `k8s.io/kubernetes/pkg/apis/core/v1/helper/qos`).
    pub fn are_guaranteed(&self) -> bool {
        [Resource::Cpu, Resource::Memory].map(Resource::name).iter().all(|name| {
            let limit = self.limits.get(*name).filter(|limit| !limit.is_zero());
            limit.is_some_and(|limit| self.requests.get(*name).is_none_or(|request| request.compare(*limit).is_eq()))
        })
    }

    /// The requests. A limit without a request counts as both.
    pub fn requested(&self) -> Amounts<'a> {
        let mut requested = self.limits.clone();
        requested.extend(self.requests.clone());
        requested
    }

    /// The limits. A request without a limit counts as the least limit.
    pub fn limited(&self) -> Amounts<'a> {
        let mut limited = self.requests.clone();
        limited.extend(self.limits.clone());
        limited
    }
}

impl ContainerAmounts<'static> {
    /// The amounts that a policy computed.
    pub fn computed(computed: &ComputedResources) -> Self {
        let amounts = |part: &PerResource<Quantity>| {
            let all = [Resource::Cpu, Resource::Memory].map(|resource| (resource, part.get(resource).copied()));
            all.into_iter().filter_map(|(resource, amount)| Some((Cow::Borrowed(resource.name()), amount?))).collect()
        };
        Self { limits: amounts(&computed.limits), requests: amounts(&computed.requests) }
    }
}
