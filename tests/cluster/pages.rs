//! Documentation pages whose commands are run: each works and prints what the page shows.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use outrigger_testbed::{ControlPlane, wait_for};

use crate::console::examples;
use crate::outrigger::PATIENCE;

/// Runs the commands of a page in a folder in order, each repeatedly until it prints what is shown, because a cluster takes its time.
/// `options` are added to each kubectl and outrigger command.
pub async fn commands_print_what_is_shown(
    plane: &ControlPlane,
    page: &str,
    folder: &Path,
    options: &str,
) -> Result<()> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page))?;
    let examples = examples(&text);
    ensure!(!examples.is_empty(), "{page} shows no command");
    let (kubectl, outrigger) = (plane.kubectl_program().display(), env!("CARGO_BIN_EXE_outrigger"));
    for example in examples {
        let line = example.command;
        ensure!(["kubectl ", "outrigger "].iter().any(|program| line.starts_with(program)), "{line:?} is of neither");
        wait_for(&format!("{line:?} to print what is shown"), PATIENCE, async || {
            let output = Command::new("sh")
                .args(["-c", &format!("kubectl() {{ {kubectl} {options} \"$@\"; }}; outrigger() {{ {outrigger} \"$@\" {options}; }}; {line}")])
                .current_dir(folder)
                .env("KUBECONFIG", plane.kubeconfig())
                .env("KUBECTL_KUBERC", "false")
                .output()?;
            let printed = String::from_utf8(output.stdout)?;
            ensure!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
            ensure!(example.shows(&printed), "{printed}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}
