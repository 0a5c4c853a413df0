//! How much memory a watched Pod takes once it is in the rollout's index.

// The benchmarks use more of it.
#[allow(dead_code)]
#[path = "../../benches/pods/mod.rs"]
mod pods;

use outrigger::rollout::PodIndex;

const PODS: u32 = 10_000;
/// Bytes on the heap.
const LARGEST: i64 = 1_500;

#[test]
fn a_typical_injected_pod_takes_at_most_1500_bytes() {
    let watched = pods::watched(10_000);
    let mut index = PodIndex::default();
    pods::apply(&mut index, &pods::set(1));
    let measured = allocation_counter::measure(|| index.reset_pods(&watched));
    let counts = index.counts(pods::SET);
    assert_eq!((counts.matched, counts.updated), (10_000, 10_000));
    let each = measured.bytes_current / i64::from(PODS);
    assert!((300..=LARGEST).contains(&each), "{each} bytes");
    println!("{each} bytes a Pod");
}
