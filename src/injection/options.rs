//! What injection is told beside the SidecarSets.

use super::exclusion::Exclusions;

/// What injection is told beside the SidecarSets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which Pods are left alone.
    pub exclusions: Exclusions,
    /// Whether a Pod that gets containers in front of its own is annotated `kubectl.kubernetes.io/default-container`, unless it
    /// is already: `kubectl logs` and `kubectl exec` then go on to mean the Pod's first own container. Default: no, as OpenKruise.
    pub default_container: bool,
    /// Whether each Namespace is known sooner or later, as by a watch of a cluster: one that is not yet may have any labels, so a
    /// namespaceSelector that asks for others than its name does not match it, as in OpenKruise. Default: no; then a Namespace
    /// that is not known has its name for a label and no others, for files need not hold any.
    pub all_namespaces_are_known: bool,
}
