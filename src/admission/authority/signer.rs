//! A certificate authority: its certificate, its key, and the leaves it signs.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::super::ca_name::CA_NAME;
use super::super::certificate::CertificatePair;
use super::super::x509::{parse, time};
use super::{after, before};

/// A CA that can sign. Its key is never in a message.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// Why a CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// No certificate.
    #[error("no usable certificate: {0}")]
    Certificate(String),
    /// The certificate may not sign others.
    #[error("the certificate is not that of a CA")]
    NoAuthority,
    /// No key.
    #[error("no usable private key")]
    Key,
    /// The key and the certificate do not belong together.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// A CA could not be made.
    #[error("cannot make a CA: {0}")]
    Generate(rcgen::Error),
    /// A leaf could not be made.
    #[error("cannot make a certificate for {names}: {source}; names must be DNS names or IP addresses")]
    Sign {
        /// The requested names.
        names: String,
        /// The reason.
        source: rcgen::Error,
    },
    /// The new leaf is unusable.
    #[error("the certificate that was made cannot be used: {0}")]
    Made(String),
}

/// A certificate is valid from a past time, for clients whose clock is behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

impl Authority {
    /// Returns a new CA with a P-256 key, valid from five minutes ago for `life`.
    ///
    /// # Errors
    /// There is no randomness for the key.
    pub fn generate(now: Timestamp, life: Duration) -> Result<Self, AuthorityError> {
        let made = || {
            let mut params = CertificateParams::new(Vec::new())?;
            set_validity(&mut params, now, after(now, life));
            // Each CA has its own name, so that a lookup of the issuer by name finds only one.
            let number = fastrand::u32(..);
            params.distinguished_name = named(&format!("{CA_NAME}{} {number:08x}", now.strftime("%F")));
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let key = KeyPair::generate()?;
            Ok((params.self_signed(&key)?, key))
        };
        let (certificate, key) = made().map_err(AuthorityError::Generate)?;
        Self::new(certificate.der().clone(), key)
    }

    /// Reads the PEM texts of its certificate and its key.
    ///
    /// # Errors
    /// One of them is unusable, they do not belong together, or the certificate may not sign.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(certificate)
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        let key = std::str::from_utf8(key).ok().and_then(|key| KeyPair::from_pem(key).ok());
        Self::new(certificate, key.ok_or(AuthorityError::Key)?)
    }

    fn new(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, AuthorityError> {
        let parsed = parse(&certificate).map_err(AuthorityError::Certificate)?;
        if !parsed.is_ca() {
            return Err(AuthorityError::NoAuthority);
        }
        if *parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::Mismatch);
        }
        let not_after = time(parsed.validity().not_after).map_err(AuthorityError::Certificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        Ok(Self { certificate, not_after, issuer })
    }

    /// Signs a P-256 leaf for these DNS names and IP addresses, valid from five minutes ago for `life`, but not longer
    /// than the CA.
    ///
    /// # Errors
    /// A name is neither a DNS name nor an IP address.
    pub fn sign(&self, names: &[String], now: Timestamp, life: Duration) -> Result<CertificatePair, AuthorityError> {
        let made = || {
            let mut params = CertificateParams::new(names)?;
            set_validity(&mut params, now, after(now, life).min(self.not_after));
            params.distinguished_name = named("outrigger");
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate()?;
            Ok((params.signed_by(&key, &self.issuer)?, key))
        };
        let (leaf, key) = made().map_err(|source| AuthorityError::Sign { names: names.join(", "), source })?;
        CertificatePair::made(leaf.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()))
            .map_err(AuthorityError::Made)
    }

    /// Returns its certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns when it expires.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Returns whether it has expired.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }

    /// Returns its key as PEM, which is secret.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, not_after: Timestamp) {
    let time = std::time::SystemTime::from;
    params.not_before = time(before(now, CLOCK_SKEW)).into();
    params.not_after = time(not_after).into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::x509::to_pem;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    fn names() -> Vec<String> {
        vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn a_ca_that_was_stored_signs_as_before() {
        let now = Timestamp::now();
        let made = Authority::generate(now, YEAR).expect("a CA");
        let read = Authority::from_pem(to_pem([made.certificate()]).as_bytes(), made.key_pem().as_bytes()).expect("it");
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.not_after().as_second(), now.as_second() + 365 * 24 * 60 * 60);
        for authority in [&made, &read] {
            let leaf = authority.sign(&names(), now, WEEK).expect("a leaf");
            assert!(leaf.is_trusted_by(&[made.certificate().clone()], now));
        }
    }

    #[test]
    fn a_leaf_is_trusted_by_its_own_ca_and_while_both_are_valid() {
        let now = Timestamp::now();
        let (ca, other) =
            (Authority::generate(now, YEAR).expect("a CA"), Authority::generate(now, YEAR).expect("a CA"));
        let leaf = ca.sign(&names(), now, WEEK).expect("a leaf");
        let (ca, other) = (ca.certificate().clone(), other.certificate().clone());
        assert!(leaf.is_trusted_by(&[other.clone(), ca.clone()], now));
        assert!(!leaf.is_trusted_by(&[other], now));
        assert!(!leaf.is_trusted_by(&[], now));
        assert!(!leaf.is_trusted_by(std::slice::from_ref(&ca), now + WEEK + Duration::from_secs(1)));
        assert!(!leaf.is_trusted_by(&[ca], now - CLOCK_SKEW - Duration::from_secs(1)));
    }

    #[test]
    fn a_leaf_does_not_outlive_its_ca() {
        let now = Timestamp::now();
        let ca = Authority::generate(now, WEEK / 2).expect("a CA");
        assert_eq!(ca.sign(&names(), now, WEEK).expect("a leaf").not_after(), ca.not_after());
        assert!(ca.is_expired(ca.not_after()) && !ca.is_expired(now));
    }

    #[test]
    fn no_two_certificates_have_one_serial_number() {
        let now = Timestamp::now();
        let ca = Authority::generate(now, YEAR).expect("a CA");
        let serial = |leaf: &CertificatePair| parse(leaf.leaf()).expect("a certificate").serial.clone();
        let (one, two) = (ca.sign(&names(), now, WEEK).expect("a leaf"), ca.sign(&names(), now, WEEK).expect("a leaf"));
        assert_ne!(serial(&one), serial(&two));
    }

    #[test]
    fn what_cannot_sign_is_refused() {
        let now = Timestamp::now();
        let (ca, other) =
            (Authority::generate(now, YEAR).expect("a CA"), Authority::generate(now, YEAR).expect("a CA"));
        let refused = |certificate: &str, key: &str, problem: &str| {
            let error = Authority::from_pem(certificate.as_bytes(), key.as_bytes()).expect_err(problem).to_string();
            assert!(error.contains(problem) && !error.contains("PRIVATE"), "{error}");
        };
        let pem = to_pem([ca.certificate()]);
        refused("", &ca.key_pem(), "no usable certificate");
        refused(&ca.key_pem(), &ca.key_pem(), "no usable certificate");
        refused(&pem, "", "no usable private key");
        refused(&pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no usable private key");
        refused(&pem, &other.key_pem(), "does not belong");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(names()).expect("names").self_signed(&key).expect("a certificate");
        refused(&leaf.pem(), &key.serialize_pem(), "not that of a CA");
    }
}
