//! What a process serves, whether the objects come from files or from a cluster.

use crate::admission::{Handler, ServingCertificate, Webhook};
use crate::telemetry::Readiness;
use anyhow::Result;
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::sync::Arc;

/// What is served, and what keeps it right meanwhile.
pub(super) struct Job {
    pub webhooks: Vec<(Webhook, Handler)>,
    /// With the check `certificate`.
    pub readiness: Readiness,
    /// Ends by itself, and in bounded time, once nothing is served any more; an end before is a failure of the process.
    pub background: BoxFuture<'static, Result<()>>,
}

/// Not ready while the certificate is not valid.
pub(super) fn check_certificate(readiness: Readiness, shown: &Arc<ServingCertificate>) -> Readiness {
    let shown = shown.clone();
    readiness.check("certificate", move || shown.check(Timestamp::now()))
}
