//! Whether this process accepts requests now: named checks, and the drain at its end.

use super::text::OneLine;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The answer of one check: good (`Ok`) or bad (`Err`), with details for the operator.
pub type CheckResult = Result<String, String>;

type Check = Box<dyn Fn() -> CheckResult + Send + Sync>;

/// All checks of a process. It is ready if every check passes and it is not draining.
#[derive(Default)]
pub struct Readiness {
    checks: Vec<(&'static str, Check)>,
    draining: AtomicBool,
}

/// The answers of all checks at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Each check by name in the order of addition, and at the end `shutdown`, which fails while the process drains.
    pub checks: Vec<(&'static str, CheckResult)>,
}

impl Readiness {
    /// Creates a state without checks that is ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check. It runs for every request, so it must be quick and must not block.
    #[must_use]
    pub fn check(mut self, name: &'static str, check: impl Fn() -> CheckResult + Send + Sync + 'static) -> Self {
        self.checks.push((name, Box::new(check)));
        self
    }

    /// Adds all checks of another.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.checks.extend(other.checks);
        self
    }

    /// Makes the process not ready, because it is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether [`Readiness::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Runs every check.
    pub fn report(&self) -> Report {
        let mut checks: Vec<_> = self.checks.iter().map(|(name, check)| (*name, check())).collect();
        checks.push(if self.is_draining() {
            ("shutdown", Err("this process is stopping".to_owned()))
        } else {
            ("shutdown", Ok("not stopping".to_owned()))
        });
        Report { checks }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.checks.iter().map(|(name, _)| name).collect();
        formatter.debug_struct("Readiness").field("checks", &names).field("draining", &self.is_draining()).finish()
    }
}

impl Report {
    /// Whether every check passed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|(_, result)| result.is_ok())
    }

    /// Returns one line for each check, only failing ones unless `verbose`. The format is that of Kubernetes
    /// components' `/readyz`.
    #[must_use]
    pub fn text(&self, verbose: bool) -> String {
        let mut lines: Vec<_> = self
            .checks
            .iter()
            .filter_map(|(name, result)| match result {
                Ok(detail) => verbose.then(|| format!("[+]{name} ok: {}\n", OneLine(detail))),
                Err(detail) => Some(format!("[-]{name} failed: {}\n", OneLine(detail))),
            })
            .collect();
        lines.push(if self.is_ready() { "ready\n" } else { "not ready\n" }.to_owned());
        lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_is_enough_to_be_not_ready() {
        let readiness =
            Readiness::new().check("sets", || Ok("3 loaded".to_owned())).check("tls", || Err("expired".to_owned()));
        let report = readiness.report();
        assert!(!report.is_ready());
        assert_eq!(report.text(false), "[-]tls failed: expired\nnot ready\n");
        assert_eq!(
            report.text(true),
            "[+]sets ok: 3 loaded\n[-]tls failed: expired\n[+]shutdown ok: not stopping\nnot ready\n"
        );
    }

    #[test]
    fn a_draining_process_is_not_ready_whatever_its_checks_say() {
        let readiness = Readiness::new().check("sets", || Ok("3 loaded".to_owned()));
        assert!(readiness.report().is_ready());
        readiness.drain();
        assert_eq!(readiness.report().text(false), "[-]shutdown failed: this process is stopping\nnot ready\n");
    }

    #[test]
    fn a_detail_forges_no_line() {
        let readiness = Readiness::new()
            .check("files", || Ok("a\n[-]tls failed: forged".to_owned()))
            .check("sets", || Err("b.yaml\nready".to_owned()));
        assert_eq!(
            readiness.report().text(true),
            "[+]files ok: a\\n[-]tls failed: forged\n[-]sets failed: b.yaml\\nready\n[+]shutdown ok: not stopping\nnot ready\n"
        );
    }
}
