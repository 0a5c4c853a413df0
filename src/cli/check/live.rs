//! The objects of a cluster that checks know.

use crate::cluster;
use crate::mesh_integrity::Object;
use anyhow::{Context, Result};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use std::time::Duration;

/// How long the API server may take to begin an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Objects of a page of a list.
const PAGE: u32 = 500;

const KINDS: [(&str, &str, &str, &str); 14] = [
    ("", "v1", "Namespace", "namespaces"),
    ("", "v1", "Service", "services"),
    ("", "v1", "Pod", "pods"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    ("networking.istio.io", "v1", "VirtualService", "virtualservices"),
    ("networking.istio.io", "v1", "DestinationRule", "destinationrules"),
    ("networking.istio.io", "v1", "Gateway", "gateways"),
    ("networking.istio.io", "v1", "ServiceEntry", "serviceentries"),
    ("networking.istio.io", "v1", "Sidecar", "sidecars"),
    ("networking.istio.io", "v1", "WorkloadEntry", "workloadentries"),
    ("security.istio.io", "v1", "RequestAuthentication", "requestauthentications"),
    ("gateway.networking.k8s.io", "v1", "Gateway", "gateways"),
];

/// Reads all objects that checks know. Kinds that the cluster does not have are left out.
pub(super) fn read() -> Result<Vec<Object>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, _) = cluster::connect(None, TIMEOUT, std::sync::Arc::new(())).await.context("--cluster")?;
        let mut all = Vec::new();
        for kind in KINDS {
            list(&client, kind, &mut all).await?;
        }
        Ok(all)
    })
}

async fn list(
    client: &Client,
    (group, version, kind, plural): (&str, &str, &str, &str),
    all: &mut Vec<Object>,
) -> Result<()> {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.clone(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = match api.list(&page).await {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("--cluster: cannot list {plural} of {api_version}"));
            }
        };
        for object in listed.items {
            let mut value = serde_json::to_value(object)?;
            value["apiVersion"] = api_version.as_str().into();
            value["kind"] = kind.into();
            all.extend(Object::read(&value, ""));
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}
