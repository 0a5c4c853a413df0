//! By what name a CA is known to be one that outrigger made.

use rustls::pki_types::CertificateDer;
use x509_parser::x509::X509Name;

use super::x509::parse;

/// How the names of CAs begin that outrigger makes.
pub(super) const CA_NAME: &str = "outrigger CA ";

/// Whether this is such a CA.
pub(super) fn is_ours(ca: &CertificateDer<'_>) -> bool {
    let Ok(ca) = parse(ca) else { return false };
    let begins = |name: &X509Name<'_>| {
        name.iter_common_name().any(|name| name.as_str().is_ok_and(|name| name.starts_with(CA_NAME)))
    };
    begins(ca.subject()) && ca.subject() == ca.issuer()
}
