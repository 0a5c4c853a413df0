//! A program that runs next to this process and never outlives it, however it ends.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::wait_for;

/// A shell between this process and the program. It reads a pipe: a line is the name of a signal to forward. At the end
/// of the pipe, which the system closes when this process dies, it kills the program.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
{ while read -r signal; do kill -s "$signal" "$program"; done; kill -s KILL "$program"; } <&3 >/dev/null 2>&1 &
listener=$!
exec 3<&-
wait "$program"
status=$?
kill -s KILL "$listener"
exit "$status"
"#;

/// The destination of a program's standard output and error.
#[derive(Debug, Clone)]
pub enum Log {
    /// Appended to this file.
    File(PathBuf),
    /// This process's own.
    Inherit,
}

impl Log {
    fn stdio(&self) -> Result<Stdio> {
        Ok(match self {
            Self::Inherit => Stdio::inherit(),
            Self::File(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("{} cannot be opened", path.display()))?
                .into(),
        })
    }
}

/// A running program. It is killed when this is dropped and when this process ends in any way.
#[derive(Debug)]
pub struct Process {
    name: String,
    supervisor: Child,
    pipe: Option<ChildStdin>,
    log: Log,
}

impl Process {
    /// Starts `command`, with its program, arguments, environment and folder. Its standard streams are ignored.
    /// Signals from the terminal (Ctrl-C) do not reach it.
    ///
    /// # Errors
    /// When no shell can be started or the log cannot be opened. A program that cannot be run exits with 127, and its
    /// log has the reason.
    pub fn start(command: &Command, log: &Log) -> Result<Self> {
        let program = command.get_program();
        let name = PathBuf::from(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let mut shell = Command::new("sh");
        shell.args(["-c", SUPERVISOR, &name]).arg(program).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        let mut supervisor = shell
            .stdin(Stdio::piped())
            .stdout(log.stdio()?)
            .stderr(log.stdio()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("no shell to start {name} with"))?;
        let pipe = supervisor.stdin.take();
        Ok(Self { name, supervisor, pipe, log: log.clone() })
    }

    /// Returns the file name of the program.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns everything written to its log so far, including by others.
    ///
    /// # Errors
    /// When there is no log file.
    pub fn log(&self) -> Result<String> {
        match &self.log {
            Log::File(path) => fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display())),
            Log::Inherit => bail!("{} has no log of its own", self.name),
        }
    }

    /// Sends a signal with a name of `kill -s`: `TERM`, `KILL`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        let pipe = self.pipe.as_mut().with_context(|| format!("{} has ended", self.name))?;
        writeln!(pipe, "{signal}").with_context(|| format!("{} has ended", self.name))
    }

    /// Returns how the program ended; `None` while it runs. If it was killed by a signal, the code is 128 plus the
    /// signal's number.
    ///
    /// # Errors
    /// When the system no longer knows the process.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.supervisor.try_wait()?)
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub async fn ended(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, timeout, async || self.exited()).await
    }

    /// Sends SIGTERM and waits for the end. After `grace` the program is killed.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(mut self, grace: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        // Fails only if the program has just ended.
        let _ = self.signal("TERM");
        match self.ended(grace).await {
            Ok(status) => Ok(status),
            Err(_) => bail!("{} did not end within {grace:?} of SIGTERM and was killed", self.name),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Takes only as long as the kill. An error cannot be handled here.
        let _ = self.supervisor.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_program_has_its_environment_its_log_and_its_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = shell("echo \"$GREETING from $(pwd)\"; echo oops >&2; exit 3");
        command.env("GREETING", "hello").current_dir("/");
        let mut process = Process::start(&command, &Log::File(log)).unwrap();
        assert_eq!(process.ended(SOON).await.unwrap().code(), Some(3));
        assert_eq!(process.log().unwrap(), "hello from /\noops\n");
        assert!(process.stop(SOON).await.is_ok(), "it has ended already");
    }

    /// Starts a script that prints `up` when its trap is set, and runs until the trap is triggered.
    async fn trapped(trap: &str, log: &Path) -> Process {
        let script = shell(&format!("trap '{trap}' TERM; echo up; while :; do sleep 0.05; done"));
        let process = Process::start(&script, &Log::File(log.to_owned())).unwrap();
        wait_for("the trap", SOON, async || Ok(fs::read_to_string(log)?.contains("up").then_some(()))).await.unwrap();
        process
    }

    #[tokio::test]
    async fn a_program_ends_as_it_likes_when_it_is_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let process = trapped("echo bye; exit 7", &log).await;
        assert_eq!(process.stop(SOON).await.unwrap().code(), Some(7));
        assert_eq!(fs::read_to_string(log).unwrap(), "up\nbye\n");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let process = trapped("", &folder.path().join("log")).await;
        let supervisor = process.supervisor.id();
        let error = process.stop(Duration::from_millis(300)).await.unwrap_err().to_string();
        assert!(error.contains("sh did not end within 300ms"), "{error}");
        wait_for("its process group to be gone", SOON, async || {
            let group = Command::new("kill").args(["-s", "0", "--", &format!("-{supervisor}")]).output()?;
            Ok((!group.status.success()).then_some(()))
        })
        .await
        .unwrap();
    }
}
