//! Migrates SidecarSets stored as v1alpha1 to the storage version, once, and then records that in the CRD, so that a release
//! may drop v1alpha1.

use crate::api::sidecarset::SidecarSet;
use crate::cluster::{
    Feeds, Outcome, Reconciler, Slice, Term, WorkQueue, WriteError, Written, apply, controller, describe, failpoint,
};
use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, ReplaceOperation};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, CustomResourceExt};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// Sets on each page of a list.
const PAGE: u32 = 100;

/// The time that the CRD must have been unchanged. API servers briefly continue to store the previous version, and such objects
/// would wrongly count as migrated.
const SETTLED: Duration = Duration::from_secs(5);

/// The pause after sets that cannot be stored unchanged: somebody must repair them first.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// The maximum number of rejected sets named in one message.
const NAMED: usize = 10;

/// The outcome of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Migrated {
    /// Nothing is stored in an older version.
    Done,
    /// The CRD changed in the meantime, or the term ended.
    Interrupted,
}

/// Why a migration failed.
#[derive(Debug, Error)]
enum MigrationError {
    #[error("cannot read SidecarSets: {0}")]
    Read(String),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{}", told(.0))]
    Refused(Vec<WriteError>),
}

/// The CRD as last seen, and the time of its last change.
struct ObservedCrd {
    crd: Option<CustomResourceDefinition>,
    since: Instant,
}

/// Migrates while a term lasts.
struct Migration {
    client: Client,
    seen: Arc<Mutex<ObservedCrd>>,
}

/// Returns the storage version if objects may be stored in other versions, so that all must be rewritten.
#[must_use]
pub fn wanted(crd: &CustomResourceDefinition) -> Option<&str> {
    let storage = &crd.spec.versions.iter().find(|version| version.storage)?.name;
    let stored = crd.status.as_ref()?.stored_versions.as_ref()?;
    (stored.contains(storage) && stored.len() > 1).then_some(storage)
}

/// Whether each served version has `status.conditions`. OpenKruise's CRD does not, and the API server silently drops fields that are
/// not in the schema.
fn keeps_conditions(crd: &CustomResourceDefinition) -> bool {
    let mut served = crd.spec.versions.iter().filter(|version| version.served);
    served.all(|version| {
        let root = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let keeps_all = |schema: &JSONSchemaProps| schema.x_kubernetes_preserve_unknown_fields == Some(true);
        let field = |schema: &JSONSchemaProps, name: &str| schema.properties.as_ref()?.get(name).cloned();
        root.is_none_or(|root| {
            let status = field(root, "status");
            keeps_all(root) || status.is_some_and(|status| keeps_all(&status) || field(&status, "conditions").is_some())
        })
    })
}

/// The CRD, watched during a term.
pub struct WatchedCrd {
    seen: Arc<Mutex<ObservedCrd>>,
    /// Queued when it changes.
    work: WorkQueue<()>,
}

/// Watches the CRD for a term that begins.
pub fn subscribe(feeds: &mut Feeds) -> WatchedCrd {
    let work = WorkQueue::new();
    let seen = Arc::new(Mutex::new(ObservedCrd { crd: None, since: Instant::now() }));
    let (name, told) = (SidecarSet::crd_name(), WatchedCrd { seen: seen.clone(), work: work.clone() });
    let mut lost = false;
    feeds.subscribe_one(Slice::all::<CustomResourceDefinition>(name), name, move |crd| {
        let lost_before = std::mem::replace(&mut lost, crd.as_ref().is_some_and(|crd| !keeps_conditions(crd)));
        if lost && !lost_before {
            tracing::warn!(
                "the CustomResourceDefinition {name} is not outrigger's, and the API server drops the \
                conditions of SidecarSets: install outrigger's"
            );
        }
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = ObservedCrd { crd, since: Instant::now() };
        work.add(());
    });
    told
}

/// Migrates whenever needed until the term ends. Requires `list` and `watch` on `customresourcedefinitions` and `patch` on their
/// status, and `list` and `patch` on `sidecarsets`.
pub async fn run(client: Client, term: Term, crd: WatchedCrd) {
    let (WatchedCrd { seen, work }, beside) = (crd, std::future::pending());
    controller::run(&work, 1, &term, beside, Arc::new(Migration { client, seen })).await;
}

impl Reconciler<()> for Migration {
    async fn reconcile(&self, (): &(), term: &Term) -> Outcome {
        attend(&self.client, term, &self.seen).await
    }
}

async fn attend(client: &Client, term: &Term, seen: &Mutex<ObservedCrd>) -> Outcome {
    let (crd, age) = {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.crd.clone(), seen.since.elapsed())
    };
    let Some((crd, storage)) = crd.as_ref().and_then(|crd| Some((crd, wanted(crd)?))) else { return Outcome::Done };
    if age < SETTLED {
        return Outcome::RequeueAfter(SETTLED.saturating_sub(age));
    }
    match migrate(client, term, crd, storage).await {
        Ok(Migrated::Done | Migrated::Interrupted) => Outcome::Done, // the watch reports the interruption
        Err(error) => {
            tracing::warn!("SidecarSets cannot be migrated to the storage version {storage} yet: {error}");
            if error.is_of_sets() { Outcome::RequeueAfter(REFUSED_PAUSE) } else { Outcome::Retry }
        }
    }
}

async fn migrate(
    client: &Client,
    term: &Term,
    crd: &CustomResourceDefinition,
    storage: &str,
) -> Result<Migrated, MigrationError> {
    let resource = ApiResource::erase::<SidecarSet>(&());
    let sets: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let (mut page, mut rewritten, mut refused) = (ListParams::default().limit(PAGE), 0_usize, Vec::new());
    loop {
        let list = sets.list(&page).await.map_err(|error| MigrationError::Read(describe(&error)))?;
        for set in &list.items {
            if !term.is_current() {
                return Ok(Migrated::Interrupted);
            }
            // Nothing is changed, but the API server rewrites the object in the storage version. On a conflict, somebody else
            // has written the set with the same effect.
            match failpoint::around("migration.set", apply::patch(&sets, set, None, Vec::new())).await {
                Ok(_) => rewritten += 1,
                Err(error) if error.code().is_some() => refused.push(error),
                Err(error) => return Err(error.into()), // no answer, so the others would get none either
            }
        }
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => break,
        }
    }
    if !refused.is_empty() {
        return Err(MigrationError::Refused(refused));
    }
    if !term.is_current() {
        return Ok(Migrated::Interrupted);
    }
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let only =
        ReplaceOperation { path: PointerBuf::from_tokens(["status", "storedVersions"]), value: vec![storage].into() };
    let write = apply::patch(&crds, crd, Some("status"), vec![PatchOperation::Replace(only)]);
    match failpoint::around("migration.crd", write).await? {
        Written::Conflict => Ok(Migrated::Interrupted),
        Written::Done(_) | Written::Unchanged => {
            tracing::info!(rewritten, storage, "all SidecarSets are stored in the storage version now");
            Ok(Migrated::Done)
        }
    }
}

impl MigrationError {
    /// Whether the sets are at fault, and not, for example, a webhook that cannot be reached.
    fn is_of_sets(&self) -> bool {
        let at_fault = |error: &WriteError| error.code().is_some_and(|code| matches!(code, 400 | 403 | 413 | 422));
        matches!(self, Self::Refused(refused) if refused.iter().all(at_fault))
    }
}

fn told(refused: &[WriteError]) -> String {
    let mut told: Vec<String> = refused.iter().take(NAMED).map(ToString::to_string).collect();
    if refused.len() > NAMED {
        told.push(format!("and {} more", refused.len() - NAMED));
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::server::{Server, served};
    use crate::rollout::tests::set;
    use serde_json::{Value, json};
    use tokio::time::advance;

    const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sidecarsets.apps.kruise.io";
    const SETS: &str = "/apis/apps.kruise.io/v1beta1/sidecarsets";

    fn crd(stored: &[&str]) -> Value {
        let mut crd = serde_json::to_value(crate::api::crds::sidecarsets().unwrap()).unwrap();
        crd["status"] = json!({"storedVersions": stored});
        crd
    }

    fn is_wanted(stored: &[&str]) -> bool {
        wanted(&serde_json::from_value(crd(stored)).unwrap()).is_some()
    }

    #[test]
    fn it_is_wanted_while_another_version_may_be_stored() {
        assert!(is_wanted(&["v1alpha1", "v1beta1"]));
        assert!(!is_wanted(&["v1beta1"]));
        assert!(!is_wanted(&["v1alpha1"]), "the API server has not taken the CRD in yet");
    }

    /// The sets `a`, `b` and `c`, any of which may be stored in an older version, and a term.
    fn world() -> (Arc<Mutex<Server>>, Client, Term) {
        let (server, client) = served(Server::default());
        server.lock().unwrap().put(CRD, crd(&["v1alpha1", "v1beta1"]));
        for name in ["a", "b", "c"] {
            server.lock().unwrap().put(&format!("{SETS}/{name}"), set(name, &json!({})));
        }
        (server, client, Term::new(Instant::now() + Duration::from_secs(600)))
    }

    /// The CRD as on the server, seen now.
    fn seen(server: &Mutex<Server>) -> Mutex<ObservedCrd> {
        let crd = server.lock().unwrap().objects[CRD].clone();
        Mutex::new(ObservedCrd { crd: Some(serde_json::from_value(crd).unwrap()), since: Instant::now() })
    }

    fn writes(server: &Mutex<Server>) -> Vec<String> {
        std::mem::take(&mut server.lock().unwrap().writes)
    }

    #[tokio::test(start_paused = true)]
    async fn each_set_is_rewritten_and_then_the_older_version_is_forgotten() {
        let (server, client, term) = world();
        let seen = seen(&server);
        assert_eq!(attend(&client, &term, &seen).await, Outcome::RequeueAfter(SETTLED));
        assert!(writes(&server).is_empty(), "the CRD may be too new");
        advance(SETTLED).await;
        assert_eq!(attend(&client, &term, &seen).await, Outcome::Done);
        let mut expected = ["a", "b", "c"].map(|name| format!("PATCH {SETS}/{name}")).to_vec();
        expected.push(format!("PATCH {CRD}/status"));
        assert_eq!(writes(&server), expected);
        assert_eq!(server.lock().unwrap().objects[CRD]["status"]["storedVersions"], json!(["v1beta1"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_that_is_refused_is_named_and_the_others_are_rewritten() {
        let (server, client, term) = world();
        server.lock().unwrap().refuses = Some("/apis/apps.kruise.io/v1beta1/sidecarsets/b");
        let seen = seen(&server);
        let crd = seen.lock().unwrap().crd.clone().unwrap();
        let error = migrate(&client, &term, &crd, "v1beta1").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot patch sidecarsets/b: no (403)");
        assert_eq!(writes(&server), ["a", "c"].map(|name| format!("PATCH {SETS}/{name}")));
        advance(SETTLED).await;
        assert_eq!(attend(&client, &term, &seen).await, Outcome::RequeueAfter(REFUSED_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_forgotten_where_the_crd_changed_meanwhile() {
        let (server, client, term) = world();
        let seen = seen(&server);
        server.lock().unwrap().put(CRD, crd(&["v1alpha1", "v1beta1"]));
        advance(SETTLED).await;
        assert_eq!(attend(&client, &term, &seen).await, Outcome::Done);
        assert_eq!(server.lock().unwrap().objects[CRD]["status"]["storedVersions"], json!(["v1alpha1", "v1beta1"]));
    }
}
