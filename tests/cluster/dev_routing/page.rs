//! The documentation page on developer routing.

use std::path::Path;

use anyhow::Result;
use outrigger_testbed::Case;

use crate::outrigger::Outrigger;
use crate::pages;

/// Its commands work and print what it shows. All tests share the replica, which uses the default ConfigMap.
pub async fn commands_of_the_page_on_developer_routing_print_what_it_shows(case: Case<Outrigger>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    pages::commands_print_what_is_shown(&case.plane, "docs/dev-routing.md", root, "").await
}
