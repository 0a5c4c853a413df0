//! Removes our own CA from what cert-manager's injector writes. Since 1.19 the injector adds its CAs to the existing
//! ones, and removes only expired ones. So after a change of mode our CA would stay trusted for up to a year.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::admission::ca_name::is_ours;
use crate::admission::x509::{certificates_of, to_pem};

/// The memory of an object.
#[derive(Debug, Default)]
pub struct OwnCa {
    /// When our CA was first seen next to another one.
    seen: Option<Instant>,
}

impl OwnCa {
    /// Removes our CA from the bundles of an object that another client writes, once it was next to theirs for the
    /// overlap: replicas of the old mode may still run. Returns when to check again before that. A bundle with no other
    /// CA stays: the injector has not written it yet.
    pub fn take_out(
        &mut self,
        wanted: &mut Value,
        present: &Value,
        overlap: Duration,
        now: Instant,
    ) -> Option<Duration> {
        let left: Vec<_> = clients(present).filter_map(|(path, client)| Some((path, without_ours(client)?))).collect();
        if left.is_empty() {
            self.seen = None;
            return None;
        }
        let since = *self.seen.get_or_insert(now);
        let rest = overlap.saturating_sub(now.saturating_duration_since(since));
        if !rest.is_zero() {
            return Some(rest);
        }
        for (path, others) in left {
            if let Some(client) = wanted.pointer_mut(&path) {
                client["caBundle"] = STANDARD.encode(to_pem(&others)).into();
            }
        }
        None
    }
}

/// Returns the client configurations of an object and their places. Webhooks have the same order in the desired object.
fn clients(object: &Value) -> impl Iterator<Item = (String, &Value)> {
    let webhooks = object["webhooks"].as_array().map_or(0, Vec::len);
    let paths = (0..webhooks).map(|index| format!("/webhooks/{index}/clientConfig"));
    let paths = paths.chain(["/spec/conversion/webhook/clientConfig".to_owned()]);
    paths.filter_map(|path| object.pointer(&path).map(|client| (path, client)))
}

/// Returns the CAs of others if ours is next to them.
fn without_ours(client: &Value) -> Option<Vec<CertificateDer<'static>>> {
    let bundle = STANDARD.decode(client["caBundle"].as_str()?).ok()?;
    let (ours, others): (Vec<_>, Vec<_>) = certificates_of(&bundle).into_iter().partition(is_ours);
    (!ours.is_empty() && !others.is_empty()).then_some(others)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::admission::authority::Authority;

    const OVERLAP: Duration = Duration::from_secs(600);

    fn ours() -> CertificateDer<'static> {
        Authority::generate(Timestamp::now(), Duration::from_secs(60)).expect("a CA").certificate().clone()
    }

    fn theirs() -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().expect("a key");
        rcgen::CertificateParams::default().self_signed(&key).expect("a CA").der().clone()
    }

    fn client(trusted: &[&CertificateDer<'static>]) -> Value {
        json!({"clientConfig": {"caBundle": STANDARD.encode(to_pem(trusted.iter().copied()))}})
    }

    #[test]
    fn our_ca_is_taken_out_of_what_the_injector_writes_when_the_overlap_is_over() {
        let (ours, theirs, start) = (ours(), theirs(), Instant::now());
        let bare = json!({"clientConfig": {}});
        for (present, mut wanted, path) in [
            (json!({"webhooks": [client(&[&ours, &theirs])]}), json!({"webhooks": [bare]}), "/webhooks/0"),
            (
                json!({"spec": {"conversion": {"webhook": client(&[&ours, &theirs])}}}),
                json!({"spec": {"conversion": {"webhook": bare}}}),
                "/spec/conversion/webhook",
            ),
        ] {
            let before = wanted.clone();
            let mut memory = OwnCa::default();
            assert_eq!(memory.take_out(&mut wanted, &present, OVERLAP, start), Some(OVERLAP));
            let later = start + Duration::from_secs(599);
            assert_eq!(memory.take_out(&mut wanted, &present, OVERLAP, later), Some(Duration::from_secs(1)));
            assert_eq!(wanted, before, "both are trusted meanwhile");
            assert_eq!(memory.take_out(&mut wanted, &present, OVERLAP, start + OVERLAP), None);
            assert_eq!(wanted.pointer(path), Some(&client(&[&theirs])));
        }
    }

    #[test]
    fn bundles_of_one_side_only_stay() {
        let (ours, theirs, start) = (ours(), theirs(), Instant::now());
        for trusted in [&[][..], &[&ours], &[&theirs]] {
            let present = json!({"webhooks": [client(trusted)]});
            let mut wanted = json!({"webhooks": [{"clientConfig": {}}]});
            let mut memory = OwnCa { seen: Some(start) };
            assert_eq!(memory.take_out(&mut wanted, &present, OVERLAP, start + 2 * OVERLAP), None);
            assert_eq!(wanted, json!({"webhooks": [{"clientConfig": {}}]}));
        }
    }
}
