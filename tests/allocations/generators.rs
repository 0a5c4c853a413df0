//! Memory of SidecarGenerators with large answers, while their Sidecars exist and are watched.

use http::StatusCode;
use jiff::Timestamp;
use outrigger::cluster::Event;
use outrigger::fetch::{Answer, Validators};
use outrigger::sidecar_generator::answer::judge;
use outrigger::sidecar_generator::memory::Ended;
use outrigger::sidecar_generator::{GeneratorIndex, ObservedGenerator, ObservedSidecar};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const GENERATORS: usize = 6;

/// Bytes of an answer, slightly less than the limit.
const ANSWER: usize = 950_000;

fn generator(number: usize) -> ObservedGenerator {
    ObservedGenerator::read(json!({
        "metadata": {"name": format!("g-{number}"), "namespace": "n", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {"url": "http://example.com/"}
    }))
}

/// Many short hosts, which take the most memory as values.
fn answer(number: usize) -> String {
    let hosts: Vec<String> = (0..ANSWER / 12).map(|host| format!("{number}-{host:0>5}/*")).collect();
    json!([{"hosts": hosts}]).to_string()
}

#[test]
fn a_large_answer_takes_about_as_much_as_its_text() {
    let (mut index, mut fetched) = (GeneratorIndex::default(), 0_i64);
    let measured = allocation_counter::measure(|| {
        for number in 0..GENERATORS {
            index.generators_event(Event::Applied(Arc::new(generator(number))));
        }
        for number in 0..GENERATORS {
            let (text, generator) = (answer(number), generator(number));
            fetched += i64::try_from(text.len()).expect("small");
            let spec = generator.usable.as_ref().expect("usable");
            let body = Answer::Body { status: StatusCode::OK, bytes: text.into(), validators: Validators::default() };
            let good = judge(body, &generator, spec).expect("good").expect("a body");
            let spec_text: Value = good.spec();
            let metadata = json!({"name": generator.key.name, "namespace": "n", "resourceVersion": "1"});
            let sidecar = ObservedSidecar::read(json!({"metadata": metadata, "spec": spec_text}));
            assert_eq!(sidecar.spec_hash.as_deref(), Some(good.hash.as_str()));
            index.sidecars_event(Event::Applied(Arc::new(sidecar)));
            let ended = Ended { answer: Ok(Some(good)), sharing: None, at: Timestamp::UNIX_EPOCH, random: 0.0 };
            index.memory(&generator.key).expect("it is known").take(ended, &generator, spec, None, Duration::ZERO);
        }
    });
    let percent = measured.bytes_current * 100 / fetched;
    println!("{percent} % of the answers");
    assert!((50..=130).contains(&percent), "{percent} % of the answers");
}
