//! The clients with their kept connections: one for each combination of rules, CA and client certificate, the last used ones.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sha2::{Digest, Sha256};

use super::connector::{Connector, Ways};
use super::credentials::Identity;
use super::error::FetchProblem;
use super::request::Trust;
use super::rules::Rules;
use super::settings::Limits;
use super::tls;

/// A client with its connections. A clone is the same.
pub(super) type Client = legacy::Client<Connector, Full<Bytes>>;

/// All clients.
pub(super) struct Clients {
    ways: Ways,
    limits: Limits,
    /// The last used one last.
    kept: Mutex<Vec<KeptClient>>,
}

/// A client with what its connections were made by: they are good for nothing else.
struct KeptClient {
    rules: Arc<Rules>,
    /// What the rules refused then.
    refused: Arc<HashSet<SocketAddr>>,
    proof: Proof,
    client: Client,
}

/// Stands for a CA and a client certificate without holding them.
type Proof = [u8; 32];

/// Bytes for the head of an answer.
const LONGEST_HEAD: usize = 64 * 1024;

impl Clients {
    pub fn new(ways: Ways, limits: Limits) -> Self {
        Self { ways, limits, kept: Mutex::default() }
    }

    /// The client for these rules, for whom we trust and what we show.
    pub fn get(&self, rules: &Arc<Rules>, trust: &Trust, identity: Option<&Identity>) -> Result<Client, FetchProblem> {
        let proof = proof(trust, identity);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Some connection of the others may lead to what is refused now.
        kept.retain(|kept| Arc::ptr_eq(&kept.refused, &kept.rules.guard.refused.current()));
        let is_same = |kept: &KeptClient| kept.proof == proof && Arc::ptr_eq(&kept.rules, rules);
        let client = if let Some(index) = kept.iter().position(is_same) {
            kept.remove(index)
        } else {
            // Read before the first connection is made.
            let refused = rules.guard.refused.current();
            KeptClient { rules: rules.clone(), refused, proof, client: self.make(rules, trust, identity)? }
        };
        if kept.len() >= self.limits.clients.max(1) {
            kept.remove(0);
        }
        let found = client.client.clone();
        kept.push(client);
        Ok(found)
    }

    fn make(&self, rules: &Arc<Rules>, trust: &Trust, identity: Option<&Identity>) -> Result<Client, FetchProblem> {
        let tls = Arc::new(tls::config(trust, identity)?);
        let connector = Connector { rules: rules.clone(), ways: self.ways.clone(), tls };
        Ok(legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.limits.idle)
            .pool_max_idle_per_host(self.limits.requests_per_host)
            .http1_max_buf_size(LONGEST_HEAD)
            .build(connector))
    }
}

fn proof(trust: &Trust, identity: Option<&Identity>) -> Proof {
    let mut hash = Sha256::new();
    hash.update([u8::from(trust.skip_verify)]);
    let parts = [
        trust.ca_pem.as_ref(),
        identity.map(|identity| &identity.certificate_pem),
        identity.map(|identity| &identity.key_pem),
    ];
    for part in parts {
        // Told apart: none and empty, and where one ends and the next begins.
        hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        hash.update(part.map_or(&[][..], Vec::as_slice));
    }
    hash.finalize().into()
}
