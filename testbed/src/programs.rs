//! Locations of the control plane's programs and files.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

/// The programs in envtest's binaries, in the folder named by `KUBEBUILDER_ASSETS`.
const ENVTEST: &[&str] = &["etcd", "kube-apiserver", "kubectl"];

/// Returns the path of a program, or of a file that `make testbed` puts next to the programs.
///
/// # Errors
/// When it has not been built.
pub fn find(name: &str) -> Result<PathBuf> {
    let folder = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let built = folder("TESTBED_BIN").unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("bin"));
    find_in(name, folder("KUBEBUILDER_ASSETS").as_deref(), &built)
}

fn find_in(name: &str, assets: Option<&Path>, built: &Path) -> Result<PathBuf> {
    if let Some(assets) = assets
        && ENVTEST.contains(&name)
    {
        let path = assets.join(name);
        ensure!(path.is_file(), "{} is missing: KUBEBUILDER_ASSETS says that it is there", path.display());
        return Ok(path);
    }
    let path = built.join(name);
    ensure!(path.is_file(), "{} is missing: run `make testbed`, which builds the control plane", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envtest_is_asked_only_for_what_it_has() {
        let (assets, built) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&assets, &built] {
            std::fs::write(folder.path().join("etcd"), "").unwrap();
            std::fs::write(folder.path().join("kwok"), "").unwrap();
        }
        let find = |name| find_in(name, Some(assets.path()), built.path()).unwrap();
        assert_eq!(find("etcd"), assets.path().join("etcd"));
        assert_eq!(find("kwok"), built.path().join("kwok"));
        assert_eq!(find_in("etcd", None, built.path()).unwrap(), built.path().join("etcd"));
    }

    #[test]
    fn a_missing_program_is_told_with_what_to_do() {
        let empty = tempfile::tempdir().unwrap();
        let error = find_in("kwok", None, empty.path()).unwrap_err().to_string();
        assert!(error.contains("make testbed"), "{error}");
        let error = find_in("etcd", Some(empty.path()), empty.path()).unwrap_err().to_string();
        assert!(error.contains("KUBEBUILDER_ASSETS"), "{error}");
    }
}
