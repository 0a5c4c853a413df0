//! Whether an address may be connected to: refused addresses, exceptions of an operator, and default refusals.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::address::{self, AddressKind, plain};
use super::allow::Allow;

/// Addresses that are never fetched from, whatever is allowed: the API server's. Clones share the set.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    addresses: Arc<ArcSwap<HashSet<SocketAddr>>>,
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is refused by default.
    Kind {
        /// Its kind.
        kind: AddressKind,
        /// [`Guard::opened_by`].
        opened_by: &'static str,
    },
    /// It is in [`Refused`].
    Never,
}

/// Checks addresses. The default has no exceptions.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Exceptions from the default refusals.
    pub allow: Vec<Allow>,
    /// Addresses that are never fetched from, whatever `allow` says. The set is shared and can change at any time.
    pub refused: Refused,
    /// The setting that adds to `allow`, for messages. Default `--fetch-allow`.
    pub opened_by: &'static str,
}

impl Default for Guard {
    fn default() -> Self {
        Self { allow: Vec::new(), refused: Refused::default(), opened_by: "--fetch-allow" }
    }
}

impl Refused {
    /// Replaces the refused addresses. If this changes anything, idle connections are not used again. Requests in
    /// progress continue.
    pub fn set(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let addresses: HashSet<_> = addresses.into_iter().map(canonical).collect();
        if **self.addresses.load() != addresses {
            self.addresses.store(Arc::new(addresses));
        }
    }

    /// Returns the current set. Each change creates another one.
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
    /// Checks an address. `name` is the lower-case name that resolved to it, `None` for an address in the URL itself.
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

/// Normalizes the ways to write an address.
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
