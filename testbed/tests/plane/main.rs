//! The testbed does what the tests of outrigger rely on.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use outrigger_testbed::{Case, Parts, Suite, TestNamespace, wait_for};

const SOON: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    Suite::new(Parts::Full, async |_plane| Ok(()))
        .test("a_deployment_becomes_available", a_deployment_becomes_available)
        .run()
}

async fn a_deployment_becomes_available(case: Case<()>) -> Result<()> {
    case.namespace
        .apply(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web:1}]}
",
        )
        .await?;
    let deployments = case.namespace.api::<Deployment>();
    wait_for("three Pods to be available", SOON, async || {
        match deployments.get("web").await?.status.unwrap_or_default().available_replicas {
            Some(3) => Ok(Some(())),
            other => bail!("{other:?}"),
        }
    })
    .await
}
