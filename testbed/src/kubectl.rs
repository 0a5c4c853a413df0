//! Runs kubectl like a user.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{io::AsyncWriteExt, process::Command, time};

use crate::programs;

/// The time limit of a command.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Output and exit status of a finished program.
#[derive(Debug, Clone)]
#[must_use]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Returns the standard output of a successful program.
    ///
    /// # Errors
    /// When the program failed. The error has its output.
    pub fn ok(self) -> Result<String> {
        ensure!(self.status.success(), "{}: {}{}", self.status, self.stderr, self.stdout);
        Ok(self.stdout)
    }
}

/// kubectl with one user's kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// Uses this kubeconfig. kubectl's cache is next to it.
    ///
    /// # Errors
    /// When kubectl has not been built.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self { program: programs::find("kubectl")?, kubeconfig: kubeconfig.to_owned() })
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs `kubectl ARGUMENTS`, with `stdin` for commands that read `-f -`.
    ///
    /// # Errors
    /// When kubectl could not be run or did not end. A failure of the command itself is in the [`Output`].
    pub async fn run(&self, arguments: &[&str], stdin: Option<&str>) -> Result<Output> {
        let mut kubectl = Command::new(&self.program);
        kubectl.env("KUBECACHEDIR", self.kubeconfig.with_extension("cache")).env("KUBECTL_KUBERC", "false");
        self.run_program(kubectl, arguments, stdin).await
    }

    /// Runs `helm ARGUMENTS` as the same user.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when helm has not been built.
    pub async fn helm(&self, arguments: &[&str]) -> Result<Output> {
        let mut helm = Command::new(programs::find("helm")?);
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            helm.env(variable, self.kubeconfig.with_extension(format!("helm-{folder}")));
        }
        self.run_program(helm, arguments, None).await
    }

    async fn run_program(&self, mut program: Command, arguments: &[&str], stdin: Option<&str>) -> Result<Output> {
        let name = Path::new(program.as_std().get_program()).display().to_string();
        let mut running = program
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be run"))?;
        let mut pipe = running.stdin.take();
        let write = async {
            if let (Some(pipe), Some(text)) = (&mut pipe, stdin) {
                // It may end without reading everything. Its exit status tells more than a broken pipe.
                let _ = pipe.write_all(text.as_bytes()).await;
            }
            drop(pipe);
        };
        let ((), output) = time::timeout(TIMEOUT, futures::future::join(write, running.wait_with_output()))
            .await
            .with_context(|| format!("{name} {} did not end within {TIMEOUT:?}", arguments.join(" ")))?;
        let output = output?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs `kubectl apply -f -` with these objects. `namespace` is the default namespace.
    ///
    /// # Errors
    /// When an object is rejected. The error has kubectl's output.
    pub async fn apply(&self, namespace: &str, yaml: &str) -> Result<String> {
        self.run(&["apply", "--namespace", namespace, "-f", "-"], Some(yaml))
            .await?
            .ok()
            .context("kubectl apply failed")
    }
}
