//! What probes are told: the bodies of k8s-sidecar's `/healthz`, true ones, and readiness with its reasons.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::engine::Engine;
use super::options::Part;
use crate::cluster::Watch;
use crate::telemetry::admin::ready_and_metrics;
use crate::telemetry::{Metrics, Readiness};

/// What probes ask about.
#[derive(Clone, Debug)]
pub struct Health {
    /// The files.
    pub(super) engine: Engine,
    /// The watches, by what they follow.
    pub(super) watches: Vec<(Part, Watch)>,
    /// A watch may be without a word for so long.
    pub(super) contact: Duration,
}

impl Health {
    /// What `/healthz` says.
    #[must_use]
    pub fn live(&self) -> (StatusCode, &'static str) {
        if self.engine.problems().is_folder_broken {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT LIVE (folder cannot be written)");
        }
        if !self.engine.is_listed() {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT READY");
        }
        if self.watches.iter().any(|(_, watch)| watch.age().is_none_or(|age| age > self.contact)) {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT LIVE (K8s contact lost)");
        }
        (StatusCode::OK, "OK")
    }

    /// What `/readyz` says: every watch had a complete list, and what it had was written.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let (watches, engine) = (self.watches.clone(), self.engine.clone());
        let readiness = Readiness::new().check("watches", move || {
            let told: Vec<_> = watches.iter().map(|(part, watch)| (part, watch.check())).collect();
            let is_well = told.iter().all(|(_, told)| told.is_ok());
            let text = |(part, told): (&Part, Result<String, String>)| {
                let (Ok(told) | Err(told)) = told;
                format!("{part}: {told}")
            };
            let text = told.into_iter().map(text).collect::<Vec<_>>().join("; ");
            if is_well { Ok(text) } else { Err(text) }
        });
        readiness.check("files", move || {
            let problems = engine.problems();
            let (objects, files) = problems.counts;
            let lesser: Vec<&str> =
                problems.downloads.iter().chain(&problems.objects).flat_map(|told| ["; ", told]).collect();
            let lesser = lesser.concat();
            if problems.files.is_empty() {
                return Ok(format!("{files} of {objects} objects{lesser}"));
            }
            Err(format!("{}{lesser}", problems.files.join("; ")))
        })
    }

    /// `/healthz`, `/readyz` and `/metrics`.
    pub fn router(&self, readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
        let health = self.clone();
        let live = move || {
            let (status, text) = health.live();
            async move { (status, [(header::CONTENT_TYPE, "text/plain")], text).into_response() }
        };
        ready_and_metrics(readiness, metrics).route("/healthz", get(live))
    }
}
