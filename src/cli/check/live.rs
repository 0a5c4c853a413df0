//! Reads the objects of a cluster that checks know.

use crate::cli::access::AccessArgs;
use crate::cluster;
use crate::mesh_integrity::Object;
use anyhow::{Context, Result};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use std::time::Duration;

/// The time limit for the beginning of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The number of objects on each page of a list.
const PAGE: u32 = 500;

/// A kind, its possible versions with the newest first, and its plural.
type Served = (&'static str, &'static [&'static str], &'static str, &'static str);

const NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const SECURITY: &[&str] = &["v1", "v1beta1"];

const KINDS: [Served; 17] = [
    ("", &["v1"], "Namespace", "namespaces"),
    ("", &["v1"], "Service", "services"),
    ("", &["v1"], "Pod", "pods"),
    ("", &["v1"], "Secret", "secrets"),
    ("apps", &["v1"], "Deployment", "deployments"),
    ("apps", &["v1"], "StatefulSet", "statefulsets"),
    ("apps", &["v1"], "DaemonSet", "daemonsets"),
    ("networking.istio.io", NETWORKING, "VirtualService", "virtualservices"),
    ("networking.istio.io", NETWORKING, "DestinationRule", "destinationrules"),
    ("networking.istio.io", NETWORKING, "Gateway", "gateways"),
    ("networking.istio.io", NETWORKING, "ServiceEntry", "serviceentries"),
    ("networking.istio.io", NETWORKING, "Sidecar", "sidecars"),
    ("networking.istio.io", NETWORKING, "WorkloadEntry", "workloadentries"),
    ("security.istio.io", SECURITY, "RequestAuthentication", "requestauthentications"),
    ("security.istio.io", SECURITY, "PeerAuthentication", "peerauthentications"),
    ("security.istio.io", SECURITY, "AuthorizationPolicy", "authorizationpolicies"),
    ("gateway.networking.k8s.io", &["v1", "v1beta1"], "Gateway", "gateways"),
];

/// Excludes Secrets that no Gateway uses and that are numerous.
const OTHER_SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";

/// Reads all objects that checks know. Kinds that the cluster does not have, and Secrets that may not be read, are skipped with a
/// message on standard error.
pub(super) fn read(access: &AccessArgs) -> Result<Vec<Object>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, _) =
            cluster::connect(access.access(), TIMEOUT, std::sync::Arc::new(())).await.context("--cluster")?;
        let mut all = Vec::new();
        for kind in KINDS {
            served(&client, kind, &mut all).await?;
        }
        Ok(all)
    })
}

/// The answer for a kind in one version.
enum Answer {
    Listed,
    NotServed,
    Forbidden,
}

async fn served(client: &Client, (group, versions, kind, plural): Served, all: &mut Vec<Object>) -> Result<()> {
    for version in versions {
        match list(client, (group, version, kind, plural), all).await? {
            Answer::Listed => return Ok(()),
            Answer::NotServed => {}
            Answer::Forbidden => {
                eprintln!("outrigger: no right to list {plural}: certificates of Gateways are not checked");
                return Ok(());
            }
        }
    }
    eprintln!("outrigger: the cluster has no {plural} of {group} ({}): none is checked", versions.join(", "));
    Ok(())
}

async fn list(
    client: &Client,
    (group, version, kind, plural): (&str, &str, &str, &str),
    all: &mut Vec<Object>,
) -> Result<Answer> {
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
    if kind == "Secret" {
        page = page.fields(OTHER_SECRETS);
    }
    loop {
        let listed = match api.list(&page).await {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Answer::NotServed),
            Err(kube::Error::Api(status)) if status.code == 403 && kind == "Secret" => return Ok(Answer::Forbidden),
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
            None => return Ok(Answer::Listed),
        }
    }
}
