//! Pure: the conditions of a status, as `metav1.Condition` and kstatus define them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// It is not known yet.
    Unknown,
}

impl From<bool> for Is {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Creates a condition observed `now` at this `metadata.generation`. The reason is one CamelCase word; the message is
/// for people.
#[must_use]
pub fn condition(
    type_: &str,
    is: impl Into<Is>,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = match is.into() {
        Is::True => "True",
        Is::False => "False",
        Is::Unknown => "Unknown",
    };
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: Time(now),
    }
}

/// Replaces the condition of the same type. `lastTransitionTime` is kept unless the status differs. Returns whether
/// anything changed and must be written.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) -> bool {
    let Some(old) = conditions.iter_mut().find(|old| old.type_ == new.type_) else {
        conditions.push(new);
        return true;
    };
    if old.status == new.status {
        new.last_transition_time = old.last_transition_time.clone();
    }
    let changed = *old != new;
    *old = new;
    changed
}

/// News about a condition that should be true.
#[derive(Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// Reason and message of a new problem, or of a different one.
    Trouble(&'a str, &'a str),
    /// The message after a problem was solved.
    Recovery(&'a str),
}

/// Returns the news when these conditions follow the previous ones, about the condition of this type.
#[must_use]
pub fn news<'a>(before: &[Condition], after: &'a [Condition], type_: &str) -> Option<News<'a>> {
    let is = after.iter().find(|condition| condition.type_ == type_)?;
    let was = before.iter().find(|condition| condition.type_ == type_);
    let changed =
        was.is_none_or(|was| (&was.status, &was.reason, &was.message) != (&is.status, &is.reason, &is.message));
    match is.status.as_str() {
        "False" => changed.then_some(News::Trouble(&is.reason, &is.message)),
        "True" => was.filter(|was| was.status == "False").map(|_| News::Recovery(&is.message)),
        _ => None,
    }
}

/// Whether the message of one of these conditions contains this sentence.
#[must_use]
pub fn say(conditions: &[Condition], sentence: &str) -> bool {
    conditions.iter().any(|condition| condition.message.contains(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn the_transition_time_changes_with_the_status_only() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, condition("Ready", true, "AllReady", "3 of 3", Some(1), at(1))));
        assert!(set(&mut conditions, condition("Ready", true, "AllReady", "4 of 4", Some(2), at(2))));
        assert_eq!(conditions, [condition("Ready", true, "AllReady", "4 of 4", Some(2), at(1))]);

        let failed = condition("Ready", false, "PodsFail", "3 of 4", Some(2), at(3));
        assert!(set(&mut conditions, failed.clone()));
        assert_eq!(conditions, [failed]);
    }

    #[test]
    fn what_is_the_same_but_for_the_time_is_no_change() {
        let mut conditions = vec![condition("Ready", Is::Unknown, "Starting", "", None, at(1))];
        assert!(!set(&mut conditions, condition("Ready", Is::Unknown, "Starting", "", None, at(9))));
        assert_eq!(conditions[0].last_transition_time, Time(at(1)));
    }

    #[test]
    fn other_conditions_stay_as_they_are() {
        let stalled = condition("Stalled", false, "Going", "", None, at(1));
        let mut conditions = vec![stalled.clone()];
        assert!(set(&mut conditions, condition("Ready", true, "AllReady", "", None, at(2))));
        assert_eq!(conditions[0], stalled);
        assert_eq!(conditions[1].type_, "Ready");
    }

    #[test]
    fn trouble_is_told_when_it_begins_when_its_text_changes_and_when_it_ends() {
        let ready = |is: bool, message: &str| vec![condition("Ready", is, "R", message, Some(1), at(1))];
        let (none, good, bad, worse) = (Vec::new(), ready(true, "x"), ready(false, "x"), ready(false, "y"));
        for (before, after, expected) in [
            (&none, &bad, Some(News::Trouble("R", "x"))),
            (&good, &bad, Some(News::Trouble("R", "x"))),
            (&bad, &worse, Some(News::Trouble("R", "y"))),
            (&bad, &bad, None),
            (&bad, &good, Some(News::Recovery("x"))),
            (&none, &good, None),
            (&good, &good, None),
            (&none, &none, None),
        ] {
            assert_eq!(news(before, after, "Ready"), expected);
        }
    }
}
