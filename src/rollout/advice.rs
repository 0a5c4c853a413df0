//! The condition that tells a set's author what of it has no effect, or not the one that was meant: it is not read out of the webhook's
//! warnings by everybody who writes sets.

use crate::api::shorten::shortened;
use crate::cluster::conditions;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Whether there is something to say.
pub const ADVICE: &str = "Advice";

/// As much as the webhook tells.
const MESSAGE_CHARACTERS: usize = 4096;

/// Adds the condition. A set that needs no advice has none, unless it needed some before.
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
