//! HTTP routes and matches that are never used, for earlier ones have their requests.

use super::faults::{FaultKind, Faults};
use crate::istio::node::Node;
use serde_json::Value;

pub(super) fn check(routes: &[Node<'_>], faults: &mut Faults) {
    let mut seen: Vec<(Node<'_>, Option<Value>)> = Vec::new();
    let mut open: Option<String> = None;
    for route in routes {
        let matches = route.list("match");
        if let Some(earlier) = &open {
            let problem = format!("is never used: {earlier} takes all requests");
            faults.add(FaultKind::Unreachable, route.path(), problem);
            continue;
        }
        if matches.is_empty() {
            open = Some(route.path());
            continue;
        }
        let mut repeated = Vec::new();
        for one in &matches {
            let bare = unnamed(one);
            if let Some((earlier, _)) = seen.iter().find(|(_, known)| known.as_ref() == Some(&bare)) {
                repeated.push((one.path(), format!("is the same as {}", earlier.path())));
            } else if let Some((earlier, _)) = seen.iter().find(|(earlier, _)| takes(earlier, one)) {
                repeated.push((one.path(), format!("is taken by {}, whose prefix is shorter", earlier.path())));
            }
            seen.push((one.clone(), Some(bare)));
        }
        let same = repeated.iter().filter(|(_, problem)| problem.starts_with("is the same")).count();
        if same == matches.len() {
            faults.add(FaultKind::Unreachable, route.path(), "is never used: earlier rules have all its matches");
        } else {
            for (field, problem) in repeated {
                faults.add(FaultKind::Ineffective, field, problem);
            }
        }
    }
}

fn unnamed(one: &Node<'_>) -> Value {
    let mut value = one.value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("name");
        fields.shift_remove("statPrefix");
    }
    value
}

/// Whether an earlier match has all requests of a later one: a shorter prefix, and nothing else that differs.
fn takes(earlier: &Node<'_>, later: &Node<'_>) -> bool {
    let (short, long) = (earlier.field("uri"), later.field("uri"));
    let (Some(short), Some(long)) = (short.present("prefix"), long.present("prefix")) else { return false };
    if !long.as_text().starts_with(short.as_text()) {
        return false;
    }
    let same = |one: &Node<'_>, other: &Node<'_>| {
        let strip = |node: &Node<'_>| {
            let mut value = unnamed(node);
            if let Some(fields) = value.as_object_mut() {
                fields.shift_remove("uri");
            }
            value
        };
        strip(one) == strip(other)
    };
    same(earlier, later)
}
