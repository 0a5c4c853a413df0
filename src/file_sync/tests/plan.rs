//! The owner of a file.

use super::key;
use crate::file_sync::naming::{Content, Entry, Place};
use crate::file_sync::plan::{Plan, Round, Stamp, Step, Written, digest};

const HEARD: Round = Round { slice: 0, list: 1 };

fn entry<'o>(path: &str, content: &'o str) -> Entry<'o> {
    let content = match content.strip_prefix("url:") {
        Some(url) => Content::Url(url.into()),
        None => Content::Bytes(content.as_bytes().into()),
    };
    Entry { place: place(path), content }
}

fn place(path: &str) -> Place {
    Place { root: 0, path: path.into() }
}

/// Returns the steps in short form. Planned writes count as done.
fn apply(plan: &mut Plan, name: &str, created: i64, files: &[(&str, &str)]) -> Vec<String> {
    let entries: Vec<_> = files.iter().map(|(path, content)| entry(path, content)).collect();
    let steps = plan.apply(&key("n", name), created, HEARD, &entries);
    for step in &steps {
        if let Step::Write(place, number) = step {
            let stamp = Stamp { size: 0, changed: 0 };
            plan.wrote(place, Written { digest: digest(files[*number].1.as_bytes()), stamp });
        }
    }
    told(&steps)
}

fn told(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match step {
            Step::Write(place, _) => format!("write {}", place.path),
            Step::Fetch(place, url) => format!("fetch {} {url}", place.path),
            Step::Remove(place) => format!("remove {}", place.path),
            Step::Read(key) => format!("read {}", key.name),
        })
        .collect()
}

#[test]
fn what_is_as_it_should_be_is_not_written_again() {
    let mut plan = Plan::default();
    assert_eq!(apply(&mut plan, "a", 1, &[("x", "1"), ("y", "1")]), ["write x", "write y"]);
    assert_eq!(apply(&mut plan, "a", 1, &[("x", "1"), ("y", "2")]), ["write y"]);
    assert_eq!(apply(&mut plan, "a", 1, &[("z", "1")]), ["write z", "remove x", "remove y"]);
}

#[test]
fn a_file_of_two_objects_is_the_older_ones_and_is_handed_over() {
    let mut plan = Plan::default();
    assert_eq!(apply(&mut plan, "young", 2, &[("x", "young")]), ["write x"]);
    assert_eq!(apply(&mut plan, "old", 1, &[("x", "old")]), ["write x"]);
    assert_eq!(apply(&mut plan, "young", 2, &[("x", "younger")]), Vec::<String>::new());
    assert_eq!(told(&plan.delete(&key("n", "old"))), ["read young"], "and the file stays until then");
    assert_eq!(apply(&mut plan, "young", 2, &[("x", "younger")]), ["write x"]);
    assert_eq!(told(&plan.delete(&key("n", "young"))), ["remove x"]);
    assert_eq!(plan.counts(), (0, 0));
}

#[test]
fn an_object_that_is_not_the_owner_takes_nothing_along() {
    let mut plan = Plan::default();
    apply(&mut plan, "a", 1, &[("x", "a")]);
    apply(&mut plan, "b", 1, &[("x", "b")]);
    assert_eq!(told(&plan.delete(&key("n", "b"))), Vec::<String>::new());
    assert_eq!(told(&plan.delete(&key("n", "a"))), ["remove x"]);
}

#[test]
fn an_owner_that_was_made_anew_gives_way_to_one_that_is_older_now() {
    let mut plan = Plan::default();
    apply(&mut plan, "a", 1, &[("x", "a")]);
    apply(&mut plan, "b", 2, &[("x", "b")]);
    assert_eq!(apply(&mut plan, "a", 3, &[("x", "a")]), ["read b"]);
}

#[test]
fn names_that_read_the_same_when_joined_are_different_objects() {
    let mut plan = Plan::default();
    let entries = [entry("x", "1")];
    plan.apply(&key("a", "bc"), 1, HEARD, &entries);
    assert!(plan.delete(&key("ab", "c")).is_empty());
    assert_eq!(plan.counts(), (1, 1));
}

#[test]
fn a_key_that_moves_keeps_its_file() {
    let mut plan = Plan::default();
    assert_eq!(apply(&mut plan, "a", 1, &[("x", "url:http://h/1")]), ["fetch x http://h/1"]);
    assert_eq!(apply(&mut plan, "a", 1, &[("x", "1")]), ["write x"], "x.url became x");
    assert_eq!(plan.wants(&place("x"), "http://h/1"), None, "a download that comes late is not wanted");
    assert_eq!(told(&plan.delete(&key("n", "a"))), ["remove x"], "and nothing is fetched for it");
}

#[test]
fn what_a_list_does_not_have_is_gone_also_what_another_process_wrote() {
    let mut plan = Plan::default();
    plan.restore(&key("n", "gone"), 1, 0, &place("x"));
    plan.restore(&key("n", "other"), 1, 1, &place("y"));
    apply(&mut plan, "a", 1, &[("z", "1")]);
    assert_eq!(plan.missing(HEARD), [key("n", "gone")]);
    assert_eq!(plan.missing(Round { slice: 1, list: 1 }), [key("n", "other")]);
    assert_eq!(told(&plan.delete(&key("n", "gone"))), ["remove x"]);
}

#[test]
fn an_object_of_many_keys_costs_no_more_than_its_keys() {
    let names: Vec<String> = (0..100_000).map(|number| format!("{number}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let (mut plan, start) = (Plan::default(), std::time::Instant::now());
    assert_eq!(apply(&mut plan, "a", 1, &files).len(), files.len());
    assert_eq!(apply(&mut plan, "a", 1, &files[1..]), ["remove 0"]);
    assert_eq!(plan.delete(&key("n", "a")).len(), files.len() - 1);
    assert!(start.elapsed().as_secs() < 20, "{:?}: each key is compared with each", start.elapsed());
}
