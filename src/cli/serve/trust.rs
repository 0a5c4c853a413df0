//! What keeps the certificate of a replica in a cluster, and the API server's trust in it, in each of the modes.

use super::certificates::{CaFile, Source};
use super::check_certificate;
use crate::admission::Metrics;
use crate::admission::ServingCertificate;
use crate::admission::authority::Keeper;
use crate::admission::registration::{Registrar, Registration, keep_in_sync_metric};
use crate::cluster::{Tasks, Term, Watch};
use crate::telemetry::Readiness;
use anyhow::Result;
use jiff::Timestamp;
use kube::Client;
use std::sync::Arc;
use tokio::sync::watch::Sender;

/// What is kept.
#[derive(Clone)]
pub(super) struct Trust {
    certificate: Arc<ServingCertificate>,
    metrics: Arc<Metrics>,
    /// Self-managed only.
    keeper: Option<(Arc<Keeper>, Watch)>,
}

impl Trust {
    /// Starts what every replica does.
    pub fn start(
        args: &super::Args,
        source: Source,
        client: &Client,
        certificate: &Arc<ServingCertificate>,
        registration: Sender<Registration>,
        metrics: &Arc<Metrics>,
        tasks: &mut Tasks,
    ) -> Result<Self> {
        let namespace = args.cluster.namespace();
        let mut keeper = None;
        match source {
            Source::Files(folder) => {
                let file = CaFile::of(&args.certificates, &folder);
                let pem = file.read()?;
                registration.send_modify(|registration| registration.ca_bundle = Some(pem));
                tasks.spawn_until_shutdown("the CA's file", file.keep_registered(registration));
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
                    metrics.clone(),
                ));
                let (watch, task) = kept.watch();
                tasks.spawn_until_shutdown("the watch of the CA", task);
                tasks.spawn_until_shutdown("the CA", {
                    let kept = kept.clone();
                    async move { kept.run().await }
                });
                keeper = Some((kept, watch));
            }
            Source::Made => {} // not in a cluster
        }
        Ok(Self { certificate: certificate.clone(), metrics: metrics.clone(), keeper })
    }

    /// Registers the webhooks and keeps them trusted while this replica leads.
    pub async fn lead(self, registrar: Registrar, term: Term) {
        let published = registrar.published.subscribe();
        let work = async {
            let register = registrar.run(term.clone());
            match &self.keeper {
                Some((keeper, secret)) => {
                    // What another leader has announced since must not be taken back.
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

    /// The watch of the CA, if there is one.
    pub fn watch(&self) -> Option<Watch> {
        self.keeper.as_ref().map(|(_, watch)| watch.clone())
    }

    /// Not ready without a certificate that is trusted.
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
