//! Whether an address may be spoken to: what is refused always, what an operator opened, and what is refused by itself.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::address::{self, AddressKind, plain};
use super::allow::Allow;

/// Addresses never fetched from, whatever is allowed: the API server's. A clone is the same set.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    addresses: Arc<ArcSwap<HashSet<SocketAddr>>>,
}

/// Why an address may not be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is refused by itself.
    Kind {
        /// What it is.
        kind: AddressKind,
        /// [`Guard::opened_by`].
        opened_by: &'static str,
    },
    /// It is in [`Refused`].
    Never,
}

/// The judge of addresses. The default opens nothing that is refused by itself.
#[derive(Clone, Debug)]
pub struct Guard {
    /// What is open beside what is open by default.
    pub allow: Vec<Allow>,
    /// What is never fetched from, whatever `allow` says. Shared: it can be set at any time.
    pub refused: Refused,
    /// What an operator sets to add to `allow`, for messages. Default `--fetch-allow`.
    pub opened_by: &'static str,
}

impl Default for Guard {
    fn default() -> Self {
        Self { allow: Vec::new(), refused: Refused::default(), opened_by: "--fetch-allow" }
    }
}

impl Refused {
    /// Refuses exactly these from now on. Connections that idle are not used again when this changes anything; a request
    /// that is under way ends as it would have.
    pub fn set(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let addresses: HashSet<_> = addresses.into_iter().map(canonical).collect();
        if **self.addresses.load() != addresses {
            self.addresses.store(Arc::new(addresses));
        }
    }

    /// The set as it is now; another one after each change.
    pub(super) fn current(&self) -> Arc<HashSet<SocketAddr>> {
        self.addresses.load_full()
    }

    fn has(&self, address: SocketAddr) -> bool {
        self.addresses.load().contains(&canonical(address))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { kind, opened_by } => write!(f, "{kind}, refused unless {opened_by} opens it"),
            Self::Never => f.write_str("an address never fetched from (the API server's)"),
        }
    }
}

impl Guard {
    /// Judges an address; `name` is what resolved to it, in lower case, and nothing for an address in the URL itself.
    pub(super) fn check(&self, name: Option<&str>, address: SocketAddr) -> Result<(), Refusal> {
        if self.refused.has(address) {
            return Err(Refusal::Never);
        }
        let Some(kind) = address::refused(address.ip()) else { return Ok(()) };
        let is_open = |allow: &Allow| allow.has_address(address.ip()) || name.is_some_and(|name| allow.has_host(name));
        if self.allow.iter().any(is_open) {
            return Ok(());
        }
        Err(Refusal::Kind { kind, opened_by: self.opened_by })
    }
}

/// The same for all ways to write an address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(plain(address.ip()), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: &[&str], refused: &[&str], name: &str, address: &str) -> Result<(), Refusal> {
        let allow = allow.iter().map(|text| text.parse().expect(text)).collect();
        let guard = Guard { allow, ..Guard::default() };
        guard.refused.set(refused.iter().map(|text| text.parse().expect(text)));
        guard.check(Some(name).filter(|name| !name.is_empty()), address.parse().expect(address))
    }

    #[test]
    fn what_is_refused_by_itself_is_opened_by_address_or_by_name() {
        let loopback = Err(Refusal::Kind { kind: AddressKind::Loopback, opened_by: "--fetch-allow" });
        for (allow, name, address, expected) in [
            (vec![], "", "10.0.0.1:80", Ok(())),
            (vec![], "", "127.0.0.1:80", loopback),
            (vec!["127.0.0.0/8"], "", "127.0.0.1:80", Ok(())),
            (vec!["127.0.0.0/8"], "any.name", "[::ffff:127.0.0.1]:80", Ok(())),
            (vec!["127.0.0.2"], "", "127.0.0.1:80", loopback),
            (vec!["localhost"], "localhost", "127.0.0.1:80", Ok(())),
            (vec!["localhost"], "other", "127.0.0.1:80", loopback),
            (vec!["localhost"], "", "127.0.0.1:80", loopback),
            (vec!["::1", "*.example.com"], "a.example.com", "169.254.169.254:80", Ok(())),
        ] {
            assert_eq!(check(&allow, &[], name, address), expected, "{allow:?} {name} {address}");
        }
    }

    #[test]
    fn what_is_never_fetched_from_cannot_be_opened_and_its_other_ports_are_no_matter() {
        let refused = ["127.0.0.1:6443", "10.96.0.1:443"];
        for (address, expected) in [
            ("10.96.0.1:443", Err(Refusal::Never)),
            ("[::ffff:10.96.0.1]:443", Err(Refusal::Never)),
            ("[64:ff9b::a60:1]:443", Err(Refusal::Never)),
            ("127.0.0.1:6443", Err(Refusal::Never)),
            ("127.0.0.1:6444", Ok(())),
            ("10.96.0.1:80", Ok(())),
        ] {
            assert_eq!(check(&["0.0.0.0/0", "::/0", "name"], &refused, "name", address), expected, "{address}");
        }
    }

    #[test]
    fn setting_the_same_addresses_again_changes_nothing() {
        let refused = Refused::default();
        let one: SocketAddr = ([10, 0, 0, 1], 443).into();
        refused.set([one]);
        let set = refused.current();
        refused.clone().set([one]);
        assert!(Arc::ptr_eq(&set, &refused.current()));
        refused.set([]);
        assert!(!Arc::ptr_eq(&set, &refused.current()));
    }
}
