//! `resourceFieldRef`, of variables and of files.

use super::node::Node;

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

/// A `resourceFieldRef`, of a variable or of a volume's file.
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
}
