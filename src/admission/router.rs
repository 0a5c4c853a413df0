//! The webhook's paths, and the way of one request: admitted, read, handled, counted, answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::any;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::limits::{Admitted, Gate, Limits, Reason};
use super::reply::Reply;
use crate::telemetry::{Metrics, Webhook};

/// Answers one request body. For a body of up to [`Limits::inline`] it runs on the thread that serves the connection: then it must
/// take microseconds. It must never wait for anything: what has to wait is an [`Answer::Later`].
pub type Handler = Arc<dyn Fn(&[u8]) -> Answer + Send + Sync>;

/// A handler that never has to wait.
pub fn at_once(answer: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) -> Handler {
    Arc::new(move |body| answer(body).into())
}

/// What a handler comes to.
pub enum Answer {
    /// The answer.
    Now(Reply),
    /// It takes waiting, which must be bounded.
    Later(BoxFuture<'static, Reply>),
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
    metrics: Arc<Metrics>,
}

/// Serves each handler at its webhook's paths, each webhook under limits of its own ([`Limits::of`]). Public so that tests need
/// no socket.
pub fn router(webhooks: impl IntoIterator<Item = (Webhook, Handler, Limits)>, metrics: &Arc<Metrics>) -> Router {
    let mut router = Router::new();
    let mut paths = Vec::new();
    for (webhook, handler, limits) in webhooks {
        let gate = Gate::new(limits, metrics.webhook(webhook).in_flight().clone());
        let endpoint = Arc::new(Endpoint { webhook, handler, gate, metrics: metrics.clone() });
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
    let admitted = endpoint.gate.admit(request).await;
    counted.arrived();
    let response = match admitted {
        Ok(admitted) if admitted.long => handle_long(endpoint.clone(), admitted).await.into_response(),
        Ok(admitted) => endpoint.finish(endpoint.handle(&admitted), admitted).await.into_response(),
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

/// The places go with the work: they stay taken until it is done, even if nobody waits for it any more.
async fn handle_long(endpoint: Arc<Endpoint>, admitted: Admitted) -> Reply {
    let working = endpoint.clone();
    let work = tokio::task::spawn_blocking(move || (working.handle(&admitted), admitted));
    match work.await {
        Ok((answer, admitted)) => endpoint.finish(answer, admitted).await,
        Err(error) => Reply::text(500, format!("the review was not finished: {error}\n")),
    }
}

impl Endpoint {
    /// A panic is a fault of ours, so it must be an HTTP error: `allowed: false` would defeat `failurePolicy: Ignore`.
    fn handle(&self, admitted: &Admitted) -> Answer {
        let body = &*admitted.body;
        catch_unwind(AssertUnwindSafe(|| (self.handler)(body))).unwrap_or_else(|_| self.panicked(body.len()).into())
    }

    /// The reply, after what it has to wait for; the places stay taken meanwhile.
    async fn finish(&self, answer: Answer, admitted: Admitted) -> Reply {
        match answer {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => {
                let reply = AssertUnwindSafe(reply).catch_unwind().await;
                reply.unwrap_or_else(|_| self.panicked(admitted.body.len()))
            }
        }
    }

    fn panicked(&self, bytes: usize) -> Reply {
        self.metrics.webhook_panics.inc();
        tracing::error!(webhook = self.webhook.path(), bytes, "a webhook handler panicked; answered 500");
        Reply::text(500, "the webhook failed on this review, by a fault of its own; see its log\n")
    }
}
