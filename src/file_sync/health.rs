//! What probes are told: the bodies of k8s-sidecar's `/healthz`, true ones, and readiness with its reasons.

use std::fmt::Write as _;
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

/// At most this many problems are told.
const MOST_TOLD: usize = 20;

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
    /// What `/healthz` says: whether a new start may help.
    #[must_use]
    pub fn live(&self) -> (StatusCode, &'static str) {
        if self.engine.is_folder_broken() {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT LIVE (folder cannot be written)");
        }
        // A namespace that is forbidden from the start is no reason to start again: `/readyz` tells of it.
        let ages: Vec<Duration> = self.watches.iter().filter_map(|(_, watch)| watch.age()).collect();
        if ages.is_empty() {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT READY");
        }
        if ages.iter().any(|age| *age > self.contact) {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT LIVE (K8s contact lost)");
        }
        (StatusCode::OK, "OK")
    }

    /// What `/readyz` says: every watch had a complete list, and files can be written.
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
            let told = problems.files.iter().chain(&problems.downloads).chain(&problems.objects);
            let more = told.clone().count().saturating_sub(MOST_TOLD);
            let mut told = told.take(MOST_TOLD).flat_map(|told| ["; ", told]).collect::<String>();
            if more > 0 {
                let _ = write!(told, "; and {more} more problems");
            }
            let told = format!("{files} of {objects} objects{told}");
            // What is wrong with one object keeps no app from starting.
            if problems.is_folder_broken { Err(told) } else { Ok(told) }
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
