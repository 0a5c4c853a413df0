//! The certificate that the server presents: from PEM files or signed by our own CA, and replaced without a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::x509::validity;

/// The certificate that the server presents now. [`ServingCertificate::replace`] swaps it while the server runs;
/// sessions and connections stay. Handshakes fail while there is no certificate.
#[derive(Debug, Default)]
pub struct ServingCertificate {
    current: ArcSwapOption<CertificatePair>,
}

/// A certificate chain and its key, which belong together.
#[derive(Debug)]
pub struct CertificatePair {
    key: Arc<CertifiedKey>,
    not_before: Timestamp,
    not_after: Timestamp,
    ca_pem: Option<String>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that cannot be read.
    #[error("{path}: {source}; the folder must hold tls.crt (leaf first, then intermediates) and tls.key, both PEM")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// No certificate in `tls.crt`.
    #[error(
        "{path}: no usable certificate: {problem}; write the leaf certificate first, then its intermediates, as PEM"
    )]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No key in `tls.key`.
    #[error(
        "{path}: no usable private key: {problem}; write one unencrypted PKCS#8, PKCS#1 or SEC1 key as PEM: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Key and certificate do not belong together.
    #[error("{key}: the key does not belong to the first certificate of {certificate}; replace both files together")]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

/// The names of a server on this machine.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

impl ServingCertificate {
    /// Presents this pair until it is replaced.
    #[must_use]
    pub fn new(pair: CertificatePair) -> Self {
        Self { current: ArcSwapOption::from_pointee(pair) }
    }

    /// Presents this pair to new connections from now on.
    pub fn replace(&self, pair: CertificatePair) {
        self.current.store(Some(Arc::new(pair)));
    }

    /// Returns the pair that is presented now, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<Arc<CertificatePair>> {
        self.current.load_full()
    }

    /// Returns the certificate's validity for the readiness check, as an error when it is not valid now.
    ///
    /// # Errors
    /// There is no certificate yet, or it is not valid now.
    pub fn check(&self, now: Timestamp) -> Result<String, String> {
        self.current().ok_or("there is none yet")?.check(now)
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().as_ref()?.key.clone())
    }
}

impl CertificatePair {
    /// Reads `tls.crt` and `tls.key` of a folder.
    ///
    /// # Errors
    /// A file cannot be read or holds nothing usable, or the key does not belong to the certificate.
    pub fn from_dir(folder: &Path) -> Result<Self, CertificateError> {
        // The kubelet swaps a mounted Secret as a whole with its link `..data`. Through the resolved link, both files
        // are of one version.
        let folder = fs::canonicalize(folder.join("..data")).unwrap_or_else(|_| folder.to_owned());
        let read =
            |path: &Path| fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source });
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        Self::from_pem(&certificate, &read(&certificate)?, &key, &read(&key)?)
    }

    /// Reads PEM texts; the paths are for messages.
    fn from_pem(
        certificate_path: &Path,
        certificate: &[u8],
        key_path: &Path,
        key: &[u8],
    ) -> Result<Self, CertificateError> {
        let wrong_certificate =
            |problem: String| CertificateError::Certificate { path: certificate_path.to_owned(), problem };
        let wrong_key = |problem: String| CertificateError::Key { path: key_path.to_owned(), problem };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong_certificate(error.to_string()))?;
        let (not_before, not_after) = match chain.first() {
            Some(leaf) => validity(leaf).map_err(wrong_certificate)?,
            None => return Err(wrong_certificate("no CERTIFICATE section".to_owned())),
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong_key(error.to_string()))?;
        let is_p521 = is_p521(key.secret_der());
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CertificateError::Mismatch { certificate: certificate_path.to_owned(), key: key_path.to_owned() }
            }
            error if is_p521 => wrong_key(format!("keys of the curve P-521 are not supported ({error})")),
            error => wrong_key(error.to_string()),
        })?;
        Ok(Self { key: Arc::new(key), not_before, not_after, ca_pem: None })
    }

    /// Returns the pair of a leaf that was just signed and its key.
    pub(super) fn made(leaf: CertificateDer<'static>, key: PrivatePkcs8KeyDer<'static>) -> Result<Self, String> {
        let (not_before, not_after) = validity(&leaf)?;
        let key = CertifiedKey::from_der(vec![leaf], key.into(), &provider()).map_err(|error| error.to_string())?;
        Ok(Self { key: Arc::new(key), not_before, not_after, ca_pem: None })
    }

    /// Returns the same pair with the CA to trust, as PEM.
    #[must_use]
    pub(super) fn with_ca(self, ca_pem: String) -> Self {
        Self { ca_pem: Some(ca_pem), ..self }
    }

    /// Returns the CA to trust, as PEM. Only generated pairs have one.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Returns whether this is the same certificate.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// Returns the certificate without the intermediate CAs.
    ///
    /// # Panics
    /// Never: a pair has a certificate.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        self.key.cert.first().expect("a pair is made with at least one certificate")
    }

    /// Returns whether clients with this clock that trust only these CAs accept the leaf. Names are not checked.
    #[must_use]
    pub fn is_trusted_by(&self, authorities: &[CertificateDer<'static>], now: Timestamp) -> bool {
        let Ok(unix) = u64::try_from(now.as_second()) else { return false };
        let mut roots = RootCertStore::empty();
        // rustls accepts an expired CA; the API server does not.
        let valid = |ca: &&CertificateDer<'_>| validity(ca).is_ok_and(|(from, to)| from <= now && now <= to);
        roots.add_parsable_certificates(authorities.iter().filter(valid).cloned());
        let Ok(leaf) = ParsedCertificate::try_from(self.leaf()) else { return false };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(unix));
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &self.key.cert[1..], now, algorithms).is_ok()
    }

    /// Returns when the leaf becomes valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Returns when the leaf expires.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Returns whether clients with this clock accept the leaf.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Returns the leaf's validity for the readiness check, as an error when it is not valid now.
    ///
    /// # Errors
    /// The leaf is not valid now.
    pub fn check(&self, now: Timestamp) -> Result<String, String> {
        let span = format!("valid from {} to {}", self.not_before, self.not_after);
        if self.is_valid(now) { Ok(span) } else { Err(format!("{span}, which is not now ({now}): replace it")) }
    }
}

/// Returns whether a key names the curve P-521, by its object identifier: 1.3.132.0.35.
fn is_p521(key: &[u8]) -> bool {
    key.windows(7).any(|bytes| bytes == [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23])
}

/// Returns the cryptography of every TLS connection of this program.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        folder
    }

    /// Returns a CA, a leaf of it and the leaf's key.
    fn made() -> (String, String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let ca = rcgen::CertifiedIssuer::self_signed(
            rcgen::CertificateParams::default(),
            rcgen::KeyPair::generate().expect("a key"),
        );
        let ca = ca.expect("a CA");
        let leaf = rcgen::CertificateParams::new(LOCAL_NAMES.map(str::to_owned))
            .expect("names")
            .signed_by(&key, &ca)
            .expect("a leaf");
        (ca.pem(), leaf.pem(), key.serialize_pem())
    }

    #[test]
    fn a_folder_with_a_chain_and_its_key_is_read() {
        let (ca, leaf, key) = made();
        let folder = folder(&[("tls.crt", &(leaf + &ca)), ("tls.key", &key)]);
        let pair = CertificatePair::from_dir(folder.path()).expect("a pair");
        assert_eq!(pair.key.cert.len(), 2);
        assert_eq!(pair.ca_pem(), None);
    }

    #[test]
    fn both_files_of_a_mounted_secret_are_read_through_its_data_link() {
        let (_, leaf, key) = made();
        let mount = folder(&[("tls.crt", "of another version"), ("tls.key", "of another version")]);
        let version = mount.path().join("..2026_01");
        fs::create_dir(&version).expect("a folder");
        fs::write(version.join("tls.crt"), leaf).expect("a file");
        fs::write(version.join("tls.key"), key).expect("a file");
        std::os::unix::fs::symlink("..2026_01", mount.path().join("..data")).expect("a link");
        CertificatePair::from_dir(mount.path()).expect("a pair");
    }

    /// Made by `openssl ecparam -name secp521r1 -genkey` and `openssl req -x509`. rcgen cannot make one with ring.
    #[test]
    fn a_key_of_p_521_is_named_with_those_that_are_supported() {
        let files = [("tls.crt", include_str!("testdata/p521.crt")), ("tls.key", include_str!("testdata/p521.key"))];
        let error = CertificatePair::from_dir(folder(&files).path()).expect_err("unusable").to_string();
        for part in ["tls.key: ", "keys of the curve P-521 are not supported", "P-256, P-384 or Ed25519"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let (_, leaf, key) = made();
        let (_, _, other_key) = made();
        let refused = |files: &[(&str, &str)], problem: &str, remedy: &str| {
            let folder = folder(files);
            let error = CertificatePair::from_dir(folder.path()).expect_err("unusable").to_string();
            assert!(error.contains(problem) && error.contains(remedy), "{error}");
            assert!(!error.contains("PRIVATE KEY"), "{error}");
        };
        refused(&[("tls.key", &key)], "tls.crt: No such file", "must hold tls.crt");
        refused(&[("tls.crt", &leaf)], "tls.key: No such file", "must hold tls.crt");
        refused(&[("tls.crt", ""), ("tls.key", &key)], "tls.crt: no usable certificate", "the leaf certificate first");
        refused(
            &[("tls.crt", &key), ("tls.key", &key)],
            "tls.crt: no usable certificate",
            "the leaf certificate first",
        );
        refused(&[("tls.crt", &leaf), ("tls.key", "")], "tls.key: no usable private key", "write one unencrypted");
        refused(&[("tls.crt", &leaf), ("tls.key", &other_key)], "the key does not belong to", "both files together");
    }
}
