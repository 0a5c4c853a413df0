//! The amounts of CPU and memory of a container, which Kubernetes can change in a running Pod.

use super::keyed_hash::hash;
use crate::api::quantity::Quantity;
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::Value;

/// The resources whose amounts can be changed.
pub(super) const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// An amount that a set gives a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// `limits` or `requests`.
    pub kind: &'static str,
    /// `cpu` or `memory`.
    pub resource: &'static str,
    /// The amount as written in the set.
    pub text: String,
    /// The key for finding it in a Pod ([`super::Fingerprint::has_amount`]).
    pub asked: AskedAmount,
}

/// The hash of a limit or request of a resource, regardless of spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AskedAmount(u64);

/// The amounts of CPU and memory of a container, from its spec or from the kubelet's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Amounts(Box<[AskedAmount]>);

impl Amount {
    /// Reads the amounts of a container. Anything that is not an amount is skipped.
    #[must_use]
    pub fn all(resources: Option<&Value>) -> Vec<Self> {
        let all = ["limits", "requests"].into_iter().flat_map(|kind| RESIZABLE.map(|resource| (kind, resource)));
        let amount = |(kind, resource): (&'static str, &'static str)| {
            let text = match resources?.get(kind)?.get(resource)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some(Self { kind, resource, asked: AskedAmount::of(kind, resource, &text)?, text })
        };
        all.filter_map(amount).collect()
    }
}

impl AskedAmount {
    /// Returns `None` if the text is not an amount.
    fn of(kind: &str, resource: &str, text: &str) -> Option<Self> {
        let amount = Quantity::parse(text).ok()?.round_up_to_milli().milli_value()?;
        Some(Self(hash((kind, resource, amount))))
    }
}

impl Amounts {
    /// Whether this amount is included.
    #[must_use]
    pub fn has(&self, amount: AskedAmount) -> bool {
        self.0.contains(&amount)
    }

    /// Whether all of the other amounts are included.
    #[must_use]
    pub fn have(&self, others: &Self) -> bool {
        others.0.iter().all(|amount| self.has(*amount))
    }

    /// Returns the number of amounts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no amounts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: Option<ByName>,
    requests: Option<ByName>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ByName {
    cpu: Option<Value>,
    memory: Option<Value>,
}

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Resources { limits, requests } = Resources::deserialize(deserializer)?;
        let mut amounts = Vec::new();
        for (kind, named) in [("limits", limits), ("requests", requests)] {
            let ByName { cpu, memory } = named.unwrap_or_default();
            for (resource, amount) in [("cpu", cpu), ("memory", memory)] {
                amounts.extend(match amount {
                    Some(Value::String(text)) => AskedAmount::of(kind, resource, &text),
                    // A number in a file.
                    Some(Value::Number(number)) => AskedAmount::of(kind, resource, &number.to_string()),
                    _ => None,
                });
            }
        }
        Ok(Self(amounts.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_the_same_however_they_are_spelled_and_as_limits_or_requests_different() {
        let asked = |resources: &Value| serde_json::from_value::<Amounts>(resources.clone()).unwrap();
        let set =
            json!({"limits": {"cpu": "1000m", "memory": "1024Mi", "example.com/gpu": "1"}, "requests": {"cpu": 0.5}});
        let all = Amount::all(Some(&set));
        let told: Vec<_> = all.iter().map(|amount| (amount.kind, amount.resource, &*amount.text)).collect();
        assert_eq!(told, [("limits", "cpu", "1000m"), ("limits", "memory", "1024Mi"), ("requests", "cpu", "0.5")]);
        let pod =
            asked(&json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}));
        assert!(all.iter().all(|amount| pod.has(amount.asked)));
        let swapped = asked(&json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "500m"}}));
        assert!(all.iter().all(|amount| !swapped.has(amount.asked)));
        assert!(asked(&json!({"limits": {"cpu": null, "memory": true}, "requests": null})).is_empty());
        assert!(pod.have(&asked(&json!({}))) && !asked(&json!({})).have(&pod));
    }
}
