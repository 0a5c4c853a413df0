//! The measured scenarios: the number of SidecarSets, which of them match, and the Pod.

use crate::cases::{self, Matching};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outrigger::admission::client::Answer;
use serde_json::Value;

/// A measured combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// `SidecarSets` in total.
    pub sets: usize,
    /// Which of them match.
    pub matching: Matching,
    /// Containers of the Pod.
    pub containers: usize,
}

const fn scenario(sets: usize, matching: Matching, containers: usize) -> Scenario {
    Scenario { sets, matching, containers }
}

/// The scenarios with goals.
pub const MAIN: Scenario = scenario(1_000, Matching::One, 3);
pub const LARGE_POD: Scenario = scenario(1_000, Matching::One, 12);
pub const EVERY_FEATURE: Scenario = scenario(1_000, Matching::EveryFeature, 3);
pub const NO_MATCH: Scenario = scenario(1_000, Matching::None, 3);

/// The few scenarios of a quick run.
pub const FEW: [Scenario; 4] = [MAIN, LARGE_POD, EVERY_FEATURE, NO_MATCH];

/// Returns all scenarios. Those with the same sets follow each other.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    let lists = [(Matching::One, &[1, 100, 1_000, 10_000][..]), (Matching::None, &[1, 100, 1_000, 10_000])];
    // With more matching sets, the Pod is larger than the API server's limit.
    for (matching, sets) in lists.into_iter().chain([(Matching::All, &[10, 100][..])]) {
        for sets in sets {
            all.extend([1, 3, 12].map(|containers| scenario(*sets, matching, containers)));
        }
    }
    all.push(EVERY_FEATURE);
    all
}

impl Scenario {
    /// Returns which sets match, for tables.
    pub fn matching(&self) -> &'static str {
        match self.matching {
            Matching::None => "none",
            Matching::One => "one",
            Matching::EveryFeature => "one, every feature",
            Matching::All => "all",
        }
    }

    /// Returns the Pod, for tables.
    pub fn pod(&self) -> Value {
        cases::pod(self.containers)
    }

    /// Returns the review of its Pod.
    pub fn body(&self) -> Bytes {
        cases::review(&self.pod()).into()
    }

    /// Checks an answer in full: it allows the Pod, and the patch adds what the matching SidecarSets have and changes
    /// nothing else. Returns the part of the answer before its patch.
    pub fn check(&self, answer: &Answer) -> Result<Bytes> {
        self.look_at(answer).with_context(|| format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)))
    }

    fn look_at(&self, answer: &Answer) -> Result<Bytes> {
        ensure!(answer.status == 200, "not answered 200");
        let review: Value = serde_json::from_slice(&answer.body)?;
        ensure!(review["response"]["allowed"] == true, "not allowed");
        let Some(patch) = review["response"]["patch"].as_str() else {
            ensure!(self.matching == Matching::None, "no patch");
            return Ok(answer.body.clone());
        };
        ensure!(self.matching != Matching::None, "a patch, though nothing matches");
        // A hot container is added twice.
        let (sets, containers) = match self.matching {
            Matching::All => (self.sets, 2),
            Matching::EveryFeature => (1, 3),
            _ => (1, 2),
        };
        let operations: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch)?)?;
        let pod = self.pod();
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &operations)?;
        for (list, added) in [("containers", sets * containers), ("initContainers", sets), ("volumes", sets)] {
            let items = |pod: &Value| pod["spec"][list].as_array().cloned().unwrap_or_default();
            let (before, after) = (items(&pod), items(&patched));
            ensure!(after.len() == before.len() + added, "{list}: {} before, {} after", before.len(), after.len());
            ensure!(before.iter().all(|item| after.contains(item)), "{list}: an item of the Pod is changed");
        }
        let end =
            answer.body.windows(patch.len()).position(|part| part == patch.as_bytes()).context("the patch's place")?;
        Ok(answer.body.slice(..end))
    }
}
