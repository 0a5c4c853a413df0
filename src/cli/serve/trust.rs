//! The certificate of a replica in a cluster, and the API server's trust in it, for each mode.

use super::certificates::{CaFile, Source};
use super::flags::Args;
use super::job::check_certificate;
use super::part::Common;
use crate::admission::authority::Keeper;
use crate::admission::registration::{Registrar, Registration, WatchedTargets, keep_in_sync_metric};
use crate::admission::{Metrics, ServingCertificate};
use crate::cluster::{Feeds, Tasks, Term, Watch};
use crate::telemetry::Readiness;
use anyhow::Result;
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::watch::Sender;

/// The certificate and its trust.
#[derive(Clone)]
pub(super) struct Trust {
    certificate: Arc<ServingCertificate>,
    metrics: Arc<Metrics>,
    /// Only in self-managed mode.
    keeper: Option<(Arc<Keeper>, Watch)>,
}

impl Trust {
    /// Starts the part of every replica.
    pub fn start(
        args: &Args,
        source: Source,
        common: &Common,
        certificate: &Arc<ServingCertificate>,
        registration: Sender<Registration>,
        feeds: &mut Feeds,
        tasks: &mut Tasks,
    ) -> Result<Self> {
        let (namespace, Common { client, reviews, .. }) = (args.cluster.namespace(), common);
        let mut keeper = None;
        match source {
            Source::Files(folder) => {
                let file = CaFile::of(&args.certificates, &folder);
                let pem = file.read()?;
                registration.send_modify(|registration| registration.ca_bundle = Some(pem));
                tasks.spawn_until_stop("the CA's file", file.keep_registered(registration));
            }
            Source::CertManager(_) => {
                let certificate = args.certificates.certificate(namespace);
                registration.send_modify(|registration| registration.inject_ca_from = Some(certificate));
            }
            Source::SelfManaged(times) => {
                let mut names = args.certificates.names(args.listen);
                names.extend(args.cluster.server_names());
                let kept = Arc::new(Keeper::new(
                    client.clone(),
                    namespace,
                    names.into_iter().collect(),
                    times,
                    certificate.clone(),
                    registration,
                    reviews.clone(),
                ));
                let watch = kept.subscribe(feeds, namespace);
                tasks.spawn_until_stop("the CA", {
                    let kept = kept.clone();
                    async move { kept.run().await }
                });
                keeper = Some((kept, watch));
            }
            Source::Made => {} // never in a cluster
        }
        Ok(Self { certificate: certificate.clone(), metrics: reviews.clone(), keeper })
    }

    /// Registers the webhooks and keeps them trusted while this replica leads.
    pub async fn lead(self, registrar: Registrar, targets: WatchedTargets, term: Term) {
        let published = registrar.published.subscribe();
        let work = async {
            let register = registrar.run(term.clone(), targets);
            match &self.keeper {
                Some((keeper, secret)) => {
                    // The announcement of another leader must not be reverted.
                    secret.fresh().await;
                    tokio::join!(register, keeper.renew(term.clone(), published.clone()));
                }
                None => register.await,
            }
        };
        let work = async {
            tokio::select! {
                () = term.ended() => {}
                () = work => {}
            }
        };
        tokio::join!(work, keep_in_sync_metric(&term, published.clone(), &self.certificate, &self.metrics));
    }

    /// Makes the process not ready without a trusted certificate.
    pub fn check(&self, readiness: Readiness) -> Readiness {
        match self.keeper.clone() {
            Some((keeper, secret)) => readiness.check("certificate", move || {
                keeper.check(Timestamp::now()).map_err(|wrong| match secret.problem() {
                    Some(problem) => format!("{wrong}: {problem}"),
                    None => wrong,
                })
            }),
            None => check_certificate(readiness, &self.certificate),
        }
    }
}
