//! Rules for single texts: names, label values, image references and paths.
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation`; for images, the grammar of the distribution project's
//! `reference`.

type Checked = Result<(), &'static str>;

fn holds(rule: bool, problem: &'static str) -> Checked {
    if rule { Ok(()) } else { Err(problem) }
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

fn ends(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| allowed(*b)) && bytes.last().is_some_and(|b| allowed(*b))
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_label(text: &str) -> bool {
    all(text, |b| lower(b) || b == b'-') && ends(text, lower)
}

/// A DNS label (RFC 1123).
pub(super) fn dns_label(text: &str) -> Checked {
    holds(
        is_label(text) && text.len() <= 63,
        "must be a DNS label: at most 63 of a-z, 0-9 and '-', with a letter or digit at both ends",
    )
}

/// A DNS subdomain (RFC 1123).
pub(super) fn dns_subdomain(text: &str) -> Checked {
    holds(
        text.len() <= 253 && text.split('.').all(is_label),
        "must be a DNS subdomain: at most 253 of a-z, 0-9, '-' and '.', with a letter or digit around each dot and at both ends",
    )
}

/// The key of a label or annotation, with or without a prefix.
pub(super) fn qualified_name(text: &str) -> Checked {
    const PROBLEM: &str = "must be a qualified name: an optional DNS subdomain and '/', then at most 63 of A-Z, a-z, 0-9, '-', '_' and '.', with a letter or digit at both ends";
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|_| PROBLEM)?;
            name
        }
        None => text,
    };
    holds(
        name.len() <= 63 && all(name, |b| alphanumeric(b) || b"-_.".contains(&b)) && ends(name, alphanumeric),
        PROBLEM,
    )
}

/// The key of an annotation. Its prefix may contain upper case.
pub(super) fn annotation_key(text: &str) -> Checked {
    qualified_name(&text.to_lowercase())
}

/// The value of a label.
pub(super) fn label_value(text: &str) -> Checked {
    holds(
        text.is_empty()
            || text.len() <= 63 && all(text, |b| alphanumeric(b) || b"-_.".contains(&b)) && ends(text, alphanumeric),
        "must be a label value: at most 63 of A-Z, a-z, 0-9, '-', '_' and '.', with a letter or digit at both ends",
    )
}

/// The name of a port (RFC 6335).
pub(super) fn port_name(text: &str) -> Checked {
    holds(
        text.len() <= 15 && is_label(text) && text.bytes().any(|b| b.is_ascii_lowercase()) && !text.contains("--"),
        "must be a port name: at most 15 of a-z, 0-9 and single '-', at least one of them a letter, no '-' at the ends",
    )
}

/// The name of an environment variable, as Kubernetes accepts it since 1.32.
pub(super) fn env_name(text: &str) -> Checked {
    holds(
        all(text, |b| (b' '..=b'~').contains(&b) && b != b'='),
        "must consist of printable ASCII characters without '='",
    )
}

/// A key of a `ConfigMap` or Secret.
pub(super) fn config_key(text: &str) -> Checked {
    holds(
        text.len() <= 253
            && all(text, |b| alphanumeric(b) || b"-_.".contains(&b))
            && text != "."
            && !text.starts_with(".."),
        "must be a key: at most 253 of A-Z, a-z, 0-9, '-', '_' and '.', neither '.' nor beginning with '..'",
    )
}

/// The name of an HTTP header.
pub(super) fn header_name(text: &str) -> Checked {
    holds(all(text, |b| alphanumeric(b) || b == b'-'), "must be a header name: A-Z, a-z, 0-9 and '-'")
}

/// A path without `..`.
pub(super) fn no_backsteps(text: &str) -> Checked {
    holds(text.split('/').all(|part| part != ".."), "must not contain '..'")
}

/// A relative path without `..`.
pub(super) fn descending_path(text: &str) -> Checked {
    holds(!text.starts_with('/'), "must be a relative path")?;
    no_backsteps(text)
}

/// The path of a file in a volume: relative, and not reserved by the kubelet.
pub(super) fn volume_file_path(text: &str) -> Checked {
    descending_path(text)?;
    holds(!text.starts_with(".."), "must not begin with '..'")
}

/// Text without leading or trailing white space.
pub(super) fn unpadded(text: &str) -> Checked {
    holds(!text.is_empty() && text.trim() == text, "must not be empty or padded with blanks")
}

/// Text that is a JSON object.
pub(super) fn json(text: &str) -> Checked {
    type Object = serde_json::Map<String, serde_json::Value>;
    holds(serde_json::from_str::<Object>(text).is_ok(), "must be a JSON object to be merged with MergePatchJson")
}

/// A percentage of any size.
pub(super) fn percentage(text: &str) -> Checked {
    holds(percent(text).is_some(), "must be a percentage such as \"50%\", or a number")
}

/// A percentage of 0 to 100.
pub(super) fn share(text: &str) -> Checked {
    let is_share = percent(text).is_some_and(|number| number <= 100);
    holds(is_share, "must be a percentage of \"0%\" to \"100%\", or a number")
}

/// The number of a percentage.
pub(super) fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%').filter(|number| all(number, |b| b.is_ascii_digit()))?;
    number.parse().ok()
}

/// A reference that container runtimes can pull: `[host[:port]/]path[:tag][@digest]`.
pub(super) fn image_reference(text: &str) -> Checked {
    const PROBLEM: &str = "must be an image reference: [host[:port]/]path[:tag][@digest]";
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let (host, rest) = match name.split_once('/') {
        // Docker's rule for whether the first part is a host.
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    };
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    let identifier = path.len() == 64 && !path.contains('/') && path.bytes().all(is_lower_hexadecimal);
    let valid = path.split('/').all(is_path_component)
        && !identifier
        && path.len() + host.map_or(0, |host| host.len() + 1) <= 255
        && host.is_none_or(is_registry)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    holds(valid, PROBLEM)
}

fn is_lower_hexadecimal(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Lower-case words, joined by one '.', one or two '_', or any number of '-'.
fn is_path_component(text: &str) -> bool {
    let joints = text.split(lower_char).filter(|joint| !joint.is_empty());
    ends(text, lower)
        && joints.into_iter().all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

fn lower_char(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit()
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if all(address, |b| b.is_ascii_hexdigit() || b == b':') => ("ip", port),
            _ => return false,
        },
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let port_is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(|port| all(port, |b| b.is_ascii_digit()));
    let name_is_valid =
        host.split('.').all(|part| all(part, |b| alphanumeric(b) || b == b'-') && ends(part, alphanumeric));
    port_is_valid && name_is_valid
}

fn is_tag(text: &str) -> bool {
    text.len() <= 128 && all(text, |b| alphanumeric(b) || b"_.-".contains(&b)) && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hexadecimal)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => hexadecimal.len() == 64,
        "sha384" => hexadecimal.len() == 96,
        "sha512" => hexadecimal.len() == 128,
        _ => hexadecimal.len() >= 32,
    };
    let algorithm_is_valid = algorithm
        .split(['-', '_', '+', '.'])
        .all(|part| all(part, alphanumeric) && part.as_bytes()[0].is_ascii_alphabetic());
    length && algorithm_is_valid && hexadecimal.bytes().all(|b| b.is_ascii_hexdigit())
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
    fn names_follow_kubernetes() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        table(dns_label, &["a", "0", "a-b", &long], &["", "-a", "a-", "A", "a.b", "a_b", "ä", &longer]);
        table(dns_subdomain, &["a", "a.b-c.d"], &["", ".a", "a..b", "a.-b", "A.b"]);
        table(
            qualified_name,
            &["a", "A_b.c-9", "example.com/a", &long],
            &["", "/a", "a/", "a/b/c", "Example.com/a", "_a", "a b", &longer],
        );
        table(annotation_key, &["Example.com/A", "UPPER/Ab"], &["a b", "é"]);
        table(label_value, &["", "a", "A_b.9"], &["-a", "a b", "a/b", &longer]);
        table(port_name, &["http", "a-1", "1a"], &["", "1", "a--b", "-a", "A", "a234567890123456"]);
        table(env_name, &["A", "a.b", "1 2", "-"], &["", "a=b", "é", "a\tb"]);
        table(config_key, &["a", ".a", "a..b"], &["", ".", "..", "..a", "a/b"]);
        table(header_name, &["X-A", "a"], &["", "a b", "a:"]);
    }

    #[test]
    fn paths_and_percentages_follow_kubernetes() {
        table(descending_path, &["a/b", "..a", "a..b/c", ""], &["/a", "..", "a/../b"]);
        table(volume_file_path, &["a/b", ".a"], &["/a", "..a", "../a", "a/.."]);
        table(percentage, &["0%", "100%", "007%", "101%"], &["", "%", "-1%", "1.5%", "10", "99999999999999999999%"]);
        table(share, &["0%", "100%", "007%"], &["", "%", "101%", "-1%", "1.5%", "10"]);
    }

    #[test]
    fn image_references_follow_the_distribution_grammar() {
        let digest = format!("busybox@sha256:{}", "0".repeat(64));
        let short = format!("busybox@sha256:{}", "0".repeat(63));
        let identifier = "a".repeat(64);
        table(
            image_reference,
            &[
                "busybox",
                "busybox:1.36.1",
                "library/busybox:latest",
                "localhost/app",
                "host:5000/team/app:1",
                "Registry.example.com/app",
                "[::1]:5000/app:2",
                "a__b/c-d.e---f",
                "example.com/app:V1_2.3-x",
                "test-image",
                &digest,
            ],
            &[
                "x y",
                " x",
                "x ",
                "",
                ":1",
                "Busybox",
                "host:5000/App",
                "a//b",
                "/a",
                "a/",
                "a:",
                "a:-b",
                "a___b",
                "a..b",
                "a@",
                "a@sha256:00",
                "http://a/b",
                "a:b:c",
                &short,
                &identifier,
            ],
        );
    }
}
