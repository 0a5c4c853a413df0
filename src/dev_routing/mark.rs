//! Pure: what marks a Service as a placeholder: annotations of vs-operator, and those by which Helm adopts it.

use super::key::Metadata;
use crate::api::keys;

/// Marks a placeholder; so does vs-operator.
pub const PLACEHOLDER: &str = "virtualservice-operator/placeholder-service";

/// On a placeholder: the whole name of the Service that it leads to.
pub const SOURCE: &str = "virtualservice-operator/source-service";

/// By these Helm knows what belongs to a release.
pub(super) const RELEASE: [&str; 2] = ["meta.helm.sh/release-name", "meta.helm.sh/release-namespace"];
/// Whom Helm takes to manage what is its own.
pub(super) const HELM: &str = "Helm";

/// What marks a Service as a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The whole name of the Service that it is said to lead to.
    pub(super) source: String,
    /// Whether labels and annotations are as they are written.
    pub(super) is_complete: bool,
}

impl Mark {
    /// The mark of a Service, if it has one.
    pub(super) fn read(metadata: &Metadata) -> Option<Self> {
        let annotation = |key: &str| metadata.annotations.get(key).map(String::as_str);
        (annotation(PLACEHOLDER) == Some("true")).then(|| Self {
            source: annotation(SOURCE).unwrap_or_default().to_owned(),
            is_complete: metadata.labels.get(keys::MANAGED_BY).map(String::as_str) == Some(HELM)
                && annotation(RELEASE[0]) == Some(&metadata.name)
                && annotation(RELEASE[1]) == Some(&metadata.namespace),
        })
    }
}
