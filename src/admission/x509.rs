//! The content of an X.509 certificate, and certificates as PEM.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::X509Certificate;

/// Returns certificates as one PEM text.
pub fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let encode = |certificate: &CertificateDer<'_>| {
        pem::encode_config(&pem::Pem::new("CERTIFICATE", certificate.to_vec()), unix)
    };
    certificates.into_iter().map(encode).collect()
}

/// Returns the certificates of a PEM text. Other parts are ignored.
#[must_use]
pub fn certificates_of(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .filter(|certificate| parse(certificate).is_ok())
        .collect()
}

/// Returns when a certificate becomes valid and when it expires.
///
/// # Errors
/// It is not an X.509 certificate.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    let validity = parse(certificate)?.validity().clone();
    Ok((time(validity.not_before)?, time(validity.not_after)?))
}

/// Returns the parts of a certificate.
///
/// # Errors
/// It is not an X.509 certificate.
pub fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns whether its key is of the curve P-521, whose signatures cannot be verified here.
#[must_use]
pub fn is_of_p521(certificate: &CertificateDer<'_>) -> bool {
    let curve = |certificate: X509Certificate<'_>| {
        let parameters = certificate.tbs_certificate.subject_pki.algorithm.parameters?;
        parameters.as_oid().ok().map(|curve| curve.to_id_string() == "1.3.132.0.35")
    };
    parse(certificate).ok().and_then(curve).unwrap_or_default()
}

/// Returns a time of a certificate.
///
/// # Errors
/// It is beyond the supported times.
pub fn time(time: x509_parser::time::ASN1Time) -> Result<Timestamp, String> {
    Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::authority::Authority;

    #[test]
    fn a_bundle_keeps_its_order_and_drops_what_is_no_certificate() {
        let now = Timestamp::now();
        let certificates =
            [(); 2].map(|()| Authority::generate(now, Duration::from_secs(60)).expect("a CA").certificate().clone());
        let mut text = to_pem(&certificates);
        assert_eq!(certificates_of(text.as_bytes()), certificates);
        text.insert_str(0, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(certificates_of(text.as_bytes()), certificates);
        assert_eq!(certificates_of(b"garbage"), Vec::new());
    }
}
