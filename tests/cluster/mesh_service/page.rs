//! The page on MeshServices: its commands are run.

use anyhow::Result;
use outrigger_testbed::Case;
use std::path::Path;

use crate::outrigger::Outrigger;
use crate::pages;

/// With the example as it is.
pub async fn commands_of_the_page_on_meshservices_print_what_it_shows(case: Case<Outrigger>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = format!("--namespace={}", case.namespace.name());
    pages::commands_print_what_is_shown(&case.plane, "docs/mesh-service.md", root, &options).await
}
