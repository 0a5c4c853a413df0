//! `transferEnv`: which variables a container takes, and from which container of the Pod.

use crate::api::pod::PodView;
use crate::api::sidecarset::TransferEnv;
use std::collections::BTreeSet;

/// Kubernetes' maximum length of container names.
pub(super) const LONGEST_NAME: usize = 63;

/// A `transferEnv` entry.
#[derive(Debug)]
pub(super) struct TransferSource {
    container: SourceContainer,
    /// Sorted, as in OpenKruise.
    pub variables: BTreeSet<String>,
}

/// Where to find the name of the container to copy from.
#[derive(Debug)]
enum SourceContainer {
    Named(String),
    Label(String),
    Annotation(String),
    /// A field that cannot be resolved. OpenKruise skips the entry.
    Unresolvable(String),
}

impl TransferSource {
    pub fn new(entry: &TransferEnv) -> Self {
        let field = entry.source_container_name_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let container = match field {
            None => SourceContainer::Named(entry.source_container_name.clone()),
            Some(field) => {
                let key_in = |map: &str| {
                    let key = field.field_path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']")?;
                    Some(key.to_owned())
                };
                key_in("metadata.labels")
                    .map(SourceContainer::Label)
                    .or_else(|| key_in("metadata.annotations").map(SourceContainer::Annotation))
                    .unwrap_or_else(|| SourceContainer::Unresolvable(field.field_path.clone()))
            }
        };
        Self { container, variables: entry.names().map(str::to_owned).collect() }
    }

    /// Returns the name of the container to copy from in this Pod.
    pub fn resolve<'p>(
        &'p self,
        pod: &'p PodView<'_>,
        annotation: impl Fn(&str) -> Option<&'p str>,
    ) -> Result<&'p str, String> {
        let name = match &self.container {
            SourceContainer::Named(name) => Ok(name.as_str()),
            SourceContainer::Label(key) => pod.label(key).ok_or_else(|| format!("the Pod has no label {key:?}")),
            SourceContainer::Annotation(key) => {
                annotation(key).ok_or_else(|| format!("the Pod has no annotation {key:?}"))
            }
            SourceContainer::Unresolvable(path) => {
                Err(format!("{path:?} is not a label or annotation of the Pod, such as metadata.labels['key']"))
            }
        }?;
        if name.len() > LONGEST_NAME {
            return Err(format!("the source container's name has more than {LONGEST_NAME} characters"));
        }
        Ok(name)
    }
}
