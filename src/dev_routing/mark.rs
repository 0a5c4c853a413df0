//! Pure: the marks of a placeholder Service: vs-operator's annotations, and those that let Helm adopt it.

use super::key::Metadata;
use crate::api::keys;

/// Marks a placeholder, as in vs-operator.
pub const PLACEHOLDER: &str = "virtualservice-operator/placeholder-service";

/// On a placeholder: the full name of the Service that it refers to.
pub const SOURCE: &str = "virtualservice-operator/source-service";

/// The annotations with which Helm recognizes objects of a release.
pub(super) const RELEASE: [&str; 2] = ["meta.helm.sh/release-name", "meta.helm.sh/release-namespace"];
/// The manager that Helm expects.
pub(super) const HELM: &str = "Helm";

/// The marks of a placeholder Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The full name of the Service in the annotation.
    pub(super) source: String,
    /// Whether labels and annotations are complete.
    pub(super) is_complete: bool,
}

impl Mark {
    /// Reads the mark of a Service, if it has one.
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
