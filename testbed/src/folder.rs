//! The folder of one control plane: data, keys, logs. It is removed when it is no longer used, even if this process is
//! killed.

use std::{
    env,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// Waits for a line from the pipe. If the pipe ends without one, the folder is removed. Programs that used it are
/// being killed at the same time, so removal may need several attempts.
const SWEEPER: &str = r#"
if ! read -r keep; then
    for attempt in 1 2 3 4 5; do rm -rf "$1" && break; sleep 0.2; done
fi
"#;

#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    sweeper: Child,
    kept: bool,
}

impl Folder {
    /// Creates a new empty folder for this user only. With `TESTBED_KEEP` set it is kept.
    pub(crate) fn new() -> Result<Self> {
        let path =
            tempfile::Builder::new().prefix("outrigger-testbed-").tempdir().context("no temporary folder")?.keep();
        let sweeper = Command::new("sh")
            .args(["-c", SWEEPER, "sweeper"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("no shell to remove the temporary folder with")?;
        let mut folder = Self { path, sweeper, kept: false };
        if env::var_os("TESTBED_KEEP").is_some_and(|value| !value.is_empty()) {
            folder.keep();
        }
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the folder, and prints its path.
    pub(crate) fn keep(&mut self) {
        if self.kept {
            return;
        }
        if let Some(pipe) = &mut self.sweeper.stdin
            && writeln!(pipe, "keep").is_ok()
        {
            self.kept = true;
            eprintln!("The control plane's logs and data are kept in {}", self.path.display());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        // Takes only as long as the removal. An error cannot be handled here.
        let _ = self.sweeper.wait();
    }
}
