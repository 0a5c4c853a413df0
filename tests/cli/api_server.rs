//! An API server with fixed objects. It answers lists, which is all that commands that run once need.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Files, objects};

pub struct ApiServer {
    kubeconfig: Files,
}

impl ApiServer {
    /// Serves the objects of a YAML text in lists of their kinds until the test process ends.
    pub fn with(yaml: &str) -> Self {
        let objects = Arc::new(objects(yaml));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let objects = objects.clone();
                thread::spawn(move || answer_all(&stream, &objects));
            }
        });
        let context = |name: &str, server: &str, namespace: &str| {
            (
                format!("{{name: {name}, cluster: {{server: '{server}'}}}}"),
                format!("{{name: {name}, context: {{cluster: {name}, user: me, namespace: {namespace}}}}}"),
            )
        };
        // The other context's cluster does not answer.
        let contexts =
            [context("here", &format!("http://{address}"), "shop"), context("gone", "http://127.0.0.1:1", "none")];
        let (clusters, contexts): (Vec<_>, Vec<_>) = contexts.into_iter().unzip();
        let text = |current: &str| {
            format!(
                "{{apiVersion: v1, kind: Config, current-context: {current}, clusters: [{}], contexts: [{}], users: [{{name: me, user: {{}}}}]}}",
                clusters.join(", "),
                contexts.join(", ")
            )
        };
        Self { kubeconfig: Files::new([("config", text("here").as_str()), ("gone", &text("gone"))]) }
    }

    /// Returns a kubeconfig with this server in the current context, `here`. The other context is `gone`.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.kubeconfig.path().join("config")
    }
}

fn answer_all(mut stream: &TcpStream, objects: &[Value]) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        while lines.next().is_some_and(|header| !header.is_empty()) {}
        let target = request.split(' ').nth(1).unwrap_or_default();
        let body = list(target, objects).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// Returns the objects of the kind and namespace in a path.
fn list(target: &str, objects: &[Value]) -> Value {
    let path = Path::new(target.split('?').next().unwrap_or_default());
    let plural = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut parts = path.iter().skip_while(|part| *part != "namespaces").skip(1);
    let namespace = parts.next().filter(|_| parts.next().is_some()).and_then(|part| part.to_str());
    let fits = |object: &&Value| {
        let kind = object["kind"].as_str().expect("a kind").to_lowercase();
        format!("{kind}s") == plural && namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
    };
    let items: Vec<&Value> = objects.iter().filter(fits).collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
}
