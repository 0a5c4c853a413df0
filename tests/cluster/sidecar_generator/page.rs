//! The page on SidecarGenerators: the commands that it shows work and print what it shows.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_testbed::{Case, wait_for};

use crate::console::examples;
use crate::outrigger::{Outrigger, PATIENCE};
use crate::web::Web;

const PAGE: &str = "docs/sidecar-generator.md";

/// Where the page's URLs lead.
const HOST: &str = "httpd.test.svc.cluster.local:8080";

/// One command after the other, each again until it prints what is shown: things take their time in a cluster. The page's files have
/// URLs into a cluster; here they lead to a server of the test.
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
    let page = std::fs::read_to_string(root.join(PAGE))?;
    let examples = examples(&page);
    ensure!(!examples.is_empty(), "{PAGE} shows no command");
    for example in examples {
        let line = example.command;
        line.strip_prefix("kubectl ").with_context(|| format!("{line:?} is not kubectl"))?;
        wait_for(&format!("{line:?} to print what is shown"), PATIENCE, async || {
            let output = Command::new("sh")
                .args([
                    "-c",
                    &format!(
                        "kubectl() {{ {} --namespace {} \"$@\"; }}; {line}",
                        case.plane.kubectl_program().display(),
                        case.namespace.name()
                    ),
                ])
                .current_dir(folder.path())
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
