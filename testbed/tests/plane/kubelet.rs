//! Pods behave as with a kubelet.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use outrigger_testbed::{Case, TestNamespace, wait_for};

use crate::SOON;

/// Waits until the status of Pod `p` is as `expected`, and returns it.
async fn status(namespace: &TestNamespace, what: &str, expected: impl Fn(&PodStatus) -> bool) -> Result<PodStatus> {
    let pods = namespace.api::<Pod>();
    wait_for(what, SOON, async || {
        let status = pods.get("p").await?.status.unwrap_or_default();
        if expected(&status) { Ok(Some(status)) } else { bail!("{status:#?}") }
    })
    .await
}

fn phase(status: &PodStatus) -> &str {
    status.phase.as_deref().unwrap_or_default()
}

/// Whether the condition is true; `None` if it is absent.
fn condition(status: &PodStatus, type_: &str) -> Option<bool> {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == type_)?;
    Some(condition.status == "True")
}

fn ready(status: &PodStatus) -> bool {
    condition(status, "Ready") == Some(true)
}

/// Returns the status of a container or init container.
fn container<'a>(status: &'a PodStatus, name: &str) -> Result<&'a ContainerStatus> {
    let mut all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.find(|container| container.name == name).with_context(|| format!("container {name} has no status"))
}

/// Returns the reason why a container waits.
fn waits<'a>(status: &'a PodStatus, name: &str) -> Option<&'a str> {
    container(status, name).ok()?.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn image<'a>(status: &'a PodStatus, name: &str) -> Option<&'a str> {
    Some(&container(status, name).ok()?.image)
}

async fn patch(namespace: &TestNamespace, merge: &str) -> Result<()> {
    namespace.kubectl(&["patch", "pod", "p", "--patch", merge], None).await?.ok()?;
    Ok(())
}

pub async fn a_changed_image_restarts_only_its_container(case: Case<()>) -> Result<()> {
    let namespace = &case.namespace;
    namespace
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  initContainers:
  - {name: prepare, image: prepare:1}
  - {name: proxy, image: proxy:1, restartPolicy: Always}
  containers:
  - {name: app, image: app:1}
  - {name: logs, image: logs:1}
",
        )
        .await?;
    let before = status(namespace, "the Pod to be ready", ready).await?;
    ensure!(container(&before, "prepare")?.state.as_ref().is_some_and(|state| state.terminated.is_some()));
    ensure!(container(&before, "proxy")?.state.as_ref().is_some_and(|state| state.running.is_some()));
    ensure!(before.pod_ip.is_some() && before.host_ip.is_some() && before.start_time.is_some());

    patch(namespace, r#"{"spec": {"containers": [{"name": "logs", "image": "logs:2"}]}}"#).await?;
    let expected = |status: &PodStatus| image(status, "logs") == Some("logs:2");
    let after = status(namespace, "the container to have its new image", expected).await?;
    let (old, new) = (container(&before, "logs")?, container(&after, "logs")?);
    ensure!(new.restart_count == 1 && new.ready && new.image_id != old.image_id && new.state != old.state, "{new:?}");
    for untouched in ["app", "proxy", "prepare"] {
        ensure!(container(&after, untouched)? == container(&before, untouched)?, "{untouched} was touched");
    }
    ensure!(ready(&after));
    ensure!(after.conditions == before.conditions, "conditions changed: {after:?}");

    patch(namespace, r#"{"spec": {"initContainers": [{"name": "proxy", "image": "proxy:2"}]}}"#).await?;
    let expected = |status: &PodStatus| image(status, "proxy") == Some("proxy:2");
    let last = status(namespace, "the sidecar to have its new image", expected).await?;
    ensure!(container(&last, "proxy")?.restart_count == 1);
    ensure!(last.container_statuses == after.container_statuses);
    Ok(())
}

pub async fn an_unpullable_image_lets_a_pod_wait(case: Case<()>) -> Result<()> {
    let namespace = &case.namespace;
    namespace
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: app, image: app:1}, {name: logs, image: 'unpullable/logs:1'}]}
",
        )
        .await?;
    let backs_off = |status: &PodStatus| waits(status, "logs") == Some("ImagePullBackOff");
    let waiting = status(namespace, "the container to wait for its image", backs_off).await?;
    ensure!(phase(&waiting) == "Pending" && condition(&waiting, "Ready") == Some(false), "{waiting:?}");
    ensure!(container(&waiting, "app")?.ready);

    patch(namespace, r#"{"spec": {"containers": [{"name": "logs", "image": "logs:1"}]}}"#).await?;
    let runs = status(namespace, "the Pod to be ready with the right image", ready).await?;
    ensure!(phase(&runs) == "Running" && container(&runs, "logs")?.restart_count == 0, "{runs:?}");

    patch(namespace, r#"{"spec": {"containers": [{"name": "logs", "image": "unpullable/logs:2"}]}}"#).await?;
    let stuck = status(namespace, "the running Pod's container to wait for its image", backs_off).await?;
    ensure!(phase(&stuck) == "Running" && condition(&stuck, "Ready") == Some(false), "{stuck:?}");
    ensure!(container(&stuck, "app")?.ready && !container(&stuck, "logs")?.ready);

    patch(namespace, r#"{"spec": {"containers": [{"name": "logs", "image": "logs:2"}]}}"#).await?;
    let runs = status(namespace, "the Pod to be ready again", ready).await?;
    ensure!(container(&runs, "logs")?.restart_count == 1, "{runs:?}");
    Ok(())
}

pub async fn an_unpullable_init_container_holds_the_others(case: Case<()>) -> Result<()> {
    let namespace = &case.namespace;
    namespace
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  initContainers: [{name: prepare, image: 'unpullable/prepare:1'}]
  containers: [{name: app, image: app:1}]
",
        )
        .await?;
    let backs_off = |status: &PodStatus| waits(status, "prepare") == Some("ImagePullBackOff");
    let waiting = status(namespace, "the init container to wait for its image", backs_off).await?;
    ensure!(waits(&waiting, "app") == Some("PodInitializing"), "{waiting:?}");
    ensure!(phase(&waiting) == "Pending" && condition(&waiting, "Initialized") == Some(false), "{waiting:?}");

    patch(namespace, r#"{"spec": {"initContainers": [{"name": "prepare", "image": "prepare:1"}]}}"#).await?;
    let runs = status(namespace, "the Pod to be ready with the right image", ready).await?;
    ensure!(condition(&runs, "Initialized") == Some(true));
    Ok(())
}

pub async fn a_readiness_gate_holds_back_readiness(case: Case<()>) -> Result<()> {
    let namespace = &case.namespace;
    namespace
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  readinessGates: [{conditionType: InPlaceUpdateReady}]
  containers: [{name: app, image: app:1}]
",
        )
        .await?;
    let runs = |status: &PodStatus| condition(status, "ContainersReady") == Some(true);
    let closed = status(namespace, "the containers to be ready", runs).await?;
    ensure!(condition(&closed, "Ready") == Some(false), "{closed:?}");

    for open in [true, false] {
        let gate = if open { "True" } else { "False" };
        let merge =
            format!(r#"{{"status": {{"conditions": [{{"type": "InPlaceUpdateReady", "status": "{gate}"}}]}}}}"#);
        let arguments = ["patch", "pod", "p", "--subresource=status", "--patch", &merge];
        namespace.kubectl(&arguments, None).await?.ok()?;
        status(namespace, "Ready to follow the gate", |status| ready(status) == open).await?;
    }
    Ok(())
}
