//! The watched kinds: those that are made for MeshServices, and those that the checks read.

use super::key::Key;
use super::kind::MeshKind;
use crate::cluster::Slice;
use crate::mesh_integrity;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use std::fmt;

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// Its consent is checked.
    Namespace,
    /// Objects that are made for MeshServices, and by others.
    Made(MeshKind),
    /// Objects that a proxy must know.
    Sidecar,
    /// A workload outside of Kubernetes.
    WorkloadEntry,
    /// It lists valid tokens.
    RequestAuthentication,
    /// A Gateway of `gateway.networking.k8s.io`.
    KubernetesGateway,
}

/// The key of an object; displays as `Kind/namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Watched,
    /// Its namespace and name; only the name for a Namespace.
    pub key: Key,
}

impl Watched {
    /// Returns all kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Sidecar, Self::WorkloadEntry, Self::RequestAuthentication, Self::KubernetesGateway];
        [Self::Namespace].into_iter().chain(MeshKind::ALL.map(Self::Made)).chain(others)
    }

    /// Returns the value of `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Made(kind) => kind.as_str(),
            Self::Sidecar => "Sidecar",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::KubernetesGateway => "Gateway",
        }
    }

    /// Returns whether it controls who may send requests.
    #[must_use]
    pub fn is_policy(self) -> bool {
        matches!(self, Self::Made(MeshKind::PeerAuthentication | MeshKind::AuthorizationPolicy))
    }

    /// Returns the kind, for a client.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, plural) = match self {
            Self::Made(kind) => return kind.resource(),
            Self::Namespace => ("", "namespaces"),
            Self::Sidecar => ("networking.istio.io", "sidecars"),
            Self::WorkloadEntry => ("networking.istio.io", "workloadentries"),
            Self::RequestAuthentication => ("security.istio.io", "requestauthentications"),
            Self::KubernetesGateway => ("gateway.networking.k8s.io", "gateways"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", self.as_str()), plural)
    }

    /// Returns all objects of the kind.
    #[must_use]
    pub fn slice(self) -> Slice {
        let what = match self {
            Self::Namespace => "namespaces of the mesh",
            Self::Made(MeshKind::Service) => "services of the mesh",
            Self::Made(kind) => kind.as_str(),
            Self::KubernetesGateway => "Gateway of gateway.networking.k8s.io",
            other => other.as_str(),
        };
        let slice = Slice::of(what, self.resource());
        if self == Self::Namespace { slice.metadata_only() } else { slice }
    }

    /// Returns the kind of the checks, if they know it.
    #[must_use]
    pub fn judged(self) -> Option<mesh_integrity::Kind> {
        Some(match self {
            Self::Namespace => mesh_integrity::Kind::Namespace,
            Self::Made(MeshKind::Service) => mesh_integrity::Kind::Service,
            Self::Made(MeshKind::ServiceEntry) => mesh_integrity::Kind::ServiceEntry,
            Self::Made(MeshKind::DestinationRule) => mesh_integrity::Kind::DestinationRule,
            Self::Made(MeshKind::Gateway) => mesh_integrity::Kind::Gateway,
            Self::Made(MeshKind::VirtualService) => mesh_integrity::Kind::VirtualService,
            Self::Sidecar => mesh_integrity::Kind::Sidecar,
            // Without Pods the checks would take WorkloadEntries for all workloads of their namespace.
            Self::WorkloadEntry | Self::Made(MeshKind::PeerAuthentication | MeshKind::AuthorizationPolicy) => {
                return None;
            }
            Self::RequestAuthentication => mesh_integrity::Kind::RequestAuthentication,
            Self::KubernetesGateway => mesh_integrity::Kind::KubernetesGateway,
        })
    }
}

impl ObjectKey {
    /// Returns the made object of this kind and name.
    #[must_use]
    pub fn made(kind: MeshKind, key: Key) -> Self {
        Self { kind: Watched::Made(kind), key }
    }

    /// Returns the key of an object of a kind that is made.
    #[must_use]
    pub fn of_made(object: &DynamicObject) -> Option<Self> {
        let kind = object.types.as_ref()?.kind.parse::<MeshKind>().ok()?;
        Some(Self::made(kind, Key::of(&object.metadata)))
    }

    /// Returns the key of a Namespace.
    #[must_use]
    pub fn namespace(name: &str) -> Self {
        Self { kind: Watched::Namespace, key: Key::new("", name) }
    }

    /// Returns the name that the checks use.
    #[must_use]
    pub fn judged(&self) -> Option<mesh_integrity::Key> {
        let Key { namespace, name } = self.key.clone();
        Some(mesh_integrity::Key { kind: self.kind.judged()?, namespace, name })
    }

    /// Returns the object of this name in the checks, if it is watched.
    #[must_use]
    pub fn of_judged(key: &mesh_integrity::Key) -> Option<Self> {
        let kind = Watched::all().find(|kind| kind.judged() == Some(key.kind))?;
        Some(Self { kind, key: Key::new(&key.namespace, &key.name) })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.namespace.as_str() {
            "" => write!(f, "{}/{}", self.kind.as_str(), self.key.name),
            _ => write!(f, "{}/{}", self.kind.as_str(), self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_name_objects_as_they_are_watched() {
        for kind in Watched::all() {
            let key = ObjectKey { kind, key: Key::new("a", "b") };
            let Some(judged) = key.judged() else { continue };
            assert_eq!(judged.kind.as_str(), kind.as_str());
            assert_eq!(ObjectKey::of_judged(&judged), Some(key));
        }
    }
}
