//! An in-memory API server: objects by path, resourceVersions, conflicts, and connections that can be cut or held.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::service_fn;

/// Objects by path, shared by all clients.
#[derive(Clone, Default)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Method and path of every executed request.
    log: Vec<String>,
}

/// The state of one client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Up,
    /// The API server answers 503.
    Refuses,
    /// No answer arrives.
    Hangs,
    /// Writes are delayed until the connection is restored.
    HoldsWrites,
}

impl Store {
    /// Returns a client and the control of its connection.
    pub fn client(&self) -> (Client, watch::Sender<Link>) {
        let (link, state) = watch::channel(Link::Up);
        let store = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let (store, state) = (store.clone(), state.clone());
            // A separate task, so that a request is executed even if the client no longer waits for the answer.
            let served = tokio::spawn(async move { store.serve(request, state).await });
            async move { Ok::<_, Infallible>(served.await.expect("the server does not panic")) }
        });
        (Client::new(service, "default"), link)
    }

    /// Returns a client whose connection is never cut.
    pub fn good_client(&self) -> Client {
        self.client().0
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.inner.lock().unwrap().objects.get(path).cloned()
    }

    /// Stores an object as another client would.
    pub fn put(&self, path: &str, object: Value) {
        self.inner.lock().unwrap().store(path, object);
    }

    /// Returns every object below this path.
    pub fn below(&self, path: &str) -> Vec<Value> {
        let inner = self.inner.lock().unwrap();
        inner.objects.iter().filter(|(place, _)| place.starts_with(path)).map(|(_, object)| object.clone()).collect()
    }

    pub fn remove(&self, path: &str) {
        self.inner.lock().unwrap().objects.remove(path);
    }

    /// Returns method and path of every executed request.
    pub fn log(&self) -> Vec<String> {
        self.inner.lock().unwrap().log.clone()
    }

    async fn serve(&self, request: Request<Body>, mut link: watch::Receiver<Link>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let reads = parts.method == Method::GET;
        let now = *link.borrow();
        match now {
            Link::Refuses => return status(503, "the server is currently unable to handle the request"),
            Link::Hangs => std::future::pending().await,
            Link::HoldsWrites if !reads => {
                let _ = link.wait_for(|link| *link == Link::Up).await;
            }
            Link::Up | Link::HoldsWrites => {}
        }
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        let merge = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/merge-patch+json");
        self.inner.lock().unwrap().carry_out(&parts.method, parts.uri.path(), body, merge)
    }
}

impl Inner {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", self.version).into();
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn carry_out(&mut self, method: &Method, path: &str, body: Value, merge: bool) -> Response<Body> {
        self.log.push(format!("{method} {path}"));
        if method == Method::POST {
            let path = format!("{path}/{}", body["metadata"]["name"].as_str().expect("a name"));
            if self.objects.contains_key(&path) {
                return status(409, "already exists");
            }
            return reply(201, &self.store(&path, body));
        }
        let (path, subresource) = match path.strip_suffix("/status") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let Some(old) = self.objects.get(path).cloned() else { return status(404, "not found") };
        let desired = match *method {
            Method::GET => return reply(200, &old),
            Method::DELETE => {
                let conditions = &body["preconditions"];
                let differs = |key: &str| !conditions[key].is_null() && conditions[key] != old["metadata"][key];
                if differs("uid") || differs("resourceVersion") {
                    return status(409, "the preconditions do not hold");
                }
                self.objects.remove(path);
                return reply(200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}));
            }
            Method::PUT => body,
            Method::PATCH if merge => {
                let mut merged = old.clone();
                json_patch::merge(&mut merged, &body);
                merged
            }
            Method::PATCH => {
                let mut patched = old.clone();
                let operations: json_patch::Patch = serde_json::from_value(body).expect("a JSON Patch");
                match json_patch::patch(&mut patched, &operations) {
                    Ok(()) => patched,
                    Err(error) => return status(422, &error.to_string()),
                }
            }
            _ => return status(405, "unknown method"),
        };
        // As in a real API server, a write without a version is unconditional.
        let version = desired["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !version.is_empty() && version != old["metadata"]["resourceVersion"] {
            return status(409, "the object has been modified");
        }
        let new = if subresource {
            let mut new = old;
            new["status"] = desired["status"].clone();
            new
        } else {
            desired
        };
        reply(200, &self.store(path, new))
    }
}

pub fn reply(code: u16, body: &Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).expect("a response")
}

/// A `metav1.Status` for an error.
pub fn status(code: u16, message: &str) -> Response<Body> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code, "reason": reason});
    reply(code, &status)
}
