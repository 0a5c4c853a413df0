//! The switch that takes outrigger out of everybody's way: while a certain `ConfigMap` exists, no webhook is registered.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::sync::watch;

use super::super::metrics::Metrics;
use crate::cluster::{self, Event, Watch};
use crate::telemetry::readiness::CheckResult;

/// Name of the `ConfigMap`, in outrigger's own namespace. What is in it does not matter.
pub const CONFIG_MAP: &str = "outrigger-disabled";

/// The switch, as the cluster has it. A cheap clone is the same switch.
#[derive(Clone, Debug)]
pub struct BreakGlass {
    on: watch::Receiver<bool>,
    watch: Watch,
    namespace: Arc<str>,
}

impl BreakGlass {
    /// Watches the switch in this namespace: spawn the future.
    pub fn watch(
        client: Client,
        namespace: &str,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let api = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client, namespace);
        let only = Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        let (sender, on) = watch::channel(false);
        let (watch, task) = cluster::watch(CONFIG_MAP, api, only, move |event| {
            let now = match event {
                Event::Reset(maps) => !maps.is_empty(),
                Event::Applied(_) => true,
                Event::Deleted(_) => false,
            };
            let changed = sender.send_if_modified(|on| std::mem::replace(on, now) != now);
            metrics.registration.disabled.set(now.into());
            if changed && now {
                tracing::warn!("disabled by ConfigMap {CONFIG_MAP}: no webhook is registered, no Pod is injected");
            } else if changed {
                tracing::warn!("enabled again: ConfigMap {CONFIG_MAP} is gone, the webhooks are registered");
            }
        });
        (Self { on, watch, namespace: namespace.into() }, task)
    }

    /// The watch of it.
    #[must_use]
    pub fn watched(&self) -> Watch {
        self.watch.clone()
    }

    /// Whether webhooks may be registered; `None` while that is not known yet.
    #[must_use]
    pub fn allows(&self) -> Option<bool> {
        self.watch.is_synced().then(|| !*self.on.borrow())
    }

    /// Returns when the switch was turned, or became known.
    pub async fn turned(&mut self) {
        if !self.watch.is_synced() {
            return self.watch.synced().await;
        }
        if self.on.changed().await.is_err() {
            std::future::pending::<()>().await; // the watch is gone: the process ends
        }
    }

    /// What `/readyz` says.
    ///
    /// # Errors
    /// While it is not known.
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
