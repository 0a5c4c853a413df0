//! `outrigger serve` as a process of its own, with a kubeconfig for the replayed cluster.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{Memory, memory, processor_time, ticks_per_second};

/// The maximum time of its end.
const PATIENCE: Duration = Duration::from_secs(20);
/// The name by which jemalloc reads its settings from the environment. They win over those of the build.
const SETTINGS: &str = "_RJEM_MALLOC_CONF";

/// A running process. Dropping it ends the process.
pub struct Program {
    child: Child,
    folder: TempDir,
    ticks: u64,
}

impl Program {
    /// Starts it, with other settings of the allocator if there are any.
    pub fn start(api_server: SocketAddr, settings: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(
            &kubeconfig,
            format!(
                "{{apiVersion: v1, kind: Config, current-context: replay, users: [], \
                 contexts: [{{name: replay, context: {{cluster: replay, user: \"\"}}}}], \
                 clusters: [{{name: replay, cluster: {{server: \"http://{api_server}\"}}}}]}}"
            ),
        )?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let flags = "serve --controllers=sidecarset --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0 --shutdown-delay=0 \
                     --webhook-url=https://127.0.0.1:9443 --log-level=info";
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(flags.split_whitespace()).env("KUBECONFIG", kubeconfig).env("NO_COLOR", "1");
        command.env_remove("POD_NAMESPACE").env_remove("RUST_LOG").envs(settings.map(|settings| (SETTINGS, settings)));
        let ticks = ticks_per_second()?;

        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("outrigger")?;
        Ok(Self { child, folder, ticks })
    }

    pub fn memory(&self) -> Result<Memory> {
        memory(self.child.id())
    }

    /// Returns the processor time until now.
    pub fn cpu(&self) -> Result<Duration> {
        processor_time(self.child.id(), self.ticks)
    }

    /// Returns the end of its log.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + PATIENCE;
        while asked.is_ok() && Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                _ => return,
            }
        }
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
