//! The rollout's index of Pods: a full pass over 100,000 Pods, the change of a single one, and a plan for all of them.
//! `cargo bench --bench rollout`.

mod pods;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use outrigger::cluster::{Event, Versioned};
use outrigger::rollout::attempts::{AttemptEnd, PodWrite};
use outrigger::rollout::{PodIndex, RolloutIndex, WatchedPod};
use std::sync::Arc;
use std::time::Duration;

/// The server's allocator.
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
    group.bench_function("change of one Pod (goal: 20 us)", |bencher| {
        bencher.iter(|| {
            number = (number + 1) % watched.len();
            index.apply_pod(&watched[number]);
        });
    });
    group.finish();
}

/// Measures an edited image of a set whose 100,000 Pods must all be updated, 10 % of them at a time. The work under the
/// index's lock is measured separately, because events wait for it.
fn plans(criterion: &mut Criterion) {
    let watched = pods::watched(PODS);
    let mut index = RolloutIndex::default();
    index.updates_pods = true;
    Event::list([Arc::new(pods::set(2))]).for_each(|event| _ = index.sets_event(event));
    Event::list(watched).for_each(|event| _ = index.pods_event(event));
    let now = Timestamp::now();
    let updates = index.plan(pods::SET, now).map(|(_, plan)| plan.pods.updates.len());
    assert!(updates > Some(0), "what is measured is an update of Pods");
    let mut group = criterion.benchmark_group("plan for 100,000 outdated Pods");
    group.sample_size(10).warm_up_time(Duration::from_millis(100));
    let survey = |index: &RolloutIndex| index.survey(pods::SET);
    let complete = |index: &RolloutIndex| {
        let mut survey = survey(index)?;
        while !index.go_on(&mut survey, now) {}
        survey.sort();
        Some(survey)
    };
    group.bench_function("all of it", |bencher| bencher.iter(|| index.plan(pods::SET, now)));
    group.bench_function("locked: its begin (goal: 5 ms)", |bencher| bencher.iter(|| survey(&index)));
    group.bench_function("locked: a step (goal: 5 ms)", |bencher| {
        bencher.iter_batched_ref(
            || survey(&index),
            |survey| survey.as_mut().map(|survey| index.go_on(survey, now)),
            BatchSize::PerIteration,
        );
    });
    let surveyed = complete(&index);
    group.bench_function("locked: its end (goal: 5 ms)", |bencher| {
        bencher.iter(|| surveyed.as_ref().and_then(|survey| index.plan_of(survey, now)));
    });
    // A tenth of them is in progress and not reported yet.
    let mut begun = 0;
    while begun < PODS / 10 {
        let Some((_, plan)) = index.plan(pods::SET, now) else { return };
        if plan.pods.updates.is_empty() {
            break;
        }
        begun += plan.pods.updates.len();
        for update in &plan.pods.updates {
            index.update_begins(pods::SET, update.pod.version(), update);
            let end = AttemptEnd::Unknown("the API server does not answer".to_owned());
            index.write_ended(pods::SET, update.pod.version(), PodWrite::Update, end, now);
        }
    }
    let surveyed = complete(&index);
    group.bench_function("locked: its end beside 10,000 writes (goal: 5 ms)", |bencher| {
        bencher.iter(|| surveyed.as_ref().and_then(|survey| index.plan_of(survey, now)));
    });
    group.bench_function("locked: looking through 10,000 writes (goal: 5 ms)", |bencher| {
        bencher.iter(|| index.tidy(pods::SET));
    });
    group.finish();
}

criterion_group!(benches, passes, plans);
criterion_main!(benches);
