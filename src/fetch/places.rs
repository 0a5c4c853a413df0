//! Places for requests: a limited number in total and for each host, so that a slow host only delays itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All places.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    per_host: usize,
    hosts: Mutex<Hosts>,
}

/// Hosts with places in use, and others until they are swept.
#[derive(Debug, Default)]
struct Hosts {
    places: HashMap<String, Arc<Semaphore>>,
    sweep_at: usize,
}

/// A place. Dropping it frees the place.
#[derive(Debug)]
pub struct RequestPlace {
    _host: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

/// The minimum number of hosts for a sweep.
const FEW: usize = 64;

impl Places {
    /// Sets the number of places in total, and for each host.
    #[must_use]
    pub fn new(all: usize, per_host: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_host, hosts: Mutex::default() }
    }

    /// Waits for a place. A holder of a place must not wait for another.
    pub async fn take(&self, host: &str) -> RequestPlace {
        // The host's place first: waiting for a slow host must not block others. The semaphores are never closed.
        let of_host = self.of_host(host).acquire_owned().await.ok();
        RequestPlace { _host: of_host, _all: self.all.clone().acquire_owned().await.ok() }
    }

    fn of_host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.places.len() >= hosts.sweep_at.max(FEW) {
            // Places in use or waited for hold another reference.
            hosts.places.retain(|_, places| Arc::strong_count(places) > 1);
            hosts.sweep_at = 2 * hosts.places.len();
        }
        if let Some(places) = hosts.places.get(host) {
            return places.clone();
        }
        let places = Arc::new(Semaphore::new(self.per_host));
        hosts.places.insert(host.to_owned(), places.clone());
        places
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_host_without_a_free_place_delays_no_other() {
        let places = Places::new(3, 2);
        let taken = [places.take("slow"), places.take("slow")].map(|place| place.now_or_never().expect("free"));
        assert!(places.take("slow").now_or_never().is_none());
        let other = places.take("other").now_or_never().expect("free");
        assert!(places.take("third").now_or_never().is_none(), "three in all");
        drop(other);
        assert!(places.take("third").now_or_never().is_some());
        drop(taken);
        assert!(places.take("slow").now_or_never().is_some());
    }

    #[test]
    fn hosts_without_requests_are_forgotten_and_others_are_not() {
        let places = Places::new(3, 1);
        let taken = places.take("busy").now_or_never().expect("free");
        for number in 0..10 * FEW {
            assert!(places.take(&number.to_string()).now_or_never().is_some());
        }
        assert!(places.hosts.lock().expect("unharmed").places.len() <= 2 * FEW);
        assert!(places.take("busy").now_or_never().is_none());
        drop(taken);
    }
}
