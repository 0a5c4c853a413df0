//! Options of injection besides the SidecarSets.

use super::exclusion::Exclusions;

/// Options of injection besides the SidecarSets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The Pods that are never injected.
    pub exclusions: Exclusions,
    /// Whether a Pod that gets containers before its own is annotated `kubectl.kubernetes.io/default-container`, unless it already
    /// is. `kubectl logs` and `kubectl exec` then still use the Pod's first own container. Default: no, as in OpenKruise.
    pub default_container: bool,
    /// Whether every Namespace will be known eventually, as with a watch of a cluster. If so, a Namespace that is not known yet
    /// may have any labels, and a namespaceSelector on labels other than its name does not match it, as in OpenKruise. Default:
    /// no, because files need not contain Namespaces; an unknown Namespace then has its name label only.
    pub all_namespaces_are_known: bool,
}
