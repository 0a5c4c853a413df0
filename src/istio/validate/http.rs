//! Rules for HTTP routes.

use super::duration;
use super::faults::Faults;
use super::route::{caller, deprecated, destination, destinations};
use crate::api::re2::{Re2, Re2Error};
use crate::istio::http_words::{METHODS, RETRY_ON};
use crate::istio::names;
use crate::istio::node::Node;

/// The maximum body of a direct response, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// Istio warns above this size.
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
        authority(route, &one.field("headers"), faults);
    }
    headers(&route.field("headers"), faults);
    authority(route, &route.field("headers"), faults);
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

/// Checks that a route does one thing with requests.
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
            } else if field != "queryParams" && !is_claim {
                faults.check(|| value.path(), names::header(name, true));
            }
            if field != "withoutHeaders" || value.text("regex") != "*" {
                text_match(&value, false, faults);
            }
        }
    }
    caller(one, faults);
}

fn text_match(node: &Node<'_>, may_be_empty: bool, faults: &mut Faults) {
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
                } else {
                    faults.check(|| value.path(), names::header(name, true));
                }
                if value.as_text().chars().any(|c| c.is_control() && c != '\t') {
                    faults.error(value.path(), "must have no control characters");
                } else if !closes_variables(value.as_text()) {
                    faults.error(
                        value.path(),
                        "must close each variable of Envoy: %NAME% or %NAME(argument)%, and %% for a '%'",
                    );
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

/// Whether each Envoy variable in a header's value is closed.
fn closes_variables(value: &str) -> bool {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(literal) = after.strip_prefix('%') {
            rest = literal;
            continue;
        }
        let Some(end) = after.find(['%', '(']) else { return false };
        let closing = match after[end..].strip_prefix('(') {
            None => &after[end..],
            // The length follows the arguments, as in `%REQ(a):5%`.
            Some(arguments) => {
                let Some((_, behind)) = arguments.split_once(')') else { return false };
                behind
            }
        };
        let Some((_, behind)) = closing.split_once('%') else { return false };
        rest = behind;
    }
    true
}

/// Checks that at most one field changes the host of a request.
fn authority(route: &Node<'_>, headers: &Node<'_>, faults: &mut Faults) {
    let mut is_set = route.field("rewrite").is_filled("authority");
    let request = headers.field("request");
    for (name, value) in request.entries("set").into_iter().chain(request.entries("add")) {
        if matches!(name.to_ascii_lowercase().as_str(), ":authority" | "host") {
            if is_set {
                faults.error(value.path(), "must not be given: the host is changed already");
            }
            is_set = true;
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
        let is_prefix = |one: &Node<'_>| !one.has("uri") || one.field("uri").has("prefix");
        if redirect.is_filled("prefixRewrite") && !route.list("match").iter().all(is_prefix) {
            faults.error(redirect.at("prefixRewrite"), "must only be given where each match of the uri is by prefix");
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
        let size = body.text("string").len().max(body.text("bytes").len() / 4 * 3); // bytes are in base64
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
        } else if abort.is_filled("grpcStatus") && !GRPC_STATUSES.contains(&abort.text("grpcStatus")) {
            faults.error(abort.at("grpcStatus"), format!("must be one of {}", GRPC_STATUSES.join(", ")));
        }
    }
}

const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn cors(cors: &Node<'_>, faults: &mut Faults) {
    for origin in cors.list("allowOrigins") {
        text_match(&origin, false, faults);
        if !["exact", "prefix", "regex"].iter().any(|kind| origin.is_filled(kind)) {
            faults.error(origin.path(), "must have exact, prefix or regex, and not an empty one");
        }
    }
    deprecated(cors, "allowOrigin", "allowOrigins", faults);
    for method in cors.list("allowMethods") {
        if !METHODS.contains(&method.as_text()) {
            faults.error(method.path(), format!("must be one of {}", METHODS.join(", ")));
        }
    }
    for field in ["allowHeaders", "exposeHeaders"] {
        for name in cors.list(field) {
            if name.as_text() != "*" {
                faults.check(|| name.path(), names::header(name.as_text(), true));
            }
        }
    }
    if cors.has("maxAge") && duration::micros(cors.text("maxAge")).is_some_and(|age| age % 1_000_000 != 0) {
        faults.error(cors.at("maxAge"), "must be of whole seconds");
    }
}
