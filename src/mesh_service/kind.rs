//! The kinds of objects that are made for MeshServices.

use kube::api::{ApiResource, GroupVersionKind};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A kind of objects that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MeshKind {
    /// `v1`
    Service,
    /// `networking.istio.io`
    ServiceEntry,
    /// `networking.istio.io`
    DestinationRule,
    /// `security.istio.io`
    PeerAuthentication,
    /// `security.istio.io`
    AuthorizationPolicy,
    /// `networking.istio.io`
    Gateway,
    /// `networking.istio.io`
    VirtualService,
}

/// The kinds that are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshKinds(BTreeSet<MeshKind>);

impl MeshKind {
    /// All kinds, in the order in which they are written. The targets of routes come before the routes, and policies before what opens
    /// access.
    pub const ALL: [Self; 7] = [
        Self::Service,
        Self::ServiceEntry,
        Self::DestinationRule,
        Self::PeerAuthentication,
        Self::AuthorizationPolicy,
        Self::Gateway,
        Self::VirtualService,
    ];

    /// Returns the value of `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::ServiceEntry => "ServiceEntry",
            Self::DestinationRule => "DestinationRule",
            Self::Gateway => "Gateway",
            Self::VirtualService => "VirtualService",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
        }
    }

    /// Returns the API resource, for clients.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, plural) = match self {
            Self::Service => ("", "services"),
            Self::ServiceEntry => ("networking.istio.io", "serviceentries"),
            Self::DestinationRule => ("networking.istio.io", "destinationrules"),
            Self::Gateway => ("networking.istio.io", "gateways"),
            Self::VirtualService => ("networking.istio.io", "virtualservices"),
            Self::PeerAuthentication => ("security.istio.io", "peerauthentications"),
            Self::AuthorizationPolicy => ("security.istio.io", "authorizationpolicies"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", self.as_str()), plural)
    }
}

impl fmt::Display for MeshKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MeshKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        known.ok_or_else(|| format!("must be one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// All kinds.
impl Default for MeshKinds {
    fn default() -> Self {
        Self(MeshKind::ALL.into())
    }
}

impl FromIterator<MeshKind> for MeshKinds {
    fn from_iter<I: IntoIterator<Item = MeshKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().collect())
    }
}

impl MeshKinds {
    /// Returns whether objects of a kind are made.
    #[must_use]
    pub fn contains(&self, kind: MeshKind) -> bool {
        self.0.contains(&kind)
    }

    /// Returns the kinds that are made, in the order in which they are written.
    pub fn iter(&self) -> impl Iterator<Item = MeshKind> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_in_the_order_of_their_declaration() {
        assert!(MeshKind::ALL.is_sorted());
        assert_eq!(MeshKinds::default().iter().collect::<Vec<_>>(), MeshKind::ALL);
    }

    #[test]
    fn a_kind_is_read_in_any_case_and_any_other_is_told_which_there_are() {
        assert_eq!("virtualservice".parse(), Ok(MeshKind::VirtualService));
        let problem = "Sidecar".parse::<MeshKind>().unwrap_err();
        assert!(problem.starts_with("must be one of Service, ServiceEntry, "), "{problem}");
    }
}
