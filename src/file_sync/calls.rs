//! Requests with retries and credentials: for the app's notification, and for downloads.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::folder::{Arrived, Draft};
use super::options::{Calls, Login, Payload, ReloadRequest, Urls};
use super::plan::half;
use crate::fetch::{
    Allow, Answer, Arriving, Authorization, Credentials, FetchError, FetchOutcome, FetchProblem, FetchTarget, Fetcher,
    Guard, Proxies, Recipient, Refused, Request, RequestPlace, Rules, Settings, Statuses, TargetError, Trust,
    Validators,
};

/// Statuses whose body `ENABLE_5XX` makes content.
const WITH_5XX: Statuses = Statuses::of(&[200..=299, 500..=500, 502..=504]);

/// Statuses that are retried.
const PASSING: [u16; 6] = [413, 429, 500, 502, 503, 504];

/// The maximum pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The time limit of a body is this many times that of a connection.
const OF_A_BODY: u32 = 6;

/// The maximum size of the answer to a notification.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// The maximum size of a file with a user, password or token.
const LONGEST_SECRET: usize = 64 * 1024;

/// Makes requests.
#[derive(Debug)]
pub struct Caller {
    fetcher: Fetcher,
    calls: Calls,
    urls: Urls,
    trust: Trust,
    /// Rules for requests to the app, which may be anywhere.
    to_app: Arc<Rules>,
    /// Rules for URLs in a `ConfigMap`.
    to_url: Arc<Rules>,
    /// Where credentials may be sent, besides the hosts in [`Urls`].
    home: Option<Recipient>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Not a URL.
    #[error("the value of its key is not a URL: {0}")]
    Target(#[from] TargetError),
    /// The request failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The content cannot be stored.
    #[error("the download cannot be written: {0}")]
    Draft(#[from] io::Error),
}

/// Why there is no caller.
#[derive(Debug, thiserror::Error)]
#[error("the file of CAs {path}: {source}")]
pub struct CallerError {
    path: String,
    source: io::Error,
}

impl Caller {
    /// Creates a caller without connections.
    ///
    /// # Errors
    /// When the file of CAs cannot be read.
    pub fn new(calls: Calls, urls: Urls, app: Option<&FetchTarget>) -> Result<Self, CallerError> {
        let read = |path: &std::path::PathBuf| {
            std::fs::read(path).map_err(|source| CallerError { path: path.display().to_string(), source })
        };
        let ca_pem = calls.ca_file.as_ref().map(read).transpose()?;
        let everywhere = ["0.0.0.0/0", "::/0"].iter().filter_map(|range| range.parse::<Allow>().ok()).collect();
        let to_app = Rules {
            guard: Guard { allow: everywhere, ..Guard::default() },
            connect: calls.timeout,
            total: calls.timeout,
            body: LONGEST_ANSWER,
            ..Rules::default()
        };
        let refused = Refused::default();
        refused.set(urls.refused.iter().copied());
        let to_url = Rules {
            guard: Guard { allow: urls.allow.clone(), refused, opened_by: "OUTRIGGER_URL_ALLOW" },
            connect: calls.timeout,
            total: calls.timeout * OF_A_BODY,
            body: urls.limit,
            ..Rules::default()
        };
        Ok(Self {
            fetcher: Fetcher::new(Settings { proxies: Some(Proxies::from_env()), ..Settings::default() }),
            trust: Trust { skip_verify: calls.skip_verify, ca_pem },
            to_app: Arc::new(to_app),
            to_url: Arc::new(to_url),
            home: app.and_then(recipient),
            calls,
            urls,
        })
    }

    /// Notifies the app of changes to these files.
    ///
    /// # Errors
    /// When no attempt succeeds.
    pub async fn reload(&self, request: &ReloadRequest, files: &str, count: usize) -> Result<StatusCode, CallError> {
        let make = || {
            let method = if request.post { Method::POST } else { Method::GET };
            let made = Request::new(method, request.target.clone(), &self.to_app);
            let made = match request.payload.as_ref().filter(|_| request.post) {
                Some(payload) => {
                    let kind = if matches!(payload, Payload::Raw(_)) {
                        "text/plain; charset=utf-8"
                    } else {
                        "application/json"
                    };
                    made.body(HeaderValue::from_static(kind), payload.about(files, count))
                }
                None => made,
            };
            made.good(Statuses::SUCCESS)
        };
        let send = async |request| Ok(self.fetcher.fetch(request).await?);
        match self.patiently(&request.target, self.home.iter().cloned().collect(), make, send).await? {
            Answer::Body { status, .. } => Ok(status),
            Answer::NotModified => Ok(StatusCode::NOT_MODIFIED),
        }
    }

    /// Downloads a key's URL into a file, piece by piece. Each attempt waits for its turn.
    ///
    /// # Errors
    /// When no attempt succeeds, or when the file cannot be written.
    pub async fn download(
        &self,
        url: &str,
        known: &Validators,
        turn: impl AsyncFn() -> RequestPlace,
        draft: impl Fn() -> io::Result<Draft>,
    ) -> Result<Answer<Arrived>, CallError> {
        let target: FetchTarget = url.parse()?;
        let recipients = match &self.urls.credentials {
            None => recipient(&target).into_iter().collect(),
            Some(named) => {
                named.iter().chain(self.home.iter().filter(|_| self.urls.credentials_home)).cloned().collect()
            }
        };
        let good = if self.urls.store_5xx { WITH_5XX } else { Statuses::SUCCESS };
        let make = || Request::get(target.clone(), &self.to_url).good(good).validators(known.clone());
        let send = async |request| {
            let _place = turn().await;
            Ok(match self.fetcher.open(request).await? {
                Answer::NotModified => Answer::NotModified,
                Answer::Body { status, bytes, validators } => {
                    Answer::Body { status, bytes: keep(bytes, draft()?).await?, validators }
                }
            })
        };
        self.patiently(&target, recipients, make, send).await
    }

    async fn patiently<A>(
        &self,
        target: &FetchTarget,
        recipients: Vec<Recipient>,
        make: impl Fn() -> Request,
        send: impl AsyncFn(Request) -> Result<A, CallError>,
    ) -> Result<A, CallError> {
        let (mut tries, mut unconnected, mut unanswered) = (0, 0, 0);
        loop {
            let credentials = Credentials {
                authorization: authorization(&self.calls.login),
                identity: None,
                recipients: recipients.clone(),
            };
            let credentials =
                Some(credentials).filter(|given| given.authorization.is_some() && given.may_go_to(target));
            let request = make().trust(self.trust.clone()).credentials(credentials);
            let error = match send(request).await {
                Err(CallError::Fetch(error)) => error,
                ended => return ended,
            };
            let again = match error.outcome() {
                FetchOutcome::Connect | FetchOutcome::Dns => {
                    unconnected += 1;
                    unconnected <= self.calls.retries_connect
                }
                FetchOutcome::Timeout | FetchOutcome::Protocol => {
                    unanswered += 1;
                    unanswered <= self.calls.retries_read
                }
                FetchOutcome::Status => is_passing(&error),
                _ => false,
            };
            tries += 1;
            if !again || tries > self.calls.retries {
                return Err(error.into());
            }
            sleep(error.retry_after().unwrap_or_else(|| backoff(self.calls.backoff, tries)).min(LONGEST_PAUSE)).await;
        }
    }
}

/// Writes a body to a file.
async fn keep(mut body: Arriving, mut draft: Draft) -> Result<Arrived, CallError> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    while let Some(piece) = body.next().await? {
        draft.write(&piece)?;
        hash.update(&piece);
        size += piece.len() as u64;
    }
    Ok(Arrived { draft, digest: half(hash.finalize().into()), size })
}

fn is_passing(error: &FetchError) -> bool {
    matches!(error.problem(), FetchProblem::Status { status, .. } if PASSING.contains(&status.as_u16()))
}

/// Returns the pause after this number of attempts.
fn backoff(factor: f64, tries: u32) -> Duration {
    let exponent = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX).min(16);
    if tries < 2 {
        Duration::ZERO
    } else {
        Duration::try_from_secs_f64(factor * 2f64.powi(exponent)).unwrap_or(LONGEST_PAUSE)
    }
}

/// Returns the host and port of a URL as a recipient of credentials.
fn recipient(target: &FetchTarget) -> Option<Recipient> {
    let scheme = if target.is_https() { "https" } else { "http" };
    format!("{scheme}://{}:{}", target.host(), target.port()).parse().ok()
}

/// Returns the current credentials. Files are read each time, because they may be rotated.
fn authorization(login: &Login) -> Option<Authorization> {
    if let Some(path) = &login.token_file {
        return Authorization::bearer(&secret(path)?).ok();
    }
    let of = |file: Option<&Path>, plain: &Option<String>| file.and_then(secret).or_else(|| plain.clone());
    let username = of(login.username_file.as_deref(), &login.username).filter(|text| !text.is_empty())?;
    let password = of(login.password_file.as_deref(), &login.password).filter(|text| !text.is_empty())?;
    let encoded = |text: &str| {
        let latin1: Option<Vec<u8>> = text.chars().map(|letter| u8::try_from(letter).ok()).collect();
        if login.utf8 { text.as_bytes().to_vec() } else { latin1.unwrap_or_else(|| text.as_bytes().to_vec()) }
    };
    Some(Authorization::basic(&encoded(&username), &encoded(&password)))
}

fn secret(path: &Path) -> Option<String> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() <= LONGEST_SECRET => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Ok(_) => {
            tracing::warn!("{} is too long for a credential", path.display());
            None
        }
        Err(error) => {
            tracing::warn!("{} cannot be read: {error}", path.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_comes_at_once_and_pauses_double() {
        let pauses = [1, 2, 3, 4].map(|tries| backoff(1.1, tries).as_millis());
        assert_eq!(pauses, [0, 2_200, 4_400, 8_800]);
    }

    #[test]
    fn credentials_are_encoded_as_asked_and_need_both_halves() {
        let mut login = Login { username: Some("ü".to_owned()), password: Some("p".to_owned()), ..Login::default() };
        assert_eq!(authorization(&login), Some(Authorization::basic(&[0xfc], b"p")));
        login.utf8 = true;
        assert_eq!(authorization(&login), Some(Authorization::basic("ü".as_bytes(), b"p")));
        login.password = None;
        assert_eq!(authorization(&login), None);
    }

    #[test]
    fn files_of_credentials_come_first_and_are_read_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("user");
        let mut login = Login {
            username: Some("plain".to_owned()),
            password: Some("p".to_owned()),
            username_file: Some(file.clone()),
            ..Login::default()
        };
        assert_eq!(authorization(&login), Some(Authorization::basic(b"plain", b"p")), "a file that is not there");
        std::fs::write(&file, " filed\n").expect("written");
        assert_eq!(authorization(&login), Some(Authorization::basic(b"filed", b"p")));
        login.token_file = Some(file);
        assert_eq!(authorization(&login), Authorization::bearer("filed").ok());
    }
}
