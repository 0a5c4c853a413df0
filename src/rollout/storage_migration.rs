//! Brings SidecarSets that are stored as v1alpha1 to the storage version, once, and then tells the CRD so: after that a release
//! may drop v1alpha1.

use crate::api::sidecarset::SidecarSet;
use crate::cluster::{Term, WriteError, Written, apply, describe};
use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, ReplaceOperation};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, CustomResourceExt};
use std::time::Duration;
use thiserror::Error;
use tokio::time::sleep;

/// Sets a page.
const PAGE: u32 = 100;

/// After a failure it is tried again after this time.
const PAUSE: Duration = Duration::from_secs(300);

/// How a migration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Migrated {
    /// Nothing is stored in an older version any more.
    Done,
    /// The CRD changed meanwhile, or the term ended.
    Interrupted,
}

/// Why a migration failed.
#[derive(Debug, Error)]
enum MigrationError {
    #[error("cannot read {what}: {problem}")]
    Read { what: String, problem: String },
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The storage version, if objects may be stored in other versions, too: then all have to be rewritten.
#[must_use]
pub fn wanted(crd: &CustomResourceDefinition) -> Option<&str> {
    let storage = &crd.spec.versions.iter().find(|version| version.storage)?.name;
    let stored = crd.status.as_ref()?.stored_versions.as_ref()?;
    (stored.contains(storage) && stored.len() > 1).then_some(storage)
}

/// Migrates while this term lasts, trying again every 5 minutes until it is done. Needs `get` on `customresourcedefinitions` and
/// `patch` on their status, `list` and `patch` on `sidecarsets`.
pub async fn run(client: Client, term: Term) {
    while term.is_current() {
        match migrate(&client, &term).await {
            Ok(Migrated::Done) => return,
            Ok(Migrated::Interrupted) => {}
            Err(error) => tracing::warn!("SidecarSets cannot be brought to the storage version yet: {error}"),
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = term.ended() => {}
        }
    }
}

async fn migrate(client: &Client, term: &Term) -> Result<Migrated, MigrationError> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = SidecarSet::crd_name();
    let crd = crds.get_opt(name).await.map_err(|e| unreadable(format!("CustomResourceDefinition {name}"), &e))?;
    let Some((crd, storage)) = crd.as_ref().and_then(|crd| Some((crd, wanted(crd)?))) else {
        return Ok(Migrated::Done);
    };
    let resource = ApiResource::erase::<SidecarSet>(&());
    let sets: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let (mut page, mut rewritten) = (ListParams::default().limit(PAGE), 0_usize);
    loop {
        let list = sets.list(&page).await.map_err(|e| unreadable("SidecarSets".to_owned(), &e))?;
        for set in &list.items {
            if !term.is_current() {
                return Ok(Migrated::Interrupted);
            }
            // Nothing is changed, but what the API server writes is in the storage version. A conflict means that somebody else
            // has written the set, and so done the same.
            apply::patch(&sets, set, None, Vec::new()).await?;
            rewritten += 1;
        }
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => break,
        }
    }
    if !term.is_current() {
        return Ok(Migrated::Interrupted);
    }
    let only =
        ReplaceOperation { path: PointerBuf::from_tokens(["status", "storedVersions"]), value: vec![storage].into() };
    match apply::patch(&crds, crd, Some("status"), vec![PatchOperation::Replace(only)]).await? {
        Written::Conflict => Ok(Migrated::Interrupted),
        Written::Done(_) | Written::Unchanged => {
            tracing::info!(rewritten, storage, "all SidecarSets are stored in the storage version now");
            Ok(Migrated::Done)
        }
    }
}

fn unreadable(what: String, error: &kube::Error) -> MigrationError {
    MigrationError::Read { what, problem: describe(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::tests::server::{Server, served};
    use crate::rollout::tests::set;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sidecarsets.apps.kruise.io";
    const SET: &str = "/apis/apps.kruise.io/v1beta1/sidecarsets/s";

    fn crd(stored: &[&str]) -> Value {
        let mut crd = serde_json::to_value(crate::api::crds::all().unwrap().remove(0)).unwrap();
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

    #[tokio::test(start_paused = true)]
    async fn each_set_is_rewritten_and_then_the_older_version_is_forgotten() {
        let (server, client) = served(Server::default());
        server.lock().unwrap().put(CRD, crd(&["v1alpha1", "v1beta1"]));
        server.lock().unwrap().put(SET, set("s", &json!({})));
        let term = Term::new(Instant::now() + Duration::from_secs(600));
        run(client.clone(), term.clone()).await;
        let (writes, stored) = {
            let mut server = server.lock().unwrap();
            (std::mem::take(&mut server.writes), server.objects[CRD]["status"]["storedVersions"].clone())
        };
        assert_eq!(writes, [format!("PATCH {SET}"), format!("PATCH {CRD}/status")]);
        assert_eq!(stored, json!(["v1beta1"]));
        run(client, term).await;
        assert!(server.lock().unwrap().writes.is_empty(), "it is done once");
    }
}
