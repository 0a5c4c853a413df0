//! The rules of an HTTP route.

use super::duration;
use super::faults::Faults;
use super::route::{caller, deprecated, destination, destinations};
use crate::api::re2::{Re2, Re2Error};
use crate::istio::http_words::{METHODS, RETRY_ON};
use crate::istio::names;
use crate::istio::node::Node;

/// The largest body of a direct response, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// From here on Istio warns of one.
const LARGE_BODY: usize = 100 << 10;

pub(super) fn check(route: &Node<'_>, is_delegate: bool, is_of_mesh: bool, faults: &mut Faults) {
    actions(route, is_delegate, faults);
    if route.has("mirror") && route.has("mirrors") {
        faults.error(route.at("mirrors"), "must not be given with mirror");
    }
    for one in route.list("match") {
        request(&one, is_of_mesh, faults);
    }
    destinations(route, faults);
    for one in route.list("route") {
        headers(&one.field("headers"), faults);
    }
    headers(&route.field("headers"), faults);
    if let Some(mirror) = route.present("mirror") {
        destination(&mirror, faults);
    }
    for mirror in route.list("mirrors") {
        match mirror.present("destination") {
            Some(to) => destination(&to, faults),
            None => faults.error(mirror.at("destination"), "must be given"),
        }
        faults.percentage(&mirror, "percentage");
    }
    faults.percentage(route, "mirrorPercentage");
    deprecated(route, "mirrorPercent", "mirrorPercentage", faults);
    deprecated(route, "mirror_percent", "mirrorPercentage", faults);
    faults.duration(route, "timeout");
    details(route, faults);
    retries(&route.field("retries"), faults);
    fault(&route.field("fault"), faults);
    cors(&route.field("corsPolicy"), faults);
}

/// What a route does with requests: one thing.
fn actions(route: &Node<'_>, is_delegate: bool, faults: &mut Faults) {
    let routes = route.is_filled("route");
    if route.has("delegate") {
        if is_delegate {
            faults.error(route.at("delegate"), "must not be given: a delegate hands on nothing itself");
        }
        if routes || route.has("redirect") {
            faults.error(route.path(), "must not have route or redirect beside delegate");
        }
        return;
    }
    for (action, others) in
        [("redirect", &["fault", "rewrite", "directResponse"][..]), ("directResponse", &["fault", "rewrite"])]
    {
        if !route.has(action) {
            continue;
        }
        if routes {
            faults.error(route.at(action), "must not be given with route");
        }
        for other in others.iter().filter(|other| route.has(other)) {
            faults.error(route.at(other), format!("must not be given with {action}"));
        }
    }
    if !routes && !route.has("redirect") && !route.has("directResponse") {
        faults.error(route.path(), "must have route, redirect, directResponse or delegate");
    }
}

fn request(one: &Node<'_>, is_of_mesh: bool, faults: &mut Faults) {
    for field in ["uri", "scheme", "method", "authority"] {
        text_match(&one.field(field), field == "uri", faults);
    }
    for field in ["headers", "withoutHeaders", "queryParams"] {
        for (name, value) in one.entries(field) {
            let is_claim = name.starts_with("@request.auth.claims");
            if is_claim && is_of_mesh {
                faults.error(value.path(), "must not be a claim: proxies of workloads cannot route by claims");
            } else if field != "queryParams" && !is_claim && !is_header(name) {
                faults.error(value.path(), "must be the name of a header");
            }
            if field != "withoutHeaders" || value.text("regex") != "*" {
                text_match(&value, false, faults);
            }
        }
    }
    caller(one, faults);
}

/// A header, or a pseudo header of HTTP/2.
fn is_header(name: &str) -> bool {
    names::header(name.strip_prefix(':').unwrap_or(name)).is_ok()
}

fn text_match(node: &Node<'_>, may_be_empty: bool, faults: &mut Faults) {
    let kinds: Vec<_> = ["exact", "prefix", "regex"].into_iter().filter(|kind| node.has(kind)).collect();
    if kinds.len() > 1 {
        faults.error(node.path(), "must have one of exact, prefix and regex");
    }
    if node.has("prefix") && node.text("prefix").is_empty() && !may_be_empty {
        faults.error(node.at("prefix"), "must not be empty");
    }
    if node.has("regex") {
        regex(node, "regex", faults);
    }
}

fn regex(node: &Node<'_>, field: &str, faults: &mut Faults) {
    let text = node.text(field);
    if text.is_empty() {
        faults.error(node.at(field), "must not be empty");
    } else if text.len() > 1024 {
        faults.error(node.at(field), "must have at most 1024 characters");
    } else if let Err(Re2Error { problem, .. }) = Re2::new(text) {
        faults.error(node.at(field), format!("must be a regular expression of RE2: {problem}"));
    }
}

fn headers(node: &Node<'_>, faults: &mut Faults) {
    for (side, may_set_host) in [("request", true), ("response", false)] {
        let operations = node.field(side);
        for field in ["set", "add"] {
            for (name, value) in operations.entries(field) {
                let is_host = matches!(name.to_ascii_lowercase().as_str(), ":authority" | "host");
                if (is_host && !may_set_host) || (!is_host && name.starts_with(':')) {
                    faults.error(value.path(), "must not be changed");
                } else if !is_header(name) {
                    faults.error(value.path(), "must be the name of a header");
                }
                if value.as_text().chars().any(|c| c.is_control() && c != '\t') {
                    faults.error(value.path(), "must have no control characters");
                }
            }
        }
        for name in operations.list("remove") {
            if name.as_text().starts_with(':') || name.as_text().eq_ignore_ascii_case("host") {
                faults.error(name.path(), "must not be removed");
            }
        }
    }
}

fn details(route: &Node<'_>, faults: &mut Faults) {
    if let Some(redirect) = route.present("redirect") {
        let fields = ["uri", "prefixRewrite", "authority", "scheme", "port", "derivePort"];
        if !fields.iter().any(|field| redirect.has(field)) {
            faults.error(redirect.path(), "must change something");
        }
        if redirect.has("uri") && redirect.has("prefixRewrite") {
            faults.error(redirect.at("prefixRewrite"), "must not be given with uri");
        }
        let has_other_uri = |one: &Node<'_>| one.has("uri") && !one.field("uri").has("prefix");
        if redirect.is_filled("prefixRewrite") && route.list("match").iter().any(has_other_uri) {
            faults.error(redirect.at("prefixRewrite"), "must be given only where each match of the uri is by prefix");
        }
        if redirect.number("redirectCode").is_some_and(|code| code != 0 && !(300..=399).contains(&code)) {
            faults.error(redirect.at("redirectCode"), "must be 300 to 399");
        }
        if redirect.is_filled("scheme") && !["http", "https"].contains(&redirect.text("scheme")) {
            faults.error(redirect.at("scheme"), "must be http or https");
        }
        faults.port(&redirect, "port");
    }
    if let Some(response) = route.present("directResponse") {
        if !(200..=600).contains(&response.number("status").unwrap_or_default()) {
            faults.error(response.at("status"), "must be 200 to 600");
        }
        let body = response.field("body");
        let size = body.text("string").len().max(body.text("bytes").len() / 4 * 3); // the latter in base64
        if size > LARGEST_BODY {
            faults.error(response.at("body"), "must have at most 1 MiB");
        } else if size > LARGE_BODY {
            faults.warning(response.at("body"), "is large: each proxy keeps it");
        }
    }
    if let Some(rewrite) = route.present("rewrite") {
        if rewrite.has("uri") && rewrite.has("uriRegexRewrite") {
            faults.error(rewrite.at("uriRegexRewrite"), "must not be given with uri");
        }
        if !["uri", "authority", "uriRegexRewrite"].iter().any(|field| rewrite.has(field)) {
            faults.error(rewrite.path(), "must change something");
        }
        if let Some(by_regex) = rewrite.present("uriRegexRewrite") {
            regex(&by_regex, "match", faults);
        }
    }
}

fn retries(retries: &Node<'_>, faults: &mut Faults) {
    if !retries.is_present() {
        return;
    }
    let attempts = retries.number("attempts").unwrap_or_default();
    let others = ["perTryTimeout", "retryOn", "retryRemoteLocalities"];
    if attempts < 0 {
        faults.error(retries.at("attempts"), "must be at least 0");
    } else if attempts == 0 && others.iter().any(|field| retries.has(field)) {
        faults.error(retries.at("attempts"), "must be at least 1: other settings of retries are given");
    }
    faults.duration(retries, "perTryTimeout");
    faults.duration(retries, "backoff");
    for condition in retries.text("retryOn").split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        let is_status = condition.parse::<u16>().is_ok_and(|status| (100..=599).contains(&status));
        if !is_status && !RETRY_ON.contains(&condition) {
            faults.error(retries.at("retryOn"), format!("must be a list of {} or HTTP statuses", RETRY_ON.join(", ")));
        }
    }
}

fn fault(fault: &Node<'_>, faults: &mut Faults) {
    if !fault.is_present() {
        return;
    }
    if !fault.has("delay") && !fault.has("abort") {
        faults.error(fault.path(), "must have delay or abort");
    }
    if let Some(delay) = fault.present("delay") {
        faults.percentage(&delay, "percentage");
        faults.duration(&delay, "fixedDelay");
        deprecated(&delay, "percent", "percentage", faults);
        if delay.has("exponentialDelay") {
            faults.error(delay.at("exponentialDelay"), "is not supported: use fixedDelay");
        } else if !delay.has("fixedDelay") {
            faults.error(delay.at("fixedDelay"), "must be given");
        }
    }
    if let Some(abort) = fault.present("abort") {
        faults.percentage(&abort, "percentage");
        if abort.has("http2Error") {
            faults.error(abort.at("http2Error"), "is not supported: use httpStatus or grpcStatus");
        } else if let Some(status) = abort.number("httpStatus") {
            if !(200..=600).contains(&status) {
                faults.error(abort.at("httpStatus"), "must be 200 to 600");
            }
        } else if !abort.has("grpcStatus") {
            faults.warning(abort.path(), "aborts nothing: give httpStatus or grpcStatus");
        }
    }
}

fn cors(cors: &Node<'_>, faults: &mut Faults) {
    for origin in cors.list("allowOrigins") {
        text_match(&origin, false, faults);
    }
    deprecated(cors, "allowOrigin", "allowOrigins", faults);
    for method in cors.list("allowMethods") {
        if !METHODS.contains(&method.as_text()) {
            faults.error(method.path(), format!("must be one of {}", METHODS.join(", ")));
        }
    }
    for field in ["allowHeaders", "exposeHeaders"] {
        for name in cors.list(field) {
            if name.as_text() != "*" && !is_header(name.as_text()) {
                faults.error(name.path(), "must be the name of a header");
            }
        }
    }
    if cors.has("maxAge") && duration::micros(cors.text("maxAge")).is_some_and(|age| age % 1_000_000 != 0) {
        faults.error(cors.at("maxAge"), "must be of whole seconds");
    }
}
