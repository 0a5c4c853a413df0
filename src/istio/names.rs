//! Names by Istio's rules: DNS labels, hosts with and without wildcards, keys and values of labels, protocols.
//!
//! Source: `pkg/config/validation` and `pkg/config/labels` of Istio 1.32. Upper case is allowed everywhere.

/// Whether a rule holds; otherwise, what the text must be.
pub type Checked = Result<(), &'static str>;

/// The maximum length of a host.
const LONGEST_HOST: usize = 255;

/// The maximum length of a DNS label, and of the parts of a label's key or value.
const LONGEST_PART: usize = 63;

/// Protocols of ports, in any case.
const PROTOCOLS: [&str; 12] =
    ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "HTTP_PROXY", "MONGO", "TCP", "TLS", "UDP", "REDIS", "MYSQL"];

/// A DNS label.
///
/// # Errors
/// What it must be.
pub fn dns_label(text: &str) -> Checked {
    holds(
        is_dns_label(text),
        "must be a DNS label: at most 63 letters, digits and '-', with a letter or digit at both ends",
    )
}

/// A host without a wildcard, with or without a trailing dot.
///
/// # Errors
/// What it must be.
pub fn fqdn(text: &str) -> Checked {
    within_host_length(text)?;
    labels(text)
}

/// A host whose first label may be or begin with `*`.
///
/// # Errors
/// What it must be.
pub fn wildcard_domain(text: &str) -> Checked {
    within_host_length(text)?;
    let (first, rest) = text.split_once('.').map_or((text, None), |(first, rest)| (first, Some(rest)));
    holds(
        is_wildcard_label(first),
        "must be a DNS name: the part before the first '.' must be '*', a DNS label, or '*' and a DNS label",
    )?;
    rest.map_or(Ok(()), labels)
}

/// The key of a label: an optional DNS name and `/`, then a name.
///
/// # Errors
/// What it must be.
pub fn label_key(text: &str) -> Checked {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let prefix_holds = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_dns_label));
    holds(
        prefix_holds && is_qualified(name),
        "must be the key of a label: an optional DNS name and '/', then at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
    )
}

/// The value of a label.
///
/// # Errors
/// What it must be.
pub fn label_value(text: &str) -> Checked {
    holds(
        text.is_empty() || is_qualified(text),
        "must be the value of a label: at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
    )
}

/// The name of a header (RFC 9110, 5.6.2), or of an HTTP/2 pseudo-header.
///
/// # Errors
/// What it must be.
pub fn header(text: &str, may_be_pseudo: bool) -> Checked {
    let name = if may_be_pseudo { text.strip_prefix(':').unwrap_or(text) } else { text };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    holds(!name.is_empty() && name.bytes().all(is_token), "must be the name of a header")
}

/// The protocol of a port.
///
/// # Errors
/// The allowed protocols.
pub fn protocol(text: &str) -> Checked {
    holds(
        PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(text)),
        "must be one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, HTTP_PROXY, MONGO, TCP, TLS, UDP, REDIS, MYSQL",
    )
}

fn holds(rule: bool, problem: &'static str) -> Checked {
    if rule { Ok(()) } else { Err(problem) }
}

fn within_host_length(text: &str) -> Checked {
    holds((1..=LONGEST_HOST).contains(&text.len()), "must be a DNS name: 1 to 255 characters")
}

/// Returns the DNS labels, of which the last may be empty.
fn labels(text: &str) -> Checked {
    let labels = text.strip_suffix('.').unwrap_or(text);
    holds(
        text.is_empty() || labels.split('.').all(is_dns_label),
        "must be a DNS name: around each '.' at most 63 letters, digits and '-', with a letter or digit at both ends",
    )?;
    let top = text.rsplit('.').next().unwrap_or_default();
    holds(
        top.is_empty() || !top.bytes().all(|b| b.is_ascii_digit()),
        "must be a DNS name: its top level must not be a number",
    )
}

fn is_dns_label(text: &str) -> bool {
    text.len() <= LONGEST_PART
        && ends_alphanumeric(text)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `*`, a DNS label, or both, with or without a `-` between them.
fn is_wildcard_label(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('*') else { return is_dns_label(text) };
    rest.is_empty() || text.len() <= LONGEST_PART && is_dns_label(rest.strip_prefix('-').unwrap_or(rest))
}

fn is_qualified(text: &str) -> bool {
    text.len() <= LONGEST_PART
        && ends_alphanumeric(text)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn ends_alphanumeric(text: &str) -> bool {
    let bytes = text.as_bytes();
    [bytes.first(), bytes.last()].into_iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rule: fn(&str) -> Checked, accepted: &[&str], rejected: &[&str]) {
        for text in accepted {
            assert_eq!(rule(text), Ok(()), "{text:?}");
        }
        for text in rejected {
            assert!(rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn hosts_follow_istio() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        let longest = format!("{long}.{long}.{long}.{}", &long[..62]);
        let too_long = format!("{longest}.a");
        table(dns_label, &["a", "A-b", "1", &long], &["", "-a", "a-", "a.b", "a_b", "*", "é", &longer]);
        table(fqdn, &["a", "a.b", "A.b.", "1.a", &longest], &["", ".", ".a", "a..b", "a..", "1.2", "*.a", &too_long]);
        table(
            wildcard_domain,
            &["*", "*.", "*.a", "*a.b", "*-a.b", "a.b", "a.b.", "a.", "1.a", "a.1.", &long],
            &["", "**", "*-", "*--a", "*a-.b", "a*.b", "a.*", "a.*.b", "*.1", "10.0.0.1", "a b", "a/b", &longer],
        );
    }

    #[test]
    fn labels_follow_istio() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        table(
            label_key,
            &["a", "A_b.c", "a.b/c", "A.b/C", &long],
            &["", "/a", "a/", "a/b/c", "a b", "-a", "a*", &longer],
        );
        table(label_value, &["", "a", "A_b.9", &long], &["-a", "a/b", "*", &longer]);
    }

    #[test]
    fn protocols_are_known_in_any_case() {
        table(protocol, &["HTTP", "http", "Grpc-Web", "HTTP_PROXY"], &["", "HTTP3", "SCTP"]);
    }
}
