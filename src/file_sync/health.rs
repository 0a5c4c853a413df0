//! Answers to probes: the bodies of k8s-sidecar's `/healthz`, with true content, and readiness with reasons.

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

/// At most this many problems are reported.
const MOST_TOLD: usize = 20;

/// The state for probes.
#[derive(Clone, Debug)]
pub struct Health {
    /// The files.
    pub(super) engine: Engine,
    /// The watches with their parts.
    pub(super) watches: Vec<(Part, Watch)>,
    /// The maximum time without contact for a watch.
    pub(super) contact: Duration,
}

impl Health {
    /// Returns the answer of `/healthz`: whether a restart may help.
    #[must_use]
    pub fn live(&self) -> (StatusCode, &'static str) {
        if self.engine.is_folder_broken() {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT LIVE (folder cannot be written)");
        }
        // A namespace that was forbidden from the start is not a reason to restart. `/readyz` reports it.
        let ages: Vec<Duration> = self.watches.iter().filter_map(|(_, watch)| watch.age()).collect();
        if ages.is_empty() {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT READY");
        }
        if ages.iter().any(|age| *age > self.contact) {
            return (StatusCode::SERVICE_UNAVAILABLE, "NOT LIVE (K8s contact lost)");
        }
        (StatusCode::OK, "OK")
    }

    /// Returns the answer of `/readyz`: every watch had a complete list, and files can be written.
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
            // A problem of one object prevents no app from starting.
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
