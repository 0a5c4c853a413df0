//! `resourceFieldRef` in variables and files.

use super::node::Node;
use crate::api::quantity::Quantity;
use serde_json::Value;

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

/// A `resourceFieldRef` of a variable or of a volume's file.
pub(super) fn check(reference: &Node<'_>) {
    if !reference.is_set() {
        return;
    }
    let resource = reference.get("resource");
    if let Some(text) = resource.required_text()
        && !RESOURCES.contains(&text)
        && !text.starts_with("limits.hugepages-")
        && !text.starts_with("requests.hugepages-")
    {
        resource.place.not_supported(text, &RESOURCES);
    }
    check_divisor(resource.text_or_empty(), &reference.get("divisor"));
}

/// Kubernetes' `validateContainerResourceDivisor`: each resource has a few divisors.
fn check_divisor(resource: &str, divisor: &Node<'_>) {
    const OF_CPU: [&str; 2] = ["1", "1m"];
    const OF_BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let text = match divisor.value {
        None => return,
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => match divisor.text() {
            Some(text) => text.trim().to_owned(),
            None => return,
        },
    };
    let supported: &[&str] = if matches!(resource, "limits.cpu" | "requests.cpu") { &OF_CPU } else { &OF_BYTES };
    match Quantity::parse(&text) {
        Err(error) => divisor.place.invalid(text, &error.to_string()),
        Ok(amount) if amount.is_zero() || supported.contains(&amount.to_string().as_str()) => {}
        Ok(_) => divisor.place.invalid(text, &format!("must be one of {}", supported.join(", "))),
    }
}
