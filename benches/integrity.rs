//! Checks of a mesh of 10,000 objects, 5 % of them wrong: of all objects, and after one changed object.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use outrigger::documents;
use outrigger::mesh_integrity::{Change, Engine, Object, Options, assumed, correct_mesh};
use std::sync::Arc;
use std::time::Duration;

/// Returns 1,400 services of seven objects. Every twentieth names a subset that does not exist.
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
    let read = |text: &str| {
        let documents = documents::parse("changed.yaml", text.as_bytes()).expect("YAML");
        Object::read(&documents[0].value, "default").expect("an object")
    };
    // Each alternates between its old and its changed form, because unchanged objects are not checked.
    let metadata = "metadata: {name: svc-70, namespace: team-7}";
    let changes = [
        (
            "one changed Service",
            format!("apiVersion: v1\nkind: Service\n{metadata}\nspec: {{selector: {{app: svc-70}}, ports: [{{name: http-web, port: 80, targetPort: web}}, {{name: grpc, port: 9000}}, {{name: http-metrics, port: 9090}}]}}\n"),
            ("port: 80", "port: 81"),
        ),
        (
            "one changed Deployment",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: svc-70-v1, namespace: team-7}\nspec: {template: {metadata: {labels: {app: svc-70, version: v1}}, spec: {containers: [{name: app}]}}}\n".to_owned(),
            ("version: v1", "version: v7"),
        ),
        (
            "one changed VirtualService",
            format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\n{metadata}\nspec: {{hosts: [svc-70], http: [{{route: [{{destination: {{host: svc-70, subset: v1, port: {{number: 80}}}}}}]}}]}}\n"),
            ("subset: v1", "subset: v8"),
        ),
        (
            "one changed Gateway",
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gateway-2-team-7, namespace: team-7}\nspec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['./*.team-7.example.com']}]}\n".to_owned(),
            ("team-7.example", "team-8.example"),
        ),
    ];
    for (name, text, (from, to)) in changes {
        let (first, second) = (read(&text), read(&text.replace(from, to)));
        let mut turn = false;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn = !turn;
                let object = if turn { &second } else { &first };
                engine.change([Change::Applied(Arc::new(object.clone()))]).expect("a database");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, judge);
criterion_main!(benches);
