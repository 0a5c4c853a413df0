//! Rules for every call to the API server: a time limit for the head of its answer, and retries while it is overloaded.

use std::fmt::Debug;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use kube::client::Body;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tower::{BoxError, Layer, Service, ServiceExt};

/// The default time limit for the head of an answer.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit of a list page is this many times as long, because the API server reads and converts all its objects
/// before it answers.
const OF_A_LIST: u32 = 6;

/// The maximum number of attempts while the API server is overloaded.
const ROUNDS: usize = 3;

/// A longer pause is not waited for. The caller then decides what to do.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Observes the answer of each call, or its absence.
pub trait CallObserver: Debug + Send + Sync {
    /// The API server answered with this status, or not at all (`None`).
    fn answered(&self, method: &Method, status: Option<StatusCode>);
}

/// No observer.
impl CallObserver for () {
    fn answered(&self, _method: &Method, _status: Option<StatusCode>) {}
}

/// Adds these rules to all calls.
#[derive(Clone, Debug)]
pub(super) struct CallLayer {
    head_timeout: Duration,
    observer: Arc<dyn CallObserver>,
}

/// A connection to the API server with these rules. Calls are started one by one, and their answers are awaited
/// concurrently.
#[derive(Debug)]
pub(super) struct Calls<S> {
    connection: Arc<Mutex<S>>,
    head_timeout: Duration,
    observer: Arc<dyn CallObserver>,
}

/// The head of an answer did not arrive in time.
#[derive(Clone, Copy, Debug, Error)]
#[error("the API server did not answer within {} s", .0.as_secs_f64())]
pub(super) struct NoAnswer(Duration);

impl CallLayer {
    pub fn new(head_timeout: Duration, observer: Arc<dyn CallObserver>) -> Self {
        Self { head_timeout, observer }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, connection: S) -> Calls<S> {
        let observer = Arc::clone(&self.observer);
        Calls { connection: Arc::new(Mutex::new(connection)), head_timeout: self.head_timeout, observer }
    }
}

impl<S, B> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // the connection's readiness is polled when it is used
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (connection, limit) = (self.connection.clone(), limit(&request, self.head_timeout));
        let observer = Arc::clone(&self.observer);
        Box::pin(async move {
            let once = async |request: Request<Body>| {
                let method = request.method().clone();
                let answer = once(&connection, request, limit).await;
                observer.answered(&method, answer.as_ref().ok().map(Response::status));
                answer
            };
            let mut next = Some(request);
            for _ in 1..ROUNDS {
                let Some(again) = next.as_ref().and_then(copy) else { break };
                let Some(request) = next.replace(again) else { break };
                let answer = once(request).await?;
                let Some(pause) = asked_pause(answer.status(), answer.headers()) else { return Ok(answer) };
                // Spreads calls that were rejected together.
                sleep(pause.mul_f64(1.0 + fastrand::f64() / 4.0)).await;
            }
            match next {
                Some(request) => once(request).await,
                None => Err("a call without a request".into()),
            }
        })
    }
}

/// Makes one call with a time limit for the beginning of its answer.
async fn once<S, B>(connection: &Mutex<S>, request: Request<Body>, limit: Duration) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let answer = async {
        let answer = connection.lock().await.ready().await.map_err(Into::into)?.call(request);
        answer.await.map_err(Into::into)
    };
    timeout(limit, answer).await.map_err(|_| NoAnswer(limit))?
}

/// Returns the time limit for the head of the answer.
fn limit(request: &Request<Body>, head_timeout: Duration) -> Duration {
    let is_page = |parameter: &str| parameter.starts_with("limit=") || parameter.starts_with("continue=");
    let is_list =
        request.method() == Method::GET && request.uri().query().is_some_and(|query| query.split('&').any(is_page));
    if is_list { head_timeout * OF_A_LIST } else { head_timeout }
}

/// Copies the request; `None` if its body cannot be sent twice.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let body = request.body().try_clone()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Returns how long the API server asks to wait before it accepts this call, which it did not execute. It says so with both status
/// and header (<https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>); a 429 alone has other reasons.
fn asked_pause(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|pause| *pause <= LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use kube::Client;
    use kube::client::ClientBuilder;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;
    use crate::cluster::describe;

    /// A client of an API server that gives these answers in order and repeats the last one; and the calls it received.
    fn client(answers: &'static [(u16, Option<&'static str>)]) -> (Client, Arc<std::sync::Mutex<Vec<String>>>) {
        let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = calls.clone();
        let server = service_fn(move |request: Request<Body>| {
            let log = log.clone();
            async move {
                let body = request.into_body().collect_bytes().await.expect("a body");
                let mut log = log.lock().expect("no panic");
                log.push(String::from_utf8(body.to_vec()).expect("text"));
                let (status, after) = answers[(log.len() - 1).min(answers.len() - 1)];
                let mut answer =
                    Response::new(Body::from(format!(r#"{{"kind":"Status","code":{status}}}"#).into_bytes()));
                *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
                if let Some(after) = after {
                    answer.headers_mut().insert(header::RETRY_AFTER, after.parse().expect("a value"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        (ClientBuilder::new(server, "default").with_layer(&CallLayer::new(HEAD_TIMEOUT, Arc::new(()))).build(), calls)
    }

    async fn put(client: &Client) -> kube::Result<String> {
        client.request_text(Request::put("/object").body(b"new".to_vec()).expect("a request")).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_api_server_is_asked_again_after_the_pause_that_it_wants() {
        let (client, calls) = client(&[(429, Some("2")), (429, Some("1")), (200, None)]);
        let start = Instant::now();
        put(&client).await.expect("an answer");
        assert_eq!(*calls.lock().expect("no panic"), ["new"; 3], "with the same body");
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_stays_busy_is_told_to_who_called() {
        let (client, calls) = client(&[(429, Some("1"))]);
        assert!(matches!(put(&client).await, Err(kube::Error::Api(status)) if status.code == 429));
        assert_eq!(calls.lock().expect("no panic").len(), ROUNDS);
    }

    #[tokio::test(start_paused = true)]
    async fn no_other_answer_is_asked_for_twice() {
        for answer in [(429, None), (429, Some("60")), (429, Some("soon")), (503, Some("1")), (500, Some("1"))] {
            let (client, calls) = client(Box::leak(Box::new([answer])));
            let start = Instant::now();
            put(&client).await.expect_err("no success");
            assert_eq!((calls.lock().expect("no panic").len(), start.elapsed()), (1, Duration::ZERO), "{answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_may_take_longer_than_other_calls() {
        let silent = service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let layer = CallLayer::new(Duration::from_secs(2), Arc::new(()));
        let client = ClientBuilder::new(silent, "default").with_layer(&layer).build();
        for (path, seconds) in [
            ("/api/v1/pods?limit=500", 12),
            ("/api/v1/pods?labelSelector=a&limit=500&continue=x", 12),
            ("/api/v1/pods?watch=true", 2),
            ("/api/v1/namespaces/a", 2),
        ] {
            let start = Instant::now();
            let error = client.request_text(Request::get(path).body(Vec::new()).expect("a request")).await;
            assert_eq!(start.elapsed(), Duration::from_secs(seconds), "{path}");
            let expected = format!("the API server did not answer within {seconds} s");
            assert_eq!(describe(&error.expect_err("silence")), expected);
        }
    }
}
