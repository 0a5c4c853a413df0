//! The certificate the server shows: from PEM files or made on the spot, replaced while serving.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What the server shows to its clients now. [`ServingCertificate::replace`] swaps it under the running server; sessions and
/// connections stay.
#[derive(Debug)]
pub struct ServingCertificate {
    current: ArcSwap<CertificatePair>,
}

/// A certificate chain with its key, checked to belong together.
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
        /// Why not.
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
    #[error("{path}: no usable private key: {problem}; write one unencrypted PKCS#8, PKCS#1 or SEC1 key as PEM")]
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
    /// A certificate could not be made.
    #[error("cannot make a certificate for {names}: {source}; names must be DNS names or IP addresses")]
    Generate {
        /// The names asked for.
        names: String,
        /// Why not.
        source: rcgen::Error,
    },
}

/// How long a generated certificate is valid.
const GENERATED_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A generated certificate begins in the past, for clients whose clock is behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// The names a server on this machine is reached by.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

impl ServingCertificate {
    /// Shows this pair until it is replaced.
    #[must_use]
    pub fn new(pair: CertificatePair) -> Self {
        Self { current: ArcSwap::from_pointee(pair) }
    }

    /// New connections get this pair from now on.
    pub fn replace(&self, pair: CertificatePair) {
        self.current.store(Arc::new(pair));
    }

    /// The pair shown now.
    #[must_use]
    pub fn current(&self) -> Arc<CertificatePair> {
        self.current.load_full()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().key.clone())
    }
}

impl CertificatePair {
    /// Reads `tls.crt` and `tls.key` of a folder.
    ///
    /// # Errors
    /// A file that cannot be read or holds nothing usable, and a key that does not belong to the certificate.
    pub fn from_dir(folder: &Path) -> Result<Self, CertificateError> {
        // The kubelet swaps a mounted Secret as a whole, by its link `..data`; through the resolved link both files are of
        // one version.
        let folder = fs::canonicalize(folder.join("..data")).unwrap_or_else(|_| folder.to_owned());
        let read =
            |path: &Path| fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source });
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        Self::from_pem(&certificate, &read(&certificate)?, &key, &read(&key)?)
    }

    /// From PEM texts; the paths are for messages.
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
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CertificateError::Mismatch { certificate: certificate_path.to_owned(), key: key_path.to_owned() }
            }
            error => wrong_key(error.to_string()),
        })?;
        Ok(Self { key: Arc::new(key), not_before, not_after, ca_pem: None })
    }

    /// Makes a CA and a P-256 leaf for these DNS names and IP addresses, valid for a year. The CA's key is thrown away.
    ///
    /// # Errors
    /// A name that is neither a DNS name nor an IP address.
    pub fn generate(names: &[&str], now: SystemTime) -> Result<Self, CertificateError> {
        let (ca_pem, leaf, key) =
            generate(names, now).map_err(|source| CertificateError::Generate { names: names.join(", "), source })?;
        let made = Path::new("generated");
        let pair = Self::from_pem(made, leaf.as_bytes(), made, key.as_bytes())?;
        Ok(Self { ca_pem: Some(ca_pem), ..pair })
    }

    /// The CA to trust, as PEM; only for generated pairs.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Whether this is the same certificate.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// When the leaf begins.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When the leaf ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether clients with this clock accept the leaf.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// The readiness check of the certificate: from when to when it is valid, as an error when that is not now.
    ///
    /// # Errors
    /// The leaf is not valid now.
    pub fn check(&self, now: Timestamp) -> Result<String, String> {
        let span = format!("valid from {} to {}", self.not_before, self.not_after);
        if self.is_valid(now) { Ok(span) } else { Err(format!("{span}, which is not now ({now}): replace it")) }
    }
}

/// The cryptography of every TLS connection of this program.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn validity(leaf: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let time =
        |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string());
    Ok((time(certificate.validity().not_before)?, time(certificate.validity().not_after)?))
}

fn generate(names: &[&str], now: SystemTime) -> Result<(String, String, String), rcgen::Error> {
    let params = |names: Vec<String>, common_name: &str| {
        let mut params = CertificateParams::new(names)?;
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + GENERATED_VALIDITY).into();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        Ok::<_, rcgen::Error>(params)
    };
    let mut ca = params(Vec::new(), "outrigger CA")?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let mut leaf = params(names.iter().map(|name| (*name).to_owned()).collect(), "outrigger")?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &ca)?;
    Ok((ca.pem(), leaf.pem(), key.serialize_pem()))
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

    fn made() -> (String, String, String) {
        generate(&LOCAL_NAMES, SystemTime::now()).expect("a certificate")
    }

    #[test]
    fn a_generated_certificate_is_valid_from_five_minutes_ago_for_a_year() {
        let now = Timestamp::now();
        let pair = CertificatePair::generate(&LOCAL_NAMES, now.into()).expect("a pair");
        let second = |time: Timestamp| time.as_second();
        assert_eq!(second(pair.not_before()), second(now) - 300);
        assert_eq!(second(pair.not_after()), second(now) + 365 * 24 * 60 * 60);
        assert!(pair.is_valid(now));
        assert!(pair.check(now).is_ok_and(|detail| detail.contains(&pair.not_after().to_string())));
        let late = pair.not_after() + Duration::from_secs(1);
        assert!(!pair.is_valid(late));
        assert!(pair.check(late).is_err_and(|problem| problem.contains(&late.to_string())));
        assert!(!pair.is_valid(pair.not_before() - Duration::from_secs(1)));
    }

    #[test]
    fn a_name_that_is_no_name_is_refused() {
        let error = CertificatePair::generate(&["pod\u{e9}"], SystemTime::now()).expect_err("no name").to_string();
        assert!(error.contains("pod\u{e9}"), "{error}");
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
