//! Paths in a container. Different spellings may be the same place.

use std::borrow::Cow;

/// Returns the path as a container runtime understands it: absolute, without empty components, `.` and `..`, and without a trailing
/// slash. Windows paths are not split: a backslash is an ordinary character.
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
