//! The cost of a review: it grows at most linearly with the Pod.
//!
//! The processor time of the working thread is measured, which others on the machine hardly affect, and the fastest of several
//! runs counts. The limits are halfway between linear and quadratic growth.

use std::time::Duration;

use jiff::Timestamp;
use outrigger::api::decode;
use outrigger::api::pod::PodView;
use outrigger::injection::{Index, InjectableSet, Injection, Options, PodRequest};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::large::{MOUNTS, SHAPES, shares_nothing, sidecarset};

const SMALL: usize = 4_000;
const LARGE: usize = 4 * SMALL;

/// Returns the processor seconds of this thread.
fn worked() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it began before").as_secs_f64()
}

/// Returns the seconds that a set with this spec takes for the Pod.
fn cost(pod: &Value, spec: &Value) -> f64 {
    let mut index = Index::new(Options::default());
    index.apply_set(
        InjectableSet::new(decode::sidecarset(sidecarset(spec)).expect("a SidecarSet")).expect("it is good"),
    );
    let (snapshot, text) = (index.snapshot(), pod.to_string());
    let review = |_| {
        let begun = worked();
        let pod: PodView<'_> = serde_json::from_str(&text).expect("a Pod");
        let injection = snapshot.inject(&pod, &PodRequest::create("shop", Timestamp::UNIX_EPOCH));
        assert!(matches!(injection, Ok(Injection::Matched(_))), "{injection:?}");
        worked() - begun
    };
    (0..5).map(review).min_by(f64::total_cmp).expect("some runs")
}

#[test]
fn a_review_of_four_times_the_pod_costs_about_four_times_as_much() {
    for shape in SHAPES {
        let of = |count| cost(&(shape.pod)(count), &(shape.spec)(count));
        let (small, large) = (of(SMALL), of(LARGE));
        let ratio = large / small;
        println!("{}: {:.0} ms, {:.0} ms, {ratio:.1}x", shape.name, small * 1e3, large * 1e3);
        assert!(ratio < 8.0, "{}: {small} s, and {large} s of four times as many", shape.name);
    }
}

#[test]
fn sharing_costs_at_most_eight_times_what_sharing_nothing_does() {
    let pod = (MOUNTS.pod)(LARGE);
    let (nothing, shared) = (cost(&pod, &shares_nothing()), cost(&pod, &(MOUNTS.spec)(LARGE)));
    println!("{:.0} ms, {:.0} ms", nothing * 1e3, shared * 1e3);
    assert!(shared <= 8.0 * nothing, "{shared} s, and {nothing} s without");
}
