//! TLS of a connection: trusted CAs, and the client certificate.

use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::credentials::Identity;
use super::request::Trust;

/// The system's CAs, read once.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    // Unreadable certificates are skipped, and servers signed by them are reported as untrusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// Why TLS connections cannot be made at all.
#[derive(Debug)]
pub(super) enum TlsConfigError {
    /// The given CA is unusable.
    Ca(&'static str),
    /// The given client certificate is unusable.
    Identity(&'static str),
    /// The cryptography does not support the TLS versions.
    Versions(rustls::Error),
}

/// Returns the configuration for connections with this trust.
pub(super) fn config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, TlsConfigError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsConfigError::Versions)?;
    let builder = if trust.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(trust.ca_pem.as_deref())?)
    };
    let mut config = match identity {
        Some(identity) => {
            let (chain, key) = parse(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(|_| TlsConfigError::Identity(MISMATCH))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

const MISMATCH: &str = "certificate and key do not belong together, or are of a kind that cannot be used";

fn roots(ca_pem: Option<&[u8]>) -> Result<Arc<RootCertStore>, TlsConfigError> {
    let Some(pem) = ca_pem else { return Ok(SYSTEM.clone()) };
    let mut roots = RootCertStore::clone(&SYSTEM);
    let system = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| TlsConfigError::Ca("it cannot be read as PEM"))?;
        roots.add(certificate).map_err(|_| TlsConfigError::Ca("a certificate in it cannot be used as a CA"))?;
    }
    if roots.len() == system {
        return Err(TlsConfigError::Ca("it holds no certificate as PEM"));
    }
    Ok(Arc::new(roots))
}

fn parse(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsConfigError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&identity.certificate_pem)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsConfigError::Identity("its certificate cannot be read as PEM"))?;
    if chain.is_empty() {
        return Err(TlsConfigError::Identity("it holds no certificate as PEM"));
    }
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem)
        .map_err(|_| TlsConfigError::Identity("it holds no unencrypted private key as PEM"))?;
    Ok((chain, key))
}

/// Describes a TLS error for users. The text is the same for the same problem, without times and without text of the
/// certificate.
pub(super) fn describe(error: &rustls::Error) -> String {
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::AlertReceived(alert) => return format!("the server refused the handshake ({alert:?})"),
        rustls::Error::InvalidMessage(_) => return "the server does not speak TLS".to_owned(),
        _ => return "the handshake failed".to_owned(),
    };
    let problem = match certificate {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "is signed by no authority that is trusted",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "is not for this host",
        CertificateError::Revoked => "is revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "is not one of a server",
        _ => "cannot be used",
    };
    format!("the server's certificate {problem}")
}

/// Accepts any certificate. The server must still have its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
