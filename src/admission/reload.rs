//! A serving certificate from files, reloaded without a restart.
//!
//! The content is polled. A watch on the files sees nothing more once the kubelet has swapped the link of a mounted
//! Secret, and a missed change leads to an expired certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::certificate::{CertificateError, CertificatePair, ServingCertificate};
use super::metrics::{Certificate, Metrics};

/// How often the files are read. The kubelet updates a changed Secret after about a minute.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Presents the pair of `folder` while this is polled. On an error, and for a pair that is not valid now, the old pair
/// stays. Each error is logged once and counted.
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
