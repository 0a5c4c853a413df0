//! Container image references: the tag, which determines the pull policy, and whether two references name the same
//! image.

const DOCKER_HUB: &str = "docker.io";

/// The parts of a reference, in the grammar of the distribution project. The registry's host is optional, as in
/// Kubernetes.
struct Reference<'a> {
    host: Option<&'a str>,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Returns the tag of a reference: `latest` if it has neither tag nor digest, empty if it has only a digest or cannot
/// be parsed.
#[must_use]
pub fn tag_of(reference: &str) -> &str {
    let parsed = Reference::parse(reference);
    parsed.map_or("", |parsed| if parsed.digest.is_some() { parsed.tag.unwrap_or_default() } else { parsed.tag() })
}

/// Whether `spelled` is a registry's spelling of `image`. Spellings of `nginx:1` are
/// `docker.io/library/nginx:1`, `mirror.example.com/proxy/docker.io/library/nginx:1` and `nginx@sha256:…`.
///
/// * The repository must be the same in the same registry. In another registry the path must end with it, except on Docker Hub,
///   where the path begins with a user. Which registries are mirrors is not known here.
/// * The version must have the same digest if `image` has one. Otherwise it must have the same tag, or a digest, which cannot be
///   compared with a tag.
///
/// A reference that cannot be parsed has no other spelling.
#[must_use]
pub fn is_spelling_of(spelled: &str, image: &str) -> bool {
    if spelled == image {
        return true;
    }
    let (Some(spelled), Some(image)) = (Reference::parse(spelled), Reference::parse(image)) else { return false };
    let same_version = match (image.digest, spelled.digest) {
        (Some(_), digest) => digest == image.digest,
        (None, Some(_)) => spelled.tag.is_none_or(|tag| tag == image.tag()),
        (None, None) => spelled.tag() == image.tag(),
    };
    same_version && spelled.is_copy_in_repository_of(&image)
}

impl<'a> Reference<'a> {
    fn parse(reference: &'a str) -> Option<Self> {
        let (name, digest) = reference.split_once('@').map_or((reference, None), |(name, digest)| (name, Some(digest)));
        let last_segment = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[last_segment..].find(':') {
            Some(colon) => (&name[..last_segment + colon], Some(&name[last_segment + colon + 1..])),
            None => (name, None),
        };
        if !is_name(name) || !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
            return None;
        }
        let (host, path) = split_host(name);
        Some(Self { host, path, tag, digest })
    }

    fn tag(&self) -> &'a str {
        self.tag.unwrap_or("latest")
    }

    /// Returns the registry, with Docker Hub's usual name.
    fn registry(&self) -> &'a str {
        match self.host {
            None | Some("index.docker.io" | "registry-1.docker.io") => DOCKER_HUB,
            Some(host) => host,
        }
    }

    fn is_copy_in_repository_of(&self, image: &Self) -> bool {
        // Docker Hub's official images are in `library`, whether it is written or not.
        let of_image = image.path.strip_prefix("library/").unwrap_or(image.path);
        if self.registry() == image.registry() {
            return self.path.strip_prefix("library/").unwrap_or(self.path) == of_image;
        }
        self.registry() != DOCKER_HUB
            && self.path.strip_suffix(of_image).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }
}

fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (Some(first), rest),
        _ => (None, name),
    }
}

fn is_name(name: &str) -> bool {
    let (host, path) = split_host(name);
    let is_identifier = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    name.len() <= 255
        && !is_identifier
        && path.split('/').all(is_component)
        && host.is_none_or(|host| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b)))
}

/// Whether the first part of a name is a host: it contains a dot, a port or an upper-case letter, or is `localhost`.
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

    #[test]
    fn a_registry_spells_an_image_its_own_way() {
        let digests = [&*format!("sha256:{}", "0a".repeat(32)), &*format!("sha256:{}", "0b".repeat(32))];
        let [first, second] = digests.map(|digest| format!("nginx@{digest}"));
        let [tagged_first, other_tag] = ["1", "2"].map(|tag| format!("nginx:{tag}@{}", digests[0]));
        let mirrored = format!("mirror.corp/proxy/library/{tagged_first}");
        for (image, spellings, others) in [
            (
                "nginx:1",
                &[
                    "nginx:1",
                    "library/nginx:1",
                    "docker.io/nginx:1",
                    "docker.io/library/nginx:1",
                    "index.docker.io/library/nginx:1",
                    "mirror.corp/nginx:1",
                    "mirror.corp:5000/proxy/docker.io/library/nginx:1",
                    &*first,
                    &*tagged_first,
                    &*mirrored,
                ][..],
                &[
                    "nginx",
                    "nginx:2",
                    "nginx:1.0",
                    "evil:1",
                    "evil/nginx:1",
                    "docker.io/evil/nginx:1",
                    "mirror.corp/not-nginx:1",
                    "mirror.corp/nginx/evil:1",
                    "mirror.corp/nginx",
                    "mirror.corp/nginx:1@sha256:0a",
                    "nginx:1 ",
                    "",
                    &*other_tag,
                ][..],
            ),
            ("nginx", &["nginx:latest", "mirror.corp/library/nginx", &*first], &["nginx:1", &*tagged_first]),
            ("docker.io/library/nginx:1", &["nginx:1", "mirror.corp/nginx:1"], &["mirror.corp/evil/engine-nginx:1"]),
            (&*first, &[&*tagged_first, &*other_tag, &*mirrored], &["nginx", "nginx:1", &*second]),
            (&*tagged_first, &[&*first, &*other_tag, &*mirrored], &["nginx:1", &*second]),
            (
                "quay.io/org/app:1",
                &["mirror.corp/quay.io/org/app:1", "mirror.corp/org/app:1"],
                &["org/app:1", "org/app:2", "app:1", "mirror.corp/app:1", "quay.io/proxy/org/app:1"],
            ),
            (
                "registry.corp/agent:1",
                &["mirror.corp/agent:1", "mirror.corp/proxy/registry.corp/agent:1"],
                &[
                    "agent:1",
                    "mallory/agent:1",
                    "docker.io/mallory/agent:1",
                    "index.docker.io/mallory/agent:1",
                    "registry-1.docker.io/mallory/agent:1",
                    "registry.corp/mallory/agent:1",
                ],
            ),
            ("${IMG}", &["${IMG}"], &["mirror.corp/${IMG}"]),
        ] {
            for spelled in spellings {
                assert!(is_spelling_of(spelled, image), "{spelled} is {image}");
            }
            for other in others {
                assert!(!is_spelling_of(other, image), "{other} is not {image}");
            }
        }
    }
}
