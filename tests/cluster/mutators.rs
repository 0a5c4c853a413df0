//! Other mutating webhooks before and after outrigger, and the second pass that they cause.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use outrigger::admission::Metrics;
use outrigger::admission::{CertificatePair, Server, ServingCertificate, Settings};
use outrigger::telemetry::Readiness;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::outrigger::{Outrigger, PATIENCE, sets};

/// A webhook that answers each Pod with the same patch.
struct Mutator {
    port: u16,
    ca: String,
    shutdown: CancellationToken,
}

impl Mutator {
    async fn start(route: &'static str, patch: Value) -> Result<Self> {
        let certificate = CertificatePair::generate(&["127.0.0.1"], SystemTime::now())?;
        let ca = certificate.ca_pem().context("it makes its CA")?.to_owned();
        let settings = Settings { drain_delay: Duration::ZERO, ..Settings::default() };
        let server = Server::bind(([127, 0, 0, 1], 0).into(), settings).await?;
        let (port, shutdown) = (server.address().port(), CancellationToken::new());
        let router = Router::new().route(route, post(async move |body: Bytes| answer(&body, &patch)));
        let token = shutdown.clone();
        tokio::spawn(async move {
            let serving = Arc::new(ServingCertificate::new(certificate));
            server.run(router, serving, Arc::new(Readiness::new()), &Metrics::default(), token).await
        });
        Ok(Self { port, ca, shutdown })
    }

    fn configuration(&self, name: &str, path: &str, namespace: &str) -> Result<MutatingWebhookConfiguration> {
        Ok(serde_json::from_value(json!({
            "metadata": {"name": name},
            "webhooks": [{
                "name": "pods.test.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": STANDARD.encode(&self.ca)},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            }]
        }))?)
    }
}

impl Drop for Mutator {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn answer(body: &[u8], patch: &Value) -> ([(&'static str, &'static str); 1], String) {
    let review: Value = serde_json::from_slice(body).unwrap_or_default();
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch.to_string()),
        }
    });
    ([("content-type", "application/json")], answer.to_string())
}

/// Additions of mutators before and after reach the sidecar, and nothing is added twice.
pub async fn mutators_before_and_after_lead_to_no_duplicates(case: Case<Outrigger>) -> Result<()> {
    let first = json!([{"op": "add", "path": "/spec/containers/0/env", "value": [{"name": "FIRST", "value": "1"}]}]);
    let mount = json!([{"name": "data", "mountPath": "/late"}]);
    let late = json!({"name": "late", "image": "late:1", "volumeMounts": mount});
    let last = json!([{"op": "add", "path": "/spec/containers/-", "value": late}]);
    let (first, last) = (Mutator::start("/first", first).await?, Mutator::start("/last", last).await?);
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(case.plane.client());
    let namespace = case.namespace.name();
    // Webhooks are called in the order of their configurations' names.
    let before = first.configuration("aaa-first", "/first", namespace)?;
    let after = last.configuration("zzz-last", "/last", namespace)?;
    for configuration in [before, after] {
        configurations.create(&PostParams::default(), &configuration).await?;
    }

    case.plane
        .apply(
            r"
apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata: {name: between-mutators}
spec:
  selector: {matchLabels: {app: between-mutators}}
  containers:
  - name: sidecar
    image: side:1
    podInjectPolicy: BeforeAppContainer
    shareVolumePolicy: {type: enabled}
    transferEnv: [{sourceContainerName: app, envName: FIRST}]
  - name: tail
    image: tail:1
    podInjectPolicy: AfterAppContainer
",
        )
        .await?;
    let pods: Api<Pod> = case.namespace.api();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "labels": {"app": "between-mutators"}},
        "spec": {
            "containers": [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}]
        }
    }))?;
    // The API server learns of configurations and SidecarSets with a delay.
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let injected = wait_for("all three webhooks to be called", PATIENCE, async || {
        let pod = serde_json::to_value(pods.create(&dry, &pod).await?)?;
        let containers = pod["spec"]["containers"].as_array().context("no containers")?;
        ensure!(containers.len() == 4, "{containers:?}");
        ensure!(pod.to_string().contains("FIRST"), "{pod}");
        Ok(Some(pod))
    })
    .await?;

    let containers = injected["spec"]["containers"].as_array().context("no containers")?;
    let names: Vec<&str> = containers.iter().filter_map(|container| container["name"].as_str()).collect();
    assert_eq!(names, ["sidecar", "app", "tail", "late"]);
    let sidecar = &containers[0];
    let env = |name: &str| sidecar["env"].as_array().into_iter().flatten().filter(|env| env["name"] == name).count();
    assert_eq!((env("IS_INJECTED"), env("FIRST")), (1, 1), "{sidecar}");
    let paths: Vec<&str> =
        sidecar["volumeMounts"].as_array().into_iter().flatten().filter_map(|m| m["mountPath"].as_str()).collect();
    let unique: BTreeSet<&str> = paths.iter().copied().collect();
    assert_eq!(unique.len(), paths.len(), "{sidecar}");
    assert!(unique.contains("/data") && unique.contains("/late"), "{sidecar}");

    for name in ["aaa-first", "zzz-last"] {
        configurations.delete(name, &DeleteParams::default()).await?;
    }
    sets(&case.plane).delete("between-mutators", &DeleteParams::default()).await?;
    Ok(())
}
