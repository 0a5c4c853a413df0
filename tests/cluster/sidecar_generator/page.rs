//! The page on SidecarGenerators.

use std::path::Path;

use anyhow::Result;
use outrigger_testbed::Case;

use crate::outrigger::Outrigger;
use crate::pages;
use crate::web::Web;

/// Where the page's URLs lead.
const HOST: &str = "httpd.test.svc.cluster.local:8080";

/// Its commands work and print what it shows. Its files have URLs into a cluster; here they lead to a server of the test.
pub async fn commands_of_the_page_on_sidecar_generators_print_what_it_shows(case: Case<Outrigger>) -> Result<()> {
    let web = Web::http().await?;
    web.says("/dependencies", r#"[{"hosts":["./*","istio-system/*","ns1/*","ns2/*"]}]"#);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir()?;
    let files = "examples/sidecar-generator";
    std::fs::create_dir_all(folder.path().join(files))?;
    for file in std::fs::read_dir(root.join(files))? {
        let file = file?;
        let text = std::fs::read_to_string(file.path())?.replace(HOST, &web.host());
        std::fs::write(folder.path().join(files).join(file.file_name()), text)?;
    }
    let namespace = format!("--namespace {}", case.namespace.name());
    pages::commands_print_what_is_shown(&case.plane, "docs/sidecar-generator.md", folder.path(), &namespace).await
}
