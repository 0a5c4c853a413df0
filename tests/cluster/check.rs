//! `outrigger check --cluster` with files.

use std::path::Path;

use anyhow::{Result, ensure};
use outrigger_testbed::Case;
use tokio::process::Command;

use crate::outrigger::Outrigger;

/// The live objects are checked with a file on top: the finding disappears with a file that fixes it.
pub async fn the_objects_of_the_cluster_are_checked_and_files_laid_over_them(case: Case<Outrigger>) -> Result<()> {
    let namespace = case.namespace.name();
    let route = |subset: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: web, namespace: {namespace}}}, spec: \
             {{hosts: [web], http: [{{route: [{{destination: {{host: web{subset}}}}}]}}]}}}}"
        )
    };
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80}]}}";
    case.namespace.apply(service).await?;
    case.namespace.apply(&route(", subset: absent")).await?;
    let ours = format!("VirtualService/{namespace}/web");
    let (code, told) = check(case.plane.kubeconfig(), None).await?;
    ensure!(code == Some(1) && told.contains(&ours) && told.contains("absent"), "{code:?}: {told}");

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, route(""))?;
    let (code, told) = check(case.plane.kubeconfig(), Some(&file)).await?;
    ensure!(code == Some(0) && !told.contains("absent"), "{code:?}: {told}");
    Ok(())
}

/// Returns the exit code and all output.
async fn check(kubeconfig: &Path, file: Option<&Path>) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["check", "--cluster"]).args(file).env("KUBECONFIG", kubeconfig);
    let output = command.output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}
