//! The fetcher: sends requests, follows redirects, and reads answers within limits.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Validators, retry_after};
use super::arriving::{self, Arriving};
use super::clients::{Client, Clients};
use super::connector::Ways;
use super::error::{FetchError, FetchProblem, RedirectProblem, cause};
use super::places::Places;
use super::proxies::Proxies;
use super::request::{Content, Request};
use super::settings::Settings;
use super::target::FetchTarget;

/// Sends requests to URLs of users. Clones share the fetcher. Idle connections end with the last clone.
#[derive(Clone)]
pub struct Fetcher {
    shared: Arc<Shared>,
}

struct Shared {
    clients: Clients,
    places: Places,
    places_of_failing: Places,
    proxies: Option<Proxies>,
    user_agent: HeaderValue,
}

/// One request to one URL. Redirects cause several.
struct Hop {
    target: FetchTarget,
    content: Content,
}

/// The result of one hop.
enum HopEnd {
    Answer(Answer<Incoming>),
    Redirect(Hop),
}

impl Fetcher {
    /// Creates a fetcher without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { resolver, proxies, user_agent, limits } = settings;
        let ways = Ways { resolver, proxies: proxies.clone() };
        let places = Places::new(limits.requests, limits.requests_per_host);
        let places_of_failing = Places::new(limits.failing_requests, limits.requests_per_host);
        let clients = Clients::new(ways, limits);
        Self { shared: Arc::new(Shared { clients, places, places_of_failing, proxies, user_agent }) }
    }

    /// Executes a request by its rules. It first waits for a place, without a limit; then the time limits apply. Dropping
    /// the future closes the connection.
    ///
    /// # Errors
    /// Everything except a complete answer with a good status, and a 304 to sent validators.
    pub async fn fetch(&self, request: Request) -> Result<Answer, FetchError> {
        Ok(match self.open(request).await? {
            Answer::NotModified => Answer::NotModified,
            Answer::Body { status, bytes, validators } => {
                Answer::Body { status, bytes: bytes.whole().await?, validators }
            }
        })
    }

    /// Like [`Fetcher::fetch`], with a body that is read in pieces, within the same limits.
    ///
    /// # Errors
    /// Like [`Fetcher::fetch`], except for problems of the body.
    pub async fn open(&self, request: Request) -> Result<Answer<Arriving>, FetchError> {
        let rules = &request.rules;
        if request.credentials.as_ref().is_some_and(|credentials| !credentials.may_go_to(&request.target)) {
            return Err(FetchError::at(&request.target, FetchProblem::Recipient));
        }
        let places = if request.failed_before { &self.shared.places_of_failing } else { &self.shared.places };
        let mut hop = Hop { target: request.target.clone(), content: request.content.clone() };
        let mut left = rules.total;
        for _ in 0..=rules.redirects {
            let place = places.take(&hop.target.host().to_string()).await;
            let start = Instant::now();
            let end = timeout(left, self.shared.hop(&request, &hop)).await;
            match end.unwrap_or(Err(FetchProblem::Timeout(rules.total))) {
                Ok(HopEnd::Answer(Answer::NotModified)) => return Ok(Answer::NotModified),
                Ok(HopEnd::Answer(Answer::Body { status, bytes, validators })) => {
                    let (asked, reached) = (request.target.clone(), hop.target);
                    let bytes = Arriving::new(bytes, rules, start + left, (asked, reached), place);
                    return Ok(Answer::Body { status, bytes, validators });
                }
                Ok(HopEnd::Redirect(next)) => hop = next,
                Err(problem) => return Err(FetchError::beyond(&request.target, &hop.target, problem)),
            }
            left = left.saturating_sub(start.elapsed());
        }
        Err(FetchError::at(&request.target, FetchProblem::Redirect(RedirectProblem::Many(rules.redirects))))
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Shared {
    async fn hop(&self, request: &Request, hop: &Hop) -> Result<HopEnd, FetchProblem> {
        // Credentials are only for the first origin.
        let home = request.target.has_origin_of(&hop.target).then_some(request);
        let identity = home.and_then(|home| home.credentials.as_ref()?.identity.as_ref());
        let client = self.clients.get(&request.rules, &request.trust, identity)?;
        let (headers, conditional) = self.headers(request, hop, home);
        let response = send(&client, hop, &headers).await?;
        let (status, headers) = (response.status(), response.headers());
        match status {
            status if request.good.has(status) => {
                let validators = Validators::of(hop.target.url(), headers);
                arriving::check(&response, request.rules.body)?;
                Ok(HopEnd::Answer(Answer::Body { status, bytes: response.into_body(), validators }))
            }
            StatusCode::NOT_MODIFIED if conditional => Ok(HopEnd::Answer(Answer::NotModified)),
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                if request.rules.redirects == 0 {
                    return Err(FetchProblem::Redirect(RedirectProblem::None));
                }
                Ok(HopEnd::Redirect(redirect(hop, status, headers).map_err(FetchProblem::Redirect)?))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let retry_after = retry_after(headers, Timestamp::now());
                Err(FetchProblem::Status { status, good: request.good, retry_after })
            }
            _ => Err(FetchProblem::Status { status, good: request.good, retry_after: None }),
        }
    }

    /// Returns the headers of one hop, and whether they allow a 304. `home` is the request if the hop goes to its
    /// origin.
    fn headers(&self, request: &Request, hop: &Hop, home: Option<&Request>) -> (HeaderMap, bool) {
        let mut headers = home.map_or_else(HeaderMap::new, |home| home.headers.clone());
        headers.insert(header::ACCEPT, request.accept.clone());
        headers.entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        if let Some(kind) = &hop.content.kind {
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        let given = home.and_then(|home| home.credentials.as_ref()?.authorization.as_ref());
        if let Some(authorization) = given.or_else(|| home?.target.authorization()) {
            headers.insert(header::AUTHORIZATION, authorization.header());
        }
        if let Some(authorization) = self.proxies.as_ref().and_then(|proxies| proxies.authorization(hop.target.uri())) {
            headers.insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let conditional = request.validators.add(hop.target.url(), &mut headers);
        (headers, conditional)
    }
}

/// Sends a request. If its connection ends without an answer, an idempotent request is sent once more, because a server may
/// close a kept connection just when it is used.
async fn send(client: &Client, hop: &Hop, headers: &HeaderMap) -> Result<Response<Incoming>, FetchProblem> {
    let once = || {
        let mut request = http::Request::new(Full::new(hop.content.body.clone()));
        request.method_mut().clone_from(&hop.content.method);
        request.uri_mut().clone_from(hop.target.uri());
        request.headers_mut().clone_from(headers);
        client.request(request)
    };
    let answer = match once().await {
        Err(error) if hop.content.method.is_idempotent() && was_hung_up_on(&error) => once().await,
        answer => answer,
    };
    answer.map_err(|error| FetchProblem::of(&error))
}

fn was_hung_up_on(error: &legacy::Error) -> bool {
    !error.is_connect()
        && cause::<hyper::Error>(error).is_some_and(|error| error.is_incomplete_message() || error.is_canceled())
}

/// Returns the target of a redirect, and its request.
fn redirect(from: &Hop, status: StatusCode, headers: &HeaderMap) -> Result<Hop, RedirectProblem> {
    let location = headers.get(header::LOCATION).and_then(|value| str::from_utf8(value.as_bytes()).ok());
    let target = from.target.join(location.ok_or(RedirectProblem::Nowhere)?)?;
    if from.target.is_https() && !target.is_https() {
        return Err(RedirectProblem::Plain);
    }
    let mut content = from.content.clone();
    if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        content.become_get();
    }
    if content.kind.is_some() && !target.has_origin_of(&from.target) {
        return Err(RedirectProblem::Body);
    }
    Ok(Hop { target, content })
}
