//! A program that runs beside ours and never outlives it, however ours dies.

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

/// A shell between us and the program. It holds the reading end of a pipe to us: a line is the name of a signal to pass
/// on; the end of the pipe, which the system closes when we die, kills the program.
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

/// Where a program's standard output and error go.
#[derive(Debug, Clone)]
pub enum Log {
    /// To the end of this file.
    File(PathBuf),
    /// Where ours go.
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

/// A running program; it is killed when this is dropped and when our process ends, in whatever way.
#[derive(Debug)]
pub struct Process {
    name: String,
    supervisor: Child,
    pipe: Option<ChildStdin>,
    log: Log,
}

impl Process {
    /// Starts `command`: its program, arguments, environment and folder; its standard streams are not looked at.
    /// Signals from the terminal (Ctrl-C) do not reach it.
    ///
    /// # Errors
    /// When no shell can be started or the log cannot be opened. A program that cannot be run exits with 127, its log
    /// says why.
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

    /// The file name of the program.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has written so far, and with it what others wrote to the same file.
    ///
    /// # Errors
    /// When that goes to no file.
    pub fn log(&self) -> Result<String> {
        match &self.log {
            Log::File(path) => fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display())),
            Log::Inherit => bail!("{} has no log of its own", self.name),
        }
    }

    /// Sends a signal, named as `kill -s` names it: `TERM`, `KILL`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        let pipe = self.pipe.as_mut().with_context(|| format!("{} has ended", self.name))?;
        writeln!(pipe, "{signal}").with_context(|| format!("{} has ended", self.name))
    }

    /// How the program ended, `None` while it runs. Killed by a signal: code 128 and the signal's number.
    ///
    /// # Errors
    /// When the system does not know the process any more.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.supervisor.try_wait()?)
    }

    /// Waits until the program has ended by itself or by a signal sent before.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub async fn ended(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, timeout, async || self.exited()).await
    }

    /// Asks the program to end (SIGTERM) and waits for it; one that has not ended after `grace` is killed.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(mut self, grace: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        // Fails only when the program has ended just now.
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
        // Only as long as the system takes to kill; nothing can be done about an error here.
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

    /// Starts a script that says `up` when its trap is set, and runs until that is sprung.
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
