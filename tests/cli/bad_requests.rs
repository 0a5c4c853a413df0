//! Requests that are not reviews of Pods: each gets its status and one line with the problem, and the next request is
//! served.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Server, assert_says, examples, in_time, names, object, review_of};
use crate::objects::SEED_POD;

fn server() -> Server {
    Server::start(&examples().join("test-sidecarset"), [""; 0])
}

/// Returns status and text of the answer to any request on its own connection.
fn send(server: &Server, request: Request<Full<Bytes>>) -> (u16, String) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca().as_bytes()).expect("PEM")).expect("a CA");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    in_time(async {
        let tcp = TcpStream::connect(server.webhook()).await.expect("a connection");
        let name = ServerName::IpAddress(server.webhook().ip().into());
        let tls = connector.connect(name, tcp).await.expect("a handshake");
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.expect("a connection");
        tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    })
}

fn request(method: Method, content_type: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri("/mutate-pod").header(HOST, "webhook");
    request.header(CONTENT_TYPE, content_type).body(Full::new(body.into())).expect("a request")
}

fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    request(Method::POST, "application/json", body)
}

#[track_caller]
fn assert_next_review_is_answered(server: &Server) {
    assert_eq!(names(&server.admit(&object(SEED_POD))["spec"]["containers"]), ["sidecar1", "app"]);
}

/// Returns the review of the seed's Pod with the value at this pointer replaced.
fn review_with(pointer: &str, value: Value) -> String {
    let mut review = review_of("v1", &object(SEED_POD));
    *review.pointer_mut(pointer).expect("it is there") = value;
    review.to_string()
}

#[test]
fn a_body_that_is_no_review_of_a_pod_is_a_400_that_names_the_field() {
    let server = server();
    let no_object = {
        let mut review = review_of("v1", &object(SEED_POD));
        review["request"].as_object_mut().expect("an object").remove("object");
        review.to_string()
    };
    let gvk = |kind: &str| json!({"group": "", "version": "v1", "kind": kind});
    let bodies = [
        (no_object, "request.object: required"),
        (review_with("/request/object", Value::Null), "request.object: required"),
        (review_with("/request/kind", gvk("Service")), "request.kind: expected a Pod, found \"Service\""),
        (review_with("/request/object/kind", json!("Service")), "request.object.kind: expected Pod"),
        (review_with("/request/object", json!("text")), "request.object: "),
        (review_with("/request/object/metadata/labels/app", json!(5)), "request.object.metadata.labels.app: "),
        (review_with("/request/object/spec/containers", json!({})), "spec.containers: "),
        (review_with("/request/object/spec/containers/0/name", json!({})), "spec.containers[0].name: "),
        (review_with("/request/uid", json!("")), "request.uid: required"),
        (review_with("/apiVersion", json!("admission.k8s.io/v2")), "apiVersion: expected admission.k8s.io/v1"),
        (review_with("/kind", json!("Pod")), "kind: expected AdmissionReview"),
        (review_with("/request", Value::Null), "request: required"),
        (object(SEED_POD).to_string(), "apiVersion: expected admission.k8s.io/v1"),
        (String::new(), "the body is empty"),
        ("{\"a\": ".to_owned(), "the body is not JSON"),
        ("[]".to_owned(), "AdmissionReview"),
    ];
    for (body, says) in bodies {
        let (status, text) = server.post(body.clone());
        assert_eq!(status, 400, "{body}: {text}");
        assert_says(&text, &[says]);
        assert_eq!(text.lines().count(), 1, "one line: {text}");
    }
    assert_next_review_is_answered(&server);
}

#[test]
fn objects_deeper_than_10_000_are_a_400_that_says_so() {
    let server = server();
    let nested = |depth: usize| {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        review_with("/request/object/spec", json!({"containers": "DEEP"})).replace("\"DEEP\"", &deep)
    };
    for depth in [10_001, 1_000_000] {
        let (status, text) = server.post(nested(depth));
        assert_eq!(status, 400, "{text}");
        assert_says(&text, &["10000 deep"]);
    }
    // Fields that injection does not read may have any allowed value.
    let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
    let review = review_with("/request/object/spec/containers/0/image", json!("DEEP")).replace("\"DEEP\"", &deep);
    assert_eq!(server.post(review).0, 200);
    assert_next_review_is_answered(&server);
}

#[test]
fn a_body_of_100_mb_is_a_413_that_names_the_limit() {
    let server = server();
    let (status, text) = send(&server, post(vec![b' '; 100_000_000]));
    assert_eq!(status, 413);
    assert_says(&text, &["5242880 bytes"]);
    assert_next_review_is_answered(&server);
}

#[test]
fn invalid_utf_8_is_a_400_that_names_the_byte() {
    let server = server();
    let mut body = review_of("v1", &object(SEED_POD)).to_string().into_bytes();
    body[100] = 0xff;
    let (status, text) = send(&server, post(body));
    assert_eq!((status, text.as_str()), (400, "the body is not UTF-8: a wrong byte stands at offset 100\n"));
    assert_next_review_is_answered(&server);
}

#[test]
fn compressed_and_otherwise_typed_bodies_are_a_415_and_other_methods_a_405() {
    let server = server();
    let review = review_of("v1", &object(SEED_POD)).to_string();
    let mut gzip = post(b"\x1f\x8b\x08\x00".as_slice());
    gzip.headers_mut().insert(CONTENT_ENCODING, "gzip".parse().expect("a value"));
    let (status, text) = send(&server, gzip);
    assert_eq!(status, 415);
    assert_says(&text, &["uncompressed"]);
    let (status, text) = send(&server, request(Method::POST, "application/yaml", review.clone()));
    assert_eq!(status, 415);
    assert_says(&text, &["Content-Type: application/json"]);
    for method in [Method::GET, Method::PUT] {
        let (status, text) = send(&server, request(method, "application/json", ""));
        assert_eq!(status, 405);
        assert_says(&text, &["POST"]);
    }
    let mut elsewhere = post(review);
    *elsewhere.uri_mut() = "/mutate".parse().expect("a path");
    let (status, text) = send(&server, elsewhere);
    assert_eq!(status, 404);
    assert_says(&text, &["/mutate-pod"]);
    assert_next_review_is_answered(&server);
}

#[test]
fn a_pod_that_a_set_cannot_be_injected_into_is_denied_by_name() {
    let server = server();
    let mut pod = object(SEED_POD);
    pod["spec"]["initContainers"] = json!([{"name": "sidecar1", "image": "mine"}]);
    let response = server.review(&pod);
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);
    let message = response["status"]["message"].as_str().expect("a message");
    assert_says(message, &["SidecarSet \"test-sidecarset\"", "\"sidecar1\"", "spec.initContainers[0]"]);
    assert!(response.get("patch").is_none());
    server.logged("WARN", &["a Pod is denied"]);
    assert_next_review_is_answered(&server);
}
