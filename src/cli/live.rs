//! The SidecarSets of a cluster, and everything their injection depends on.

use super::access::AccessArgs;
use super::serve::NAMESPACE;
use super::source::LiveObjects;
use crate::api::keys;
use crate::api::sidecarset::SidecarSet;
use crate::cluster;
use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::ObjectList;
use kube::{Client, ResourceExt};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The time limit for the beginning of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The number of objects on each page of a list.
const PAGE: u32 = 500;

/// The cluster, and the namespace of the objects that belong to SidecarSets.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct LiveArgs {
    #[command(flatten)]
    pub access: AccessArgs,
    /// Namespace of the ControllerRevisions of SidecarSets
    #[arg(long, value_name = "NAMESPACE", default_value = NAMESPACE)]
    pub revision_namespace: String,
}

/// Returns a client for one command.
pub(super) async fn connect(access: &AccessArgs) -> Result<Client> {
    let connected = cluster::connect(access.access(), TIMEOUT, Arc::new(())).await;
    connected.map(|(client, _)| client).context("there is no cluster to ask")
}

impl LiveArgs {
    /// Reads everything that injection depends on, and the namespace of the context.
    pub fn read(&self) -> Result<(LiveObjects, String)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = connect(&self.access).await?;
            let value = |object: DynamicObject| serde_json::to_value(object).ok();
            let live = LiveObjects {
                namespaces: namespaces(&client).await?,
                revisions: revisions(&client, &self.revision_namespace, None)
                    .await?
                    .into_iter()
                    .filter_map(value)
                    .collect(),
                sets: sets(&client).await?,
            };
            Ok((live, client.default_namespace().to_owned()))
        })
    }
}

/// Returns all SidecarSets as stored.
pub(super) async fn sets(client: &Client) -> Result<Vec<Value>> {
    let resource = ApiResource::erase::<SidecarSet>(&());
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let all = pages("SidecarSets", async |page| api.list(&page).await).await?;
    let typed = all.into_iter().filter_map(|set| {
        let mut set = serde_json::to_value(set).ok()?;
        // List items do not have them.
        set["apiVersion"] = resource.api_version.as_str().into();
        set["kind"] = resource.kind.as_str().into();
        Some(set)
    });
    Ok(typed.collect())
}

/// Returns all Namespaces with their labels.
pub(super) async fn namespaces(client: &Client) -> Result<Vec<(String, std::collections::BTreeMap<String, String>)>> {
    let api: Api<Namespace> = Api::all(client.clone());
    let all = pages("Namespaces", async |page| api.list_metadata(&page).await).await?;
    Ok(all.into_iter().map(|object| (object.name_any(), object.metadata.labels.unwrap_or_default())).collect())
}

/// Returns the `ControllerRevisions` of one SidecarSet, or of all.
pub(super) async fn revisions(client: &Client, namespace: &str, set: Option<&str>) -> Result<Vec<DynamicObject>> {
    let resource = ApiResource::erase::<ControllerRevision>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let selector = match set {
        Some(name) => format!("{}={name}", keys::REVISION_OF),
        None => keys::REVISION_OF.to_owned(),
    };
    pages("ControllerRevisions", async |page| api.list(&page.labels(&selector)).await).await
}

/// Returns all objects of a list, page by page.
pub(super) async fn pages<K: Clone>(
    what: &str,
    list: impl AsyncFn(ListParams) -> kube::Result<ObjectList<K>>,
) -> Result<Vec<K>> {
    let (mut all, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let listed = list(page.clone()).await.with_context(|| format!("cannot list {what}"))?;
        all.extend(listed.items);
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(all),
        }
    }
}
