//! Pods that are never injected, and why.

use super::PodRequest;
use crate::api::keys;
use crate::api::pod::PodView;
use std::collections::BTreeSet;
use std::fmt;

/// The Pods that are never injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusions {
    /// Excluded namespaces. Default: `kube-system`; the server adds its own.
    pub namespaces: BTreeSet<String>,
    /// Whether a Pod can opt out with the annotation `outrigger.dev/inject: "false"`. Default: no, because users could
    /// then avoid a sidecar that a platform team requires.
    pub allow_opt_out: bool,
}

impl Default for Exclusions {
    fn default() -> Self {
        Self { namespaces: BTreeSet::from(["kube-system".to_owned()]), allow_opt_out: false }
    }
}

/// Why a Pod is excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// The request is not the creation of a Pod.
    Operation,
    /// The Pod's namespace is excluded.
    Namespace(String),
    /// A mirror Pod, owned by the kubelet.
    MirrorPod,
    /// The Pod has ended.
    Ended,
    /// The Pod is being deleted.
    Deleted,
    /// The Pod opted out.
    OptedOut,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation => f.write_str("only the creation of a Pod is injected"),
            Self::Namespace(name) => write!(f, "namespace {name} is excluded"),
            Self::MirrorPod => write!(f, "a mirror Pod (annotation {})", keys::MIRROR_POD),
            Self::Ended => f.write_str("the Pod has ended (phase Succeeded or Failed)"),
            Self::Deleted => f.write_str("the Pod is being deleted"),
            Self::OptedOut => write!(f, "the Pod opted out (annotation {}: \"false\")", keys::INJECT),
        }
    }
}

impl Exclusions {
    /// Returns why this Pod is excluded, or `None` if it is not.
    #[must_use]
    pub fn of(&self, pod: &PodView<'_>, request: &PodRequest<'_>) -> Option<Exclusion> {
        let metadata = pod.metadata.as_ref();
        let namespace = request.namespace_of(pod);
        if request.operation != "CREATE" || !request.sub_resource.is_empty() {
            Some(Exclusion::Operation)
        } else if self.namespaces.contains(namespace) {
            Some(Exclusion::Namespace(namespace.to_owned()))
        } else if pod.annotation(keys::MIRROR_POD).is_some() {
            Some(Exclusion::MirrorPod)
        } else if pod.status.as_ref().is_some_and(|s| matches!(s.phase.as_deref(), Some("Succeeded" | "Failed"))) {
            Some(Exclusion::Ended)
        } else if metadata.is_some_and(|m| m.deletion_timestamp.is_some()) {
            Some(Exclusion::Deleted)
        } else if self.allow_opt_out && pod.annotation(keys::INJECT) == Some("false") {
            Some(Exclusion::OptedOut)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclusion(pod: &str, request: &PodRequest<'_>, exclusions: &Exclusions) -> Option<Exclusion> {
        exclusions.of(&serde_json::from_str(pod).unwrap(), request)
    }

    #[test]
    fn each_exclusion_has_its_reason() {
        let request = PodRequest::create("shop", jiff::Timestamp::UNIX_EPOCH);
        let default = Exclusions::default();
        let of = |pod: &str| exclusion(pod, &request, &default);
        assert_eq!(of(r#"{"metadata":{}}"#), None);
        assert_eq!(
            of(r#"{"metadata":{"namespace":"kube-system"}}"#),
            Some(Exclusion::Namespace("kube-system".to_owned()))
        );
        assert_eq!(
            of(r#"{"metadata":{"annotations":{"kubernetes.io/config.mirror":""}}}"#),
            Some(Exclusion::MirrorPod)
        );
        assert_eq!(of(r#"{"status":{"phase":"Failed"}}"#), Some(Exclusion::Ended));
        assert_eq!(of(r#"{"status":{"phase":"Succeeded"}}"#), Some(Exclusion::Ended));
        assert_eq!(of(r#"{"status":{"phase":"Pending"}}"#), None);
        assert_eq!(of(r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}"#), Some(Exclusion::Deleted));
        let update = PodRequest { operation: "UPDATE", ..request };
        assert_eq!(exclusion("{}", &update, &default), Some(Exclusion::Operation));
        let subresource = PodRequest { sub_resource: "status", ..request };
        assert_eq!(exclusion("{}", &subresource, &default), Some(Exclusion::Operation));
    }

    #[test]
    fn opting_out_works_only_where_it_is_allowed() {
        let pod = r#"{"metadata":{"annotations":{"outrigger.dev/inject":"false"}}}"#;
        let request = PodRequest::create("shop", jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(exclusion(pod, &request, &Exclusions::default()), None);
        let allowed = Exclusions { allow_opt_out: true, ..Exclusions::default() };
        assert_eq!(exclusion(pod, &request, &allowed), Some(Exclusion::OptedOut));
    }
}
