//! Rules for the load balancing of a DestinationRule.

use super::faults::Faults;
use crate::istio::node::Node;
use std::collections::HashSet;

/// The maximum table size of Maglev.
const LARGEST_TABLE: i64 = 5_000_011;

/// Checks `loadBalancer`, with `outlierDetection` of the same settings.
pub(super) fn check(settings: &Node<'_>, faults: &mut Faults) {
    let Some(balancer) = settings.present("loadBalancer") else { return };
    hash(&balancer.field("consistentHash"), faults);
    if balancer.has("localityLbSetting") && balancer.has("zoneAwareLbSetting") {
        faults.error(balancer.at("zoneAwareLbSetting"), "must not be given with localityLbSetting");
    }
    let detects_outliers = settings.has("outlierDetection");
    localities(&balancer.field("localityLbSetting"), detects_outliers, faults);
    failover(&balancer.field("zoneAwareLbSetting"), true, detects_outliers, faults);
    if let Some(warmup) = balancer.present("warmup") {
        if warmup.has("duration") {
            faults.duration(&warmup, "duration");
        } else {
            faults.error(warmup.at("duration"), "must be given");
        }
        if warmup.fraction("minimumPercent").is_some_and(|percent| percent > 100.0) {
            faults.error(warmup.at("minimumPercent"), "must be 0 to 100");
        }
        if warmup.fraction("aggression").is_some_and(|aggression| aggression <= 0.0) {
            faults.error(warmup.at("aggression"), "must be above 0");
        }
    }
}

fn hash(hash: &Node<'_>, faults: &mut Faults) {
    if let Some(cookie) = hash.present("httpCookie") {
        if cookie.text("name").is_empty() {
            faults.error(cookie.at("name"), "must be given");
        }
        let mut names = HashSet::new();
        for attribute in cookie.list("attributes") {
            if attribute.text("name").is_empty() {
                faults.error(attribute.at("name"), "must be given");
            } else if !names.insert(attribute.text("name")) {
                faults.error(attribute.at("name"), "must be unique among the attributes");
            }
        }
    }
    if hash.number("minimumRingSize").is_some_and(|size| size != 0) {
        faults.warning(hash.at("minimumRingSize"), "is deprecated: use ringHash.minimumRingSize");
        if hash.has("ringHash") || hash.has("maglev") {
            faults.error(hash.at("minimumRingSize"), "must not be given with ringHash or maglev");
        }
    }
    if let Some(maglev) = hash.present("maglev") {
        let size = maglev.number("tableSize").unwrap_or_default();
        if size >= LARGEST_TABLE || !is_prime(size) {
            faults.error(maglev.at("tableSize"), "must be a prime number below 5000011");
        }
    }
}

/// Whether a number is prime. 1 counts, as in Envoy.
fn is_prime(number: i64) -> bool {
    number > 0
        && (number < 4
            || (number % 2 != 0 && (3..).step_by(2).take_while(|by| by * by <= number).all(|by| number % by != 0)))
}

fn localities(setting: &Node<'_>, detects_outliers: bool, faults: &mut Faults) {
    let (distribute, failover_regions) = (setting.list("distribute"), setting.list("failover"));
    if !distribute.is_empty() && !failover_regions.is_empty() {
        faults.error(setting.at("failover"), "must not be given with distribute");
        return;
    }
    for part in &distribute {
        let weights = part.entries("to");
        let numbers = || weights.iter().map(|(_, weight)| weight.value.as_i64().unwrap_or_default());
        if let Some((_, weight)) =
            weights.iter().find(|(_, weight)| !(1..=100).contains(&weight.value.as_i64().unwrap_or_default()))
        {
            faults.error(weight.path(), "must be 1 to 100");
        } else if numbers().sum::<i64>() != 100 {
            faults.error(part.at("to"), "must have weights whose sum is 100");
        }
        disjoint(weights.iter().map(|(locality, weight)| (*locality, weight.path())), faults);
    }
    disjoint(distribute.iter().map(|part| (part.text("from"), part.at("from"))), faults);
    failover(setting, !failover_regions.is_empty(), detects_outliers, faults);
}

/// Checks failover between regions. What Envoy orders itself must not be ordered again.
fn failover(setting: &Node<'_>, orders_regions: bool, detects_outliers: bool, faults: &mut Faults) {
    let (failover, priorities) = (setting.list("failover"), setting.list("failoverPriority"));
    let of_topology = |label: &str| {
        ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"].contains(&label)
    };
    if orders_regions && let Some(label) = priorities.iter().find(|label| of_topology(label.as_text())) {
        faults.error(label.path(), "must not be the label of a region, zone or subzone here");
        return;
    }
    if (!failover.is_empty() || !priorities.is_empty()) && !detects_outliers {
        faults.warning(setting.path(), "needs outlierDetection: without it no endpoint ever fails");
    }
    for regions in &failover {
        let (from, to) = (regions.text("from"), regions.text("to"));
        if from == to {
            faults.error(regions.at("to"), "must be another region than from");
        }
        for (field, region) in [("from", from), ("to", to)] {
            if region.contains(['/', '*']) {
                faults.error(regions.at(field), "must be a region, without zone and '*'");
            }
        }
    }
}

/// Checks that no locality contains another.
fn disjoint<'l>(localities: impl Iterator<Item = (&'l str, String)>, faults: &mut Faults) {
    // Each is split at `*`. A locality contains all that begin with it.
    let mut earlier: Vec<Vec<&str>> = Vec::new();
    for (locality, field) in localities {
        let parts: Vec<&str> = locality.split('/').collect();
        let wildcards = locality.matches('*').count();
        if parts.iter().any(|part| part.is_empty()) || parts.len() > 3 {
            faults.error(field, "must be region, region/zone or region/zone/subzone, without empty parts");
            continue;
        }
        if wildcards > 1 || (wildcards == 1 && parts.last() != Some(&"*")) {
            faults.error(field, "must have '*' only at its end");
            continue;
        }
        let own: Vec<&str> = parts.into_iter().filter(|part| *part != "*").collect();
        // `*` may come last, for all others.
        if earlier.iter().any(|other| own.starts_with(other) || (!own.is_empty() && other.starts_with(&own))) {
            faults.error(field, "must not overlap with an earlier one");
        }
        earlier.push(own);
    }
}
