//! The rollout's index of Pods: a full pass over 100,000 Pods, and the change of a single one. `cargo bench --bench rollout`.

mod pods;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use outrigger::rollout::{PodIndex, WatchedPod};
use std::time::Duration;

/// As in the server.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PODS: usize = 100_000;

fn full(watched: &[WatchedPod]) -> PodIndex {
    let mut index = PodIndex::default();
    pods::apply(&mut index, &pods::set(0));
    pods::list(&mut index, watched);
    index
}

fn passes(criterion: &mut Criterion) {
    let watched = pods::watched(PODS);
    let mut group = criterion.benchmark_group("100,000 Pods");
    group.sample_size(10).warm_up_time(Duration::from_millis(100));
    group.bench_function("first list", |bencher| {
        bencher.iter_batched(|| (), |()| full(&watched), BatchSize::PerIteration);
    });
    let mut index = full(&watched);
    group.bench_function("list again", |bencher| bencher.iter(|| pods::list(&mut index, &watched)));
    let mut version = 0;
    group.bench_function("recount of a changed set (goal: 1 s)", |bencher| {
        bencher.iter(|| {
            version = version % 2 + 1; // all Pods record the first
            pods::apply(&mut index, &pods::set(version));
        });
    });
    let mut number = 0;
    group.bench_function("change of one Pod", |bencher| {
        bencher.iter(|| {
            number = (number + 1) % watched.len();
            index.apply_pod(&watched[number]);
        });
    });
    group.finish();
}

criterion_group!(benches, passes);
criterion_main!(benches);
