//! The page on developer routing: the commands that it shows work and print what it shows.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_testbed::{Case, wait_for};

use crate::console::examples;
use crate::outrigger::{Outrigger, PATIENCE};

const PAGE: &str = "docs/dev-routing.md";

/// One command after the other, each again until it prints what is shown: things take their time in a cluster. The replica is that of
/// all tests, with the ConfigMap that is the default.
pub async fn commands_of_the_page_on_developer_routing_print_what_it_shows(case: Case<Outrigger>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join(PAGE))?;
    let examples = examples(&page);
    ensure!(!examples.is_empty(), "{PAGE} shows no command");
    for example in examples {
        let line = example.command;
        line.strip_prefix("kubectl ").with_context(|| format!("{line:?} is not kubectl"))?;
        wait_for(&format!("{line:?} to print what is shown"), PATIENCE, async || {
            let output = Command::new("sh")
                .args(["-c", &format!("kubectl() {{ {} \"$@\"; }}; {line}", case.plane.kubectl_program().display())])
                .current_dir(root)
                .env("KUBECONFIG", case.plane.kubeconfig())
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
