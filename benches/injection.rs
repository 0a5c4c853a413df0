//! One review inside the process, without TLS and HTTP: the ratio of its time to that of reading its envelope, for Pods
//! of several sizes and up to 10,000 SidecarSets, and the cost of very large Pods. `cargo bench --bench injection`.

mod cases;
mod large;

use cases::{Matching, NAMESPACE};
use criterion::{BenchmarkId, Criterion};
use jiff::Timestamp;
use outrigger::admission::Metrics;
use outrigger::admission::mutate_pod;
use outrigger::api::admission_review::AdmissionReview;
use outrigger::api::decode;
use outrigger::documents;
use outrigger::injection::{Index, InjectableSet, Options, Snapshot};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The server's allocator.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENVELOPE: &str = "envelope";
const NO_MATCH: &str = "no match";
const ONE_MATCH: &str = "one match";
const CONTAINERS: [usize; 3] = [1, 3, 12];
const SETS: [usize; 4] = [1, 100, 1_000, 10_000];

fn main() -> Result<(), Box<dyn Error>> {
    // Each run has its own folder, so that all ratios are of one run.
    let saved = tempfile::tempdir()?;
    let mut criterion = Criterion::default()
        .output_directory(saved.path())
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let reviews = CONTAINERS.map(|containers| (containers, cases::review(&cases::pod(containers))));
    envelopes(&mut criterion, &reviews)?;
    for (matching, group) in [(Matching::None, NO_MATCH), (Matching::One, ONE_MATCH)] {
        for sets in SETS {
            let snapshot = snapshot(sets, matching)?;
            answers(&mut criterion, group, (sets, &snapshot), &reviews)?;
        }
    }
    criterion.final_summary();
    print_ratios(saved.path());
    print_goals(saved.path());
    print_large()
}

/// Does the minimum of any answer: reads the envelope and skips the object.
fn envelopes(criterion: &mut Criterion, reviews: &[(usize, String)]) -> Result<(), Box<dyn Error>> {
    let mut group = criterion.benchmark_group(ENVELOPE);
    for (containers, review) in reviews {
        let read = |text| serde_json::from_str::<AdmissionReview<'_, &RawValue>>(text);
        read(review)?;
        group.bench_function(BenchmarkId::from_parameter(containers), |bencher| {
            bencher.iter(|| black_box(read(black_box(review)).is_ok()));
        });
    }
    group.finish();
    Ok(())
}

fn answers(
    criterion: &mut Criterion,
    matching: &str,
    (sets, snapshot): (usize, &Snapshot),
    reviews: &[(usize, String)],
) -> Result<(), Box<dyn Error>> {
    let metrics = Metrics::default();
    let mut group = criterion.benchmark_group(matching);
    for (containers, review) in reviews {
        let waited_for = AtomicBool::new(false);
        let answer =
            |text: &str| mutate_pod::answer(text.as_bytes(), &waited_for, snapshot, Timestamp::UNIX_EPOCH, &metrics);
        let first = answer(review);
        let response = serde_json::from_slice::<Value>(&first.body)?["response"].take();
        if response["allowed"] != true || response["patch"].is_string() != (matching == ONE_MATCH) {
            return Err(format!("{matching} of {sets}: answered {response}").into());
        }
        group.bench_function(BenchmarkId::new(containers.to_string(), sets), |bencher| {
            bencher.iter(|| answer(black_box(review)));
        });
    }
    group.finish();
    Ok(())
}

fn snapshot(sets: usize, matching: Matching) -> Result<Snapshot, Box<dyn Error>> {
    let mut index = Index::new(Options::default());
    for (name, yaml) in cases::sets(sets, matching) {
        for document in documents::parse(&name, yaml.as_bytes())? {
            index.apply_set(InjectableSet::new(decode::sidecarset(document.value)?)?);
        }
    }
    index.apply_namespace(NAMESPACE.to_owned(), BTreeMap::new());
    Ok(index.snapshot())
}

/// Prints each answer's time as a multiple of its envelope's, from criterion's saved results.
fn print_ratios(saved: &Path) {
    println!("\n| | containers | envelope |{}", SETS.map(|sets| format!(" {sets} sets |")).concat());
    println!("|---|---|---|{}", "---|".repeat(SETS.len()));
    for matching in [NO_MATCH, ONE_MATCH] {
        for containers in CONTAINERS {
            let Some(envelope) = envelope(saved, containers) else { continue };
            let cells = SETS.map(|sets| match answer(saved, matching, containers, sets) {
                Some(time) => format!(" {:.1} µs, {:.2}x |", time / 1e3, time / envelope),
                None => " |".to_owned(),
            });
            println!("| {matching} | {containers} | {:.1} µs |{}", envelope / 1e3, cells.concat());
        }
    }
}

/// Returns the ratios that have a goal, for the Pod of 3 containers.
fn print_goals(saved: &Path) {
    let ratio = |matching, sets, base: Option<f64>| Some(answer(saved, matching, 3, sets)? / base?);
    let hundred = |matching| answer(saved, matching, 3, 100);
    let goals = [
        ("no match of 1,000 : envelope", ratio(NO_MATCH, 1_000, envelope(saved, 3)), 1.5),
        ("one match of 1,000 : envelope", ratio(ONE_MATCH, 1_000, envelope(saved, 3)), 4.0),
        ("no match, 10,000 sets : 100 sets", ratio(NO_MATCH, 10_000, hundred(NO_MATCH)), 1.3),
        ("one match, 10,000 sets : 100 sets", ratio(ONE_MATCH, 10_000, hundred(ONE_MATCH)), 1.3),
    ];
    println!("\n| Pod of 3 containers | measured | goal | |\n|---|---|---|---|");
    for (what, measured, goal) in goals {
        let Some(measured) = measured else { continue };
        println!("| {what} | {measured:.2} | <= {goal} | {} |", if measured <= goal { "met" } else { "MISSED" });
    }
}

/// The number of items of a large Pod.
const MANY: usize = 30_000;

/// Measures Pods with very many items, under a set that uses none of them and one that reads them all.
fn print_large() -> Result<(), Box<dyn Error>> {
    println!("\n| {MANY} | body | sharing nothing | all of them | |\n|---|---|---|---|---|");
    for shape in large::SHAPES {
        let review = cases::review(&(shape.pod)(MANY));
        let nothing = milliseconds(&review, &large::shares_nothing())?;
        let all = milliseconds(&review, &(shape.spec)(MANY))?;
        let size = review.len() / 1024;
        println!("| {} | {size} KiB | {nothing:.1} ms | {all:.1} ms | {:.1}x |", shape.name, all / nothing);
    }
    Ok(())
}

/// Returns the time of the fastest review of several under a set of this spec.
fn milliseconds(review: &str, spec: &Value) -> Result<f64, Box<dyn Error>> {
    let mut index = Index::new(Options::default());
    index.apply_set(InjectableSet::new(decode::sidecarset(large::sidecarset(spec))?)?);
    let (snapshot, metrics, waited_for) = (index.snapshot(), Metrics::default(), AtomicBool::new(false));
    let times = (0..5).map(|_| {
        let begun = std::time::Instant::now();
        black_box(mutate_pod::answer(review.as_bytes(), &waited_for, &snapshot, Timestamp::UNIX_EPOCH, &metrics));
        begun.elapsed().as_secs_f64() * 1e3
    });
    Ok(times.fold(f64::INFINITY, f64::min))
}

fn envelope(saved: &Path, containers: usize) -> Option<f64> {
    fastest(&saved.join(ENVELOPE).join(containers.to_string()))
}

fn answer(saved: &Path, matching: &str, containers: usize, sets: usize) -> Option<f64> {
    fastest(&saved.join(matching).join(containers.to_string()).join(sets.to_string()))
}

/// Returns the nanoseconds of the fastest sample, which has the least disturbance; `None` if the benchmark was not
/// requested.
fn fastest(benchmark: &Path) -> Option<f64> {
    let sample = std::fs::read(benchmark.join("new/sample.json")).ok()?;
    let sample: Value = serde_json::from_slice(&sample).ok()?;
    let numbers = |field: &str| sample[field].as_array().into_iter().flatten().filter_map(Value::as_f64);
    numbers("times").zip(numbers("iters")).map(|(time, iterations)| time / iterations).min_by(f64::total_cmp)
}
