//! Commands whose output cannot be written.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::api_server::ApiServer;
use crate::harness::{assert_says, command};
use crate::objects::set;

/// All commands that print, in all their variants.
fn commands() -> Vec<Vec<&'static str>> {
    let pod = ["-f", "examples/guestbook", "--from", "examples/guestbook"];
    let with_pod = |rest: &[&'static str]| [rest, &pod].concat();
    vec![
        vec!["--help"],
        vec!["--version"],
        vec!["inject", "--help"],
        vec!["crds"],
        vec!["completions", "bash"],
        vec!["completions", "zsh"],
        with_pod(&["inject"]),
        with_pod(&["inject", "-o", "json"]),
        with_pod(&["inject", "-o", "patch"]),
        with_pod(&["inject", "-o", "diff"]),
        with_pod(&["inject", "-o", "name"]),
        with_pod(&["explain"]),
        with_pod(&["explain", "-o", "json"]),
        vec!["explain", "sidecarset/logs"],
        vec!["explain", "sidecarset/logs", "-o", "json"],
        vec!["check", "examples/mesh/fixed"],
        vec!["check", "examples/mesh/fixed", "-o", "json"],
        vec!["check", "examples/mesh/fixed", "-o", "sarif"],
        vec!["check", "examples/mesh/fixed", "-o", "dot"],
        vec!["check", "examples/mesh/fixed", "-o", "svg"],
        vec!["check", "--list"],
        vec!["demo", "--reviews", "1", "--from", "examples/guestbook"],
    ]
}

fn prepared(args: &[&str], api_server: &ApiServer) -> Command {
    let mut command = command(args);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).env("KUBECONFIG", api_server.kubeconfig());
    command.stdin(Stdio::null());
    command
}

#[test]
fn a_full_disk_is_an_error() {
    let api_server = ApiServer::with(&set("logs"));
    for args in commands() {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("the device");
        let output = prepared(&args, &api_server).stdout(full).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert_says(&told, &["outrigger: cannot write to standard output: No space left on device"]);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let api_server = ApiServer::with(&set("logs"));
    for args in commands() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = prepared(&args, &api_server).stdout(writer).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !told.contains("panic") && !told.contains("error"), "{args:?}: {told}");
    }
}
