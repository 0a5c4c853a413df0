//! Hosts as Istio compares them: short names, wildcards, and overlaps.

use std::borrow::Cow;

/// Returns the full host of a service. A name without a dot is a Service in the given namespace.
pub(crate) fn full<'h>(host: &'h str, namespace: &str, domain: &str) -> Cow<'h, str> {
    let host = host.strip_suffix('.').filter(|rest| rest.contains('.')).unwrap_or(host);
    if host.is_empty() || host.contains(['.', '*']) {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() }
    } else {
        service(&host.to_ascii_lowercase(), namespace, domain).into()
    }
}

/// Returns the host of a Service.
pub(crate) fn service(name: &str, namespace: &str, domain: &str) -> String {
    format!("{name}.{namespace}.svc.{domain}")
}

pub(crate) fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether `outer` matches every name that `inner` matches.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    match outer.strip_prefix('*') {
        None => outer == inner,
        Some(end) => match inner.strip_prefix('*') {
            Some(inner_end) => inner_end.ends_with(end),
            None => inner.len() >= end.len() && inner.ends_with(end),
        },
    }
}

/// Whether both match a common name.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

/// Returns the wildcards that match a host, the narrowest first, without the host itself: `*.b.c`, `*.c` and `*` for
/// `a.b.c`.
pub(crate) fn wildcards(host: &str) -> impl Iterator<Item = String> + '_ {
    let rest = host.strip_prefix("*.").unwrap_or(host);
    let dots = rest.match_indices('.').map(move |(dot, _)| format!("*{}", &rest[dot..]));
    dots.chain((host != "*").then(|| "*".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_dot_is_a_service_of_the_namespace() {
        for (host, expected) in [
            ("web", "web.shop.svc.cluster.local"),
            ("Web", "web.shop.svc.cluster.local"),
            ("web.other", "web.other"),
            ("Web.Example.com.", "web.example.com"),
            ("*", "*"),
            ("*.example.com", "*.example.com"),
        ] {
            assert_eq!(full(host, "shop", "cluster.local"), expected, "{host}");
        }
    }

    #[test]
    fn wildcards_cover_what_ends_like_them() {
        for (outer, inner, expected) in [
            ("*", "a.b", true),
            ("*", "*.b", true),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("*.b", "*.a.b", true),
            ("*.a.b", "*.b", false),
            ("a.b", "a.b", true),
            ("a.b", "*.b", false),
        ] {
            assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
        }
        assert!(overlap("a.b", "*.b") && overlap("*.b", "a.b") && !overlap("*.a", "*.b"));
        assert_eq!(wildcards("a.b.c").collect::<Vec<_>>(), ["*.b.c", "*.c", "*"]);
        assert_eq!(wildcards("*.b.c").collect::<Vec<_>>(), ["*.c", "*"]);
        assert_eq!(wildcards("*").count(), 0);
    }
}
