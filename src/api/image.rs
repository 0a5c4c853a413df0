//! References of container images, as far as the tag decides about pulling.

/// The tag of a reference: `latest` where it has neither tag nor digest, empty where it has only a digest or cannot be parsed.
///
/// The grammar is that of the distribution project, with the host of a registry optional, as Kubernetes reads it.
#[must_use]
pub fn tag_of(reference: &str) -> &str {
    let (name, digest) = reference.split_once('@').map_or((reference, None), |(name, digest)| (name, Some(digest)));
    let last_segment = name.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match name[last_segment..].find(':') {
        Some(colon) => (&name[..last_segment + colon], Some(&name[last_segment + colon + 1..])),
        None => (name, None),
    };
    if !is_name(path) || !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
        return "";
    }
    tag.unwrap_or(if digest.is_some() { "" } else { "latest" })
}

fn is_name(name: &str) -> bool {
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (Some(first), rest),
        _ => (None, name),
    };
    let is_identifier = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    name.len() <= 255
        && !is_identifier
        && path.split('/').all(is_component)
        && host.is_none_or(|host| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b)))
}

/// Whether the first part of a name is a host: it has a dot, a port or an upper-case letter, or is `localhost`.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// Lower-case letters and digits, in runs separated by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let is_run = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = component.split(is_run).filter(|separator| !separator.is_empty());
    component.starts_with(is_run)
        && component.ends_with(is_run)
        && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    (1..=128).contains(&bytes.len()) && is_word(bytes[0]) && bytes.iter().all(|b| is_word(*b) || b".-".contains(b))
}

/// An algorithm and at least 32 hexadecimal digits.
fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-_".contains(&b))
            && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_decides_and_what_cannot_be_parsed_has_none() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (reference, tag) in [
            ("busybox", "latest"),
            ("busybox:1.36", "1.36"),
            ("host:5000/team/app", "latest"),
            ("host:5000/team/app:1.2", "1.2"),
            ("localhost/app", "latest"),
            ("REG.example.com/app:latest", "latest"),
            ("a__b/c.d/e---f:x_Y.1-2", "x_Y.1-2"),
            (&format!("busybox@{digest}"), ""),
            (&format!("busybox:latest@{digest}"), "latest"),
            ("busybox:latest@sha256:0000", ""),
            ("BusyBox", ""),
            ("REG.example.com/App:latest", ""),
            ("${IMG}", ""),
            ("a b", ""),
            ("a___b", ""),
            ("app:", ""),
            ("", ""),
            (&"0a".repeat(32), ""),
        ] {
            assert_eq!(tag_of(reference), tag, "{reference}");
        }
    }
}
