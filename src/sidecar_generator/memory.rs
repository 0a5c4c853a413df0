//! Pure: what the leader remembers of a SidecarGenerator during its term, and when it fetches and writes again.

use super::answer::{AnswerProblem, Good, INVALID_ANSWER, compare};
use super::generator::{ObservedGenerator, UsableSpec};
use crate::cluster::Repairs;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// The pause after the first failed fetch. It doubles with each further one, up to the period.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The memory of one SidecarGenerator.
#[derive(Debug, Default)]
pub struct GeneratorMemory {
    /// The generation of the fetch in progress.
    pub fetching: Option<i64>,
    /// The result of the last fetch.
    pub fetched: Option<Fetched>,
    /// The last good answer.
    pub good: Option<Good>,
    /// When to fetch next, after a fetch.
    pub due: Option<Timestamp>,
    /// The writes of the Sidecar.
    pub writes: Repairs,
    /// Why the last write failed.
    pub write_problem: Option<String>,
    /// Names of other Sidecars that select a Pod which its Sidecar selects too.
    pub sharing: BTreeSet<String>,
    /// Consecutive failed fetches.
    failures: u32,
}

/// The result of a fetch.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its generation.
    pub generation: i64,
    /// When it ended.
    pub at: Timestamp,
    /// Its problem.
    pub problem: Option<AnswerProblem>,
}

/// A finished fetch.
#[derive(Debug)]
pub struct Ended {
    /// The answer; `None` if nothing has changed.
    pub answer: Result<Option<Good>, AnswerProblem>,
    /// Other Sidecars that select a Pod which this one selects too; `None` if they were not checked.
    pub sharing: Option<BTreeSet<String>>,
    /// The time.
    pub at: Timestamp,
    /// A random number from 0 to 1.
    pub random: f64,
}

impl GeneratorMemory {
    /// Handles a finished fetch. `hosts` is the number of the Sidecar's hosts, if it is the generator's own; `floor` is the
    /// minimum period.
    pub fn take(
        &mut self,
        ended: Ended,
        generator: &ObservedGenerator,
        spec: &UsableSpec,
        hosts: Option<usize>,
        floor: Duration,
    ) {
        let Ended { answer, sharing, at, random } = ended;
        let period = spec.period.max(floor);
        let (pause, problem) = match self.keep(answer, generator, spec, hosts) {
            Ok(()) => {
                self.failures = 0;
                (period + spec.jitter.mul_f64(random), None)
            }
            Err(problem) => {
                let pause = self.retry_pause(&problem, period, random);
                self.failures = self.failures.saturating_add(1);
                (pause, Some(problem))
            }
        };
        if let Some(sharing) = sharing {
            self.sharing = sharing;
        }
        self.fetching = None;
        self.fetched = Some(Fetched { generation: generator.generation, at, problem });
        self.due = at.checked_add(pause).ok();
    }

    /// Keeps a good answer.
    fn keep(
        &mut self,
        answer: Result<Option<Good>, AnswerProblem>,
        generator: &ObservedGenerator,
        spec: &UsableSpec,
        hosts: Option<usize>,
    ) -> Result<(), AnswerProblem> {
        let known = self.good.as_ref();
        match answer? {
            Some(good) => {
                compare(&good, spec, known.map(|known| known.hosts).or(hosts))?;
                if known.is_none_or(|known| known.hash != good.hash) {
                    self.writes = Repairs::default();
                }
                self.good = Some(good);
                Ok(())
            }
            None if known.is_some_and(|good| good.generation == generator.generation) => Ok(()),
            None => Err(AnswerProblem::new(
                INVALID_ANSWER,
                "the server answers that nothing has changed, but there was no earlier answer",
            )),
        }
    }

    /// Returns between half and all of a time that doubles with each failure, but at least as long as the server asks
    /// for.
    fn retry_pause(&self, problem: &AnswerProblem, period: Duration, random: f64) -> Duration {
        let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(period);
        doubled.mul_f64(0.5 + random / 2.0).max(problem.retry_after.unwrap_or_default().min(period))
    }

    /// Whether the last fetch failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Returns the last fetch, if it was for this generation.
    #[must_use]
    pub fn fetched_for(&self, generation: i64) -> Option<&Fetched> {
        self.fetched.as_ref().filter(|fetched| fetched.generation == generation)
    }
}
