//! Registration with the API server, the required permissions, and which of several replicas registers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use outrigger::api::keys;
use outrigger_testbed::{Case, ControlPlane, free_port, wait_for};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::leases;
use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered, sets};

const MUTATING: &str = "outrigger-mutating";
const VALIDATING: &str = "outrigger-validating";

/// Runs kubectl, which must succeed.
async fn kubectl(plane: &ControlPlane, arguments: &str) -> Result<String> {
    plane.kubectl(&arguments.split_whitespace().collect::<Vec<_>>(), None).await?.ok()
}

fn sidecarset(version: &str, app: &str) -> String {
    format!(
        r"
apiVersion: apps.kruise.io/{version}
kind: SidecarSet
metadata: {{name: {app}}}
spec:
  selector: {{matchLabels: {{app: {app}}}}}
  containers: [{{name: sidecar, image: side:1}}]
"
    )
}

/// A Pod of this application. A mirror Pod is what a kubelet shows of a static Pod.
fn pod(name: &str, app: &str, mirror: bool) -> Result<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], "automountServiceAccountToken": false},
    });
    if mirror {
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "of-a-file"});
        pod["spec"]["nodeName"] = "n1".into();
    }
    Ok(serde_json::from_value(pod)?)
}

/// Whether a Pod would get its sidecar if it were created now.
async fn is_injected(plane: &ControlPlane, namespace: &str, app: &str, mirror: bool) -> Result<bool> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let pod = Api::<Pod>::namespaced(plane.client(), namespace).create(&dry, &pod("p", app, mirror)?).await?;
    Ok(pod.spec.context("no spec")?.containers.iter().any(|container| container.name == "sidecar"))
}

async fn injected(plane: &ControlPlane, namespace: &str, app: &str) -> Result<()> {
    let injected = async || Ok(is_injected(plane, namespace, app, false).await?.then_some(()));
    wait_for(&format!("Pods of {app} to be injected"), PATIENCE, injected).await
}

async fn mutating(plane: &ControlPlane) -> Result<Option<Value>> {
    let api = Api::<MutatingWebhookConfiguration>::all(plane.client());
    Ok(api.get_opt(MUTATING).await?.map(serde_json::to_value).transpose()?)
}

async fn validating(plane: &ControlPlane) -> Result<Option<Value>> {
    let api = Api::<ValidatingWebhookConfiguration>::all(plane.client());
    Ok(api.get_opt(VALIDATING).await?.map(serde_json::to_value).transpose()?)
}

/// Waits for a line in outrigger's log after position `from`.
async fn logged(outrigger: &Outrigger, from: usize, words: &[&str]) -> Result<()> {
    wait_for(&format!("a line of the log with {words:?}"), PATIENCE, async || {
        let log = outrigger.log()?;
        let found = log[from..].lines().any(|line| words.iter().all(|word| line.contains(word)));
        Ok(found.then_some(()))
    })
    .await
}

/// Deleted or edited configurations are restored, and additions of others are kept. Other certificates are registered when the
/// files change.
pub async fn what_is_registered_stays_as_it_should_be(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let kubeconfig = install(plane).await?;
    let mut certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let _outrigger = Outrigger::serving(plane, start).await?;
    plane.apply(&sidecarset("v1beta1", "stays")).await?; // no Pod is sent without a set

    let theirs = json!({
        "metadata": {"labels": {"team": "theirs"}, "annotations": {"note": "theirs"}},
        "webhooks": [{"name": "pods.outrigger.dev", "failurePolicy": "Ignore", "timeoutSeconds": 30, "namespaceSelector": null}],
    });
    let api = Api::<MutatingWebhookConfiguration>::all(plane.client());
    let before = mutating(plane).await?.context("not registered")?;
    api.patch(MUTATING, &PatchParams::default(), &Patch::Strategic(theirs)).await?;
    wait_for("the edit to be undone", PATIENCE, async || {
        let now = mutating(plane).await?.context("not registered")?;
        ensure!(now["webhooks"] == before["webhooks"], "{}", now["webhooks"]);
        assert_eq!(now["metadata"]["labels"]["team"], "theirs");
        assert_eq!(now["metadata"]["annotations"]["note"], "theirs");
        Ok(Some(()))
    })
    .await?;

    kubectl(plane, "delete mutatingwebhookconfiguration outrigger-mutating").await?;
    kubectl(plane, "delete validatingwebhookconfiguration outrigger-validating").await?;
    wait_for("both to come back", PATIENCE, async || {
        let (mutating, validating) =
            (mutating(plane).await?.context("no mutating")?, validating(plane).await?.context("no validating")?);
        ensure!(mutating["webhooks"] == before["webhooks"], "{mutating}");
        Ok(validating["webhooks"][0]["name"].is_string().then_some(()))
    })
    .await?;

    certificates.renew()?;
    let bundle = STANDARD.encode(&certificates.ca);
    wait_for("the new CA to be registered", PATIENCE, async || {
        let crd = kubectl(
            plane,
            "get crd sidecarsets.apps.kruise.io -o jsonpath={.spec.conversion.webhook.clientConfig.caBundle}",
        )
        .await?;
        let (mutating, validating) =
            (mutating(plane).await?.context("none")?, validating(plane).await?.context("none")?);
        let bundles = [&mutating["webhooks"][0], &mutating["webhooks"][1], &validating["webhooks"][0]]
            .map(|webhook| &webhook["clientConfig"]["caBundle"]);
        ensure!(crd == bundle && bundles.into_iter().all(|other| *other == bundle), "it is not");
        Ok(Some(()))
    })
    .await?;
    registered(plane).await
}

/// Without the `ClusterRole` that should own the configurations there are none, and the log has the solution. Deleting it removes
/// them although outrigger still runs. With it, outrigger can do all its work and nothing else.
pub async fn the_cluster_role_takes_the_configurations_along(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;

    // All its work, once.
    case.namespace.apply(&sidecarset("v1alpha1", "walk")).await?;
    injected(plane, case.namespace.name(), "walk").await?;
    let pods: Api<Pod> = case.namespace.api();
    pods.create(&PostParams::default(), &pod("p", "walk", false)?).await?;
    let status = async |updated: i32| {
        wait_for("the status", PATIENCE, async || {
            let status = sets(plane).get("walk").await?.status.context("none")?;
            ensure!((status.matched_pods, status.updated_pods) == (1, updated), "{status:?}");
            Ok(Some(()))
        })
        .await
    };
    status(1).await?;
    kubectl(plane, "patch sidecarset walk --type=json -p [{\"op\":\"add\",\"path\":\"/spec/containers/0/command\",\"value\":[\"new\"]}]").await?;
    status(0).await?;
    pods.delete("p", &DeleteParams::default()).await?;
    kubectl(plane, "delete sidecarset walk").await?;
    let log = outrigger.log()?;
    let refused: Vec<&str> =
        log.lines().filter(|line| line.contains("forbidden") || line.contains("cannot ")).collect();
    assert!(refused.is_empty(), "{refused:#?}");

    for denied in [
        "get secrets -A",
        "get configmaps -n kube-system",
        "create pods -A",
        "update pods -A",
        "patch deployments -A",
        "delete pods -A",
        "delete sidecarsets",
        "create sidecarsets",
        "delete mutatingwebhookconfigurations/of-somebody-else",
        "get configmaps -n outrigger-system",
        "update mutatingwebhookconfigurations/of-somebody-else",
        "update customresourcedefinitions/of.somebody.else",
        "delete controllerrevisions -n kube-system",
        "update leases/of-somebody-else -n outrigger-system",
        "escalate clusterroles",
    ] {
        let asked = format!("auth can-i {denied} --as=system:serviceaccount:outrigger-system:outrigger");
        let output = plane.kubectl(&asked.split(' ').collect::<Vec<_>>(), None).await?;
        assert_eq!(output.stdout.trim(), "no", "{denied}: {}", output.stderr);
    }

    let from = outrigger.log()?.len();
    kubectl(plane, "delete clusterrole outrigger").await?;
    wait_for("both configurations to be gone", PATIENCE, async || {
        Ok((mutating(plane).await?.is_none() && validating(plane).await?.is_none()).then_some(()))
    })
    .await?;
    for name in [MUTATING, VALIDATING] {
        logged(
            &outrigger,
            from,
            &[name, "not registered", "ClusterRole \"outrigger\"", "create it, or change --owner-cluster-role"],
        )
        .await?;
    }
    assert!(
        mutating(plane).await?.is_none() && validating(plane).await?.is_none(),
        "outrigger registered itself again"
    );
    kubectl(plane, "apply -f manifests/rbac").await?;
    registered(plane).await
}

/// Through the Services the API server reaches all webhooks, with outrigger's own certificate.
pub async fn by_service_all_webhooks_are_reached(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let kubeconfig = install(plane).await?;
    for service in ["outrigger-webhook", "outrigger-conversion"] {
        kubectl(plane, &format!("create service externalname {service} --external-name=localhost -n outrigger-system"))
            .await?;
    }
    let (webhook, admin) = (free_port()?, free_port()?);
    let start = Start { args: vec![format!("--service-port={webhook}")], ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::start_at(plane, start, webhook, admin)?;
    outrigger.ready().await?;
    registered(plane).await?;
    let service = &mutating(plane).await?.context("not registered")?["webhooks"][0]["clientConfig"]["service"];
    assert_eq!((&service["name"], &service["port"]), (&json!("outrigger-webhook"), &json!(webhook)));
    let invalid = sidecarset("v1beta1", "by-service").replace("side:1", "\"\"");
    let refused = format!("{:#}", plane.apply(&invalid).await.err().context("it was accepted")?);
    assert!(refused.contains("spec.containers[0].image: Required value"), "{refused}");
    let of_a_namespace = format!("{}  namespace: {}\n", sidecarset("v1alpha1", "by-service"), case.namespace.name());
    plane.apply(&of_a_namespace).await?;
    let stored = sets(plane).get("by-service").await?;
    assert!(stored.metadata.annotations.is_some_and(|annotations| annotations.contains_key(keys::HASH)));
    assert!(stored.spec.namespace_selector.is_some(), "it was not converted");
    injected(plane, case.namespace.name(), "by-service").await?;
    outrigger.stop().await
}

/// Pods of excluded namespaces and mirror Pods are not sent, so they need no replica. Without a replica, others are rejected or
/// created without sidecars, according to --failure-policy. SidecarSets are always rejected.
pub async fn pods_that_are_not_sent_need_no_replica(case: Case<()>) -> Result<()> {
    let (plane, own) = (&case.plane, case.namespace.name());
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    let set = sidecarset("v1beta1", "not-sent");
    plane.apply(&set).await?;
    injected(plane, own, "not-sent").await?;
    let not_sent = [("kube-system", false), ("outrigger-system", false), (own, true)];
    for (namespace, mirror) in not_sent {
        assert!(!is_injected(plane, namespace, "not-sent", mirror).await?, "{namespace} {mirror}");
    }
    outrigger.stop().await?;
    for (namespace, mirror) in not_sent {
        assert!(!is_injected(plane, namespace, "not-sent", mirror).await?, "{namespace} {mirror}");
    }
    let refused = is_injected(plane, own, "not-sent", false).await.err().context("created without a sidecar")?;
    assert!(refused.to_string().contains("pods.outrigger.dev"), "{refused}");

    let start = Start { args: vec!["--failure-policy=ignore".to_owned()], ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(plane, start).await?;
    injected(plane, own, "not-sent").await?;
    outrigger.stop().await?;
    assert!(!is_injected(plane, own, "not-sent", false).await?);
    assert!(plane.apply(&set.replace("side:1", "side:2")).await.is_err(), "a SidecarSet was stored unseen");
    Ok(())
}

/// One replica leads. When it stops, the other one leads at once and continues its work.
pub async fn a_leader_that_stops_hands_over(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let kubeconfig = install(plane).await?;
    let replicas = [
        Outrigger::serving(plane, Start::with(&kubeconfig)).await?,
        Outrigger::start(plane, Start::with(&kubeconfig))?,
    ];
    replicas[1].ready().await?;
    let leases = Api::<Lease>::namespaced(plane.client(), "outrigger-system");
    let lease = async || leases.get("outrigger-sidecarset").await?.spec.context("no spec");
    let holder = lease().await?.holder_identity.context("nobody leads")?;
    let leads =
        async |outrigger: &Outrigger| -> Result<bool> { leases::leads(outrigger, "outrigger-sidecarset").await };
    assert!(leads(&replicas[0]).await? && !leads(&replicas[1]).await?);
    plane.apply(&sidecarset("v1beta1", "handed-over")).await?;
    injected(plane, case.namespace.name(), "handed-over").await?;
    let pods: Api<Pod> = case.namespace.api();
    let matched = async |expected: i32| {
        let name = format!("p-{expected}");
        let create = async || Ok(Some(pods.create(&PostParams::default(), &pod(&name, "handed-over", false)?).await?));
        wait_for("a Pod to be created", PATIENCE, create).await?;
        wait_for("the status", PATIENCE, async || {
            let status = sets(plane).get("handed-over").await?.status.context("none")?;
            ensure!(status.matched_pods == expected, "{status:?}");
            Ok(Some(()))
        })
        .await
    };
    matched(1).await?;

    let [first, second] = replicas;
    first.stop().await?;
    let stopped = Instant::now();
    wait_for("the other one to lead", PATIENCE, async || {
        let now = lease().await?.holder_identity;
        ensure!(now.as_ref().is_some_and(|now| !now.is_empty() && *now != holder), "{now:?} leads");
        Ok(Some(()))
    })
    .await?;
    // It checks every 2 s. If the Lease had not been released, it would have waited for 15 s.
    ensure!(stopped.elapsed() < Duration::from_secs(8), "it took {:?}", stopped.elapsed());
    let leads = async || Ok(leads(&second).await?.then_some(()));
    wait_for("the other one to say so", PATIENCE, leads).await?;
    matched(2).await
}
