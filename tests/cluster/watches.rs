//! The watches of a replica: one for each kind and slice.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use outrigger_testbed::{Case, ControlPlane, wait_for};

use crate::outrigger::{Outrigger, PATIENCE, Start, install};

/// Open watches by group and resource.
type Watches = BTreeMap<String, i64>;

/// The watches of a leader with all controllers: three ConfigMaps by name, and one slice of every other kind. The leader of
/// MeshServices has its own feeds of Namespaces, Services, Sidecars and VirtualServices, whoever leads the other jobs.
const EXPECTED: [(&str, i64); 22] = [
    ("/configmaps", 3),
    ("/namespaces", 2),
    ("/pods", 1),
    ("/secrets", 1),
    ("/services", 3),
    ("admissionregistration.k8s.io/mutatingwebhookconfigurations", 1),
    ("admissionregistration.k8s.io/validatingwebhookconfigurations", 1),
    ("apiextensions.k8s.io/customresourcedefinitions", 1),
    ("apps.kruise.io/sidecarsets", 1),
    ("apps/controllerrevisions", 1),
    ("discovery.k8s.io/endpointslices", 1),
    ("networking.example.com/sidecargenerators", 1),
    ("mesh.istio.operator/meshservices", 1),
    ("networking.istio.io/destinationrules", 1),
    ("networking.istio.io/gateways", 1),
    ("networking.istio.io/serviceentries", 1),
    ("networking.istio.io/sidecars", 2),
    ("networking.istio.io/virtualservices", 2),
    ("networking.istio.io/workloadentries", 1),
    ("security.istio.io/authorizationpolicies", 1),
    ("security.istio.io/peerauthentications", 1),
    ("security.istio.io/requestauthentications", 1),
];

/// Returns the API server's counts for all clients.
async fn open(plane: &ControlPlane) -> Result<Watches> {
    let metrics = plane.client().request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let mut watches = Watches::new();
    for line in metrics.lines() {
        let Some(labels) = line.strip_prefix("apiserver_longrunning_requests{") else { continue };
        let (labels, count) = labels.split_once("} ").context("a metric without a value")?;
        let label = |name: &str| {
            let mut labels = labels.split(',').filter_map(|label| label.split_once('='));
            labels
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim_matches('"').to_owned())
                .unwrap_or_default()
        };
        if label("verb") == "WATCH" {
            *watches.entry(format!("{}/{}", label("group"), label("resource"))).or_default() += count.parse::<i64>()?;
        }
    }
    Ok(watches)
}

/// A leader with all controllers has one watch for each kind and slice. The only other client with watches is the API server
/// itself, whose watches existed before.
pub async fn each_kind_and_slice_is_watched_once(case: Case<()>) -> Result<()> {
    case.plane.install_istio_crds().await?;
    let kubeconfig = install(&case.plane).await?;
    let before = open(&case.plane).await?;
    let outrigger = Outrigger::serving(&case.plane, Start::with(&kubeconfig)).await?;
    wait_for("outrigger to lead", PATIENCE, async || {
        let leads = outrigger.metric("leader_election_master_status{name=\"outrigger-sidecargenerator\"}").await?;
        Ok((leads == 1).then_some(()))
    })
    .await?;
    let expected = EXPECTED.map(|(kind, count)| (kind.to_owned(), count)).into();
    wait_for("each kind and slice to be watched once", PATIENCE, async || {
        let mut added = open(&case.plane).await?;
        for (kind, count) in &before {
            *added.entry(kind.clone()).or_default() -= count;
        }
        added.retain(|_, count| *count != 0);
        ensure!(added == expected, "watched: {added:#?}");
        Ok(Some(()))
    })
    .await
}
