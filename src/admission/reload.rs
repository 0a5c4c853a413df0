//! A serving certificate from files, read again and again while it is served.
//!
//! The content is polled: a watch on the files sees nothing more once the kubelet has swapped the link of a mounted Secret, and
//! a change that is missed ends in an expired certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::certificate::{CertificateError, CertificatePair, ServingCertificate};
use super::metrics::{Certificate, Metrics};

/// How often the files are read. The kubelet brings a changed Secret after a minute or so.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Shows the pair of `folder` for as long as this is polled, whatever becomes of the files: on any error, and for a pair that is
/// not valid now, the pair shown before stays. Each is logged once and counted.
pub async fn reload(folder: PathBuf, serving: Arc<ServingCertificate>, metrics: Arc<Metrics>, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last_problem = None;
    loop {
        ticks.tick().await;
        let read = folder.clone();
        let pair = match tokio::task::spawn_blocking(move || usable(&read)).await {
            Ok(pair) => pair,
            Err(error) => Err(error.to_string()),
        };
        metrics.certificates.reads.inc();
        match pair {
            Ok(pair) => {
                last_problem = None;
                if !serving.current().is_some_and(|current| pair.is_same_as(&current)) {
                    tracing::info!(not_after = %pair.not_after(), "a new serving certificate is in use");
                    metrics.certificates.expiration(Certificate::Serving).set(pair.not_after().as_second());
                    metrics.certificates.renewals(Certificate::Serving, true).inc();
                    serving.replace(pair);
                }
            }
            Err(problem) => {
                metrics.certificates.read_errors.inc();
                if last_problem.as_ref() != Some(&problem) {
                    metrics.certificates.renewals(Certificate::Serving, false).inc();
                    tracing::error!(problem, "the serving certificate cannot be renewed; the present one stays in use");
                }
                last_problem = Some(problem);
            }
        }
    }
}

fn usable(folder: &Path) -> Result<CertificatePair, String> {
    let pair = CertificatePair::from_dir(folder).map_err(|error: CertificateError| error.to_string())?;
    if pair.is_valid(Timestamp::now()) {
        Ok(pair)
    } else {
        let (from, to) = (pair.not_before(), pair.not_after());
        Err(format!("{}: tls.crt is valid from {from} to {to}, not now", folder.display()))
    }
}
