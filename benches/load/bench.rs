//! The common part of all measurements: the client's runtime, and the first answer of a server, with which the others
//! are compared.

use crate::run::Exchange;
use crate::scenario::Scenario;
use crate::server::{Server, ticks_per_second};
use anyhow::{Result, ensure};
use bytes::Bytes;
use outrigger::admission::client::{Answer, Destination};

/// The path of Pods' reviews.
const PATH: &str = "/mutate-pod";

pub struct Bench {
    /// A single thread leaves the rest of a small machine to the server, and wakes no other thread.
    pub runtime: tokio::runtime::Runtime,
    /// Ticks of the kernel's clock per second.
    pub ticks: u64,
    /// Only one in so many reviews is sent.
    pub share: usize,
}

impl Bench {
    pub fn new(share: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, ticks: ticks_per_second()?, share })
    }

    pub fn first_answer(&self, target: &Destination, path: &str, body: &Bytes) -> Result<Answer> {
        self.runtime.block_on(async { Ok(target.connect().await?.post(path, body.clone()).await?) })
    }

    /// Returns the review of a scenario and the expected form of all answers, after a check of the first one.
    pub fn exchange(&self, server: &Server, body: &Bytes, scenario: Scenario) -> Result<Exchange> {
        let answer = self.first_answer(&server.target, PATH, body)?;
        let start = scenario.check(&answer)?;
        Ok(Exchange { path: PATH, body: body.clone(), status: 200, start, length: answer.body.len() })
    }

    /// Returns a review whose answers are all as long as the first, for a server that injects nothing.
    pub fn exchange_like_first(&self, server: &Server, body: &Bytes) -> Result<Exchange> {
        let answer = self.first_answer(&server.target, PATH, body)?;
        ensure!(answer.status == 200, "not answered 200");
        Ok(Exchange { path: PATH, body: body.clone(), status: 200, start: Bytes::new(), length: answer.body.len() })
    }
}
