//! The name by which outrigger recognizes the CAs that it made.

use rustls::pki_types::CertificateDer;
use x509_parser::x509::X509Name;

use super::x509::parse;

/// The prefix of the names of CAs that outrigger makes.
pub(super) const CA_NAME: &str = "outrigger CA ";

/// Returns whether outrigger made this CA.
pub(super) fn is_ours(ca: &CertificateDer<'_>) -> bool {
    let Ok(ca) = parse(ca) else { return false };
    let begins = |name: &X509Name<'_>| {
        name.iter_common_name().any(|name| name.as_str().is_ok_and(|name| name.starts_with(CA_NAME)))
    };
    begins(ca.subject()) && ca.subject() == ca.issuer()
}
