//! The webhook's paths, and the steps of one request: admit, read, handle, count, answer.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::any;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::limits::{Admitted, Gate, Limits};
use super::metrics::{Metrics, Webhook};
use super::refusal::Reason;
use super::reply::Reply;
use crate::api::go_duration;

/// Answers one request body. For a body of up to [`Limits::inline`] it runs on the connection's thread, so it must take
/// microseconds. It must never wait: a wait is an [`Answer::Later`] or [`Answer::After`].
///
/// The flag becomes true when the caller no longer waits. Work that takes milliseconds checks it repeatedly.
pub type Handler = Arc<dyn Fn(&[u8], &AtomicBool) -> Answer + Send + Sync>;

/// A handler's work that does not wait.
pub type Work = Arc<dyn Fn(&[u8], &AtomicBool) -> Reply + Send + Sync>;

/// Returns a handler that never waits and takes little time.
pub fn at_once(answer: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) -> Handler {
    Arc::new(move |body, _| answer(body).into())
}

/// The result of a handler.
pub enum Answer {
    /// The answer.
    Now(Reply),
    /// The answer after a wait, which must be limited.
    Later(BoxFuture<'static, Reply>),
    /// A wait, which must be limited, and then work on the same body.
    After(BoxFuture<'static, ()>, Work),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Now(reply)
    }
}

struct Endpoint {
    webhook: Webhook,
    handler: Handler,
    gate: Gate,
    /// Places for the work on long reviews, so that threads and memory are left for the others.
    long: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Becomes true, for work on another thread, when this is dropped: with the request, or when the work is done.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The flag of work whose caller is watched.
static NEVER: AtomicBool = AtomicBool::new(false);

/// How long the API server waits for a webhook without a timeout. It is also the maximum of any webhook.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// Serves each handler at its webhook's paths. Each webhook has its own limits ([`Limits::of`]). Public so that tests
/// need no socket.
pub fn router(webhooks: impl IntoIterator<Item = (Webhook, Handler, Limits)>, metrics: &Arc<Metrics>) -> Router {
    let mut router = Router::new();
    let mut paths = Vec::new();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    for (webhook, handler, limits) in webhooks {
        let gate = Gate::new(limits, metrics.webhook(webhook).in_flight().clone());
        let long = Arc::new(Semaphore::new(threads));
        let endpoint = Arc::new(Endpoint { webhook, handler, gate, long, metrics: metrics.clone() });
        for path in [Some(webhook.path()), webhook.older_path()].into_iter().flatten() {
            router = router.route(path, any(serve).with_state(endpoint.clone()));
            paths.push(path);
        }
    }
    let unknown = format!("no webhook at this path; there is {}\n", paths.join(", "));
    router.fallback(move || {
        let reply = Reply::text(404, unknown.clone());
        async { reply.into_response() }
    })
}

async fn serve(State(endpoint): State<Arc<Endpoint>>, request: Request<Body>) -> Response<Body> {
    let mut counted = endpoint.metrics.webhook(endpoint.webhook).start();
    let patience = patience(request.uri().query().unwrap_or_default());
    let admitted = endpoint.gate.admit(request).await;
    counted.arrived();
    let response = match admitted {
        Ok(admitted) if admitted.long => handle_long(&endpoint, admitted, patience).await.bounded().into_response(),
        Ok(admitted) => endpoint.answer(admitted).await.bounded().into_response(),
        Err(refusal) => {
            if let Reason::Overload(shed) = refusal.reason {
                endpoint.metrics.shed(shed).inc();
            }
            refusal.into_response()
        }
    };
    counted.finish(response.status().as_u16());
    response
}

/// Returns when the caller's timeout is over, or earlier.
async fn handle_long(endpoint: &Arc<Endpoint>, admitted: Admitted, patience: Duration) -> Reply {
    let late = |_| Reply::text(503, format!("the review was not done within {patience:?}, which its caller waits\n"));
    timeout(patience, endpoint.answer(admitted)).await.unwrap_or_else(late)
}

/// Returns the caller's timeout: the `timeout` that the API server adds to its query.
fn patience(query: &str) -> Duration {
    let (default, most) = PATIENCE;
    let asked = query.split('&').find_map(|pair| go_duration::parse(pair.strip_prefix("timeout=")?));
    asked.filter(|asked| !asked.is_zero()).unwrap_or(default).min(most)
}

impl Endpoint {
    /// Returns the reply after its wait; the places stay taken.
    async fn answer(&self, admitted: Admitted) -> Reply {
        let handler = self.handler.clone();
        let answered = self.work(admitted, move |body, abandoned| handler(body, abandoned)).await;
        let (answer, admitted) = match answered {
            Ok(answered) => answered,
            Err(failed) => return failed,
        };
        match answer {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => {
                let reply = AssertUnwindSafe(reply).catch_unwind().await;
                reply.unwrap_or_else(|_| self.panicked(admitted.body.len()))
            }
            Answer::After(wait, work) => {
                wait.await;
                let answered = self.work(admitted, move |body, abandoned| work(body, abandoned)).await;
                answered.map_or_else(|failed| failed, |(reply, _)| reply)
            }
        }
    }

    /// Handles a body: a short one on this thread, a long one on a thread that may be busy for long. The places are
    /// passed to that work: they stay taken until it is done, even if the caller no longer waits.
    ///
    /// A panic is an internal error, so it must be an HTTP error: `allowed: false` would defeat `failurePolicy:
    /// Ignore`.
    async fn work<T: Send + 'static>(
        &self,
        admitted: Admitted,
        work: impl FnOnce(&[u8], &AtomicBool) -> T + Send + 'static,
    ) -> Result<(T, Admitted), Reply> {
        let (bytes, long) = (admitted.body.len(), admitted.long);
        let work = move |abandoned: &AtomicBool| {
            let done = catch_unwind(AssertUnwindSafe(|| work(&admitted.body, abandoned)));
            (done, admitted)
        };
        let (done, admitted) = if long {
            let place = self.long.clone().acquire_owned().await.ok();
            let abandoned = Abandoned::default();
            let flag = abandoned.0.clone();
            let worked = tokio::task::spawn_blocking(move || {
                let _place = place;
                work(&flag)
            });
            worked.await.map_err(|error| Reply::text(500, format!("the review was not finished: {error}\n")))?
        } else {
            work(&NEVER)
        };
        done.map(|done| (done, admitted)).map_err(|_| self.panicked(bytes))
    }

    fn panicked(&self, bytes: usize) -> Reply {
        self.metrics.webhook_panics.inc();
        tracing::error!(webhook = self.webhook.path(), bytes, "a webhook handler panicked; answered 500");
        Reply::text(500, "the webhook failed on this review, by a fault of its own; see its log\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_waits_as_long_as_its_query_says() {
        let seconds = |query| patience(query).as_secs();
        assert_eq!((seconds("timeout=5s"), seconds("a=b&timeout=1m"), seconds("")), (5, 30, 10));
        assert_eq!((seconds("timeout=0s"), seconds("timeout=x"), seconds("timeouts=5s")), (10, 10, 10));
    }
}
