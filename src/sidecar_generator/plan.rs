//! Pure: plans for one SidecarGenerator from what was observed and what is remembered.

use super::generator::{ObservedGenerator, UsableSpec};
use super::memory::GeneratorMemory;
use super::mesh_wide;
use super::neighbours::Neighbours;
use super::sidecar::{ObservedSidecar, Ownership};
use super::status::{self, GeneratorStanding, Times};
use super::write::{Write, write};
use crate::api::keys;
use crate::api::sidecar_generator::SidecarGeneratorStatus;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::time::Duration;

/// The spec cannot be used.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// The Sidecar of that name belongs to somebody else.
pub const NOT_OWNED: &str = "NotOwned";
/// Istio's Sidecars are not installed.
pub const NOT_INSTALLED: &str = "SidecarsNotInstalled";
/// The Sidecar of that name is being deleted.
pub const BEING_DELETED: &str = "SidecarBeingDeleted";
/// The Sidecar cannot be written.
pub const WRITE_FAILED: &str = "WriteFailed";

/// The state around a SidecarGenerator.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The Sidecars of its namespace, including its own.
    pub neighbours: Option<&'a Neighbours>,
    /// Whether the API server serves Istio's Sidecars.
    pub installed: bool,
    /// Istio's root namespace.
    pub root_namespace: &'a str,
    /// The minimum period.
    pub floor: Duration,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Whether to fetch.
    pub fetch: Fetch,
    /// The write, if any. The plan after it does the rest.
    pub write: Option<Write>,
    /// The status, if it must be written.
    pub status: Option<SidecarGeneratorStatus>,
    /// When to look again if nothing happens before.
    pub wake: Option<Duration>,
}

/// What to do about fetches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// None is needed. End one in progress.
    #[default]
    Stop,
    /// Change nothing.
    Leave,
    /// Begin one, and replace one in progress.
    Start,
}

/// Plans for one SidecarGenerator.
#[must_use]
pub fn plan(generator: &ObservedGenerator, around: Around<'_>, memory: &GeneratorMemory, now: Timestamp) -> Plan {
    if generator.deleting {
        return Plan::default();
    }
    let plan = of_present(generator, around, memory, now);
    Plan { status: mesh_wide::told(generator, around.root_namespace, plan.status, now), ..plan }
}

/// Plans for a SidecarGenerator that is not being deleted.
fn of_present(generator: &ObservedGenerator, around: Around<'_>, memory: &GeneratorMemory, now: Timestamp) -> Plan {
    let spec = match &generator.usable {
        Ok(spec) => spec,
        Err(problem) => return held(generator, &GeneratorStanding::stalled(INVALID_SPEC, problem), now),
    };
    if spec.suspended {
        return Plan { status: status::suspended(generator), ..Plan::default() };
    }
    if !around.installed {
        let message = "Istio's Sidecar kind is not installed in this cluster (networking.istio.io/v1); waiting for it";
        return held(generator, &GeneratorStanding::failing(NOT_INSTALLED, message), now);
    }
    let sidecar = around.neighbours.and_then(|neighbours| neighbours.get(&generator.key.name)).map(AsRef::as_ref);
    match sidecar.map(|sidecar| sidecar.ownership(generator)) {
        None | Some(Ownership::Own) => own(generator, spec, sidecar, around, memory, now),
        Some(Ownership::OfPredecessor) => {
            let message =
                "the Sidecar belongs to a deleted SidecarGenerator of the same name; it is recreated once it is gone";
            held(generator, &GeneratorStanding::failing(BEING_DELETED, message), now)
        }
        Some(Ownership::Foreign(by)) => {
            held(generator, &GeneratorStanding::stalled(NOT_OWNED, foreign(by.as_deref())), now)
        }
    }
}

fn foreign(by: Option<&str>) -> String {
    match by {
        Some(by) => format!(
            "the Sidecar of this name is controlled by {by}; rename the SidecarGenerator, or delete the Sidecar"
        ),
        None => format!(
            "the Sidecar of this name was created by somebody else, or has lost its owner and its hash; delete it, \
             annotate it {}: \"true\" to let outrigger take it over, or rename the SidecarGenerator",
            keys::ADOPT
        ),
    }
}

/// Does nothing except for reporting the reason.
fn held(generator: &ObservedGenerator, state: &GeneratorStanding, now: Timestamp) -> Plan {
    Plan { status: status::status(generator, state, Times::default(), None, now), ..Plan::default() }
}

/// Plans for a SidecarGenerator whose Sidecar is its own, or does not exist yet.
fn own(
    generator: &ObservedGenerator,
    spec: &UsableSpec,
    sidecar: Option<&ObservedSidecar>,
    around: Around<'_>,
    memory: &GeneratorMemory,
    now: Timestamp,
) -> Plan {
    let due = due(generator, spec, sidecar, around.floor, memory, now);
    let fetch = if memory.fetching == Some(generator.generation) || due > now { Fetch::Leave } else { Fetch::Start };
    let mut wakes = Vec::new();
    if memory.fetching != Some(generator.generation) && due > now {
        wakes.push(Duration::try_from(due.duration_since(now)).unwrap_or_default());
    }
    let wanted = match (&memory.good, sidecar) {
        (Some(_), Some(sidecar)) if sidecar.deleting => None,
        (Some(good), sidecar) => write(generator, sidecar, good),
        (None, _) => None,
    };
    let pause = memory.writes.pause(now);
    if wanted.is_some() && !pause.is_zero() {
        wakes.push(pause);
    }
    let status = state(generator, sidecar, memory, wanted.is_some());
    let overlapping = overlapping(generator, sidecar, around, memory, now);
    let status = match (status, overlapping) {
        (Some((state, last)), overlapping) => {
            let times = Times { last, next: memory.due };
            status::status(generator, &state, times, overlapping, now)
        }
        // An earlier leader has reported everything.
        (None, Some(overlapping)) if generator.status.observed_generation == Some(generator.generation) => {
            status::with(generator, overlapping)
        }
        (None, _) => None,
    };
    let write = wanted.filter(|_| pause.is_zero());
    Plan { fetch, write, status, wake: wakes.into_iter().min() }
}

/// Returns when to fetch.
fn due(
    generator: &ObservedGenerator,
    spec: &UsableSpec,
    sidecar: Option<&ObservedSidecar>,
    floor: Duration,
    memory: &GeneratorMemory,
    now: Timestamp,
) -> Timestamp {
    let planned = if memory.fetched_for(generator.generation).is_some() {
        memory.due
    } else {
        let is_settled = generator.status.observed_generation == Some(generator.generation)
            && sidecar.is_some_and(|sidecar| {
                !sidecar.deleting && sidecar.is_untouched() && sidecar.owners_to_set(generator).is_none()
            });
        generator.status.next_sidecar_generator_update.as_ref().map(|next| next.0).filter(|_| is_settled)
    };
    // Later than any period means that the clock was set back.
    let latest = now.checked_add(spec.period.max(floor) + spec.jitter).unwrap_or(now);
    planned.filter(|due| *due <= latest).unwrap_or(now)
}

/// Returns the state after the last fetch, with its time on success; `None` while the reported state is still valid.
fn state(
    generator: &ObservedGenerator,
    sidecar: Option<&ObservedSidecar>,
    memory: &GeneratorMemory,
    to_be_written: bool,
) -> Option<(GeneratorStanding, Option<Timestamp>)> {
    let Some(fetched) = memory.fetched_for(generator.generation) else {
        // kstatus considers an object without conditions ready:
        // https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
        return generator.status.conditions.is_empty().then(|| (GeneratorStanding::begun(), None));
    };
    if let Some(problem) = &fetched.problem {
        return Some((GeneratorStanding::failing(problem.reason, problem.message.as_str()), None));
    }
    if sidecar.is_some_and(|sidecar| sidecar.deleting) {
        let message = "the Sidecar is being deleted; it is recreated once it is gone";
        return Some((GeneratorStanding::failing(BEING_DELETED, message), None));
    }
    if let (true, Some(problem)) = (to_be_written, &memory.write_problem) {
        return Some((GeneratorStanding::failing(WRITE_FAILED, problem.as_str()), None));
    }
    let warnings = memory.good.as_ref().map_or("", |good| good.warnings.as_str());
    (!to_be_written).then(|| (GeneratorStanding::current(warnings), Some(fetched.at)))
}

/// Returns the condition about other Sidecars, once the Sidecar exists.
fn overlapping(
    generator: &ObservedGenerator,
    sidecar: Option<&ObservedSidecar>,
    around: Around<'_>,
    memory: &GeneratorMemory,
    now: Timestamp,
) -> Option<Condition> {
    let overlaps = around.neighbours?.overlaps(sidecar?);
    let has_selector = sidecar?.labels().is_some();
    Some(status::overlapping(&overlaps, &memory.sharing, has_selector, generator.generation, now))
}

#[cfg(test)]
mod tests;
