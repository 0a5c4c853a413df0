//! The engine over a real folder: restarts, healing, downloads, failures.

use std::path::Path;

use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{key, naming, object};
use crate::cluster::Event;
use crate::file_sync::engine::{Engine, Parts, Wanted};
use crate::file_sync::metrics::SyncMetrics;
use crate::file_sync::object::{Kind, WireObject};
use crate::file_sync::options::Part;
use crate::file_sync::reload::Changes;

struct World {
    engine: Engine,
    changes: Changes,
    wanted: UnboundedReceiver<Wanted>,
}

fn world(root: &Path) -> World {
    let (changes, (downloads, wanted)) = (Changes::default(), unbounded_channel());
    let engine = Engine::new(Parts {
        naming: naming(root),
        mode: None,
        followed: vec![Part { kind: Kind::ConfigMap, namespace: Some("n".to_owned()), name: None }],
        id: "id".to_owned(),
        changes: changes.clone(),
        downloads,
        metrics: SyncMetrics::default(),
    });
    World { engine, changes, wanted }
}

fn list(engine: &Engine, objects: Vec<WireObject>) {
    engine.tell(0, Event::Begin);
    for object in objects {
        engine.tell(0, Event::Item(object));
    }
    engine.tell(0, Event::End);
}

fn content(root: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(root.join(name)).ok()
}

#[test]
fn what_was_deleted_while_no_agent_ran_goes_and_the_rest_is_left_as_it_is() {
    let root = tempfile::tempdir().expect("a folder");
    let a = || object("a", 1, &json!({"x": "1", "y": "1"}), None);
    let first = world(root.path());
    list(&first.engine, vec![a(), object("b", 1, &json!({"z": "1"}), None)]);
    assert_eq!(content(root.path(), "z").as_deref(), Some("1"));
    std::fs::write(root.path().join("foreign"), "not ours").expect("written");
    let second = world(root.path());
    list(&second.engine, vec![object("a", 1, &json!({"x": "1"}), None)]);
    assert_eq!((content(root.path(), "y"), content(root.path(), "z")), (None, None));
    assert_eq!(content(root.path(), "foreign").as_deref(), Some("not ours"));
    let burst = second.changes.take().expect("changes");
    assert_eq!(burst.count, 2, "x was not written again: {burst:?}");
}

#[test]
fn a_journal_that_was_cut_off_loses_its_last_line_only() {
    let root = tempfile::tempdir().expect("a folder");
    list(&world(root.path()).engine, vec![object("a", 1, &json!({"x": "1", "y": "1"}), None)]);
    let journal = root.path().join(".outrigger-sync-id");
    let text = std::fs::read_to_string(&journal).expect("read");
    std::fs::write(&journal, format!("{text}{{\"there\":true,\"pa")).expect("written");
    list(&world(root.path()).engine, vec![object("b", 1, &json!({"z": "1"}), None)]);
    assert_eq!(content(root.path(), "x"), None);
    list(&world(root.path()).engine, Vec::new());
    assert_eq!(content(root.path(), "z"), None, "what was added after the cut is known");
}

#[test]
fn a_list_that_breaks_off_removes_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let World { engine, .. } = world(root.path());
    list(&engine, vec![object("a", 1, &json!({"x": "1"}), None)]);
    engine.tell(0, Event::Begin);
    list(&engine, vec![object("a", 1, &json!({"x": "1"}), None)]);
    assert_eq!(content(root.path(), "x").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_file_that_was_changed_on_disk_has_its_object_read_again() {
    let root = tempfile::tempdir().expect("a folder");
    let World { engine, .. } = world(root.path());
    let a = || object("a", 1, &json!({"x": "1"}), None);
    list(&engine, vec![a()]);
    for spoil in [|path: &Path| std::fs::write(path, "2"), |path: &Path| std::fs::remove_file(path)] {
        spoil(&root.path().join("x")).expect("spoiled");
        engine.look(false);
        assert_ne!(content(root.path(), "x").as_deref(), Some("1"), "healing can be left out");
        engine.look(true);
        assert_eq!(engine.to_read().await, [key("n", "a")]);
        engine.read(&key("n", "a"), &a());
        assert_eq!(content(root.path(), "x").as_deref(), Some("1"));
    }
    engine.tell(0, Event::Deleted(a()));
    engine.read(&key("n", "a"), &a());
    assert_eq!(content(root.path(), "x"), None, "an object that went meanwhile does not come back");
}

#[test]
fn a_download_that_fails_or_comes_late_changes_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let World { engine, mut wanted, .. } = world(root.path());
    let by = |url: &str| object("a", 1, &json!({"x.url": url, "y": "1"}), None);
    list(&engine, vec![by("http://h/1")]);
    assert_eq!(content(root.path(), "y").as_deref(), Some("1"), "other files do not wait");
    let first = wanted.try_recv().expect("a download");
    assert!(engine.is_downloading());
    engine.downloaded(&first, b"good");
    assert_eq!(content(root.path(), "x").as_deref(), Some("good"));
    engine.look(true);
    let again = wanted.try_recv().expect("it is asked for again");
    assert!(!again.anew, "with what is known of the last answer");
    engine.not_downloaded(&again, "status 500");
    assert_eq!(content(root.path(), "x").as_deref(), Some("good"), "never an empty file");
    assert_eq!(engine.problems().downloads.len(), 1);
    engine.tell(0, Event::Applied(by("http://h/2")));
    engine.downloaded(&first, b"late");
    assert_eq!(content(root.path(), "x").as_deref(), Some("good"));
    engine.tell(0, Event::Deleted(by("http://h/2")));
    assert_eq!(
        (content(root.path(), "x"), wanted.try_recv().map(|wanted| wanted.url).ok()),
        (None, Some("http://h/2".into()))
    );
    assert!(!engine.is_downloading() && wanted.try_recv().is_err(), "nothing is fetched for what goes");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_and_tried_again() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("x")).expect("made");
    let World { engine, .. } = world(root.path());
    let a = || object("a", 1, &json!({"x": "1", "y": "1"}), None);
    list(&engine, vec![a()]);
    assert_eq!(content(root.path(), "y").as_deref(), Some("1"), "other files do not suffer");
    let problems = engine.problems();
    assert!(engine.has_failures() && problems.files.len() == 1 && !problems.is_folder_broken, "{problems:?}");
    std::fs::remove_dir(root.path().join("x")).expect("removed");
    engine.retry();
    assert_eq!(engine.to_read().await, [key("n", "a")]);
    engine.read(&key("n", "a"), &a());
    assert_eq!((content(root.path(), "x").as_deref(), engine.has_failures()), (Some("1"), false));
}

#[test]
fn two_agents_in_one_folder_leave_each_others_files_alone() {
    let root = tempfile::tempdir().expect("a folder");
    list(&world(root.path()).engine, vec![object("a", 1, &json!({"x": "1"}), None)]);
    let (downloads, _wanted) = unbounded_channel();
    let other = Engine::new(Parts {
        naming: naming(root.path()),
        mode: None,
        followed: vec![Part { kind: Kind::Secret, namespace: None, name: None }],
        id: "other".to_owned(),
        changes: Changes::default(),
        downloads,
        metrics: SyncMetrics::default(),
    });
    list(&other, Vec::new());
    assert_eq!(content(root.path(), "x").as_deref(), Some("1"));
}
