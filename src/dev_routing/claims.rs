//! Pure: objects of others that the VirtualService of each Service depends on. When one of them changes, the Service is
//! examined again.

use super::key::Key;
use std::collections::{BTreeSet, HashMap};

/// An object that a Service may claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// The name of a VirtualService.
    VirtualService(Key),
    /// A host of the mesh.
    Host(String),
    /// Another Service that receives requests.
    Service(Key),
}

/// The claims of all Services, by name.
#[derive(Debug, Default)]
pub(super) struct Claims {
    of: HashMap<String, BTreeSet<Claim>>,
    by: HashMap<Claim, BTreeSet<String>>,
}

impl Claims {
    /// Replaces the claims of a Service.
    pub fn set(&mut self, service: &str, claims: BTreeSet<Claim>) {
        if self.of.get(service).map_or(claims.is_empty(), |before| *before == claims) {
            return;
        }
        for claim in self.of.remove(service).unwrap_or_default() {
            if let Some(services) = self.by.get_mut(&claim) {
                services.remove(service);
                if services.is_empty() {
                    self.by.remove(&claim);
                }
            }
        }
        for claim in &claims {
            self.by.entry(claim.clone()).or_default().insert(service.to_owned());
        }
        if !claims.is_empty() {
            self.of.insert(service.to_owned(), claims);
        }
    }

    /// Returns the names of the Services with this claim.
    pub fn by<'c>(&'c self, claim: &Claim) -> impl Iterator<Item = &'c String> + use<'c> {
        self.by.get(claim).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_service_counts() {
        let mut claims = Claims::default();
        let (host, to) = (Claim::Host("a.example.com".to_owned()), Claim::Service(Key::new("shop", "auth")));
        claims.set("a", [host.clone(), to.clone()].into());
        claims.set("b", [to.clone()].into());
        assert_eq!(claims.by(&to).collect::<Vec<_>>(), ["a", "b"]);
        claims.set("a", [host.clone()].into());
        assert_eq!(claims.by(&to).collect::<Vec<_>>(), ["b"]);
        assert_eq!(claims.by(&host).collect::<Vec<_>>(), ["a"]);
        claims.set("a", BTreeSet::new());
        claims.set("b", BTreeSet::new());
        assert_eq!((claims.of.len(), claims.by.len()), (0, 0));
    }
}
