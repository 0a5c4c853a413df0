//! The chart in a cluster. Installed containers are run like the kubelet would.

mod images;
mod install;
mod refusals;
mod release;
mod upgrade;

use std::path::Path;

use anyhow::Result;
use outrigger_testbed::{ControlPlane, Image, Parts, Suite, tests};

use crate::outrigger::Outrigger;

/// Replaces the busybox of the images.
const SHELL: &str = "/bin/sh";

/// Adds the tests of the chart and of the images.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    let suite = tests!(suite, test: images::the_examples_of_gsidecar_run_from_the_image_s_folder);
    let suite = tests!(suite, apart(Parts::Full): install::a_release_is_installed_changed_and_removed);
    tests!(suite, apart(Parts::ApiOnly): refusals::what_cannot_work_is_refused_and_all_else_is_valid)
}

/// Adds the test that needs the program of an older version: `make test-upgrade` runs it.
pub fn add_upgrade_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(suite, alone(Parts::Full): upgrade::an_older_version_is_upgraded_to_the_chart_and_back_under_load)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> String {
    root().join("manifests/chart").display().to_string()
}

/// Creates the image of this name with the program under test below `folder`, like the Dockerfile.
fn image(name: &str, folder: &Path) -> Result<Image> {
    let (program, to) = (Path::new(env!("CARGO_BIN_EXE_outrigger")), folder.join(name));
    let assembled = std::process::Command::new(root().join("manifests/image/assemble.sh"))
        .arg(name)
        .args([program, &to, Path::new(SHELL)])
        .output()?;
    anyhow::ensure!(assembled.status.success(), "{}", String::from_utf8_lossy(&assembled.stderr));
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile"))?;
    let image = Image::of_stage(&dockerfile, name, &to)?;
    // Release builds are static.
    image.add_libraries(program)?;
    image.add_libraries(Path::new(SHELL))?;
    Ok(image)
}

/// Runs helm and returns its standard output.
async fn helm(plane: &ControlPlane, line: &str) -> Result<String> {
    plane.helm(&line.split_whitespace().collect::<Vec<_>>()).await?.ok()
}
