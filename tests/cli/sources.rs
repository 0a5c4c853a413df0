//! Sources of SidecarSets and objects: files, pipes, URLs, and a cluster.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::api_server::ApiServer;
use crate::harness::{Files, Output, assert_says, binary, command, run};
use crate::objects::{SEED_POD, namespace, set};

/// Runs a shell command in a folder, with the program in its path.
fn shell(line: &str, folder: &Path, input: &str) -> Output {
    let mut shell = Command::new("bash");
    let program = binary();
    shell.args(["-c", &format!("outrigger() {{ \"$PROGRAM\" \"$@\"; }}; {line}")]).current_dir(folder);
    run(shell.env("PROGRAM", program).env_remove("KUBECONFIG").env_remove("RUST_LOG"), input)
}

#[test]
fn sets_come_from_several_places_at_once() {
    let files = Files::new([
        ("pod.yaml", SEED_POD),
        ("a.yaml", &set("a")),
        ("b.yaml", &set("b")),
        ("c.yaml", &set("c")),
        ("d.yaml", &set("d")),
    ]);
    std::fs::create_dir(files.path().join("folder")).expect("a folder");
    std::fs::rename(files.path().join("d.yaml"), files.path().join("folder/d.yaml")).expect("moved");
    let line = "outrigger inject -q -o diff -f pod.yaml --from a.yaml,folder --from <(cat b.yaml) --from -";
    let diff = shell(line, files.path(), &set("c")).ok();
    let names: Vec<&str> = diff.lines().filter_map(|line| line.trim().strip_prefix("+  - name: ")).collect();
    assert_eq!(names, ["a", "b", "c", "d"], "{diff}");
    // Links in a folder are followed, like in the server, including one that leads back.
    for (to, link) in [("..", "folder/back"), ("../a.yaml", "folder/a.yaml")] {
        std::os::unix::fs::symlink(to, files.path().join(link)).expect("a link");
    }
    let printed = shell("outrigger explain -f pod.yaml --from folder", files.path(), "").failed(1);
    assert_says(&printed, &["folder/back/a.yaml:1: SidecarSet \"a\" is already defined at folder/a.yaml:1"]);
    let error = shell("outrigger inject -f - --from -", files.path(), "").failed(1);
    assert_says(&error, &["standard input is read once"]);
    let error = shell("outrigger inject -f pod.yaml --from a.yaml --from gone.yaml", files.path(), "").failed(1);
    assert_says(&error, &["--from: gone.yaml: No such file or directory"]);
    let error = shell("outrigger inject -f pod.yaml", files.path(), "").failed(1);
    assert_says(&error, &["--from FILE|DIR", "--from-cluster"]);
}

#[test]
fn sets_come_from_the_cluster_that_is_meant() {
    let blue = set("blue").replace("spec:\n", "spec:\n  namespaceSelector: {matchLabels: {team: blue}}\n");
    let api_server = ApiServer::with(&format!("{}---\n{blue}---\n{}", set("logs"), namespace("shop", "blue")));
    let files = Files::new([("pod.yaml", SEED_POD), ("edit.yaml", &set("logs").replace("1.36.1", "1.37.0"))]);
    let cluster = |arguments: &str| {
        let kubeconfig = api_server.kubeconfig();
        let line = format!("outrigger {arguments} -f pod.yaml --from-cluster --kubeconfig {}", kubeconfig.display());
        shell(&line, files.path(), "")
    };
    // Objects without a namespace are in the context's namespace.
    assert_says(&cluster("explain").ok(), &["  blue  injected: blue\n", "  logs  injected: logs\n"]);
    assert_says(&cluster("explain -n other").ok(), &["  blue  not injected: ", "  logs  injected: logs\n"]);
    assert_says(&cluster("explain -n outrigger-system").ok(), &["namespace outrigger-system is excluded"]);
    assert_says(
        &cluster("inject --diff-set edit.yaml").ok(),
        &["-    image: busybox:1.36.1\n", "+    image: busybox:1.37.0\n"],
    );
    assert_says(&cluster("inject --context gone").failed(1), &["--from-cluster: cannot list", "refused"]);
    assert_says(&cluster("inject --context other").failed(1), &["other", "--context"]);
    assert_says(&cluster("inject --from pod.yaml").failed(2), &["--from-cluster", "--from"]);
}

/// A set that the cluster's server does not inject unchanged is reported, with what is injected instead.
#[test]
fn a_set_of_the_cluster_that_cannot_be_used_is_told_and_stops_nothing() {
    let broken = set("broken").replace("image: busybox:1.36.1", "image: ''");
    let api_server = ApiServer::with(&format!("{}---\n{broken}", set("logs")));
    let files = Files::new([("pod.yaml", SEED_POD)]);
    let line = format!(
        "outrigger inject -o name -f pod.yaml --from-cluster --kubeconfig {}",
        api_server.kubeconfig().display()
    );
    let output = shell(&line, files.path(), "");
    assert_says(&output.stderr, &["warning: SidecarSet \"broken\": ", "; it is not injected\n", "injected: logs\n"]);
    assert_eq!(output.ok(), "pod/test-pod\n");
}

/// A TLS web server with one page, and the certificate to trust.
fn web(page: &'static str, answer: String) -> (String, Files) {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let asked = String::from_utf8_lossy(&request[..read]);
            let (status, body) = match asked.split(' ').nth(1) {
                Some(path) if path == page => ("200 OK", answer.as_str()),
                Some("/plain") => ("302 Found\r\nLocation: http://127.0.0.1:1/", ""),
                _ => ("404 Not Found", ""),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            _ = stream.write_all((head + body).as_bytes());
            stream.conn.send_close_notify();
            _ = stream.flush();
        }
    });
    (url, Files::new([("ca.pem", certified.cert.pem().as_str())]))
}

#[test]
fn objects_come_from_https_urls() {
    let (url, trust) = web("/pod.yaml?token=secret", SEED_POD.to_owned());
    let files = Files::new([("set.yaml", set("logs").as_str())]);
    let inject = |file: &str| {
        let mut command = command(["inject", "-o", "name", "--from"]);
        command.arg(files.path()).arg("-f").arg(file);
        run(command.env("SSL_CERT_FILE", trust.path().join("ca.pem")).env_remove("HTTPS_PROXY"), "")
    };
    let output = inject(&format!("{url}/pod.yaml?token=secret"));
    assert!(!output.stderr.contains("secret"), "{}", output.stderr);
    assert_says(&output.stderr, &[&format!("Pod/test-pod ({url}/pod.yaml:2): injected: logs")]);
    assert_eq!(output.ok(), "pod/test-pod\n");
    assert_says(&inject(&format!("{url}/gone.yaml")).failed(1), &["cannot read https://", "/gone.yaml", "404"]);
    assert_says(&inject(&format!("{url}/plain")).failed(1), &["http"]);
    assert_says(&inject(&url.replace("https", "http")).failed(1), &["write https://"]);
    let untrusted = run(command(["check"]).arg(format!("{url}/pod.yaml?token=secret")), "");
    assert_says(&untrusted.stdout, &["File/https://127.0.0.1:", "/pod.yaml", "certificate"]);
    assert!(!untrusted.stdout.contains("secret"), "{}", untrusted.stdout);
}
