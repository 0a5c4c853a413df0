//! A certificate for a server outside a cluster, signed by a CA that is made only for it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::super::certificate::CertificatePair;
use super::super::x509::to_pem;
use super::signer::{Authority, AuthorityError};

/// How long it is valid.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl CertificatePair {
    /// Makes a CA and a P-256 leaf for these DNS names and IP addresses, valid for a year. The CA's key is discarded.
    ///
    /// # Errors
    /// A name is neither a DNS name nor an IP address.
    pub fn generate(names: &[&str], now: SystemTime) -> Result<Self, AuthorityError> {
        let now = Timestamp::try_from(now).map_err(|error| AuthorityError::Made(error.to_string()))?;
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let ca = Authority::generate(now, VALIDITY)?;
        let pair = ca.sign(&names, now, VALIDITY)?;
        Ok(pair.with_ca(to_pem([ca.certificate()])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::certificate::LOCAL_NAMES;

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
}
