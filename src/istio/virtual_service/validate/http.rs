//! Routes of HTTP.

use super::super::duration;
use super::super::http::{
    CorsPolicy, Fault, HeaderOperations, HttpDestination, HttpMatch, HttpRoute, Percent, Redirect, Retries, Rewrite,
    StringMatch,
};
use super::Findings;
use crate::istio::http_words::{METHODS, RETRY_ON};
use crate::istio::names;
use std::collections::BTreeMap;

/// The longest expression.
const LONGEST_REGEX: usize = 1024;

/// The largest body of a direct response, and from where on Istio warns; bytes.
const LARGEST_BODY: (usize, usize) = (1024 * 1024, 100 * 1024);

impl Findings {
    pub(super) fn http_route(&mut self, field: &str, route: &HttpRoute, is_delegate: bool, for_mesh: bool) {
        self.kind(field, route, is_delegate);
        for (index, matches) in route.matches.iter().enumerate() {
            self.http_match(&format!("{field}.match[{index}]"), matches, for_mesh);
        }
        self.http_destinations(&format!("{field}.route"), &route.route);
        if let Some(redirect) = &route.redirect {
            self.redirect(&format!("{field}.redirect"), redirect, &route.matches);
        }
        if let Some(answer) = &route.direct_response {
            self.direct_response(&format!("{field}.directResponse"), answer.status, answer.body.as_ref());
        }
        if let Some(rewrite) = &route.rewrite {
            self.rewrite(&format!("{field}.rewrite"), rewrite);
        }
        self.duration(&format!("{field}.timeout"), route.timeout.as_deref());
        if let Some(retries) = &route.retries {
            self.retries(&format!("{field}.retries"), retries);
        }
        if let Some(fault) = &route.fault {
            self.fault(&format!("{field}.fault"), fault);
        }
        self.mirrors(field, route);
        if let Some(cors) = &route.cors_policy {
            self.cors(&format!("{field}.corsPolicy"), cors);
        }
        if let Some(headers) = &route.headers {
            self.operations(&format!("{field}.headers.request"), headers.request.as_ref(), true);
            self.operations(&format!("{field}.headers.response"), headers.response.as_ref(), false);
        }
    }

    /// What a route does must be one thing.
    fn kind(&mut self, field: &str, route: &HttpRoute, is_delegate: bool) {
        let present = [
            ("route", !route.route.is_empty()),
            ("fault", route.fault.is_some()),
            ("rewrite", route.rewrite.is_some()),
            ("redirect", route.redirect.is_some()),
            ("directResponse", route.direct_response.is_some()),
        ];
        let mut excludes = |what: &str, others: &[&str]| {
            for (other, _) in present.iter().filter(|(other, is_set)| *is_set && others.contains(other)) {
                self.error(format!("{field}.{what}"), format!("must not be set together with {other}"));
            }
        };
        if route.delegate.is_some() {
            excludes("delegate", &["route", "redirect"]);
        }
        if route.redirect.is_some() {
            excludes("redirect", &["route", "fault", "rewrite", "directResponse"]);
        }
        if route.direct_response.is_some() {
            excludes("directResponse", &["route", "fault", "rewrite"]);
        }
        if route.delegate.is_some() && is_delegate {
            self.error(format!("{field}.delegate"), "must not be set in a VirtualService that is delegated to");
        }
        let does_something = route.delegate.is_some()
            || present.iter().any(|(what, is_set)| *is_set && matches!(*what, "route" | "redirect" | "directResponse"));
        if !does_something {
            self.error(field, "must have route, redirect, directResponse or delegate");
        }
    }

    fn http_match(&mut self, field: &str, matches: &HttpMatch, for_mesh: bool) {
        for (name, value) in [("uri", &matches.uri), ("scheme", &matches.scheme), ("method", &matches.method)] {
            self.string_match(&format!("{field}.{name}"), value.as_ref(), name == "uri");
        }
        self.string_match(&format!("{field}.authority"), matches.authority.as_ref(), false);
        for (name, values) in [("headers", &matches.headers), ("withoutHeaders", &matches.without_headers)] {
            for (header, value) in values {
                let at = format!("{field}.{name}[{header}]");
                let claim = header.strip_prefix("@request.auth.claims");
                if for_mesh && claim.is_some() {
                    self.error(&at, "must not be a claim of a token: that is for gateways only");
                } else if claim.is_none() {
                    self.check(&at, header_name(header, true));
                }
                self.string_match(&at, Some(value), false);
            }
        }
        for (parameter, value) in &matches.query_params {
            self.string_match(&format!("{field}.queryParams[{parameter}]"), Some(value), false);
        }
        if let Some(port) = matches.port {
            self.port(&format!("{field}.port"), port);
        }
        self.labels(&format!("{field}.sourceLabels"), &matches.source_labels);
        self.gateway_names(&format!("{field}.gateways"), &matches.gateways);
        if !matches.source_namespace.is_empty() {
            self.check(format!("{field}.sourceNamespace"), names::dns_label(&matches.source_namespace));
        }
    }

    fn string_match(&mut self, field: &str, value: Option<&StringMatch>, may_be_empty: bool) {
        let Some(StringMatch { exact, prefix, regex }) = value else { return };
        if [exact, prefix, regex].into_iter().flatten().count() > 1 {
            self.error(field, "must be one of exact, prefix and regex");
        }
        if prefix.as_deref() == Some("") && !may_be_empty {
            self.error(format!("{field}.prefix"), "must not be empty");
        }
        match regex.as_deref() {
            Some("") => self.error(format!("{field}.regex"), "must not be empty"),
            Some(regex) if regex.len() > LONGEST_REGEX => {
                self.error(format!("{field}.regex"), "must have at most 1024 characters");
            }
            _ => {}
        }
    }

    fn http_destinations(&mut self, field: &str, route: &[HttpDestination]) {
        for (index, to) in route.iter().enumerate() {
            let at = format!("{field}[{index}]");
            self.destination(&format!("{at}.destination"), &to.destination);
            if let Some(headers) = &to.headers {
                self.operations(&format!("{at}.headers.request"), headers.request.as_ref(), true);
                self.operations(&format!("{at}.headers.response"), headers.response.as_ref(), false);
            }
        }
        self.weights(field, route.iter().map(|to| to.weight));
    }

    fn redirect(&mut self, field: &str, redirect: &Redirect, matches: &[HttpMatch]) {
        let Redirect { uri, prefix_rewrite, authority, scheme, redirect_code, port, derive_port } = redirect;
        if !uri.is_empty() && !prefix_rewrite.is_empty() {
            self.error(format!("{field}.prefixRewrite"), "must not be set together with uri");
        }
        let is_prefix = |matches: &HttpMatch| matches.uri.as_ref().is_some_and(|uri| uri.prefix.is_some());
        if !prefix_rewrite.is_empty() && (matches.is_empty() || !matches.iter().all(is_prefix)) {
            self.error(format!("{field}.prefixRewrite"), "must be set only where each match has a prefix of the uri");
        }
        let texts = [uri, prefix_rewrite, authority, scheme];
        if texts.iter().all(|text| text.is_empty()) && *redirect_code == 0 && port.is_none() && derive_port.is_none() {
            self.error(field, "must say what is redirected");
        }
        if *redirect_code != 0 && !(300..=399).contains(redirect_code) {
            self.error(format!("{field}.redirectCode"), "must be 300 to 399");
        }
        if !matches!(scheme.as_str(), "" | "http" | "https") {
            self.error(format!("{field}.scheme"), "must be http or https");
        }
        if let Some(port) = port {
            self.port(&format!("{field}.port"), *port);
        }
        if port.is_some() && derive_port.is_some() {
            self.error(format!("{field}.derivePort"), "must not be set together with port");
        }
    }

    fn direct_response(&mut self, field: &str, status: u32, body: Option<&super::super::http::Body>) {
        if !(200..=600).contains(&status) {
            self.error(format!("{field}.status"), "must be 200 to 600");
        }
        let size = body.map_or(0, |body| [&body.string, &body.bytes].into_iter().flatten().map(String::len).sum());
        if size > LARGEST_BODY.0 {
            self.error(format!("{field}.body"), "must have at most 1 MiB");
        } else if size > LARGEST_BODY.1 {
            self.warning(format!("{field}.body"), "is large: each proxy keeps it");
        }
    }

    fn rewrite(&mut self, field: &str, rewrite: &Rewrite) {
        let Rewrite { uri, authority, uri_regex_rewrite } = rewrite;
        if !uri.is_empty() && uri_regex_rewrite.is_some() {
            self.error(format!("{field}.uriRegexRewrite"), "must not be set together with uri");
        }
        if uri.is_empty() && authority.is_empty() && uri_regex_rewrite.is_none() {
            self.error(field, "must say what is rewritten");
        }
        if uri_regex_rewrite.as_ref().is_some_and(|regex| regex.pattern.is_empty() || regex.rewrite.is_empty()) {
            self.error(format!("{field}.uriRegexRewrite"), "must have match and rewrite");
        }
    }

    fn retries(&mut self, field: &str, retries: &Retries) {
        let Retries { attempts, per_try_timeout, retry_on, retry_remote_localities, backoff, .. } = retries;
        if *attempts < 0 {
            self.error(format!("{field}.attempts"), "must not be negative");
        }
        if *attempts == 0 && (per_try_timeout.is_some() || !retry_on.is_empty() || retry_remote_localities.is_some()) {
            self.error(format!("{field}.attempts"), "must be above 0 where other fields say how to retry");
        }
        self.duration(&format!("{field}.perTryTimeout"), per_try_timeout.as_deref());
        self.duration(&format!("{field}.backoff"), backoff.as_deref());
        let is_known = |reason: &str| {
            RETRY_ON.contains(&reason) || reason.parse::<u16>().is_ok_and(|status| (100..600).contains(&status))
        };
        if !retry_on.is_empty() && !retry_on.split(',').map(str::trim).all(is_known) {
            let problem = format!("must be statuses of HTTP and words of {}, separated by commas", RETRY_ON.join(", "));
            self.error(format!("{field}.retryOn"), problem);
        }
    }

    fn fault(&mut self, field: &str, fault: &Fault) {
        if fault.abort.is_none() && fault.delay.is_none() {
            self.error(field, "must have abort or delay");
        }
        if let Some(delay) = &fault.delay {
            if delay.exponential_delay.is_some() {
                self.error(format!("{field}.delay.exponentialDelay"), "is not supported");
            }
            self.duration(&format!("{field}.delay.fixedDelay"), delay.fixed_delay.as_deref());
            self.percentage(&format!("{field}.delay.percentage"), delay.percentage);
        }
        if let Some(abort) = &fault.abort {
            if abort.http2_error.is_some() {
                self.error(format!("{field}.abort.http2Error"), "is not supported");
            }
            if abort.http_status.is_some_and(|status| !(200..=600).contains(&status)) {
                self.error(format!("{field}.abort.httpStatus"), "must be 200 to 600");
            }
            self.percentage(&format!("{field}.abort.percentage"), abort.percentage);
        }
    }

    fn percentage(&mut self, field: &str, percentage: Option<Percent>) {
        if percentage.is_some_and(|Percent { value }| value != 0.0 && !(0.0001..=100.0).contains(&value)) {
            self.error(field, "must be 0, or 0.0001 to 100");
        }
    }

    fn mirrors(&mut self, field: &str, route: &HttpRoute) {
        if let Some(mirror) = &route.mirror {
            self.destination(&format!("{field}.mirror"), mirror);
            if !route.mirrors.is_empty() {
                self.error(format!("{field}.mirrors"), "must not be set together with mirror");
            }
        }
        for (index, mirror) in route.mirrors.iter().enumerate() {
            self.destination(&format!("{field}.mirrors[{index}].destination"), &mirror.destination);
            if mirror.percentage.is_some_and(|Percent { value }| !(0.0..=100.0).contains(&value)) {
                self.error(format!("{field}.mirrors[{index}].percentage"), "must be 0 to 100");
            }
        }
        if route.mirror_percentage.is_some_and(|Percent { value }| !(0.0..=100.0).contains(&value)) {
            self.error(format!("{field}.mirrorPercentage"), "must be 0 to 100");
        }
        if let Some(percent) = route.mirror_percent {
            self.warning(format!("{field}.mirrorPercent"), "is deprecated: use mirrorPercentage");
            if percent > 100 {
                self.error(format!("{field}.mirrorPercent"), "must be 0 to 100");
            }
        }
    }

    fn cors(&mut self, field: &str, cors: &CorsPolicy) {
        for (index, origin) in cors.allow_origins.iter().enumerate() {
            self.string_match(&format!("{field}.allowOrigins[{index}]"), Some(origin), false);
        }
        for (index, method) in cors.allow_methods.iter().enumerate() {
            if !METHODS.contains(&method.as_str()) {
                self.error(format!("{field}.allowMethods[{index}]"), format!("must be one of {}", METHODS.join(", ")));
            }
        }
        for (name, headers) in [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)] {
            for (index, header) in headers.iter().enumerate() {
                self.check(format!("{field}.{name}[{index}]"), header_name(header, false));
            }
        }
        self.duration(&format!("{field}.maxAge"), cors.max_age.as_deref());
    }

    /// Changes of headers of the request, or of the answer.
    fn operations(&mut self, field: &str, operations: Option<&HeaderOperations>, of_request: bool) {
        let Some(HeaderOperations { set, add, remove }) = operations else { return };
        let of_connection = |header: &str| header.starts_with(':') || header.eq_ignore_ascii_case("host");
        let changed: [(&str, &BTreeMap<String, String>); 2] = [("set", set), ("add", add)];
        for (name, headers) in changed {
            for (header, value) in headers {
                let at = format!("{field}.{name}[{header}]");
                if of_connection(header) && !(of_request && matches!(header.as_str(), ":authority" | "host" | "Host")) {
                    self.error(&at, "must not be changed");
                } else {
                    self.check(&at, header_name(header, true));
                }
                if value.chars().any(char::is_control) {
                    self.error(at, "must have no control characters");
                }
            }
        }
        for (index, header) in remove.iter().enumerate() {
            let at = format!("{field}.remove[{index}]");
            if of_connection(header) {
                self.error(at, "must not be removed");
            } else {
                self.check(at, header_name(header, false));
            }
        }
    }

    fn duration(&mut self, field: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.check(field, duration::check(text));
        }
    }
}

/// The name of a header (RFC 9110, 5.6.2), or of a pseudo header of HTTP/2.
///
/// # Errors
/// What it must be.
pub fn header_name(name: &str, may_be_pseudo: bool) -> Result<(), &'static str> {
    let name = if may_be_pseudo { name.strip_prefix(':').unwrap_or(name) } else { name };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_token) { Ok(()) } else { Err("must be the name of a header") }
}
