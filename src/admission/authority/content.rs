//! The content of the Secret with our CA, and how each step of a renewal changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use rustls::pki_types::CertificateDer;

use super::super::x509::{certificates_of, to_pem, validity};
use super::signer::Authority;
use crate::api::keys;

/// Name of the Secret.
pub const SECRET: &str = "outrigger-webhook-ca";

/// The content of the Secret.
#[derive(Clone, Debug)]
pub struct Content {
    /// The CA that signs leaves now: `tls.crt` and `tls.key`.
    pub signing: Arc<Authority>,
    /// When it began to sign.
    pub signing_since: Timestamp,
    /// The announced CA, which signs next: `next.crt` and `next.key`.
    pub next: Option<Arc<Authority>>,
    /// The CAs to trust, including those two: `ca.crt`.
    pub bundle: Vec<CertificateDer<'static>>,
    /// Whether the Secret lacks a part of this.
    pub is_mended: bool,
}

/// A Secret without a CA that can sign.
#[derive(Clone, Debug)]
pub struct Unusable {
    /// The field and its error.
    pub problem: String,
    /// The CAs that stay trusted.
    pub bundle: Vec<CertificateDer<'static>>,
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const BUNDLE: &str = "ca.crt";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

impl Content {
    /// Reads the Secret, which was first seen at this time.
    ///
    /// An announced CA that cannot be used is ignored. The signing and the announced CA are trusted even if the bundle
    /// lacks them.
    ///
    /// # Errors
    /// It holds no CA that can sign.
    pub fn read(secret: &Secret, seen: Timestamp) -> Result<Self, Unusable> {
        let field = |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map_or(&[][..], |bytes| &bytes.0);
        let bundle = certificates_of(field(BUNDLE));
        let signing = match Authority::from_pem(field(CERTIFICATE), field(KEY)) {
            Ok(signing) => Arc::new(signing),
            Err(error) => return Err(Unusable { problem: format!("{CERTIFICATE}, {KEY}: {error}"), bundle }),
        };
        let next = Authority::from_pem(field(NEXT_CERTIFICATE), field(NEXT_KEY)).ok().map(Arc::new);
        let annotation = secret.metadata.annotations.as_ref().and_then(|all| all.get(keys::SIGNING_SINCE));
        let signing_since = annotation.and_then(|text| text.parse().ok());
        let content = Self {
            signing,
            signing_since: signing_since.unwrap_or(seen),
            next,
            bundle: bundle.clone(),
            is_mended: false,
        };
        let content = content.normal();
        Ok(Self { is_mended: signing_since.is_none() || content.bundle != bundle, ..content })
    }

    /// Returns the whole data of the Secret.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::from([(BUNDLE.to_owned(), to_pem(&self.bundle))]);
        let mut put = |certificate: &str, key: &str, authority: &Authority| {
            data.insert(certificate.to_owned(), to_pem([authority.certificate()]));
            data.insert(key.to_owned(), authority.key_pem());
        };
        put(CERTIFICATE, KEY, &self.signing);
        if let Some(next) = &self.next {
            put(NEXT_CERTIFICATE, NEXT_KEY, next);
        }
        data.into_iter().map(|(name, text)| (name, ByteString(text.into_bytes()))).collect()
    }

    /// Returns our annotations of the Secret.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(keys::SIGNING_SINCE.to_owned(), self.signing_since.to_string())])
    }

    /// Returns a new Secret.
    #[must_use]
    pub fn secret(&self) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                labels: Some(BTreeMap::from([(keys::MANAGED_BY.to_owned(), "outrigger".to_owned())])),
                annotations: Some(self.annotations()),
                ..ObjectMeta::default()
            },
            data: Some(self.data()),
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        }
    }

    /// Returns the CAs to trust, as PEM.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        to_pem(&self.bundle)
    }

    /// Returns whether there are trusted CAs that no longer sign.
    #[must_use]
    pub fn has_retired(&self) -> bool {
        self.bundle.len() > self.in_use().count()
    }

    /// Adds a first CA, which signs at once. The trusted CAs stay trusted.
    #[must_use]
    pub fn begin(first: Authority, trusted: Vec<CertificateDer<'static>>, now: Timestamp) -> Self {
        Self { signing: Arc::new(first), signing_since: now, next: None, bundle: trusted, is_mended: false }.normal()
    }

    /// Announces a CA, which replaces an announced one. It is trusted and signs nothing yet.
    #[must_use]
    pub fn announce(&self, next: Authority) -> Self {
        Self { next: Some(Arc::new(next)), is_mended: false, ..self.clone() }.normal()
    }

    /// Adds CAs to trust, if they are still valid.
    #[must_use]
    pub fn trusting(&self, more: &[CertificateDer<'static>], now: Timestamp) -> Self {
        let valid = more.iter().filter(|certificate| validity(certificate).is_ok_and(|(_, end)| now < end));
        let bundle = self.bundle.iter().chain(valid).cloned().collect();
        Self { bundle, ..self.clone() }.normal()
    }

    /// Makes the announced CA sign from now on. Does nothing if there is none.
    #[must_use]
    pub fn switch(&self, now: Timestamp) -> Self {
        match &self.next {
            Some(next) => Self { signing: next.clone(), signing_since: now, next: None, ..self.clone() },
            None => self.clone(),
        }
    }

    /// Removes the trust in CAs that no longer sign.
    #[must_use]
    pub fn retire(&self) -> Self {
        Self { bundle: self.in_use().cloned().collect(), ..self.clone() }
    }

    fn in_use(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        [Some(&self.signing), self.next.as_ref()].into_iter().flatten().map(|authority| authority.certificate())
    }

    /// Adds the signing CAs to the trusted ones, and removes duplicates.
    fn normal(mut self) -> Self {
        let all: Vec<_> = self.bundle.iter().chain(self.in_use()).cloned().collect();
        self.bundle.clear();
        for certificate in all {
            if !self.bundle.contains(&certificate) {
                self.bundle.push(certificate);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn authority() -> Authority {
        Authority::generate(Timestamp::now(), Duration::from_secs(3600)).expect("a CA")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn read(secret: &Secret) -> Content {
        Content::read(secret, at(99)).expect("usable")
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = Content::begin(authority(), Vec::new(), at(7)).announce(authority());
        let content = read(&written.secret());
        let next = |content: &Content| content.next.as_ref().expect("announced").certificate().clone();
        assert_eq!(content.signing.certificate(), written.signing.certificate());
        assert_eq!(next(&content), next(&written));
        assert_eq!((content.signing_since, &content.bundle), (at(7), &written.bundle));
        assert_eq!(content.data(), written.data());
    }

    #[test]
    fn each_step_changes_what_it_says() {
        let first = Content::begin(authority(), Vec::new(), at(1));
        assert!(!first.has_retired() && first.bundle.len() == 1);
        let announced = first.announce(authority());
        assert_eq!(announced.signing.certificate(), first.signing.certificate());
        assert!(!announced.has_retired() && announced.bundle.len() == 2);
        let switched = announced.switch(at(2));
        assert_eq!(switched.signing.certificate(), &announced.bundle[1]);
        assert_eq!((switched.signing_since, switched.next.is_none()), (at(2), true));
        assert!(switched.has_retired() && switched.bundle == announced.bundle);
        let retired = switched.retire();
        assert_eq!(retired.bundle, [switched.signing.certificate().clone()]);
        assert_eq!(retired.signing_since, at(2));
        assert!(!switched.data().contains_key(NEXT_KEY));
    }

    #[test]
    fn a_bundle_that_lacks_what_signs_is_mended() {
        let content = Content::begin(authority(), Vec::new(), at(1)).announce(authority());
        let mut secret = content.secret();
        secret.data.as_mut().expect("data").insert(BUNDLE.to_owned(), ByteString(b"garbage".to_vec()));
        assert_eq!(read(&secret).bundle, content.bundle);
        assert!(read(&secret).is_mended && !read(&content.secret()).is_mended);
    }

    #[test]
    fn without_the_annotation_a_ca_signs_since_it_was_seen() {
        let content = Content::begin(authority(), Vec::new(), at(1));
        let mut secret = content.secret();
        secret.metadata.annotations = None;
        assert_eq!((read(&secret).signing_since, read(&secret).is_mended), (at(99), true));
        secret.metadata.annotations = Some(BTreeMap::from([(keys::SIGNING_SINCE.to_owned(), "yesterday".to_owned())]));
        assert_eq!(read(&secret).signing_since, at(99));
    }

    #[test]
    fn a_secret_that_cannot_sign_says_why_and_what_was_trusted() {
        let content = Content::begin(authority(), Vec::new(), at(1));
        let mut secret = content.secret();
        secret.data.as_mut().expect("data").insert(KEY.to_owned(), ByteString(b"garbage".to_vec()));
        let unusable = Content::read(&secret, at(1)).expect_err("no key");
        assert!(unusable.problem.contains("tls.key"), "{}", unusable.problem);
        assert_eq!(unusable.bundle, content.bundle);
        assert!(Content::read(&Secret::default(), at(1)).is_err_and(|unusable| unusable.bundle.is_empty()));
    }
}
