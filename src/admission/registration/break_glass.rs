//! The switch that disables outrigger: while a certain `ConfigMap` exists, no webhook is registered.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use tokio::sync::watch;

use super::super::metrics::Metrics;
use crate::cluster::{Feeds, Slice, Watch};
use crate::telemetry::readiness::CheckResult;

/// Name of the `ConfigMap`, in outrigger's own namespace. Its content does not matter.
pub const CONFIG_MAP: &str = "outrigger-disabled";

/// The state of the switch in the cluster. Clones are cheap and share the state.
#[derive(Clone, Debug)]
pub struct BreakGlass {
    on: watch::Receiver<bool>,
    watch: Watch,
    namespace: Arc<str>,
}

impl BreakGlass {
    /// Follows the switch in this namespace.
    #[must_use]
    pub fn subscribe(feeds: &mut Feeds, namespace: &str, metrics: Arc<Metrics>) -> Self {
        let slice = Slice::all::<ConfigMap>(CONFIG_MAP).in_namespace(namespace).metadata_only();
        let (sender, on) = watch::channel(false);
        let sink = move |map: Option<PartialObjectMeta<ConfigMap>>| {
            let now = map.is_some();
            let changed = sender.send_if_modified(|on| std::mem::replace(on, now) != now);
            metrics.registration.disabled.set(now.into());
            if changed && now {
                tracing::warn!("disabled by ConfigMap {CONFIG_MAP}: no webhook is registered, no Pod is injected");
            } else if changed {
                tracing::warn!("enabled again: ConfigMap {CONFIG_MAP} is gone, the webhooks are registered");
            }
        };
        let watch = feeds.subscribe_one(slice, CONFIG_MAP, sink);
        Self { on, watch, namespace: namespace.into() }
    }

    /// Returns whether webhooks may be registered; `None` while that is not known yet.
    #[must_use]
    pub fn allows(&self) -> Option<bool> {
        self.watch.is_synced().then(|| !*self.on.borrow())
    }

    /// Returns when the switch has changed or its state becomes known.
    pub async fn turned(&mut self) {
        if !self.watch.is_synced() {
            return self.watch.synced().await;
        }
        if self.on.changed().await.is_err() {
            std::future::pending::<()>().await; // the watch is gone: the process ends
        }
    }

    /// Returns the state for `/readyz`.
    ///
    /// # Errors
    /// The state is not known yet.
    pub fn check(&self) -> CheckResult {
        let known = self.watch.check()?;
        let map = format!("ConfigMap {}/{CONFIG_MAP}", self.namespace);
        Ok(if *self.on.borrow() {
            format!("DISABLED: no webhook is registered while {map} exists; {known}")
        } else {
            format!("enabled: there is no {map}; {known}")
        })
    }
}
