//! The help texts: their first line is true, and the examples of each command run as shown.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::api_server::ApiServer;
use crate::harness::{Files, assert_says, binary, command, examples, run};
use crate::objects::{SEED_POD, namespace, set};

const COMMANDS: [&str; 8] = ["serve", "inject", "explain", "check", "demo", "sync", "crds", "completions"];

fn help(command_name: Option<&str>) -> String {
    run(&mut command(command_name.into_iter().chain(["--help"])), "").ok()
}

/// Returns the commands below `Examples:`. Lines with `#` are comments.
fn shown(help: &str) -> Vec<&str> {
    let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("no examples in {help}"));
    let lines = examples.lines().take_while(|line| line.starts_with("  ")).map(str::trim);
    lines.filter(|line| !line.starts_with('#')).collect()
}

/// A folder with everything that the examples name, and with the programs that they call: ours, and a kubectl with the
/// needed answers.
fn workplace(api_server: &ApiServer) -> Files {
    let app = SEED_POD.replace("test-pod", "web-0");
    let files = Files::new([("app.yaml", app.as_str()), ("pod.yaml", &app), ("edited.yaml", &set("logs"))]);
    for folder in ["sidecarsets", "manifests", "bin", "overlays"] {
        std::fs::create_dir(files.path().join(folder)).expect("a folder");
    }
    symlink(examples(), files.path().join("examples")).expect("a link");
    symlink(binary(), files.path().join("bin/outrigger")).expect("a link");
    files.write("sidecarsets/0-namespace.yaml", &namespace("default", "blue"));
    files.write("sidecarsets/log-agent.yaml", &set("log-agent"));
    files.write("manifests/app.yaml", &app);
    let kubectl =
        "#!/bin/sh\ncase \"$1\" in get | kustomize) cat pod.yaml ;; apply) cat >/dev/null ;; *) exit 1 ;; esac\n";
    files.write("bin/kubectl", kubectl);
    let program = files.path().join("bin/kubectl");
    std::fs::set_permissions(program, PermissionsExt::from_mode(0o755)).expect("executable");
    std::fs::copy(api_server.kubeconfig(), files.path().join("kubeconfig")).expect("copied");
    files
}

/// Servers do not end by themselves. They are stopped once they serve. Their ports are free ones.
fn as_tested(line: &str) -> String {
    let (serves, log) = match line {
        _ if line.starts_with("outrigger serve") => (true, "serving"),
        _ if line.contains("outrigger sync") && !line.contains("LIST") => (true, "Starting health server"),
        _ => (false, ""),
    };
    let line = line.replace(
        "outrigger serve",
        "outrigger serve --shutdown-delay=0 --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0",
    );
    let line = line.replace("outrigger sync", "HEALTH_PORT=0 HEALTH_HOST=127.0.0.1 outrigger sync");
    if !serves {
        return format!("set -o pipefail; {line}");
    }
    format!(
        "{line} 2>log & server=$!\n\
         for try in $(seq 3000); do grep -q '{log}' log && break; kill -0 $server || break; sleep 0.01; done\n\
         kill -TERM $server; wait $server || {{ cat log >&2; exit 1; }}; grep -q '{log}' log"
    )
}

#[track_caller]
fn runs(line: &str, folder: &Path) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    shell.args(["-c", &as_tested(line)]).current_dir(folder);
    shell.env("PATH", format!("{}:{path}", folder.join("bin").display()));
    shell.env("KUBECONFIG", folder.join("kubeconfig"));
    for variable in ["RUST_LOG", "OUTRIGGER_LOG_FORMAT", "SOURCE_DATE_EPOCH", "POD_NAMESPACE"] {
        shell.env_remove(variable);
    }
    let output = run(&mut shell, "");
    let changes = i32::from(line.contains("--exit-code")); // the edit of the example changes something
    assert_eq!(output.code, changes, "{line}\n{}", output.stderr);
}

#[test]
fn every_command_has_examples_that_run_as_they_are_shown() {
    let api_server = ApiServer::with(&format!("{}---\n{}", set("log-agent"), namespace("shop", "blue")));
    for name in std::iter::once(None).chain(COMMANDS.map(Some)) {
        let help = help(name);
        let lines = shown(&help);
        assert!(!lines.is_empty(), "{help}");
        for line in lines {
            let folder = workplace(&api_server);
            runs(line, folder.path());
        }
    }
}

#[test]
fn the_list_of_commands_is_complete() {
    let help = help(None);
    let listed = help.split_once("Commands:\n").expect("a list").1.split_once("\n\n").expect("its end").0;
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let names: Vec<&str> = names.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names.split_last(), Some((&"help", &COMMANDS[..])));
}

#[test]
fn lines_of_the_help_are_not_broken_twice() {
    for name in std::iter::once(None).chain(COMMANDS.map(Some)) {
        let help = help(name);
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        let (_, after) = help.rsplit_once("\n\n").expect("parts");
        assert_says(&help, &["Usage: outrigger"]);
        assert!(!after.lines().any(|line| line.ends_with(" the")), "{after}");
    }
}
