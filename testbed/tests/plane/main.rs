//! The testbed behaves as outrigger's tests assume: each rule on a real control plane.

mod faults;
mod kubelet;

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use outrigger_testbed::{Case, Kubectl, Parts, Suite, wait_for};

/// Longer than anything here takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if std::env::var_os(faults::VICTIM).is_some() {
        return faults::victim();
    }
    Suite::new(Parts::Full, async |_plane| Ok(()))
        .test("a_deployment_becomes_available", a_deployment_becomes_available)
        .test("a_service_account_may_do_only_what_rbac_allows", a_service_account_may_do_only_what_rbac_allows)
        .test("istio_kinds_are_served_once_installed", istio_kinds_are_served_once_installed)
        .test("a_dump_shows_objects_and_logs_but_no_secrets", a_dump_shows_objects_and_logs_but_no_secrets)
        .test("a_changed_image_restarts_only_its_container", kubelet::a_changed_image_restarts_only_its_container)
        .test("an_unpullable_image_lets_a_pod_wait", kubelet::an_unpullable_image_lets_a_pod_wait)
        .test("an_unpullable_init_container_holds_the_others", kubelet::an_unpullable_init_container_holds_the_others)
        .test("a_readiness_gate_holds_back_readiness", kubelet::a_readiness_gate_holds_back_readiness)
        .test("nothing_outlives_a_killed_parent", faults::nothing_outlives_a_killed_parent)
        .alone(
            "the_api_server_comes_back_with_its_data",
            Parts::ApiOnly,
            faults::the_api_server_comes_back_with_its_data,
        )
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
            other => bail!("{other:?} are"),
        }
    })
    .await
}

async fn a_service_account_may_do_only_what_rbac_allows(case: Case<()>) -> Result<()> {
    let namespace = case.namespace.name();
    case.namespace
        .apply(
            "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
",
        )
        .await?;
    let reader = Kubectl::new(&case.plane.kubeconfig_of(namespace, "reader").await?)?;
    reader.run(&["get", "configmaps", "--namespace", namespace], None).await?.ok()?;
    let refused = reader.run(&["get", "secrets", "--namespace", namespace], None).await?;
    ensure!(!refused.status.success() && refused.stderr.contains("Forbidden"), "{refused:?}");
    Ok(())
}

async fn istio_kinds_are_served_once_installed(case: Case<()>) -> Result<()> {
    case.plane.install_istio_crds().await?;
    case.namespace
        .apply("{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default}, spec: {egress: [{hosts: ['./*']}]}}")
        .await?;
    Ok(())
}

async fn a_dump_shows_objects_and_logs_but_no_secrets(case: Case<()>) -> Result<()> {
    case.namespace
        .apply(
            "
{apiVersion: v1, kind: ConfigMap, metadata: {name: shown}, data: {key: seen-in-the-dump}}
---
{apiVersion: v1, kind: Secret, metadata: {name: hidden}, stringData: {key: some-password}}
",
        )
        .await?;
    let dump = case.plane.dump(case.namespace.name()).await;
    for expected in ["seen-in-the-dump", "kube-apiserver.log", "kwok.log", "---- mutatingwebhookconfigurations"] {
        ensure!(dump.contains(expected), "{expected} is not in the dump");
    }
    // In plain text, or as kubectl shows Secrets ("some-password" in base64).
    for secret in ["some-password", "c29tZS1wYXNzd29yZA"] {
        ensure!(!dump.contains(secret), "{secret} is in the dump");
    }
    Ok(())
}
