//! The metrics of files: how many there are, how many were written and removed, and failures.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry::metrics::Labels;

/// Clones share the metrics.
#[derive(Clone, Debug, Default)]
pub struct SyncMetrics {
    objects: Gauge,
    files: Gauge,
    failing: Family<Labels<1>, Gauge>,
    writes: Family<Labels<1>, Counter>,
    reloads: Family<Labels<2>, Counter>,
    downloads: Family<Labels<1>, Counter>,
}

impl SyncMetrics {
    /// Registers them with zero values.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("outrigger_sync_objects", "Followed ConfigMaps and Secrets", metrics.objects.clone());
        registry.register("outrigger_sync_files", "Files written for them", metrics.files.clone());
        registry.register(
            "outrigger_sync_failing",
            "Files that cannot be written or downloaded, objects that cannot become files completely, and failing \
             watches",
            metrics.failing.clone(),
        );
        registry.register(
            "outrigger_sync_changes",
            "Files written, files removed, and failed attempts",
            metrics.writes.clone(),
        );
        registry.register("outrigger_sync_reloads", "Scripts run and requests sent", metrics.reloads.clone());
        registry.register("outrigger_sync_downloads", "Downloads, by outcome", metrics.downloads.clone());
        metrics.are((0, 0), 0, 0, 0);
        metrics.watches_fail(0);
        for result in ["written", "removed", "failed"] {
            metrics.writes.get_or_create_owned(&[("result", result)]);
        }
        metrics
    }

    /// A file was written.
    pub fn written(&self) {
        self.writes.get_or_create_owned(&[("result", "written")]).inc();
    }

    /// A file was removed.
    pub fn removed(&self) {
        self.writes.get_or_create_owned(&[("result", "removed")]).inc();
    }

    /// A file could not be written or removed.
    pub fn failed(&self) {
        self.writes.get_or_create_owned(&[("result", "failed")]).inc();
    }

    /// A request was sent.
    pub fn reloaded(&self, well: bool) {
        self.reload("request", well);
    }

    /// A script was run.
    pub fn scripted(&self, well: bool) {
        self.reload("script", well);
    }

    /// A download ended.
    pub fn downloaded(&self, outcome: &'static str) {
        self.downloads.get_or_create_owned(&[("outcome", outcome)]).inc();
    }

    /// Sets the number of objects and files.
    pub fn are(&self, (objects, files): (usize, usize), failing: usize, missing: usize, refused: usize) {
        set(&self.objects, objects);
        set(&self.files, files);
        for (what, count) in [("file", failing), ("download", missing), ("object", refused)] {
            set(&self.failing.get_or_create_owned(&[("what", what)]), count);
        }
    }

    /// Sets the number of failing watches.
    pub fn watches_fail(&self, count: usize) {
        set(&self.failing.get_or_create_owned(&[("what", "watch")]), count);
    }

    fn reload(&self, by: &'static str, well: bool) {
        let result = if well { "success" } else { "error" };
        self.reloads.get_or_create_owned(&[("by", by), ("result", result)]).inc();
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
