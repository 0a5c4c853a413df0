//! Failpoints: in test builds, a process can be made to exit just before or just after any of its writes.
//!
//! `FAILPOINTS=rollout.status.after=return` exits after the first write of a SidecarSet's status, as if the process had been
//! killed; `FAILPOINTS=rollout.status.after=2*off->return` after the third. The crate `fail` has more actions, such as `pause` and
//! `sleep`. Failpoints need the feature `failpoints` and `debug_assertions`, so no release has them.

/// All writes. Each has a failpoint before it and one after it. A test compares this list with the sources.
pub const WRITES: [&str; 40] = [
    "authority.change",
    "authority.create",
    "generator.sidecar.change",
    "generator.sidecar.create",
    "generator.status",
    "lease.create",
    "lease.release",
    "lease.renew",
    "lease.take",
    "mesh.object.apply",
    "mesh.object.delete",
    "mesh.object.release",
    "mesh.object.trim",
    "mesh.service.mend",
    "mesh.status",
    "migration.crd",
    "migration.set",
    "registration.conversion",
    "registration.inject-ca-from",
    "registration.mutating",
    "registration.remove",
    "registration.validating",
    "rollout.revision.create",
    "rollout.revision.delete",
    "rollout.revision.remake",
    "rollout.revision.remove",
    "rollout.revision.renumber",
    "rollout.status",
    "routing.configuration.annotate",
    "routing.placeholder.apply",
    "routing.placeholder.delete",
    "routing.placeholder.hand-over",
    "routing.placeholder.take-over",
    "routing.virtualservice.change",
    "routing.virtualservice.create",
    "routing.virtualservice.delete",
    "upgrade.pod.resize",
    "upgrade.pod.tell",
    "upgrade.pod.update",
    "widening.configuration",
];

/// The exit code of a process at a failpoint.
pub const KILLED: i32 = 77;

/// Runs a write between its two failpoints. Its name is one of [`WRITES`].
#[cfg(all(feature = "failpoints", debug_assertions))]
pub fn around<F: Future>(name: &'static str, write: F) -> impl Future<Output = F::Output> {
    let write = Box::pin(write); // keeps the futures of callers small
    async move {
        reached(name, "before");
        let written = write.await;
        reached(name, "after");
        written
    }
}

/// Runs the write.
#[cfg(not(all(feature = "failpoints", debug_assertions)))]
pub fn around<F: Future>(_name: &'static str, write: F) -> F {
    write
}

#[cfg(all(feature = "failpoints", debug_assertions))]
fn reached(write: &str, moment: &str) {
    static ARMED: std::sync::Once = std::sync::Once::new();
    // Lasts as long as the process.
    ARMED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    debug_assert!(WRITES.contains(&write), "{write} is none of the writes");
    fail::fail_point!(&format!("{write}.{moment}"), |_| {
        tracing::warn!("the failpoint {write}.{moment} ends this process");
        std::process::exit(KILLED)
    });
}
