//! Writes the webhook configurations and the CRD's conversion where they are not as they should be.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::desired::{CRD, MUTATING, Owner, Registration, VALIDATING};
use super::published::{Bundles, Published};
use crate::api::keys;
use crate::cluster::{self, Event, Outcome, Term, Watch, WorkQueue, WriteError, Written, queue};

/// Keeps the registration as it should be while this replica leads.
#[derive(Clone)]
pub struct Registrar {
    /// Reads and writes.
    pub client: Client,
    /// What should be registered; a change is written at once.
    pub registration: watch::Receiver<Registration>,
    /// The `ClusterRole` that owns the configurations.
    pub owner: Option<String>,
    /// What the objects are seen to trust, while this replica leads.
    pub published: watch::Sender<Published>,
}

/// An object that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Target {
    Mutating,
    Validating,
    Conversion,
}

/// Why an object is not registered as it should be.
#[derive(Debug, thiserror::Error)]
enum RegistrationError {
    #[error(
        "the ClusterRole {name:?} that is to own the webhook configurations cannot be read: {problem}; create it, or change --owner-cluster-role (or is outrigger being removed?)"
    )]
    NoOwner { name: String, problem: String },
    #[error("{0}")]
    Api(String),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What was last seen of the objects; one that is not there has no entry.
type Seen = Arc<Mutex<HashMap<Target, DynamicObject>>>;

impl Registrar {
    /// Watches the objects and writes them where they are not as they should be, until the term ends.
    ///
    /// All replicas would write the same, but not while one version of outrigger replaces another.
    pub async fn run(self, term: Term) {
        self.published.send_replace(Published::default());
        let (seen, work, ended) = (Seen::default(), WorkQueue::new(), CancellationToken::new());
        let (watches, tasks): (Vec<_>, Vec<_>) =
            Target::ALL.map(|target| self.watch(target, &seen, &work)).into_iter().unzip();
        let handle = {
            let (registrar, term) = (Arc::new(self.clone()), term.clone());
            let (seen, watches) = (seen.clone(), Arc::new(watches));
            move |target: Target| {
                let (registrar, term, seen, watches) = (registrar.clone(), term.clone(), seen.clone(), watches.clone());
                async move {
                    if !term.is_current() || !watches[target as usize].is_synced() {
                        return Outcome::Done; // the end of the first list queues it again
                    }
                    match registrar.register(target, &seen).await {
                        Ok(()) => Outcome::Done,
                        Err(error) => {
                            tracing::warn!("{target} is not registered as it should be: {error}");
                            Outcome::Retry
                        }
                    }
                }
            }
        };
        let mut registration = self.registration.clone();
        let changes = async {
            while registration.changed().await.is_ok() {
                for target in Target::ALL {
                    work.add(target);
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = term.ended() => {}
            () = changes => {}
            _ = futures::future::join_all(tasks) => {}
            () = queue::run(&work, 1, &ended, handle) => {}
        }
    }

    fn watch(
        &self,
        target: Target,
        seen: &Seen,
        work: &WorkQueue<Target>,
    ) -> (Watch, impl Future<Output = ()> + use<>) {
        let (seen, work, published) = (seen.clone(), work.clone(), self.published.clone());
        let only = watcher::Config::default().fields(&format!("metadata.name={}", target.name()));
        cluster::watch(target.name(), target.api(&self.client), only, move |event| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let now = match event {
                Event::Reset(objects) => objects.into_iter().next(),
                Event::Applied(object) => Some(object),
                Event::Deleted(_) => None,
            };
            let bundles = now.as_ref().map(Bundles::of);
            published.send_modify(|published| published.saw(target.name(), bundles, Timestamp::now()));
            match now {
                Some(object) => seen.insert(target, object),
                None => seen.remove(&target),
            };
            work.add(target);
        })
    }

    /// Writes an object if it is not as it should be.
    async fn register(&self, target: Target, seen: &Seen) -> Result<(), RegistrationError> {
        let present = seen.lock().unwrap_or_else(PoisonError::into_inner).get(&target).cloned();
        let mut registration = self.registration.borrow().clone();
        if !registration.is_trusted() {
            return Ok(()); // it changes when it is
        }
        if target != Target::Conversion {
            registration.owner = self.owner().await?;
        }
        let desired = match target {
            Target::Mutating => registration.mutating(),
            Target::Validating => registration.validating(),
            // Installed by somebody else; the watch tells when it is there.
            Target::Conversion if present.is_none() => return Ok(()),
            Target::Conversion => registration.conversion(),
        };
        let api = target.api(&self.client);
        if let Some(present) = present.as_ref().filter(|_| registration.inject_ca_from.is_none()) {
            stop_injection(&api, present).await?;
        }
        let desired = serde_json::from_value(desired).map_err(|error| RegistrationError::Api(error.to_string()))?;
        // With the resourceVersion that was seen: somebody else's change since then is not lost, and the watch tells of it.
        match cluster::apply::ensure(&api, &desired, present.as_ref()).await? {
            Written::Done(object) => {
                // Whoever asks what it trusts need not wait until the watch tells.
                let bundles = Some(Bundles::of(&object));
                self.published.send_modify(|published| published.saw(target.name(), bundles, Timestamp::now()));
                tracing::info!("{target} is registered");
            }
            Written::Unchanged | Written::Conflict => {}
        }
        Ok(())
    }

    async fn owner(&self) -> Result<Option<Owner>, RegistrationError> {
        let Some(name) = &self.owner else { return Ok(None) };
        let no_owner = |problem| RegistrationError::NoOwner { name: name.clone(), problem };
        match Api::<ClusterRole>::all(self.client.clone()).get_opt(name).await {
            Ok(Some(role)) => Ok(Some(Owner { name: name.clone(), uid: role.uid().unwrap_or_default() })),
            Ok(None) => Err(no_owner("it is not there".to_owned())),
            // Where it goes, the right to read it, which it gives, goes with it.
            Err(kube::Error::Api(status)) if status.code == 403 => Err(no_owner(status.message)),
            Err(error) => Err(RegistrationError::Api(cluster::describe(&error))),
        }
    }
}

/// Takes the annotation away by which cert-manager writes the CAs: it would go on doing so.
async fn stop_injection(api: &Api<DynamicObject>, present: &DynamicObject) -> Result<(), RegistrationError> {
    let mut without = present.clone();
    if without.annotations_mut().remove(keys::INJECT_CA_FROM).is_none() {
        return Ok(());
    }
    match api.replace(&present.name_any(), &PostParams::default(), &without).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()), // the watch tells how it is now
        Err(error) => Err(RegistrationError::Api(cluster::describe(&error))),
    }
}

impl Target {
    const ALL: [Self; 3] = [Self::Mutating, Self::Validating, Self::Conversion];

    fn name(self) -> &'static str {
        match self {
            Self::Mutating => MUTATING,
            Self::Validating => VALIDATING,
            Self::Conversion => CRD,
        }
    }

    fn kind(self) -> ApiResource {
        match self {
            Self::Mutating => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Self::Validating => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
            Self::Conversion => ApiResource::erase::<CustomResourceDefinition>(&()),
        }
    }

    fn api(self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.kind())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if *self == Self::Conversion { "the conversion of " } else { "" };
        write!(f, "{of}{} {}", self.kind().kind, self.name())
    }
}
