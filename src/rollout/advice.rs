//! The condition that gives a set's author advice: settings that have no effect, or probably not the intended one. Not everybody who
//! writes sets reads the webhook's warnings.

use crate::api::shorten::shortened;
use crate::cluster::conditions;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Whether there is advice.
pub const ADVICE: &str = "Advice";

/// The same limit as the webhook's.
const MESSAGE_CHARACTERS: usize = 4096;

/// Adds the condition. A set without advice does not have it, unless it had some before.
pub(super) fn add(conditions: &mut Vec<Condition>, advice: &[String], generation: i64, now: Timestamp) {
    let is_given = !advice.is_empty();
    if !is_given && !conditions.iter().any(|condition| condition.type_ == ADVICE) {
        return;
    }
    let (reason, message) = if is_given {
        ("WithoutEffect", shortened(advice.join("; "), MESSAGE_CHARACTERS))
    } else {
        ("AsMeant", "all that the set says has an effect".to_owned())
    };
    conditions::set(conditions, conditions::condition(ADVICE, is_given, reason, message, Some(generation), now));
}
