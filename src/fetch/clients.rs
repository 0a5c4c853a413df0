//! HTTP clients with their idle connections: one for each combination of rules, CA and client certificate, up to a
//! maximum number.

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

/// A client with its connections. Clones share them.
pub(super) type Client = legacy::Client<Connector, Full<Bytes>>;

/// All clients.
pub(super) struct Clients {
    ways: Ways,
    limits: Limits,
    /// The most recently used one is last.
    kept: Mutex<Vec<KeptClient>>,
}

/// A client with the parameters of its connections, which must not be used with others.
struct KeptClient {
    rules: Arc<Rules>,
    /// The refused addresses at that time.
    refused: Arc<HashSet<SocketAddr>>,
    proof: Proof,
    client: Client,
}

/// Identifies a CA and a client certificate without containing them.
type Proof = [u8; 32];

/// The maximum size of the head of an answer.
const LONGEST_HEAD: usize = 64 * 1024;

impl Clients {
    pub fn new(ways: Ways, limits: Limits) -> Self {
        Self { ways, limits, kept: Mutex::default() }
    }

    /// Returns the client for these rules, trust and identity.
    pub fn get(&self, rules: &Arc<Rules>, trust: &Trust, identity: Option<&Identity>) -> Result<Client, FetchProblem> {
        let proof = proof(trust, identity);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection of another client may lead to an address that is now refused.
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
        // Distinguishes absent from empty, and marks the ends of the parts.
        hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        hash.update(part.map_or(&[][..], Vec::as_slice));
    }
    hash.finalize().into()
}
