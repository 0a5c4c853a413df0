//! Routes and matches that are never used, because earlier ones take their requests.

use super::faults::{FaultKind, Faults};
use crate::istio::node::Node;
use serde_json::Value;
use std::collections::HashMap;

/// Checks HTTP routes, whose requests a shorter prefix may also take.
pub(super) fn check_http(routes: &[Node<'_>], faults: &mut Faults) {
    check(routes, faults);
    let matches = routes.iter().flat_map(|route| route.list("match"));
    // Grouped by conditions other than the uri, because only matches with the same conditions can take each other's
    // requests.
    let mut earlier: HashMap<String, Vec<Prefix<'_>>> = HashMap::new();
    for one in matches {
        let Some(prefix) = one.field("uri").present("prefix") else { continue };
        let prefix = Prefix { prefix: prefix.as_text(), one };
        let alike = earlier.entry(prefix.beside()).or_default();
        if let Some(shorter) = alike.iter().find(|earlier| earlier.takes(&prefix)) {
            let problem = format!("is taken by {}, whose prefix is shorter", shorter.one.path());
            faults.add(FaultKind::Ineffective, prefix.one.path(), problem);
        }
        alike.push(prefix);
    }
}

/// A match by a uri prefix.
struct Prefix<'v> {
    prefix: &'v str,
    one: Node<'v>,
}

impl Prefix<'_> {
    /// Returns the conditions other than the uri. The default method is GET.
    fn beside(&self) -> String {
        let mut value = unnamed(&self.one);
        if let Some(fields) = value.as_object_mut() {
            fields.shift_remove("uri");
            fields.shift_remove("ignoreUriCase");
            fields.entry("method").or_insert_with(|| serde_json::json!({"exact": "GET"}));
        }
        value.sort_all_objects();
        value.to_string()
    }

    fn takes(&self, later: &Self) -> bool {
        later.prefix != self.prefix && later.prefix.starts_with(self.prefix)
    }
}

pub(super) fn check(routes: &[Node<'_>], faults: &mut Faults) {
    let mut seen: HashMap<String, String> = HashMap::new();
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
            match seen.entry(unnamed(one).to_string()) {
                std::collections::hash_map::Entry::Occupied(earlier) => {
                    repeated.push((one.path(), format!("is the same as {}", earlier.get())));
                }
                std::collections::hash_map::Entry::Vacant(place) => drop(place.insert(one.path())),
            }
        }
        if repeated.len() == matches.len() {
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
    }
    value.sort_all_objects();
    value
}
