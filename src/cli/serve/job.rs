//! What a process serves, from files or from a cluster.

use crate::admission::{Handler, ServingCertificate, Webhook};
use crate::telemetry::Readiness;
use anyhow::Result;
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::sync::Arc;

/// The handlers, and the background work for them.
pub(super) struct Job {
    pub webhooks: Vec<(Webhook, Handler)>,
    /// Includes the check `certificate`.
    pub readiness: Readiness,
    /// Ends by itself in limited time after the server has stopped. If it ends earlier, the process fails.
    pub background: BoxFuture<'static, Result<()>>,
}

/// Makes the process not ready while the certificate is not valid.
pub(super) fn check_certificate(readiness: Readiness, shown: &Arc<ServingCertificate>) -> Readiness {
    let shown = shown.clone();
    readiness.check("certificate", move || shown.check(Timestamp::now()))
}
