//! Memory of a watched Pod in the rollout's index, whatever its author wrote.

// The benchmarks use more of it.
#[allow(dead_code)]
#[path = "../../benches/pods/mod.rs"]
mod pods;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::client::Body;
use outrigger::cluster::{Event, Feeds, Slice};
use outrigger::rollout::{PodIndex, WatchedPod};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, LazyLock, Mutex};

const PODS: u32 = 10_000;
/// Heap bytes.
const LARGEST: i64 = 1_300;

#[test]
fn a_typical_injected_pod_takes_at_most_1300_bytes() {
    let watched = pods::watched(10_000);
    let mut index = PodIndex::default();
    pods::apply(&mut index, &pods::set(1));
    let measured = allocation_counter::measure(|| pods::list(&mut index, &watched));
    let counts = index.counts(pods::SET);
    assert_eq!((counts.matched, counts.updated), (10_000, 10_000));
    let each = measured.bytes_current / i64::from(PODS);
    assert!((300..=LARGEST).contains(&each), "{each} bytes");
    println!("{each} bytes a Pod");
}

/// The number of Pods in one answer of the API server.
const PAGE: usize = 200;

/// Returns the Pod with this number as JSON. It is derived from another one to save time.
fn pod_text(number: usize) -> String {
    static TEXT: LazyLock<String> = LazyLock::new(|| pods::pod(77_777).to_string());
    TEXT.replace("77777", &format!("{number:05}"))
}

/// An API server with this number of Pods that answers pages of them and no watch.
fn listed(number: usize) -> Client {
    let answer = move |request: http::Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        async move {
            if query.contains("watch=true") {
                return pending().await;
            }
            let next = query.split('&').find_map(|part| part.strip_prefix("continue=")?.parse().ok());
            let first: usize = next.unwrap_or_default();
            let last = number.min(first + PAGE);
            let items: Vec<String> = (first..last).map(pod_text).collect();
            let next = if last < number { last.to_string() } else { String::new() };
            let items = items.join(",");
            let text = format!(r#"{{"metadata":{{"resourceVersion":"1","continue":"{next}"}},"items":[{items}]}}"#);
            Ok::<_, Infallible>(http::Response::new(Body::from(text.into_bytes())))
        }
    };
    Client::new(tower::service_fn(answer), "default")
}

/// Returns the peak memory of a first list of this number of Pods beyond what is kept.
fn peak_of_a_list(number: usize) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (index, watched) = (Arc::new(Mutex::new(PodIndex::default())), Arc::new(Mutex::new(0)));
    pods::apply(&mut index.lock().expect("the lock"), &pods::set(1));
    let (fed, counted) = (index.clone(), watched.clone());
    let measured = allocation_counter::measure(|| {
        runtime.block_on(async {
            let mut feeds = Feeds::new(listed(number));
            let pods = Slice::all::<Pod>("pods").page_size(u32::try_from(PAGE).expect("small"));
            let watch = feeds.subscribe(pods, move |event: Event<WatchedPod>| {
                let mut index = fed.lock().expect("the lock");
                match event {
                    Event::Begin => index.begin_list(),
                    Event::Item(pod) => {
                        index.apply_pod(&pod);
                        *counted.lock().expect("the lock") += 1;
                    }
                    Event::End => index.end_list(),
                    Event::Applied(_) | Event::Deleted(_) => {}
                }
            });
            tokio::select! {
                () = watch.synced() => {}
                () = feeds.run() => {}
            }
        });
    });
    assert_eq!((index.lock().expect("the lock").pods(), *watched.lock().expect("the lock")), (number, number));
    // The index alone, which grows by doubling.
    let mut alone = PodIndex::default();
    pods::apply(&mut alone, &pods::set(1));
    let texts: Vec<String> = (0..number).map(pod_text).collect();
    let kept = allocation_counter::measure(|| {
        for text in &texts {
            alone.apply_pod(&serde_json::from_str(text).expect("a Pod"));
        }
    });
    i64::try_from(measured.bytes_max).expect("small") - i64::try_from(kept.bytes_max).expect("small")
}

#[test]
fn the_peak_of_a_list_grows_with_its_pages_and_not_with_the_list() {
    let page: usize = (0..PAGE).map(|number| pod_text(number).len()).sum();
    let (few, many) = (peak_of_a_list(400), peak_of_a_list(4_000));
    println!("a page has {page} bytes; beyond what is kept, 400 Pods take {few} and 4,000 {many}");
    assert!(many <= 8 * i64::try_from(page).expect("small"), "{many} of pages of {page} bytes");
}

/// A Pod whose author wants it to take much memory.
const LARGEST_HOSTILE: i64 = 100_000;

/// The number of Pods of each kind.
const HOSTILE: u8 = 20;

/// A Pod with this name that may have been injected, with these annotations, labels and containers.
fn hostile(number: usize, annotations: &[(&str, String)], labels: &Value, containers: &[String]) -> String {
    let mut all = json!({"kruise.io/sidecarset-injected-list": "logs"});
    for (key, value) in annotations {
        all[format!("kruise.io/sidecarset-{key}")] = json!(value);
    }
    let named = |fields: Value| -> Vec<Value> {
        let container = |name: &String| {
            let mut container = fields.clone();
            container["name"] = json!(name);
            container
        };
        containers.iter().map(container).collect()
    };
    json!({
        "metadata": {"name": format!("p-{number}"), "namespace": "n", "uid": format!("u-{number}"), "resourceVersion": "1",
                     "annotations": all, "labels": labels},
        "spec": {"containers": named(json!({"image": format!("{number}")}))},
        "status": {"phase": "Pending", "containerStatuses": named(json!({"image": "a", "imageID": format!("i-{number}")}))},
    })
    .to_string()
}

fn many(number: usize, of: impl Fn(usize) -> String) -> Vec<String> {
    (0..number).map(of).collect()
}

/// Each has as much kept data as possible, and shares nothing with the others.
fn hostile_pods(kind: &str, n: usize, size: usize) -> String {
    let none = json!({});
    let map = |of: &dyn Fn(usize) -> (String, Value)| Value::Object((0..size).map(of).collect()).to_string();
    match kind {
        "names of sets" => hostile(n, &[("injected-list", many(size, |i| format!("{n}-{i}")).join(","))], &none, &[]),
        "records" => {
            let names = many(32, |i| format!("{n}-{i:0>55}"));
            let entries = names.iter().map(|name| {
                let text = format!("{name}{}", "x".repeat(size / 4));
                (name.clone(), json!({"hash": text, "controllerRevision": format!("{text}r")}))
            });
            let record = Value::Object(entries.collect()).to_string();
            hostile(n, &[("injected-list", names.join(",")), ("hash", record)], &none, &[])
        }
        "states" => {
            let state = map(&|i| (format!("{n}-{i}"), json!({"imageID": format!("{i}-{n}")})));
            let state = format!(r#"{{"logs":{{"lastContainerStatuses":{state}}}}}"#);
            let containers = many(size / 4, |i| format!("{n}-{i}"));
            hostile(n, &[("inplace-update-state", state)], &none, &containers)
        }
        "working containers" => {
            let working = map(&|i| (format!("{n}-{i}"), json!(format!("{n}-{i}-1"))));
            let containers = many(size / 4, |i| format!("{n}-{i}-1"));
            hostile(n, &[("working-hotupgrade-container", working)], &none, &containers)
        }
        "labels" => {
            let labels = Value::Object((0..size).map(|i| (format!("{n}-{i}"), json!(format!("{i}-{n}")))).collect());
            hostile(n, &[], &labels, &[])
        }
        _ => hostile(n, &[], &none, &many(size, |i| format!("{n}-{i}"))),
    }
}

#[test]
fn a_pod_takes_a_bounded_amount_whatever_its_author_wrote() {
    for kind in ["names of sets", "records", "states", "working containers", "labels", "containers"] {
        // From sizes that are kept whole to sizes that are far too large.
        for size in [100, 300, 800, 3_000, 12_000] {
            let mut index = PodIndex::default();
            let mut deleted = 0;
            let measured = allocation_counter::measure(|| {
                for number in 0..usize::from(HOSTILE) {
                    let text = hostile_pods(kind, number, size);
                    if text.len() < 1_500_000 {
                        index.apply_pod(&serde_json::from_str::<WatchedPod>(&text).expect("a Pod"));
                    }
                }
            });
            let emptied = allocation_counter::measure(|| {
                deleted = index.pods();
                pods::list(&mut index, &[]);
            });
            let each = measured.bytes_current / i64::from(HOSTILE);
            println!("{kind}, {size}: {each} bytes a Pod");
            assert!(each <= LARGEST_HOSTILE, "{kind}, {size}: {each} bytes");
            let left = measured.bytes_current + emptied.bytes_current;
            assert!(left <= 100_000, "{kind}, {size}: {left} bytes are left of {deleted} Pods");
        }
    }
}
