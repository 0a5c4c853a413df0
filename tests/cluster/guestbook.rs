//! The guestbook tutorial.

use std::path::Path;

use anyhow::Result;
use outrigger_testbed::Case;

use crate::outrigger::Outrigger;
use crate::pages;

/// Its commands work and print what it shows.
pub async fn commands_of_the_tutorial_print_what_it_shows(case: Case<Outrigger>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let namespace = format!("--namespace {}", case.namespace.name());
    pages::commands_print_what_is_shown(&case.plane, "docs/tutorial-guestbook.md", root, &namespace).await
}
