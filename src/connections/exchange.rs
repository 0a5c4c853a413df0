//! The requests of a connection and their answers, which move the connection through its phases.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};

use super::place::ConnectionPhase;
use super::places::Taken;

/// The service of one connection. It sets the connection's phase, and answers with `Connection: close` while the server
/// drains.
#[derive(Clone, Debug)]
pub(super) struct Exchanges<S> {
    service: S,
    place: Arc<Taken>,
}

/// An extension of a request: its client has presented a valid certificate.
#[derive(Clone, Copy, Debug)]
pub struct Certified;

impl<S> Exchanges<S> {
    pub fn new(service: S, place: Arc<Taken>) -> Self {
        Self { service, place }
    }
}

impl<S, A, B> hyper::service::Service<Request<A>> for Exchanges<S>
where
    S: Service<Request<Arriving<A>>, Response = Response<B>> + Clone,
    A: HttpBody,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Exchange<Oneshot<S, Request<Arriving<A>>>>;

    fn call(&self, request: Request<A>) -> Self::Future {
        let whole = request.body().is_end_stream();
        self.place.enter(if whole { ConnectionPhase::Busy } else { ConnectionPhase::Body });
        let mut request = request.map(|body| Arriving { body, place: self.place.clone() });
        if self.place.is_certified() {
            request.extensions_mut().insert(Certified);
        }
        Exchange { answer: self.service.clone().oneshot(request), place: self.place.clone() }
    }
}

pin_project! {
    /// The body of a request. The service has the request when the body is whole.
    pub struct Arriving<A> {
        #[pin]
        body: A,
        place: Arc<Taken>,
    }
}

impl<A: HttpBody> HttpBody for Arriving<A> {
    type Data = A::Data;
    type Error = A::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(context));
        if frame.is_none() && this.place.phase() == ConnectionPhase::Body {
            this.place.enter(ConnectionPhase::Busy);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// One request until its answer.
    pub(super) struct Exchange<F> {
        #[pin]
        answer: F,
        place: Arc<Taken>,
    }
}

impl<F, B, E> Future for Exchange<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(context));
        if let Ok(answer) = &mut answer {
            if answer.status() == StatusCode::OK {
                this.place.served();
            }
            if this.place.places.are_answers_the_last() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            if answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close") {
                this.place.ends_with_this_answer();
            }
        }
        this.place.enter(ConnectionPhase::Answer);
        Poll::Ready(answer)
    }
}
