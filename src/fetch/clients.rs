//! The clients with their kept connections: one for each CA and client certificate, the last used ones.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sha2::{Digest, Sha256};

use super::connector::{Connector, Reach};
use super::credentials::Identity;
use super::error::Problem;
use super::request::Trust;
use super::settings::Limits;
use super::tls;

/// A client with its connections. A clone is the same.
pub(super) type Client = legacy::Client<Connector, Empty<Bytes>>;

/// All clients.
pub(super) struct Clients {
    reach: Reach,
    limits: Limits,
    kept: Mutex<Kept>,
}

/// The clients kept, the last used one last.
struct Kept {
    clients: Vec<(Key, Client)>,
    /// What was refused when their connections were made.
    refused: Arc<HashSet<SocketAddr>>,
}

/// Stands for a CA and a client certificate without holding them.
type Key = [u8; 32];

/// Bytes for the head of an answer.
const LONGEST_HEAD: usize = 64 * 1024;

impl Clients {
    pub fn new(reach: Reach, limits: Limits) -> Self {
        let kept = Kept { clients: Vec::new(), refused: reach.guard.refused.current() };
        Self { reach, limits, kept: Mutex::new(kept) }
    }

    /// The client for whom we trust and what we show.
    pub fn get(&self, trust: &Trust, identity: Option<&Identity>) -> Result<Client, Problem> {
        let key = key(trust, identity);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = self.reach.guard.refused.current();
        if !Arc::ptr_eq(&kept.refused, &refused) {
            // Some connection may lead to what is refused now.
            *kept = Kept { clients: Vec::new(), refused };
        }
        let (key, client) = match kept.clients.iter().position(|(other, _)| *other == key) {
            Some(index) => kept.clients.remove(index),
            None => (key, self.make(trust, identity)?),
        };
        if kept.clients.len() >= self.limits.trusts.max(1) {
            kept.clients.remove(0);
        }
        kept.clients.push((key, client.clone()));
        Ok(client)
    }

    fn make(&self, trust: &Trust, identity: Option<&Identity>) -> Result<Client, Problem> {
        let connector = Connector { reach: self.reach.clone(), tls: Arc::new(tls::config(trust, identity)?) };
        Ok(legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.limits.idle)
            .pool_max_idle_per_host(self.limits.requests_per_host)
            .http1_max_buf_size(LONGEST_HEAD)
            .build(connector))
    }
}

fn key(trust: &Trust, identity: Option<&Identity>) -> Key {
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
