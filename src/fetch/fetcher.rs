//! The fetcher: sends requests, follows redirects, and reads answers, within its limits.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Validators, retry_after};
use super::clients::{Client, Clients};
use super::connector::Reach;
use super::credentials::Credentials;
use super::error::{FetchError, Problem, RedirectProblem, cause};
use super::guard::Guard;
use super::places::Places;
use super::proxies::Proxies;
use super::request::Request;
use super::settings::{Limits, Settings};
use super::target::Target;

/// Gets what users name by URL. A clone is the same fetcher; connections that idle end with the last one.
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
    limits: Limits,
}

/// What came of one hop.
enum Hop {
    Answer(Answer),
    Redirect(Target),
}

impl Fetcher {
    /// A fetcher without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { allow, refused, resolver, proxies, user_agent, limits } = settings;
        let guard = Guard { allow: allow.into(), refused };
        let reach = Reach { guard, resolver, proxies: proxies.clone(), timeout: limits.connect };
        let places = Places::new(limits.requests, limits.requests_per_host);
        let places_of_failing = Places::new(limits.failing_requests, limits.requests_per_host);
        let clients = Clients::new(reach, limits);
        Self { shared: Arc::new(Shared { clients, places, places_of_failing, proxies, user_agent, limits }) }
    }

    /// Gets what a request asks for. Waits for a place first, for as long as that takes; then the limits hold. Dropping the
    /// future ends the request with its connection.
    ///
    /// # Errors
    /// Everything but a complete 200, and a 304 to validators that were sent.
    pub async fn get(&self, request: Request) -> Result<Answer, FetchError> {
        let limits = self.shared.limits;
        if request.credentials.as_ref().is_some_and(|credentials| !credentials.may_go_to(&request.target)) {
            return Err(FetchError::at(&request.target, Problem::Recipient));
        }
        let places = if request.failed_before { &self.shared.places_of_failing } else { &self.shared.places };
        let mut target = request.target.clone();
        let mut left = limits.total;
        for _ in 0..=limits.redirects {
            let _place = places.take(&target.host().to_string()).await;
            let start = Instant::now();
            let hop = timeout(left, self.shared.hop(&request, &target)).await;
            match hop.unwrap_or(Err(Problem::Timeout(limits.total))) {
                Ok(Hop::Answer(answer)) => return Ok(answer),
                Ok(Hop::Redirect(next)) => target = next,
                Err(problem) => return Err(FetchError::beyond(&request.target, &target, problem)),
            }
            left = left.saturating_sub(start.elapsed());
        }
        Err(FetchError::at(&request.target, Problem::Redirect(RedirectProblem::Many(limits.redirects))))
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Shared {
    async fn hop(&self, request: &Request, target: &Target) -> Result<Hop, Problem> {
        // What is proved at the first origin is nobody else's affair.
        let is_at_home = target.has_origin_of(&request.target);
        let credentials = request.credentials.as_ref().filter(|_| is_at_home);
        let client = self.clients.get(&request.trust, credentials.and_then(|given| given.identity.as_ref()))?;
        let (headers, conditional) = self.headers(request, target, credentials, is_at_home);
        let response = send(&client, target, &headers).await?;
        let (status, headers) = (response.status(), response.headers());
        match status {
            StatusCode::OK => {
                let validators = Validators::of(target.url(), headers);
                let bytes = read(response, self.limits.body).await?;
                Ok(Hop::Answer(Answer::Body { bytes, validators }))
            }
            StatusCode::NOT_MODIFIED if conditional => Ok(Hop::Answer(Answer::NotModified)),
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                Ok(Hop::Redirect(redirect(target, headers).map_err(Problem::Redirect)?))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(Problem::Status { status, retry_after: retry_after(headers, Timestamp::now()) })
            }
            _ => Err(Problem::Status { status, retry_after: None }),
        }
    }

    /// The headers of one hop, and whether they ask for a 304.
    fn headers(
        &self,
        request: &Request,
        target: &Target,
        credentials: Option<&Credentials>,
        is_at_home: bool,
    ) -> (HeaderMap, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, request.accept.clone());
        headers.insert(header::USER_AGENT, self.user_agent.clone());
        let of_url = request.target.authorization().filter(|_| is_at_home);
        if let Some(authorization) = credentials.and_then(|given| given.authorization.as_ref()).or(of_url) {
            headers.insert(header::AUTHORIZATION, authorization.header());
        }
        if let Some(authorization) = self.proxies.as_ref().and_then(|proxies| proxies.authorization(target.uri())) {
            headers.insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let conditional = request.validators.add(target.url(), &mut headers);
        (headers, conditional)
    }
}

/// Sends a request, once again when its connection ends without an answer: a server may end a kept connection just when it
/// is used.
async fn send(client: &Client, target: &Target, headers: &HeaderMap) -> Result<Response<Incoming>, Problem> {
    let once = || {
        let mut request = http::Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = target.uri().clone();
        *request.headers_mut() = headers.clone();
        client.request(request)
    };
    let answer = match once().await {
        Err(error) if was_hung_up_on(&error) => once().await,
        answer => answer,
    };
    answer.map_err(|error| Problem::of(&error))
}

fn was_hung_up_on(error: &legacy::Error) -> bool {
    !error.is_connect()
        && cause::<hyper::Error>(error).is_some_and(|error| error.is_incomplete_message() || error.is_canceled())
}

async fn read(response: Response<Incoming>, limit: usize) -> Result<Bytes, Problem> {
    let is_plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if !response.headers().get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Problem::Protocol("the body is compressed, which was not asked for".to_owned()));
    }
    let body = response.into_body();
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Problem::TooLarge(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::TooLarge(limit)),
        Err(error) => Err(Problem::of(error.as_ref())),
    }
}

/// Where an answer redirects to.
fn redirect(from: &Target, headers: &HeaderMap) -> Result<Target, RedirectProblem> {
    let location = headers.get(header::LOCATION).and_then(|value| str::from_utf8(value.as_bytes()).ok());
    let next = from.join(location.ok_or(RedirectProblem::Nowhere)?)?;
    if from.is_https() && !next.is_https() { Err(RedirectProblem::Plain) } else { Ok(next) }
}
