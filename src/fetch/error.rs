//! Errors of fetches, as a sentence for users and as a closed set for metrics.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::StatusCode;

use super::answer::Answer;
use super::guard::Refusal;
use super::statuses::Statuses;
use super::target::{FetchTarget, TargetError};
use super::tls::{self, TlsConfigError};

/// A failed fetch. Its text contains the requested URL and the origin of redirects, without secrets. It contains nothing of a body
/// and is the same for the same failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {redirected}{problem}")]
pub struct FetchError {
    url: String,
    /// `redirected to ORIGIN: `, or empty. The rest of that URL is from a server's answer.
    redirected: String,
    problem: FetchProblem,
}

/// The problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchProblem {
    /// A refused address.
    #[error("its host is {0}")]
    Refused(Refusal),
    /// A name with a refused address.
    #[error("its name resolves to {0}")]
    NameRefused(Refusal),
    /// A name without addresses.
    #[error("its name cannot be resolved")]
    Dns,
    /// The connection failed.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// TLS failed.
    #[error("{0}")]
    Tls(String),
    /// The given CA is unusable.
    #[error("the CA given cannot be used: {0}")]
    Ca(&'static str),
    /// The given client certificate is unusable.
    #[error("the client certificate given cannot be used: {0}")]
    Identity(&'static str),
    /// The given credentials are not for this host.
    #[error("the credentials given may not be sent to this host")]
    Recipient,
    /// Name resolution, connection and handshake took too long.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The whole request took too long.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// Neither a good status nor an expected 304.
    #[error("status {status}, only {good} is good")]
    Status {
        /// The status.
        status: StatusCode,
        /// The good statuses.
        good: Statuses,
        /// `Retry-After` of a 429 or 503, up to an hour.
        retry_after: Option<Duration>,
    },
    /// A body that is too large.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// A redirect that is not followed.
    #[error("redirected {0}")]
    Redirect(RedirectProblem),
    /// Invalid HTTP: garbage, an incomplete answer, a compressed body.
    #[error("{0}")]
    Protocol(String),
}

/// Why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectProblem {
    /// Redirects are not followed.
    #[error("although no redirect is followed")]
    None,
    /// More redirects than the limit.
    #[error("more than {0} times")]
    Many(usize),
    /// To another origin, together with the body.
    #[error("to another origin, which the body is not for")]
    Body,
    /// Without `Location`.
    #[error("without saying where to")]
    Nowhere,
    /// To an unusable URL.
    #[error("to a URL that cannot be used: {0}")]
    Target(#[from] TargetError),
    /// From `https` to `http`.
    #[error("from https to http")]
    Plain,
}

/// The outcome of a fetch, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// A good status.
    Ok,
    /// 304.
    NotModified,
    /// A refused address.
    RefusedAddress,
    /// The name cannot be resolved.
    Dns,
    /// The connection failed.
    Connect,
    /// TLS failed, or the certificate is not trusted.
    Tls,
    /// The given CA, client certificate or credentials cannot be used.
    Credentials,
    /// Too slow.
    Timeout,
    /// Another status.
    Status,
    /// A body that is too large.
    TooLarge,
    /// A redirect that is not followed.
    Redirect,
    /// Invalid HTTP.
    Protocol,
}

impl FetchError {
    /// A problem at the requested URL.
    pub(super) fn at(target: &FetchTarget, problem: FetchProblem) -> Self {
        Self { url: target.to_string(), redirected: String::new(), problem }
    }

    /// A problem at the URL after redirects, which may be the same one.
    pub(super) fn beyond(target: &FetchTarget, reached: &FetchTarget, problem: FetchProblem) -> Self {
        let is_same = reached.url() == target.url();
        let redirected = if is_same { String::new() } else { format!("redirected to {}: ", reached.origin()) };
        Self { redirected, ..Self::at(target, problem) }
    }

    /// Returns the problem.
    #[must_use]
    pub fn problem(&self) -> &FetchProblem {
        &self.problem
    }

    /// Returns the outcome for metrics.
    #[must_use]
    pub fn outcome(&self) -> FetchOutcome {
        match self.problem {
            FetchProblem::Refused(_) | FetchProblem::NameRefused(_) => FetchOutcome::RefusedAddress,
            FetchProblem::Dns => FetchOutcome::Dns,
            FetchProblem::Connect(_) => FetchOutcome::Connect,
            FetchProblem::Tls(_) => FetchOutcome::Tls,
            FetchProblem::Ca(_) | FetchProblem::Identity(_) | FetchProblem::Recipient => FetchOutcome::Credentials,
            FetchProblem::ConnectTimeout(_) | FetchProblem::Timeout(_) => FetchOutcome::Timeout,
            FetchProblem::Status { .. } => FetchOutcome::Status,
            FetchProblem::TooLarge(_) => FetchOutcome::TooLarge,
            FetchProblem::Redirect(_) => FetchOutcome::Redirect,
            FetchProblem::Protocol(_) => FetchOutcome::Protocol,
        }
    }

    /// Returns how long the server asked to wait, up to an hour.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.problem {
            FetchProblem::Status { retry_after, .. } => retry_after,
            _ => None,
        }
    }
}

impl FetchOutcome {
    /// All outcomes.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::NotModified,
        Self::RefusedAddress,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Credentials,
        Self::Timeout,
        Self::Status,
        Self::TooLarge,
        Self::Redirect,
        Self::Protocol,
    ];

    /// Returns the outcome of a result.
    #[must_use]
    pub fn of<B>(result: &Result<Answer<B>, FetchError>) -> Self {
        match result {
            Ok(Answer::Body { .. }) => Self::Ok,
            Ok(Answer::NotModified) => Self::NotModified,
            Err(error) => error.outcome(),
        }
    }

    /// Returns the label's value.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotModified => "not_modified",
            Self::RefusedAddress => "refused_address",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Credentials => "credentials",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Redirect => "redirect",
            Self::Protocol => "protocol",
        }
    }
}

impl FetchProblem {
    /// Interprets an error of the HTTP client.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        if let Some(problem) = cause::<Self>(error) {
            problem.clone()
        } else if let Some(error) = cause::<rustls::Error>(error) {
            Self::Tls(tls::describe(error))
        } else if let Some(error) = cause::<hyper::Error>(error) {
            Self::Protocol(error.to_string())
        } else {
            Self::Protocol("the connection broke".to_owned())
        }
    }
}

impl From<TlsConfigError> for FetchProblem {
    fn from(error: TlsConfigError) -> Self {
        match error {
            TlsConfigError::Ca(problem) => Self::Ca(problem),
            TlsConfigError::Identity(problem) => Self::Identity(problem),
            TlsConfigError::Versions(error) => Self::Tls(error.to_string()),
        }
    }
}

/// Returns the cause of this type in an error's chain.
pub(super) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error does not include its inner error in the chain.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_outcome_has_a_label_of_its_own() {
        let labels: BTreeSet<_> = FetchOutcome::ALL.iter().map(|outcome| outcome.label()).collect();
        assert_eq!(labels.len(), FetchOutcome::ALL.len());
    }

    #[test]
    fn a_cause_is_found_inside_errors_of_input_and_output() {
        let error = io::Error::other(io::Error::other(FetchProblem::Dns));
        assert_eq!(FetchProblem::of(&error), FetchProblem::Dns);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let expected = "the server refused the handshake (CertificateRequired)".to_owned();
        assert_eq!(FetchProblem::of(&io::Error::other(alert)), FetchProblem::Tls(expected));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(FetchProblem::of(&reset), FetchProblem::Protocol("the connection broke".to_owned()));
    }
}
