//! Name resolution: by the system, by an operator's setting, or by a test.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

/// Resolves names.
pub trait Resolve: Send + Sync {
    /// Returns all addresses of the name. Dropping the future cancels it.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver, including `/etc/hosts` and search domains.
#[derive(Clone, Debug)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

/// A lookup cannot be cancelled and occupies a thread until it ends. The runtime has 512 threads.
const LOOKUPS: usize = 128;

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let (name, lookups) = (name.to_owned(), self.lookups.clone());
        Box::pin(async move {
            let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = move || {
                let _permit = permit;
                (name, 0).to_socket_addrs().map(|addresses| addresses.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(lookup).await.map_err(io::Error::other)?
        })
    }
}

/// `HOST=ADDRESS`: the address of a name, instead of the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    name: String,
    address: IpAddr,
}

/// Pinned names, and the system for all others.
#[derive(Clone, Debug)]
pub struct PinnedResolver {
    pins: Vec<Pin>,
    system: SystemResolver,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').unwrap_or_default();
        match address.parse() {
            Ok(address) if !name.is_empty() => Ok(Self { name: name.to_ascii_lowercase(), address }),
            _ => Err("must be HOST=ADDRESS, such as deps.example.com=127.0.0.1".to_owned()),
        }
    }
}

impl PinnedResolver {
    /// Creates a resolver with these pins.
    #[must_use]
    pub fn new(pins: Vec<Pin>) -> Self {
        Self { pins, system: SystemResolver::default() }
    }
}

impl Resolve for PinnedResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let pinned = self.pins.iter().filter(|pin| pin.name.eq_ignore_ascii_case(name));
        let addresses: Vec<IpAddr> = pinned.map(|pin| pin.address).collect();
        if addresses.is_empty() { self.system.resolve(name) } else { Box::pin(std::future::ready(Ok(addresses))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pinned_name_has_its_addresses_and_no_other_has() {
        let pin = |text: &str| text.parse::<Pin>();
        let pins = vec![pin("Deps.test=127.0.0.9").expect("a pin"), pin("deps.test=::1").expect("a pin")];
        let resolver = PinnedResolver::new(pins);
        let addresses = resolver.resolve("deps.test").await.expect("found");
        assert_eq!(addresses, ["127.0.0.9".parse::<IpAddr>().expect("v4"), "::1".parse().expect("v6")]);
        assert!(resolver.resolve("no such name").await.is_err());
        for wrong in ["deps.test", "=127.0.0.1", "deps.test=other.test", "deps.test=127.0.0.1:80"] {
            assert!(pin(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_system_knows_this_machine_and_no_invalid_name() {
        let resolver = SystemResolver::default();
        let addresses = resolver.resolve("localhost").await.expect("found");
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        assert!(resolver.resolve("no such name").await.is_err());
    }
}
