//! Where the programs of the control plane and the files beside them are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

/// What envtest's binaries hold, which `KUBEBUILDER_ASSETS` names the folder of.
const ENVTEST: &[&str] = &["etcd", "kube-apiserver", "kubectl"];

/// The path of the program, or of a file that `make testbed` puts beside the programs.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    if let Some(assets) = env::var_os("KUBEBUILDER_ASSETS")
        && ENVTEST.contains(&name)
    {
        let path = Path::new(&assets).join(name);
        ensure!(
            path.is_file(),
            "{} is missing; it is looked for there because KUBEBUILDER_ASSETS is set",
            path.display()
        );
        return Ok(path);
    }
    let folder =
        env::var_os("TESTBED_BIN").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("bin"), Into::into);
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing: run `make testbed`, which builds the control plane", path.display());
    Ok(path)
}
