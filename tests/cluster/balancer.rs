//! Replaces the Service between the API server and the replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use outrigger_testbed::ControlPlane;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::certificates::Certificates;
use crate::outrigger::{Outrigger, Start, install, registered};

/// New connections go to the replicas in turn, and to the next one if one does not answer. Open connections are not
/// moved.
pub struct Balancer {
    /// The URL of the replicas for the API server.
    pub url: String,
    replicas: watch::Sender<Vec<u16>>,
    accepted: Arc<AtomicUsize>,
}

impl Balancer {
    /// Installs what outrigger needs, and starts a balancer. Also returns how replicas behind it start.
    pub async fn install(plane: &ControlPlane, certificates: &Certificates) -> Result<(Self, Start)> {
        let (kubeconfig, balancer) = (install(plane).await?, Self::start().await?);
        let url = Some(balancer.url.clone());
        let start = Start { url, args: certificates.arguments(), ..Start::with(&kubeconfig) };
        Ok((balancer, start))
    }

    /// Starts without replicas.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://127.0.0.1:{}", listener.local_addr()?.port());
        let balancer = Self { url, replicas: watch::Sender::default(), accepted: Arc::default() };
        let (replicas, accepted) = (balancer.replicas.subscribe(), balancer.accepted.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let turn = accepted.fetch_add(1, Ordering::Relaxed);
                let replicas = replicas.borrow().clone();
                tokio::spawn(async move {
                    for next in 0..replicas.len() {
                        let port = replicas[(turn + next) % replicas.len()];
                        if let Ok(mut replica) = TcpStream::connect(("127.0.0.1", port)).await {
                            _ = copy_bidirectional(&mut client, &mut replica).await;
                            return;
                        }
                    }
                });
            }
        });
        Ok(balancer)
    }

    /// Sets the webhook ports for new connections.
    pub fn lead_to(&self, replicas: impl Into<Vec<u16>>) {
        self.replicas.send_replace(replicas.into());
    }

    /// Starts two replicas behind this that are ready and registered.
    pub async fn pair(&self, plane: &ControlPlane, start: Start) -> Result<[Outrigger; 2]> {
        let replicas = [Outrigger::start(plane, start.clone())?, Outrigger::start(plane, start)?];
        self.lead_to([replicas[0].webhook, replicas[1].webhook]);
        for replica in &replicas {
            replica.ready().await?;
        }
        registered(plane).await?;
        Ok(replicas)
    }

    /// Returns the number of connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}
