//! Lets a SidecarSet in once the API server sends the Pods it is for.
//!
//! Every replica does this, as part of the review that allows the set. A registration that is too wide only costs calls, so it
//! does no harm when the set is refused by somebody else afterwards.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::GetParams;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::break_glass::BreakGlass;
use super::desired::{MUTATING, Registration, registered_scope, rescope};
use super::registrar::ScopeMode;
use super::scope::Scope;
use crate::admission::validate_sidecarset::{Allowed, Decision};
use crate::admission::{Answer, Cache, Reply};
use crate::api::sidecarset::SidecarSet;
use crate::cluster::{self, WriteError, Written};
use crate::injection::Selector;
use crate::telemetry::{Metrics, WideningResult, seldom};

/// How long a SidecarSet's writer is kept waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Widens what is registered.
pub struct Widening {
    configurations: Api<DynamicObject>,
    mode: ScopeMode,
    registration: watch::Receiver<Registration>,
    cache: Arc<Cache>,
    break_glass: BreakGlass,
    metrics: Arc<Metrics>,
    /// One at a time: this process need not be in conflict with itself.
    turn: Mutex<()>,
}

/// Why Pods of a set may not be sent yet.
#[derive(Debug, thiserror::Error)]
enum WideningError {
    #[error("there is no MutatingWebhookConfiguration {MUTATING}")]
    Absent,
    #[error("{0}")]
    Read(String),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    Slow,
}

impl Widening {
    /// With [`ScopeMode::Broad`] there is nothing to widen.
    #[must_use]
    pub fn new(
        client: Client,
        mode: ScopeMode,
        registration: watch::Receiver<Registration>,
        cache: Arc<Cache>,
        break_glass: BreakGlass,
        metrics: Arc<Metrics>,
    ) -> Self {
        let kind = ApiResource::erase::<MutatingWebhookConfiguration>(&());
        let configurations = Api::all_with(client, &kind);
        Self { configurations, mode, registration, cache, break_glass, metrics, turn: Mutex::default() }
    }

    /// The answer to what was decided about a SidecarSet, with what has to be done before it is stored.
    #[must_use]
    pub fn answer(self: &Arc<Self>, decision: Decision) -> Answer {
        match decision {
            Decision::Final(reply) => reply.into(),
            Decision::Allowed(allowed) if allowed.dry_run => allowed.reply(None).into(),
            Decision::Allowed(allowed) => {
                let widening = self.clone();
                Answer::Later(Box::pin(async move { widening.let_in(*allowed).await }))
            }
        }
    }

    async fn let_in(&self, allowed: Allowed) -> Reply {
        let covered = timeout(PATIENCE, self.cover(&allowed.set)).await.unwrap_or(Err(WideningError::Slow));
        let warning = covered.err().map(|error| {
            self.metrics.widenings(WideningResult::Failed).inc();
            let set = allowed.set.metadata.name.as_deref().unwrap_or_default();
            seldom!(warn, set, %error, "the registration could not be widened for a SidecarSet");
            format!("its Pods may be created without it for a while: outrigger's registration was not widened for it: {error}")
        });
        self.cache.expect(&allowed.set);
        allowed.reply(warning)
    }

    /// Returns when the Pods of this set are sent.
    async fn cover(&self, set: &SidecarSet) -> Result<(), WideningError> {
        if self.mode == ScopeMode::Broad {
            return Ok(());
        }
        // One whose selector cannot be read was stored like this before, and is injected nowhere.
        let selector = set.spec.selector.as_ref().map(|selector| Selector::parse(selector, "spec.selector"));
        let Some(Ok(selector)) = selector else { return Ok(()) };
        let _turn = self.turn.lock().await;
        loop {
            if self.break_glass.allows() == Some(false) {
                return Ok(());
            }
            let read = self.configurations.get_opt(MUTATING).await;
            let present = read.map_err(|error| WideningError::Read(cluster::describe(&error)))?;
            let present = present.ok_or(WideningError::Absent)?;
            let json = serde_json::to_value(&present).map_err(|error| WideningError::Read(error.to_string()))?;
            let registered = registered_scope(&json);
            if registered.as_ref().is_some_and(|scope| scope.covers(&selector)) {
                return Ok(());
            }
            let scope = registered.unwrap_or_default().with(self.needed(set, &selector));
            let operations = rescope(&self.registration.borrow(), &scope, &json);
            // Somebody else's write is a conflict: look again.
            if let Written::Done(now) = cluster::apply::patch(&self.configurations, &present, None, operations).await? {
                self.metrics.widenings(WideningResult::Widened).inc();
                tracing::info!(set = set.metadata.name, "the registration is widened for a SidecarSet");
                return self.heard_of(&now).await;
            }
        }
    }

    /// What all sets need that are known, and this one.
    fn needed(&self, set: &SidecarSet, selector: &Selector) -> Scope {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let snapshot = self.cache.snapshot();
        let others = snapshot.sets().filter(|other| other.name != name).map(|other| (&*other.name, &other.selector));
        Scope::of(others.chain([(name, selector)])).unwrap_or(Scope::Broad)
    }

    /// The API server itself hears of its objects by a watch. It answers this from what that has told, and waits for it.
    async fn heard_of(&self, now: &DynamicObject) -> Result<(), WideningError> {
        let params = GetParams { resource_version: now.resource_version() };
        let read = self.configurations.get_with(MUTATING, &params).await;
        read.map(|_| ()).map_err(|error| WideningError::Read(cluster::describe(&error)))
    }
}
