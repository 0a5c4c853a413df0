//! Paths in a container: two that are spelled differently may be one place.

use std::borrow::Cow;

/// The path as a container runtime understands it: absolute, without empty steps, `.` and `..`, and without a slash at the end. Paths
/// of Windows have no such steps here: a backslash is a character like others.
pub(super) fn cleaned(path: &str) -> Cow<'_, str> {
    let is_clean = |step: &str| !matches!(step, "" | "." | "..");
    if path.strip_prefix('/').is_some_and(|steps| steps.split('/').all(is_clean)) {
        return Cow::Borrowed(path);
    }
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => _ = steps.pop(),
            step => steps.push(step),
        }
    }
    Cow::Owned(format!("/{}", steps.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_path() {
        for path in ["/var/log", "/var/log/", "//var//log", "/var/./log/.", "/var/lib/../log", "var/log", "/../var/log"]
        {
            assert_eq!(cleaned(path), "/var/log", "{path}");
        }
        for root in ["/", "", "//", "/..", "."] {
            assert_eq!(cleaned(root), "/", "{root}");
        }
        assert_eq!(cleaned("C:\\data"), "/C:\\data");
        assert!(matches!(cleaned("/a/b"), Cow::Borrowed("/a/b")));
    }
}
