//! What is asked for: the URL, whom to trust, what to prove oneself with, and what is known already.

use http::HeaderValue;

use super::answer::Validators;
use super::credentials::Credentials;
use super::target::Target;

/// A GET.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to get.
    pub target: Target,
    /// The header `Accept`. Default `*/*`.
    pub accept: HeaderValue,
    /// Whom to trust.
    pub trust: Trust,
    /// Sent to the origin of the target only; a redirect elsewhere goes without. Default none.
    pub credentials: Option<Credentials>,
    /// Those of the last answer, so that the same need not be sent again. Default none.
    pub validators: Validators,
    /// Whether the same failed the last time. Such requests have places of their own. Default no.
    pub failed_before: bool,
}

/// Which server certificates are good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Take any certificate. Default: no.
    pub skip_verify: bool,
    /// Certificates of CAs as PEM, trusted beside those of the system. Default none.
    pub ca_pem: Option<Vec<u8>>,
}

impl Request {
    /// A GET with the defaults.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            accept: HeaderValue::from_static("*/*"),
            trust: Trust::default(),
            credentials: None,
            validators: Validators::default(),
            failed_before: false,
        }
    }
}
