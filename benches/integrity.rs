//! Judging a mesh of 10,000 objects, 5 % of them wrong: all of it, and after one changed Service.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use outrigger::documents;
use outrigger::mesh_integrity::{Change, Engine, Object, Options, assumed, correct_mesh};
use std::time::Duration;

/// 1,400 services of seven objects, of which each twentieth names a subset that does not exist.
fn mesh() -> Vec<Object> {
    let text = correct_mesh(1_400).replace("0-v2", "0-v3").replace("0, subset: v2", "0, subset: v9");
    let read = documents::parse_with("mesh.yaml", text.as_bytes(), |document| Object::read(&document.value, "default"));
    let objects = read.expect("YAML").into_iter().flatten();
    assumed().expect("YAML").into_iter().chain(objects).collect()
}

fn judge(criterion: &mut Criterion) {
    let objects = mesh();
    let mut group = criterion.benchmark_group("integrity");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    println!("{} objects", objects.len());
    group.bench_function("load and judge", |bencher| {
        bencher.iter_batched(
            || objects.clone(),
            |objects| Engine::new(Options::default(), objects).expect("a database"),
            BatchSize::PerIteration,
        );
    });
    let mut engine = Engine::new(Options::default(), objects.clone()).expect("a database");
    println!("{} findings", engine.findings().len());
    group.bench_function("judge", |bencher| bencher.iter(|| engine.check_all().expect("a database")));
    let service = objects.iter().find(|object| object.key().to_string() == "Service/team-7/svc-70").expect("a Service");
    group.bench_function("one changed Service", |bencher| {
        bencher.iter(|| engine.change([Change::Applied(Box::new(service.clone()))]).expect("a database"));
    });
    group.finish();
}

criterion_group!(benches, judge);
criterion_main!(benches);
