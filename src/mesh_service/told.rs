//! Pure: the content of the status of a MeshService.

use crate::api::mesh_service::{
    ConsistencyState, ManagedResource, MeshServiceStatus, RepairAction, Severity, Violation,
};
use crate::api::shorten::shortened;
use crate::cluster::conditions::{self, Is};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether the objects match the spec.
pub const READY: &str = "Ready";
/// Whether it is retried automatically.
const RECONCILING: &str = "Reconciling";
/// Whether a user has to act first.
const STALLED: &str = "Stalled";

/// At most this many violations, and as many repairs, are reported.
const MOST: usize = 50;

/// At most this many objects are listed.
const MOST_MANAGED: usize = 200;

/// The longest text (characters), because names and texts of users are in it.
const LONGEST: usize = 1024;

/// The content of a MeshService's status.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The generation of the spec.
    pub generation: i64,
    /// The Service that its objects are for.
    pub service: Option<String>,
    /// The state.
    pub state: ConsistencyState,
    /// Who acts next.
    pub phase: Phase,
    /// What it waits for.
    pub waits: Vec<String>,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// The repairs, in this order.
    pub repairs: Vec<RepairAction>,
    /// The objects that were made.
    pub managed: Vec<ManagedResource>,
}

/// Who acts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody.
    Done,
    /// Outrigger.
    Working,
    /// A user.
    Stalled,
}

impl Told {
    /// Returns the new status; `None` if it equals the old one.
    #[must_use]
    pub fn status(&self, before: &MeshServiceStatus, now: Timestamp) -> Option<MeshServiceStatus> {
        let mut conditions = before.conditions.clone();
        for condition in self.conditions(now) {
            conditions::set(&mut conditions, condition);
        }
        let violations = self.violations.iter().take(MOST).map(|violation| Violation {
            message: short(&violation.message),
            resource: short(&violation.resource),
            ..violation.clone()
        });
        let repairs = self.repairs.iter().take(MOST).map(|repair| RepairAction {
            resource: short(&repair.resource),
            action: short(&repair.action),
            reason: short(&repair.reason),
            ..repair.clone()
        });
        let status = MeshServiceStatus {
            consistency_state: self.state,
            service: self.service.clone(),
            observed_generation: Some(self.generation),
            last_checked: before.last_checked.clone(),
            violations: violations.collect(),
            repair_actions: repairs.collect(),
            managed_resources: self.managed.iter().take(MOST_MANAGED).cloned().collect(),
            conditions,
        };
        let is_told = before.last_checked.is_some() && status == *before;
        (!is_told).then(|| MeshServiceStatus { last_checked: Some(whole_second(now)), ..status })
    }

    fn conditions(&self, now: Timestamp) -> [Condition; 3] {
        let (reason, message) = (self.reason(), self.message());
        let ready = match self.state {
            ConsistencyState::Consistent => Is::True,
            ConsistencyState::Checking => Is::Unknown,
            _ => Is::False,
        };
        let condition =
            |type_, is: Is| conditions::condition(type_, is, reason, message.clone(), Some(self.generation), now);
        [
            condition(READY, ready),
            condition(RECONCILING, (self.phase == Phase::Working).into()),
            condition(STALLED, (self.phase == Phase::Stalled).into()),
        ]
    }

    fn reason(&self) -> &'static str {
        match self.state {
            ConsistencyState::Checking => "KindNotInstalled",
            ConsistencyState::Consistent => "Consistent",
            ConsistencyState::Inconsistent => "Inconsistent",
            ConsistencyState::RepairPending => "RepairPending",
            ConsistencyState::RepairFailed => "RepairFailed",
        }
    }

    fn message(&self) -> String {
        let mut errors = self.violations.iter().filter(|violation| violation.severity == Severity::Error);
        let first = errors.next().map(|first| format!("{}: {}", first.resource, first.message));
        let more = match errors.count() {
            0 => String::new(),
            more => format!(" (and {more} more in status.violations)"),
        };
        match (self.state, first) {
            (ConsistencyState::Checking, _) => self.waits.join("; "),
            (_, Some(first)) => format!("{}{more}", short(&first)),
            (ConsistencyState::Consistent, None) => "all objects are as they should be".to_owned(),
            (_, None) => "an object is being repaired".to_owned(),
        }
    }
}

fn short(text: &str) -> String {
    shortened(text.to_owned(), LONGEST)
}

/// Returns the status as the API server stores it.
fn whole_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(state: ConsistencyState, phase: Phase, violations: Vec<Violation>) -> Told {
        Told {
            generation: 1,
            service: None,
            state,
            phase,
            waits: Vec::new(),
            violations,
            repairs: Vec::new(),
            managed: Vec::new(),
        }
    }

    fn violation(message: &str) -> Violation {
        let [type_, resource] = ["ForeignKeyViolation", "VirtualService/a/b"].map(str::to_owned);
        Violation { type_, resource, message: message.to_owned(), severity: Severity::Error }
    }

    #[test]
    fn a_status_that_says_so_already_is_not_written() {
        let well = told(ConsistencyState::Consistent, Phase::Done, Vec::new());
        let first = well.status(&MeshServiceStatus::default(), at(1)).unwrap();
        assert_eq!(first.last_checked, Some(Time(at(1))));
        assert_eq!(well.status(&first, at(9)), None);
        let ill = told(ConsistencyState::Inconsistent, Phase::Stalled, vec![violation("x")]);
        let second = ill.status(&first, at(9)).unwrap();
        assert_eq!((second.last_checked.clone(), second.violations.len()), (Some(Time(at(9))), 1));
        assert_eq!(second.conditions[0].message, "VirtualService/a/b: x");
        let newer = Told { generation: 2, ..ill };
        assert_eq!(newer.status(&second, at(10)).unwrap().observed_generation, Some(2));
    }

    /// It never set `lastChecked`, and wrote `null`.
    #[test]
    fn m10_the_status_of_the_first_operator_is_replaced_even_where_the_state_is_right() {
        let before =
            MeshServiceStatus { consistency_state: ConsistencyState::Consistent, ..MeshServiceStatus::default() };
        let after = told(ConsistencyState::Consistent, Phase::Done, Vec::new()).status(&before, at(1)).unwrap();
        assert!(after.last_checked.is_some() && after.conditions.len() == 3);
    }

    #[test]
    fn conditions_are_as_kstatus_wants_them() {
        for (state, phase, expected) in [
            (ConsistencyState::Consistent, Phase::Done, ["True", "False", "False"]),
            (ConsistencyState::Checking, Phase::Working, ["Unknown", "True", "False"]),
            (ConsistencyState::RepairFailed, Phase::Working, ["False", "True", "False"]),
            (ConsistencyState::Inconsistent, Phase::Stalled, ["False", "False", "True"]),
        ] {
            let conditions = told(state, phase, vec![violation("x")]).conditions(at(1));
            assert_eq!(conditions.map(|condition| condition.status), expected);
        }
    }

    #[test]
    fn a_status_has_bounds_whatever_is_told() {
        let long = "x".repeat(100_000);
        let repair = RepairAction {
            type_: "Update".to_owned(),
            resource: long.clone(),
            action: long.clone(),
            reason: long.clone(),
        };
        let object = ManagedResource {
            kind: "VirtualService".to_owned(),
            name: "x".repeat(63),
            namespace: "y".repeat(63),
            version: None,
        };
        let told = Told {
            repairs: vec![repair; 1000],
            managed: vec![object; 10_000],
            ..told(ConsistencyState::Inconsistent, Phase::Stalled, vec![violation(&long); 1000])
        };
        let status = told.status(&MeshServiceStatus::default(), at(1)).unwrap();
        assert!(serde_json::to_string(&status).unwrap().len() < 512 * 1024);
        assert!(status.conditions[0].message.ends_with("(and 999 more in status.violations)"));
        assert_eq!(told.status(&status, at(2)), None);
    }

    #[test]
    fn at_most_fifty_violations_are_told() {
        let many = (0..80).map(|number| violation(&number.to_string())).collect();
        let told = told(ConsistencyState::Inconsistent, Phase::Stalled, many);
        let status = told.status(&MeshServiceStatus::default(), at(1)).unwrap();
        assert_eq!(status.violations.len(), 50);
        assert!(status.conditions[0].message.ends_with("(and 79 more in status.violations)"));
        assert_eq!(told.status(&status, at(2)), None);
    }
}
