//! The part of the Kubernetes API that `outrigger serve` asks for, on loopback without TLS.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::pods::Pods;
use crate::store::{Part, Store, Target, failure};

const PODS: &str = "/api/v1/pods";
/// The API server sends a bookmark at least each minute.
const SILENCE: Duration = Duration::from_secs(20);
/// The API server writes long answers in pieces.
const PIECE: usize = 32 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server. Dropping it closes its port.
pub struct Server {
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

/// What it serves.
#[derive(Clone)]
struct Served {
    store: Arc<Store>,
    pods: Arc<Pods>,
}

/// The query of a request.
struct Query(HashMap<String, String>);

impl Server {
    pub async fn start(store: Arc<Store>, pods: Arc<Pods>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let served = Served { store, pods };
        let serving = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(served.clone().connection(tcp));
            }
        });
        Ok(Self { address, serving })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Query {
    fn of(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key).parse().ok()
    }
}

impl Served {
    async fn connection(self, tcp: TcpStream) {
        let _ = tcp.set_nodelay(true);
        let service = service_fn(move |request: Request<Incoming>| {
            let served = self.clone();
            async move {
                let what = format!("{} {}", request.method(), request.uri());
                let answer = served.answer(request).await.unwrap_or_else(|error| {
                    eprintln!("{what}: {error:#}");
                    let (code, status) = failure(400, &error.to_string());
                    json(code, &status)
                });
                Ok::<_, Infallible>(answer)
            }
        });
        // A client may leave at any time.
        let _gone = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let (path, query) = (head.uri.path(), Query::of(head.uri.query().unwrap_or_default()));
        let target =
            Target::of(path, query.text("fieldSelector").strip_prefix("metadata.name=")).context("no target")?;
        if head.method != Method::GET {
            let body = body.collect().await?.to_bytes();
            let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
            let form = head.headers.get(header::CONTENT_TYPE).and_then(|form| form.to_str().ok()).unwrap_or_default();
            let (code, object) = self.store.write(head.method.as_str(), &target, form, body)?;
            return Ok(json(code, &object));
        }
        if Target::is_object(path) {
            let (code, object) = self.store.get(&target);
            return Ok(json(code, &object));
        }
        let part = Part {
            limit: query.number("limit").map_or(Ok(usize::MAX), usize::try_from)?,
            from: query.number("continue").map_or(Ok(0), usize::try_from)?,
        };
        match (query.text("watch"), target.kind.as_str()) {
            ("true", PODS) => Ok(self.watch_pods(&query)),
            ("true", _) => Ok(self.watch(target, &query)),
            (_, PODS) => Ok(in_pieces(self.pods.page(part.from, part.limit)?.into())),
            _ => Ok(json(200, &self.store.list(&target, &part))),
        }
    }

    /// Streams changes of Pods. A watch that falls silent gets a bookmark.
    fn watch_pods(&self, query: &Query) -> Response<Body> {
        let version = query.number("resourceVersion").unwrap_or_default();
        let Some(events) = self.pods.watch(version) else {
            let (code, status) = failure(410, "Expired");
            return json(code, &status);
        };
        let pods = self.pods.clone();
        streamed(stream::unfold(events, move |mut events| {
            let pods = pods.clone();
            async move {
                let event = match timeout(SILENCE, events.recv()).await {
                    Ok(event) => event?,
                    Err(_) => bookmark(pods.version()),
                };
                Some((event, events))
            }
        }))
    }

    /// Streams changes of other objects, and ends when the client wants it to.
    fn watch(&self, target: Target, query: &Query) -> Response<Body> {
        let store = self.store.clone();
        let position = store.position(query.number("resourceVersion").unwrap_or_default());
        let end = Instant::now() + Duration::from_secs(query.number("timeoutSeconds").unwrap_or(300));
        let begin = (position, store.changes(), false);
        streamed(stream::unfold(begin, move |(mut position, mut changes, mut over)| {
            let (store, target) = (store.clone(), target.clone());
            async move {
                loop {
                    if over {
                        return None;
                    }
                    changes.borrow_and_update();
                    let (events, next) = store.events(&target, position);
                    position = next;
                    if !events.is_empty() {
                        return Some((Bytes::from(events.concat()), (position, changes, over)));
                    }
                    tokio::select! {
                        changed = changes.changed() => over = changed.is_err(),
                        () = sleep_until(end) => {
                            over = true;
                            return Some((bookmark(store.version()), (position, changes, over)));
                        }
                    }
                }
            }
        }))
    }
}

fn bookmark(version: u64) -> Bytes {
    let object =
        format!("{{\"kind\":\"Any\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{version}\"}}}}");
    format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n").into()
}

fn json(code: u16, object: &Value) -> Response<Body> {
    respond(code, Full::new(Bytes::from(object.to_string())).boxed_unsync())
}

fn in_pieces(mut text: Bytes) -> Response<Body> {
    streamed(stream::iter(std::iter::from_fn(move || {
        let piece = text.split_to(text.len().min(PIECE));
        (!piece.is_empty()).then_some(piece)
    })))
}

fn streamed(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    respond(200, StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync())
}

fn respond(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
