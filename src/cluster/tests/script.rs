//! An API server whose answers are given by the test.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tower::service_fn;

use super::soon;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The server's side.
pub struct Script {
    requests: mpsc::UnboundedReceiver<(Request<Body>, oneshot::Sender<Answer>)>,
}

/// A request that waits for its answer.
pub struct Call {
    /// Path and query.
    pub target: String,
    pub accept: String,
    answer: oneshot::Sender<Answer>,
}

/// An open watch. Dropping it ends the watch.
pub struct Stream {
    lines: mpsc::UnboundedSender<Bytes>,
}

impl Script {
    pub fn new() -> (Client, Self) {
        let (sender, requests) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Body>| {
            let (answer, answered) = oneshot::channel();
            let sent = sender.send((request, answer));
            async move {
                sent.expect("the test goes on");
                answered.await
            }
        });
        (Client::new(service, "default"), Self { requests })
    }

    /// Returns the next request.
    pub async fn next(&mut self) -> Call {
        let (request, answer) = soon("a request", self.requests.recv()).await.expect("the client is there");
        let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Call { target: request.uri().to_string(), accept: accept.to_owned(), answer }
    }

    /// Returns the next request, which must be a list.
    pub async fn list(&mut self) -> Call {
        let call = self.next().await;
        assert!(!call.target.contains("watch=true"), "no list: {}", call.target);
        assert!(!call.target.contains("resourceVersion"), "a quorum list names no version: {}", call.target);
        call
    }

    /// Returns the next request, which must be a watch from this version.
    pub async fn watch(&mut self, version: &str) -> Call {
        let call = self.next().await;
        assert!(call.target.contains("watch=true"), "no watch: {}", call.target);
        let from = call.target.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
        assert_eq!(from, Some(version), "{}", call.target);
        call
    }
}

impl Call {
    pub fn reply(self, code: u16, body: &Value) {
        self.text(code, body.to_string());
    }

    pub fn text(self, code: u16, body: String) {
        self.answer(code, Full::new(Bytes::from(body)).boxed_unsync());
    }

    /// Answers with all objects as of this version.
    pub fn objects(self, version: &str, objects: &[Value]) {
        self.reply(200, &json!({"kind": "List", "metadata": {"resourceVersion": version}, "items": objects}));
    }

    pub fn refuse(self, code: u16, message: &str) {
        let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": ""});
        self.reply(code, &status);
    }

    /// Opens the watch.
    pub fn stream(self) -> Stream {
        let (lines, receiver) = mpsc::unbounded_channel();
        let body = stream::unfold(receiver, async |mut receiver| {
            let line: Bytes = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(line)), receiver))
        });
        self.answer(200, StreamBody::new(body).boxed_unsync());
        Stream { lines }
    }

    fn answer(self, code: u16, body: UnsyncBoxBody<Bytes, Infallible>) {
        let response = Response::builder().status(code).body(body).expect("a response");
        assert!(self.answer.send(response).is_ok(), "the client no longer waits for {}", self.target);
    }
}

impl Stream {
    /// Sends an event of this type.
    pub fn event(&self, kind: &str, object: &Value) {
        self.line(&format!("{{\"type\":\"{kind}\",\"object\":{object}}}"));
    }

    pub fn bookmark(&self, version: &str) {
        self.event("BOOKMARK", &json!({"kind": "Thing", "apiVersion": "v1", "metadata": {"resourceVersion": version}}));
    }

    pub fn line(&self, line: &str) {
        self.lines.send(Bytes::from(format!("{line}\n"))).expect("the watch is open");
    }
}
