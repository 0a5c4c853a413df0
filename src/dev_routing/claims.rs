//! Pure: what the VirtualService of each Service needs that others have a word in. When one of these things changes, it is looked at again.

use super::key::Key;
use std::collections::{BTreeSet, HashMap};

/// What may be claimed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// The name of a VirtualService.
    VirtualService(Key),
    /// A host of the mesh.
    Host(String),
    /// Another Service, where requests go.
    Service(Key),
}

/// The claims of all Services, each by its name.
#[derive(Debug, Default)]
pub(super) struct Claims {
    of: HashMap<String, BTreeSet<Claim>>,
    by: HashMap<Claim, BTreeSet<String>>,
}

impl Claims {
    /// A Service claims these now, and nothing else.
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

    /// Names of the Services that claim this.
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
