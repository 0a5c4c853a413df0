//! The CAs that the registered objects were last seen to trust.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::Client;
use kube::api::ListParams;
use kube::core::DynamicObject;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::sync::watch;

use super::super::certificate::ServingCertificate;
use super::super::metrics::Metrics;
use super::super::x509::certificates_of;
use super::desired::{CRD, MUTATING, VALIDATING};
use super::target::Target;
use crate::cluster::Term;

/// The CAs of each object, and the time; an object that was not read yet has no entry.
#[derive(Clone, Debug, Default)]
pub struct Published {
    objects: BTreeMap<&'static str, SeenBundles>,
}

#[derive(Clone, Debug)]
struct SeenBundles {
    /// `None`: the object does not exist.
    bundles: Option<Bundles>,
    since: Timestamp,
}

/// The CAs that each webhook of an object trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundles {
    webhooks: Vec<Vec<CertificateDer<'static>>>,
}

impl Published {
    /// The names of all objects.
    pub const NAMES: [&'static str; 3] = [MUTATING, VALIDATING, CRD];

    /// Records that an object trusts these; `None`: that it does not exist.
    pub fn saw(&mut self, name: &'static str, bundles: Option<Bundles>, now: Timestamp) {
        match self.objects.get(name) {
            Some(seen) if seen.bundles == bundles => {}
            _ => _ = self.objects.insert(name, SeenBundles { bundles, since: now }),
        }
    }

    /// Reads all objects.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn look(&mut self, client: &Client) -> kube::Result<()> {
        for target in Target::ALL {
            let only = ListParams::default().fields(&format!("metadata.name={}", target.name()));
            let object = target.api(client).list(&only).await?.items.into_iter().next();
            self.saw(target.name(), object.as_ref().map(Bundles::of), Timestamp::now());
        }
        Ok(())
    }

    /// Returns since when all existing objects have trusted this CA; `None` if one does not, or was not read.
    #[must_use]
    pub fn all_trust(&self, authority: &CertificateDer<'static>) -> Option<Timestamp> {
        let since = |name| {
            let seen = self.objects.get(name)?;
            let trusts = seen.bundles.as_ref().is_none_or(|bundles| bundles.all(|bundle| bundle.contains(authority)));
            trusts.then_some(seen.since)
        };
        Self::NAMES.into_iter().map(since).try_fold(Timestamp::MIN, |latest, since| Some(latest.max(since?)))
    }

    /// Returns the existing objects.
    pub fn present(&self) -> impl Iterator<Item = (&'static str, &Bundles)> {
        self.objects.iter().filter_map(|(name, seen)| Some((*name, seen.bundles.as_ref()?)))
    }
}

impl Bundles {
    /// Returns the bundles of a webhook configuration or of a CRD's conversion.
    #[must_use]
    pub fn of(object: &DynamicObject) -> Self {
        let webhooks = object.data["webhooks"].as_array().into_iter().flatten();
        let conversion = &object.data["spec"]["conversion"]["webhook"];
        let clients =
            webhooks.chain((!conversion.is_null()).then_some(conversion)).map(|webhook| &webhook["clientConfig"]);
        Self { webhooks: clients.map(bundle).collect() }
    }

    /// Returns whether this holds for every bundle.
    pub fn all(&self, mut holds: impl FnMut(&[CertificateDer<'static>]) -> bool) -> bool {
        self.webhooks.iter().all(|bundle| holds(bundle))
    }
}

impl From<Vec<Vec<CertificateDer<'static>>>> for Bundles {
    fn from(webhooks: Vec<Vec<CertificateDer<'static>>>) -> Self {
        Self { webhooks }
    }
}

/// Exports, while this replica leads, which of the objects trust the certificate that it presents.
pub async fn keep_in_sync_metric(
    term: &Term,
    mut published: watch::Receiver<Published>,
    shown: &ServingCertificate,
    metrics: &Metrics,
) {
    let mut ticks = tokio::time::interval(Duration::from_secs(10));
    let ended = term.ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            _ = ticks.tick() => {}
            Ok(()) = published.changed() => {}
        }
        let (trusted, now) = (published.borrow_and_update().clone(), Timestamp::now());
        let in_sync = shown.current().map(|pair| {
            trusted
                .present()
                .map(|(name, bundles)| (name, bundles.all(|bundle| pair.is_trusted_by(bundle, now))))
                .collect::<Vec<_>>()
        });
        metrics.certificates.set_in_sync(in_sync.unwrap_or_default());
    }
    metrics.certificates.set_in_sync([]);
}

fn bundle(client: &Value) -> Vec<CertificateDer<'static>> {
    let encoded = client["caBundle"].as_str().unwrap_or_default();
    certificates_of(&STANDARD.decode(encoded).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::authority::Authority;
    use crate::admission::x509::to_pem;

    fn authority() -> CertificateDer<'static> {
        let ca = Authority::generate(Timestamp::now(), Duration::from_secs(3600)).expect("a CA");
        ca.certificate().clone()
    }

    fn client(trusted: &[CertificateDer<'static>]) -> Value {
        json!({"clientConfig": {"caBundle": STANDARD.encode(to_pem(trusted))}})
    }

    fn bundles(object: Value) -> Bundles {
        Bundles::of(&serde_json::from_value(object).expect("an object"))
    }

    #[test]
    fn every_webhook_of_an_object_counts() {
        let (one, two) = (authority(), authority());
        let both = [one.clone(), two.clone()];
        let configuration = bundles(json!({"metadata": {}, "webhooks": [client(&both), client(&both[..1])]}));
        assert!(configuration.all(|bundle| bundle.contains(&one)));
        assert!(!configuration.all(|bundle| bundle.contains(&two)));
        let crd =
            bundles(json!({"metadata": {}, "spec": {"conversion": {"strategy": "Webhook", "webhook": client(&both)}}}));
        assert!(crd.all(|bundle| bundle == both));
    }

    #[test]
    fn a_webhook_without_a_bundle_trusts_nobody_and_no_webhook_asks_for_nothing() {
        let one = authority();
        let bare = bundles(json!({"metadata": {}, "webhooks": [{"clientConfig": {"url": "https://x"}}]}));
        assert!(!bare.all(|bundle| bundle.contains(&one)));
        assert!(bundles(json!({"metadata": {}, "spec": {"conversion": {"strategy": "None"}}})).all(|_| false));
    }
}
