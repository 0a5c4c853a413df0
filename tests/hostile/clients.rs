//! Well-behaved clients that measure: they send reviews like the API server, with its timeout and retries.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger::admission::Client;
use outrigger::admission::client::Destination;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Raw TLS connections.
pub struct Raw {
    pub address: SocketAddr,
    connector: TlsConnector,
}

/// The outcome of reviews.
#[derive(Debug, Default)]
pub struct Figures {
    /// Latencies of reviews finally answered with 200, from the first attempt to the answer, ascending.
    latencies: Vec<Duration>,
    pub at_once: usize,
    pub failures: Vec<String>,
}

/// The API server's timeout for a webhook, including retries.
const PATIENCE: Duration = Duration::from_secs(5);
/// The number of clients, each with a connection, and the pause between two reviews of a client.
const CLIENTS: usize = 4;
const PACE: Duration = Duration::from_millis(20);

impl Raw {
    pub fn new(address: SocketAddr, ca: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM")).expect("a CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, connector: TlsConnector::from(Arc::new(config)) }
    }

    pub async fn handshake(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(ServerName::IpAddress(self.address.ip().into()), tcp).await
    }
}

impl Figures {
    pub fn reviews(&self) -> usize {
        self.latencies.len() + self.failures.len()
    }

    pub fn answered(&self) -> usize {
        self.latencies.len()
    }

    /// Returns the latency that this many of a thousand did not exceed.
    pub fn quantile(&self, permille: usize) -> Duration {
        let index = (self.latencies.len() * permille / 1000).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).copied().unwrap_or_default()
    }

    fn add(&mut self, took: Duration, outcome: Result<usize, String>) {
        match outcome {
            Ok(tries) => {
                self.latencies.push(took);
                self.at_once += usize::from(tries == 1);
            }
            Err(failure) => self.failures.push(failure),
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.latencies.extend(other.latencies);
        self.latencies.sort_unstable();
        self.at_once += other.at_once;
        self.failures.extend(other.failures);
        self
    }
}

/// Sends reviews at a steady pace for this time.
pub async fn steady(target: &Destination, review: &Bytes, time: Duration) -> Figures {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (target, review) = (target.clone(), review.clone());
        clients.spawn(async move {
            let (mut figures, mut client) = (Figures::default(), None);
            let (begin, mut ticks) = (Instant::now(), interval(PACE));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            while begin.elapsed() < time {
                ticks.tick().await;
                let sent = Instant::now();
                let tried = patiently(&target, &mut client, &review).await;
                figures.add(sent.elapsed(), tried);
            }
            figures
        });
    }
    clients.join_all().await.into_iter().fold(Figures::default(), Figures::merge)
}

/// Sends reviews all at once, each on its own connection.
pub async fn burst(target: &Destination, review: &Bytes, reviews: usize) -> Figures {
    let mut clients = JoinSet::new();
    for _ in 0..reviews {
        let (target, review) = (target.clone(), review.clone());
        clients.spawn(async move {
            let sent = Instant::now();
            let tried = patiently(&target, &mut None, &review).await;
            let mut figures = Figures::default();
            figures.add(sent.elapsed(), tried);
            figures
        });
    }
    clients.join_all().await.into_iter().fold(Figures::default(), Figures::merge)
}

/// Sends a review until it is answered with 200, like the API server: a 503 is retried after a second, a broken connection
/// is not. Returns the number of attempts.
async fn patiently(target: &Destination, client: &mut Option<Client>, review: &Bytes) -> Result<usize, String> {
    let tries = async {
        for tries in 1.. {
            let mut open = match client.take() {
                Some(client) if client.is_open() => client,
                _ => target.connect().await.map_err(|error| error.to_string())?,
            };
            let answer = open.post("/mutate-pod", review.clone()).await.map_err(|error| error.to_string())?;
            *client = Some(open);
            match answer.status.as_u16() {
                200 => return Ok(tries),
                503 => sleep(Duration::from_secs(1)).await,
                other => return Err(format!("{other} {}", String::from_utf8_lossy(&answer.body))),
            }
        }
        unreachable!("it tries until time is over")
    };
    timeout(PATIENCE, tries).await.unwrap_or_else(|_| Err("no answer in 5 s".to_owned()))
}
