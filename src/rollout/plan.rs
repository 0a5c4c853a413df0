//! Plans all writes for one SidecarSet from what was observed.

use super::attempts::PodUpdates;
use super::pods::PodIndex;
use super::revisions::{self, KeptRevision, RevisionIndex, RevisionWrite};
use super::status::{self, PodsSeen, STALLED, Trouble, WarningEvent};
use super::survey::Survey;
use super::upgrade::{self, UpgradePlan};
use crate::api::sidecarset::SidecarSetStatus;
use crate::injection::validate::Clashes;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// The writes for one set, in this order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The revision of the current content, if it must be written.
    pub revision: Option<RevisionWrite>,
    /// The writes to Pods.
    pub pods: UpgradePlan,
    /// The status, if it must be written.
    pub status: Option<SidecarSetStatus>,
    /// Revisions that the garbage collector is about to orphan.
    pub orphaned: Vec<KeptRevision>,
    /// Revisions to delete.
    pub obsolete: Vec<KeptRevision>,
    /// A problem that somebody must correct.
    pub problem: Option<WarningEvent>,
    /// A message that some Pods cannot be updated in place, in OpenKruise's words.
    pub not_upgradable: Option<String>,
}

impl Plan {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revision.is_none() && self.status.is_none() && self.orphaned.is_empty() && self.obsolete.is_empty()
    }
}

/// Plans for one set from a survey of its Pods. A set that cannot be used only gets a status that says so.
#[must_use]
pub fn plan(
    survey: &Survey,
    pods: &PodIndex,
    revisions: &RevisionIndex,
    clashes: &Clashes,
    excluded: &BTreeSet<String>,
    updates: &PodUpdates<'_>,
    now: Timestamp,
) -> Plan {
    let set = &*survey.set;
    let orphaned = if set.is_orphaning { revisions.of(&set.name).cloned().collect() } else { Vec::new() };
    match &set.usable {
        Err(unusable) => {
            let last_good = revisions.last_good(&set.name).map(|revision| revision.name.as_str());
            let problem = unusable.sentence(last_good);
            Plan {
                revision: None,
                pods: UpgradePlan::default(),
                status: status::unusable(set, &problem, now),
                orphaned,
                obsolete: Vec::new(),
                problem: Some(WarningEvent { reason: STALLED, note: problem }),
                not_upgradable: None,
            }
        }
        Ok(usable) => {
            let revisions = revisions::plan(set, usable, revisions, |revision| pods.uses_revision(&set.name, revision));
            let trouble =
                Trouble::of(&revisions, clashes.of(&set.name), usable.only_excluded(excluded, pods.namespaces()));
            let seen = PodsSeen::of(survey, pods, updates);
            let pods = if updates.are_on {
                upgrade::plan(survey, usable, pods, updates.attempts, updates.is_known, &revisions.latest, now)
            } else {
                UpgradePlan::default()
            };
            let anew = Some(seen.counts.recreate).filter(|anew| *anew > 0);
            Plan {
                pods,
                not_upgradable: anew.map(|anew| {
                    format!("SidecarSet in-place update detected {anew} not upgradable pod(s) in this round, will skip them.")
                }),
                status: status::usable(set, usable, &seen, &revisions, &trouble, now),
                revision: revisions.write,
                orphaned,
                obsolete: revisions.obsolete,
                problem: trouble.problem(),
            }
        }
    }
}
