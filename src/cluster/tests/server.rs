//! An in-memory API server: objects with a resourceVersion, JSON Patches that carry it, and conflicts.

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// Objects by path, and the writes that changed them.
#[derive(Default)]
pub struct Server {
    pub objects: BTreeMap<String, Value>,
    pub writes: Vec<String>,
    version: u64,
    /// Requests for paths with this prefix get a 403.
    pub refuses: Option<&'static str>,
    /// Objects whose `data` was created in another form than a patch would write. Patches of them are rejected.
    pub unpatchable: BTreeSet<String>,
}

impl Server {
    pub fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["uid"] = json!(format!("uid-of-{}", object["metadata"]["name"].as_str().unwrap()));
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    /// Returns the objects whose paths have this prefix.
    pub fn under(&self, prefix: &str) -> Vec<Value> {
        let found = self.objects.iter().filter(|(path, _)| path.starts_with(prefix));
        found.map(|(_, object)| object.clone()).collect()
    }

    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let failure = |code: u16| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": "x"}))
        };
        if self.refuses.is_some_and(|refused| path.starts_with(refused)) {
            return failure(403);
        }
        let key = path.trim_end_matches("/status");
        let key = if *method == Method::POST {
            &format!("{key}/{}", body["metadata"]["name"].as_str().unwrap())
        } else {
            key
        };
        let present = self.objects.get(key).cloned();
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let answer = match (method, present) {
            (&Method::GET, Some(object)) => return (200, object),
            (&Method::GET, None) => return self.list(path).map_or_else(|| failure(404), |list| (200, list)),
            (&Method::POST, Some(_)) => failure(409),
            (&Method::POST, None) => (201, self.put(key, body.clone())),
            (_, None) => failure(404),
            (&Method::PATCH, Some(_)) if self.unpatchable.contains(key) => {
                let (code, mut status) = failure(422);
                status["message"] = json!("x is invalid: data: Invalid value: …: field is immutable");
                return (code, status);
            }
            (&Method::PATCH, Some(object)) if !body.is_array() => return (200, object), // a dry run of nothing
            (&Method::PATCH, Some(mut object)) => {
                if body[0]["value"] != version(&object) {
                    return failure(409);
                }
                json_patch::patch(&mut object, &serde_json::from_value::<json_patch::Patch>(body.clone()).unwrap())
                    .unwrap();
                (200, self.put(key, object))
            }
            (&Method::DELETE, Some(object)) if body["preconditions"]["resourceVersion"] != version(&object) => {
                failure(409)
            }
            (&Method::DELETE, Some(_)) => {
                self.objects.remove(key);
                self.unpatchable.remove(key);
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            (other, _) => panic!("{other} {path}"),
        };
        if answer.0 < 300 {
            self.writes.push(format!("{method} {path}"));
        }
        answer
    }

    /// Returns the objects of a collection, if there are any.
    fn list(&self, path: &str) -> Option<Value> {
        let found =
            self.objects.iter().filter(|(key, _)| key.rsplit_once('/').is_some_and(|(folder, _)| folder == path));
        let items: Vec<&Value> = found.map(|(_, object)| object).collect();
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
        (!items.is_empty()).then_some(list)
    }
}

/// Starts the server with a client.
pub fn served(server: Server) -> (Arc<Mutex<Server>>, Client) {
    let server = Arc::new(Mutex::new(server));
    let shared = Arc::clone(&server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&shared);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (code, object) = server.lock().unwrap().answer(&parts.method, parts.uri.path(), &body);
            let body = Body::from(object.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (server, Client::new(service, "default"))
}
