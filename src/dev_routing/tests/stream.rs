//! Many Services and developers: planning keeps up with a stream of events.

use super::fake::Fake;
use std::time::{Duration, Instant};

/// 2,000 Services, each in 20 developers' namespaces, one event after the other.
#[test]
fn two_thousand_services_of_twenty_developers_are_planned_in_time() {
    let developers: Vec<String> = (0..20).map(|number| format!("dev-{number}")).collect();
    let mut namespaces = vec!["default"];
    namespaces.extend(developers.iter().map(String::as_str));
    let mut fake = Fake::new(&namespaces, &format!("developerNamespaces: [{}]", developers.join(", ")));
    let begun = Instant::now();
    for number in 0..2_000 {
        for namespace in &namespaces {
            fake.service(namespace, &format!("app-{number}"));
        }
    }
    let (told, begun_to_plan) = (begun.elapsed(), Instant::now());
    let writes = fake.settle();
    let planned = begun_to_plan.elapsed();
    let took = begun.elapsed();
    println!("42,000 Services were told in {told:?}, and 2,000 VirtualServices planned and written in {planned:?}");
    assert_eq!(writes.len(), 2_000, "one write for each");
    assert_eq!(fake.routed("app-7").unwrap().len(), 20);
    // Times without optimization are meaningless.
    assert!(cfg!(debug_assertions) || took < Duration::from_secs(2), "{took:?}");
}
