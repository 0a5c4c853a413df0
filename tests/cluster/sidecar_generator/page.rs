//! The documentation page on SidecarGenerators.

use std::path::Path;

use anyhow::Result;
use outrigger_testbed::Case;

use crate::outrigger::{EXAMPLE_ADDRESS, Outrigger};
use crate::pages;
use crate::web::Web;

/// Its commands work and print what it shows, with the example's URL unchanged: the replica resolves its host like `make
/// cluster`.
pub async fn commands_of_the_page_on_sidecar_generators_print_what_it_shows(case: Case<Outrigger>) -> Result<()> {
    let web = Web::http_at(EXAMPLE_ADDRESS).await?;
    web.says("/dependencies", r#"[{"hosts":["./*","istio-system/*","ns1/*","ns2/*"]}]"#);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let namespace = format!("--namespace {}", case.namespace.name());
    pages::commands_print_what_is_shown(&case.plane, "docs/sidecar-generator.md", root, &namespace).await
}
