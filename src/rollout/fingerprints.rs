//! Fingerprints of containers, deduplicated because the Pods of a workload share them.

use crate::injection::Fingerprint;
use std::collections::HashSet;
use std::sync::Arc;

/// All fingerprints in use.
#[derive(Debug, Default)]
pub struct Fingerprints {
    known: HashSet<Arc<Fingerprint>>,
    /// The size at which unused fingerprints are dropped.
    sweep_at: usize,
}

/// The minimum size for a sweep.
const SMALLEST_SWEEP: usize = 256;

impl Fingerprints {
    /// Returns the shared copy of this fingerprint.
    pub fn share(&mut self, fingerprint: &Fingerprint) -> Arc<Fingerprint> {
        if let Some(known) = self.known.get(fingerprint) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|fingerprint| Arc::strong_count(fingerprint) > 1);
            self.known.shrink_to(2 * self.known.len());
            self.sweep_at = (self.known.len() * 2).max(SMALLEST_SWEEP);
        }
        let fingerprint = Arc::new(fingerprint.clone());
        self.known.insert(Arc::clone(&fingerprint));
        fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::PodContainer;
    use serde_json::json;

    fn fingerprint(number: usize) -> Fingerprint {
        let env = json!([{"name": "IS_INJECTED", "value": "true"}, {"name": "N", "value": number.to_string()}]);
        let container: PodContainer = serde_json::from_value(json!({"name": "c", "env": env})).unwrap();
        *container.fingerprint.unwrap()
    }

    #[test]
    fn equal_fingerprints_are_kept_once_and_dropped_when_nothing_holds_them() {
        let mut fingerprints = Fingerprints::default();
        let first = fingerprints.share(&fingerprint(0));
        assert!(Arc::ptr_eq(&first, &fingerprints.share(&fingerprint(0))));
        for number in 0..10 * SMALLEST_SWEEP {
            fingerprints.share(&fingerprint(number));
        }
        assert!(fingerprints.known.len() <= SMALLEST_SWEEP, "{}", fingerprints.known.len());
        assert!(Arc::ptr_eq(&first, &fingerprints.share(&fingerprint(0))), "one in use stays");
    }
}
