//! `outrigger serve --from`: answers over TLS, the admin port, certificates, and rejected command lines.

use std::net::TcpListener;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::harness::{
    Files, Output, Server, assert_says, command, examples, in_time, names, object, patched, review_of, run, wait_for,
};
use crate::objects::{SEED_POD, set};

fn serve(args: &[&str]) -> Output {
    run(&mut command(["serve"].iter().chain(args)), "")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_seeds_pod_gets_the_seeds_sidecar_in_front_of_its_container() {
    let server = Server::start(&examples().join("test-sidecarset"), [""; 0]);
    let pod = object(SEED_POD);
    let response = server.review(&pod);
    assert_eq!(response["auditAnnotations"]["sidecarsets"], "test-sidecarset");
    let injected = patched(&pod, &response);
    assert_eq!(names(&injected["spec"]["containers"]), ["sidecar1", "app"]);
    assert_eq!(injected["spec"]["containers"][0]["image"], "busybox:1.36.1");
    assert_eq!(injected["spec"]["containers"][0]["command"], json!(["sleep", "999d"]));
    assert_eq!(injected["spec"]["containers"][1], pod["spec"]["containers"][0]);
    assert_eq!(injected["metadata"]["annotations"]["kruise.io/sidecarset-injected-list"], "test-sidecarset");
}

#[test]
fn a_review_is_answered_in_the_version_it_came_in() {
    let server = Server::start(&examples().join("test-sidecarset"), [""; 0]);
    let pod = object(SEED_POD);
    for version in ["v1", "v1beta1"] {
        let review = review_of(version, &pod);
        let (status, body) = server.post(review.to_string());
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer["apiVersion"], review["apiVersion"]);
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        assert_eq!(names(&patched(&pod, &answer["response"])["spec"]["containers"]), ["sidecar1", "app"]);
    }
}

#[test]
fn the_admin_port_tells_health_readiness_and_metrics() {
    let server = Server::start(&examples().join("test-sidecarset"), [""; 0]);
    assert_eq!(server.page("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.page("/readyz"), (200, "ready\n".to_owned()));
    let (status, report) = server.page("/readyz?verbose");
    assert_eq!(status, 200);
    assert_says(&report, &["[+]files ok", "[+]certificate ok: valid from ", "[+]shutdown ok", "ready\n"]);
    let (status, text) = server.page("/config");
    assert_eq!(status, 404);
    assert_says(&text, &["/readyz"]);

    let requests = r#"controller_runtime_webhook_requests_total{webhook="/mutate-pod",code="200"}"#;
    let bad_requests = r#"controller_runtime_webhook_requests_total{webhook="/mutate-pod",code="400"}"#;
    let measured = r#"controller_runtime_webhook_latency_seconds_count{webhook="/mutate-pod"}"#;
    let injected = r#"outrigger_injections_total{result="injected"}"#;
    let not_matched = r#"outrigger_injections_total{result="not_matched"}"#;
    for metric in [requests, bad_requests, measured, injected, not_matched] {
        assert_eq!(server.metric(metric), 0, "{metric}");
    }
    let mut pod = object(SEED_POD);
    server.admit(&pod);
    pod["metadata"]["labels"]["app"] = "other".into();
    assert_eq!(server.admit(&pod), pod);
    assert_eq!(server.post("{}".to_owned()).0, 400);
    for (metric, value) in [(requests, 2), (bad_requests, 1), (measured, 3), (injected, 1), (not_matched, 1)] {
        assert_eq!(server.metric(metric), value, "{metric}");
    }
    assert_eq!(server.metric(r#"controller_runtime_webhook_requests_in_flight{webhook="/mutate-pod"}"#), 0);
    assert_eq!(server.metric("controller_runtime_webhook_panics_total"), 0);
    assert_eq!(server.metric("outrigger_sidecarsets"), 1);
    assert_eq!(server.metric("outrigger_source_errors"), 0);
}

#[test]
fn excluded_namespaces_and_pods_that_opt_out_are_left_alone_where_the_flags_say_so() {
    let examples = examples().join("test-sidecarset");
    let in_namespace = |namespace: &str| {
        let mut pod = object(SEED_POD);
        pod["metadata"]["namespace"] = namespace.into();
        pod
    };
    let mut opting_out = object(SEED_POD);
    opting_out["metadata"]["annotations"] = json!({"outrigger.dev/inject": "false"});

    let server = Server::start(&examples, [""; 0]);
    assert_eq!(server.admit(&in_namespace("kube-system")), in_namespace("kube-system"));
    assert_ne!(server.admit(&in_namespace("legacy")), in_namespace("legacy"));
    assert_ne!(server.admit(&opting_out), opting_out);

    let server = Server::start(&examples, ["--exclude-namespaces=kube-system,legacy", "--allow-opt-out"]);
    assert_eq!(server.admit(&in_namespace("legacy")), in_namespace("legacy"));
    assert_eq!(server.admit(&opting_out), opting_out);
    assert_eq!(server.metric(r#"outrigger_injections_total{result="excluded"}"#), 2);
}

#[test]
fn controllers_without_a_cluster_are_an_error() {
    let error = serve(&["--from", path(&examples()), "--controllers", "sidecarset"]).failed(1);
    assert_says(&error, &["--controllers", "--from", "cluster"]);
}

#[test]
fn a_folder_that_is_not_there_is_an_error_that_says_its_reason_once() {
    let error = serve(&["--from", "/nowhere/sets"]).failed(1);
    assert_eq!(error, "outrigger: --from: /nowhere/sets: No such file or directory (os error 2)\n");
}

#[test]
fn a_wrong_command_line_ends_with_code_2() {
    assert_says(&serve(&["--form", "examples"]).failed(2), &["--form"]);
    assert_says(&serve(&["--from", "examples", "--listen", "localhost"]).failed(2), &["--listen", "localhost"]);
    assert_says(&run(&mut command(["injekt"]), "").failed(2), &["injekt", "'inject'"]);
}

#[test]
fn without_a_cluster_serve_says_where_it_looked_and_that_files_will_do() {
    let error = run(command(["serve"]).env("KUBECONFIG", "/nowhere/kubeconfig"), "").failed(1);
    assert_says(&error, &["--from DIR", "/nowhere/kubeconfig", "KUBECONFIG"]);
}

#[test]
fn a_taken_port_is_an_error_that_names_flag_and_address_and_leaves_the_other_servers_ca_alone() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (folder, output) = (Files::new([("set.yaml", set("a").as_str())]), Files::new([("ca.pem", "another CA")]));
    let ca = output.path().join("ca.pem");
    let free = "127.0.0.1:0";
    for (webhook, admin, flag) in [(address.as_str(), free, "--listen: "), (free, &address, "--admin-listen: ")] {
        let args = ["--from", path(folder.path()), "--listen", webhook, "--admin-listen", admin, "--ca-out", path(&ca)];
        let error = serve(&args).failed(1);
        assert_says(&error, &[flag, &address, "Address already in use"]);
        assert_eq!(error.matches("Address already in use").count(), 1, "{error}");
    }
    assert_eq!(std::fs::read_to_string(&ca).expect("still there"), "another CA");
}

/// A certificate for 127.0.0.1 that is valid until `year`, and its key, as PEM.
fn pair(year: i32) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("names");
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn tls_dir_serves_the_certificate_of_its_files() {
    let (certificate, key) = pair(4096);
    let tls = Files::new([("tls.crt", certificate.as_str()), ("tls.key", &key)]);
    let server = Server::start(&examples().join("test-sidecarset"), ["--tls-dir", path(tls.path())]);
    let server = server.trusting(certificate);
    assert_eq!(names(&server.admit(&object(SEED_POD))["spec"]["containers"]), ["sidecar1", "app"]);
    assert_eq!(server.page("/readyz").0, 200);
}

#[test]
fn renewed_files_of_tls_dir_are_shown_to_new_connections() {
    let (certificate, key) = pair(4096);
    let tls = Files::new([("tls.crt", certificate.as_str()), ("tls.key", &key)]);
    let server = Server::start(&examples().join("test-sidecarset"), ["--tls-dir", path(tls.path())]);
    let server = server.trusting(certificate);
    assert_eq!(server.review(&object(SEED_POD))["allowed"], true);
    let (certificate, key) = pair(4096);
    tls.write("tls.crt", &certificate);
    tls.write("tls.key", &key);
    let server = server.trusting(certificate);
    wait_for("the new pair is shown", || in_time(server.target().connect()).ok());
    assert_eq!(server.review(&object(SEED_POD))["allowed"], true);
}

#[test]
fn an_expired_certificate_is_not_ready() {
    let (certificate, key) = pair(2020);
    let tls = Files::new([("tls.crt", certificate.as_str()), ("tls.key", &key)]);
    let server = Server::start(&examples().join("test-sidecarset"), ["--tls-dir", path(tls.path())]);
    let (status, report) = server.page("/readyz");
    assert_eq!(status, 503);
    assert_says(&report, &["[-]certificate failed: ", "2020-01-01", "not now"]);
}

#[test]
fn a_tls_dir_that_cannot_be_used_is_an_error_that_names_the_file() {
    let (certificate, key) = pair(4096);
    let (_, other_key) = pair(4096);
    let tls = Files::new([]);
    let error = || serve(&["--from", path(&examples()), "--tls-dir", path(tls.path())]).failed(1);
    assert_says(&error(), &["--tls-dir: ", "tls.crt: No such file"]);
    tls.write("tls.crt", &certificate);
    tls.write("tls.key", "");
    assert_says(&error(), &["--tls-dir: ", "tls.key: no usable private key"]);
    tls.write("tls.key", &other_key);
    assert_says(&error(), &["--tls-dir: ", "tls.key: the key does not belong to the first certificate of ", "tls.crt"]);
    tls.write("tls.crt", &key);
    assert_says(&error(), &["--tls-dir: ", "tls.crt: no usable certificate"]);
    let error = serve(&["--from", "examples", "--tls-dir", path(tls.path()), "--ca-out", "ca.pem"]).failed(2);
    assert_says(&error, &["--tls-dir", "--ca-out"]);
}
