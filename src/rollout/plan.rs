//! All that is to be written for one SidecarSet, given what was observed.

use super::pods::PodIndex;
use super::revisions::{self, KeptRevision, RevisionIndex, RevisionWrite};
use super::set::ObservedSet;
use super::status::{self, PodsSeen};
use crate::api::sidecarset::SidecarSetStatus;
use jiff::Timestamp;

/// What is to be written, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The revision of the present content, if it has to be written.
    pub revision: Option<RevisionWrite>,
    /// The status, if it has to be written.
    pub status: Option<SidecarSetStatus>,
    /// Revisions to delete.
    pub obsolete: Vec<KeptRevision>,
    /// Why the set cannot be used as it is; a sentence that names the field.
    pub problem: Option<String>,
}

impl Plan {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revision.is_none() && self.status.is_none() && self.obsolete.is_empty()
    }
}

/// Plans for one set. A set that cannot be used gets nothing but a status that says so.
#[must_use]
pub fn plan(set: &ObservedSet, pods: &PodIndex, revisions: &RevisionIndex, now: Timestamp) -> Plan {
    match &set.usable {
        Err(problem) => Plan {
            revision: None,
            status: status::unusable(set, problem, now),
            obsolete: Vec::new(),
            problem: Some(problem.clone()),
        },
        Ok(usable) => {
            let revisions = revisions::plan(set, usable, revisions, |revision| pods.uses_revision(&set.name, revision));
            Plan {
                status: status::usable(set, usable, &PodsSeen::of(pods, &set.name), &revisions, now),
                revision: revisions.write,
                obsolete: revisions.obsolete,
                problem: revisions.unusable_pin,
            }
        }
    }
}
