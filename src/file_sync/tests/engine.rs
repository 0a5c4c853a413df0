//! The engine with a real folder: restarts, restored files, downloads, failures.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{key, naming, object};
use crate::cluster::Event;
use crate::file_sync::engine::Engine;
use crate::file_sync::folder::Arrived;
use crate::file_sync::metrics::SyncMetrics;
use crate::file_sync::naming::Place;
use crate::file_sync::object::{Kind, WireObject};
use crate::file_sync::options::Part;
use crate::file_sync::plan::digest;
use crate::file_sync::reload::Changes;
use crate::file_sync::state::{Parts, Wanted};

struct World {
    engine: Engine,
    changes: Changes,
    wanted: UnboundedReceiver<Arc<Place>>,
}

fn part(kind: Kind) -> Part {
    Part { kind, namespace: Some("n".to_owned()), name: None }
}

fn world_of(root: &Path, id: &str, once: bool, followed: Vec<Part>) -> World {
    let (changes, (downloads, wanted)) = (Changes::default(), unbounded_channel());
    let engine = Engine::new(Parts {
        naming: naming(root),
        mode: None,
        followed,
        id: id.to_owned(),
        once,
        changes: changes.clone(),
        downloads,
        metrics: SyncMetrics::default(),
    });
    World { engine, changes, wanted }
}

fn world(root: &Path) -> World {
    world_of(root, "id", false, vec![part(Kind::ConfigMap)])
}

/// Begins the next download.
fn begin(engine: &Engine, wanted: &mut UnboundedReceiver<Arc<Place>>) -> Wanted {
    engine.begin(&wanted.try_recv().expect("a download")).expect("it is wanted")
}

/// Simulates what a kill leaves in a folder.
type Leave = fn(&Path);

/// Completes a download.
fn arrive(engine: &Engine, wanted: &Wanted, bytes: &[u8]) {
    let mut draft = engine.draft(wanted).expect("a draft");
    draft.write(bytes).expect("written");
    engine.downloaded(wanted, Arrived { draft, digest: digest(bytes), size: bytes.len() as u64 });
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
        engine.read(&key("n", "a"), Some(&a()));
        assert_eq!(content(root.path(), "x").as_deref(), Some("1"));
    }
    engine.tell(0, Event::Deleted(a()));
    engine.read(&key("n", "a"), Some(&a()));
    assert_eq!(content(root.path(), "x"), None, "an object that went meanwhile does not come back");
}

#[test]
fn a_download_that_fails_or_comes_late_changes_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let World { engine, mut wanted, .. } = world(root.path());
    let by = |url: &str| object("a", 1, &json!({"x.url": url, "y": "1"}), None);
    list(&engine, vec![by("http://h/1")]);
    assert_eq!(content(root.path(), "y").as_deref(), Some("1"), "other files do not wait");
    let first = begin(&engine, &mut wanted);
    assert!(engine.is_downloading());
    arrive(&engine, &first, b"good");
    assert_eq!(content(root.path(), "x").as_deref(), Some("good"));
    engine.look(true);
    let again = begin(&engine, &mut wanted);
    assert!(!again.anew, "with what is known of the last answer");
    engine.not_downloaded(&again, "status 500");
    assert_eq!(content(root.path(), "x").as_deref(), Some("good"), "never an empty file");
    assert_eq!(engine.problems().downloads.len(), 1);
    engine.look(true);
    let slow = begin(&engine, &mut wanted);
    assert!(slow.failed_before);
    engine.tell(0, Event::Applied(by("http://h/2")));
    assert!(wanted.try_recv().is_err(), "one after the other, however often the URL changes");
    arrive(&engine, &slow, b"late");
    assert_eq!(content(root.path(), "x").as_deref(), Some("good"));
    let next = begin(&engine, &mut wanted);
    assert_eq!((&*next.url, next.anew), ("http://h/2", true));
    engine.tell(0, Event::Deleted(by("http://h/2")));
    arrive(&engine, &next, b"late");
    assert_eq!(content(root.path(), "x"), None);
    assert!(!engine.is_downloading() && wanted.try_recv().is_err(), "nothing is fetched for what goes");
    list(&engine, vec![by("http://h/3")]);
    engine.tell(0, Event::Deleted(by("http://h/3")));
    let place = wanted.try_recv().expect("it was wanted");
    assert_eq!((engine.begin(&place), engine.is_downloading()), (None, false), "and is not when its turn comes");
}

#[test]
fn an_object_that_names_a_file_too_takes_nothing_along_when_it_goes() {
    let root = tempfile::tempdir().expect("a folder");
    let World { engine, mut wanted, .. } = world(root.path());
    let other = || object("b", 2, &json!({"x": "other"}), None);
    list(&engine, vec![object("a", 1, &json!({"x.url": "http://h/1"}), None), other()]);
    let problems = engine.problems().objects;
    assert!(problems.len() == 1 && problems[0].contains("the file of the older configmap n/a"), "{problems:?}");
    let download = begin(&engine, &mut wanted);
    engine.tell(0, Event::Deleted(other()));
    arrive(&engine, &download, b"good");
    assert_eq!(content(root.path(), "x").as_deref(), Some("good"));
    engine.look(true);
    assert!(wanted.try_recv().is_ok(), "it is asked for again");
}

#[test]
fn what_is_read_before_an_event_came_is_older_than_that() {
    let root = tempfile::tempdir().expect("a folder");
    let World { engine, .. } = world(root.path());
    let a = |text: &str| object("a", 1, &json!({"x": text}), None);
    list(&engine, vec![a("1")]);
    std::fs::remove_file(root.path().join("x")).expect("spoiled");
    engine.look(true);
    assert!(engine.is_reading());
    let asked = engine.to_read().now_or_never().expect("something to read");
    assert!(engine.is_reading(), "until it has been read");
    engine.tell(0, Event::Applied(a("2")));
    engine.read(&asked[0], Some(&a("1")));
    assert_eq!(content(root.path(), "x").as_deref(), Some("2"));
    assert!(!engine.is_reading());
}

#[test]
fn the_older_object_wins_where_one_needs_a_folder_and_another_a_file() {
    let of = |name: &str, created, key: &str, folder: &str| object(name, created, &json!({key: name}), Some(folder));
    // In either order, and whichever of them is older.
    for (file_is_older, file_first) in [(true, true), (true, false), (false, true), (false, false)] {
        let root = tempfile::tempdir().expect("a folder");
        let World { engine, .. } = world(root.path());
        let file = of("file", if file_is_older { 1 } else { 2 }, "team", "");
        let board = of("board", if file_is_older { 2 } else { 1 }, "b.json", "team/deep");
        list(&engine, if file_first { vec![file, board] } else { vec![board, file] });
        let found = (content(root.path(), "team"), content(root.path(), "team/deep/b.json"));
        let expected = if file_is_older { (Some("file".to_owned()), None) } else { (None, Some("board".to_owned())) };
        assert_eq!(found, expected, "{file_is_older} {file_first}");
        assert!(engine.problems().files.len() == 1 && !engine.is_folder_broken(), "{:?}", engine.problems());
        let older = if file_is_older { "file" } else { "board" };
        engine.tell(0, Event::Deleted(of(older, 1, "", "")));
        let read = engine.to_read().now_or_never().expect("who had to wait is read");
        assert_eq!(read, [key("n", if file_is_older { "board" } else { "file" })]);
        // A new start finds the same state.
        drop(engine);
        let World { engine, .. } = world(root.path());
        list(&engine, Vec::new());
        assert!(engine.problems().files.is_empty(), "{:?}", engine.problems());
        assert_eq!(content(root.path(), "team/deep/b.json").or(content(root.path(), "team")), None);
    }
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
    engine.read(&key("n", "a"), Some(&a()));
    assert_eq!((content(root.path(), "x").as_deref(), engine.has_failures()), (Some("1"), false));
}

#[test]
fn two_agents_in_one_folder_leave_each_others_files_alone() {
    let root = tempfile::tempdir().expect("a folder");
    let first = world(root.path());
    list(&first.engine, vec![object("a", 1, &json!({"x": "1"}), None)]);
    let other = world_of(root.path(), "other", false, vec![part(Kind::Secret)]);
    list(&other.engine, Vec::new());
    (0..20).for_each(|_| other.engine.look(true));
    assert_eq!(content(root.path(), "x").as_deref(), Some("1"), "the first lives");
}

#[test]
fn what_an_agent_of_another_selection_wrote_goes_when_nobody_has_run_it_for_ten_looks() {
    let root = tempfile::tempdir().expect("a folder");
    let former = world_of(root.path(), "former", false, vec![part(Kind::Secret)]);
    list(&former.engine, vec![object("a", 1, &json!({"x": "eA==", "both": "eA=="}), Some("sub"))]);
    std::fs::write(root.path().join("sub/.outrigger-former-1-1"), "half").expect("written");
    std::fs::write(root.path().join("foreign"), "not ours").expect("written");
    drop(former);
    let World { engine, changes, .. } = world(root.path());
    (0..20).for_each(|_| engine.look(true));
    assert_eq!(
        content(root.path(), "sub/x").as_deref(),
        Some("x"),
        "before it knows what is its own it removes nothing"
    );
    list(&engine, vec![object("b", 1, &json!({"both": "1"}), Some("sub"))]);
    changes.take();
    (0..9).for_each(|_| engine.look(true));
    assert_eq!(content(root.path(), "sub/x").as_deref(), Some("x"), "it may be started again soon");
    engine.look(true);
    assert_eq!((content(root.path(), "sub/x"), content(root.path(), "sub/both").as_deref()), (None, Some("1")));
    assert_eq!(content(root.path(), "foreign").as_deref(), Some("not ours"));
    let mut left: Vec<_> =
        std::fs::read_dir(root.path().join("sub")).expect("listed").flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["both"], "no unfinished file is left");
    assert!(!root.path().join(".outrigger-sync-former").exists());
    assert_eq!(changes.take().expect("the app is told").count, 1);
}

#[test]
fn what_a_single_run_wrote_stays_until_one_of_the_same_selection_watches() {
    let root = tempfile::tempdir().expect("a folder");
    let once = || world_of(root.path(), "once", true, vec![part(Kind::ConfigMap)]);
    list(&once().engine, vec![object("a", 1, &json!({"x": "1", "y": "1"}), None)]);
    let World { engine, .. } = world_of(root.path(), "other", false, vec![part(Kind::Secret)]);
    list(&engine, Vec::new());
    (0..20).for_each(|_| engine.look(true));
    assert_eq!(content(root.path(), "x").as_deref(), Some("1"));
    let watching = world_of(root.path(), "once", false, vec![part(Kind::ConfigMap)]);
    list(&watching.engine, vec![object("a", 1, &json!({"x": "1", "z": "1"}), None)]);
    assert_eq!((content(root.path(), "x").as_deref(), content(root.path(), "y")), (Some("1"), None));
    drop(watching);
    (0..20).for_each(|_| engine.look(true));
    assert_eq!(content(root.path(), "x"), None, "the last who wrote counts");
}

#[test]
fn a_folder_that_one_file_cannot_be_written_in_is_well() {
    let root = tempfile::tempdir().expect("a folder");
    let World { engine, .. } = world(root.path());
    let of = |name: &str, folder: &str| object(name, 1, &json!({"x": "1"}), Some(folder));
    list(&engine, vec![of("a-file", ""), of("below-a-file", "x"), of("well", "y")]);
    let problems = engine.problems();
    assert!(problems.files.len() == 1 && !engine.is_folder_broken(), "{problems:?}");
    assert_eq!(content(root.path(), "y/x").as_deref(), Some("1"));
    engine.tell(0, Event::Deleted(of("below-a-file", "x")));
    assert!(!engine.has_failures(), "{:?}", engine.problems());
}

#[test]
fn folders_that_were_made_go_with_their_last_file_and_others_stay() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("there")).expect("made");
    let World { engine, .. } = world(root.path());
    let of = |folder: &str| object("a", 1, &json!({"x": "1"}), Some(folder));
    list(&engine, vec![of("there/new/deep")]);
    (0..50).for_each(|number| engine.tell(0, Event::Applied(of(&format!("d{number}/e/f")))));
    engine.tell(0, Event::Deleted(of("d49/e/f")));
    let left: Vec<_> =
        std::fs::read_dir(root.path()).expect("listed").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.iter().filter(|name| !name.to_string_lossy().starts_with('.')).collect::<Vec<_>>(), ["there"]);
    assert_eq!(std::fs::read_dir(root.path().join("there")).expect("listed").count(), 0);
}

#[test]
fn a_line_of_the_journal_that_was_written_in_part_spoils_no_other() {
    let root = tempfile::tempdir().expect("a folder");
    let World { engine, .. } = world(root.path());
    let of = |name: &str| object(name, 1, &json!({name: "1"}), None);
    list(&engine, vec![of("a")]);
    let journal = root.path().join(".outrigger-sync-id");
    let whole = std::fs::read_to_string(&journal).expect("read");
    let part = |name: &str| whole.replace("\"a\"", &format!("\"{name}\""));
    drop(engine);
    std::fs::write(&journal, format!("{whole}{}", &part("torn")[..40])).expect("written");
    let World { engine, .. } = world(root.path());
    list(&engine, vec![of("a"), of("b")]);
    drop(engine);
    list(&world(root.path()).engine, Vec::new());
    assert_eq!((content(root.path(), "a"), content(root.path(), "b")), (None, None));
}

#[test]
fn a_download_that_brings_the_same_is_no_change() {
    let root = tempfile::tempdir().expect("a folder");
    let by = || vec![object("a", 1, &json!({"x.url": "http://h/1"}), None)];
    for _process in 0..2 {
        let World { engine, mut wanted, changes } = world(root.path());
        list(&engine, by());
        let first = begin(&engine, &mut wanted);
        arrive(&engine, &first, b"good");
        changes.take();
        let before = std::fs::metadata(root.path().join("x")).expect("there").modified().expect("a time");
        engine.look(true);
        arrive(&engine, &begin(&engine, &mut wanted), b"good");
        assert_eq!(changes.take(), None, "nobody is told");
        let after = std::fs::metadata(root.path().join("x")).expect("there").modified().expect("a time");
        assert_eq!(before, after, "nor is it written");
    }
    let World { engine, mut wanted, changes } = world(root.path());
    list(&engine, by());
    arrive(&engine, &begin(&engine, &mut wanted), b"good");
    assert_eq!(changes.take(), None, "nor after a new start");
}

#[test]
fn whatever_a_kill_leaves_behind_the_next_start_makes_right() {
    let a = |text: &str| object("a", 1, &json!({"x": text}), None);
    let journal = |root: &Path| root.join(".outrigger-sync-id");
    let kills: [(&str, Leave); 4] = [
        ("after the line and before the file", |root| std::fs::remove_file(root.join("x")).expect("removed")),
        ("within the file", |root| std::fs::write(root.join(".outrigger-id-0-0"), "ha").expect("written")),
        ("after the removal and before its line", |root| std::fs::remove_file(root.join("x")).expect("removed")),
        ("within the line", |root| {
            let path = root.join(".outrigger-sync-id");
            let text = std::fs::read(&path).expect("read");
            std::fs::write(&path, &text[..text.len() - 5]).expect("cut");
            std::fs::remove_file(root.join("x")).expect("a file comes after its line");
        }),
    ];
    for (when, leave) in kills {
        for next in [vec![a("2")], Vec::new()] {
            let root = tempfile::tempdir().expect("a folder");
            list(&world(root.path()).engine, vec![a("1")]);
            assert!(journal(root.path()).exists());
            leave(root.path());
            let expected = next.first().map(|_| "2");
            list(&world(root.path()).engine, next);
            assert_eq!(content(root.path(), "x").as_deref(), expected, "{when}");
            let names = std::fs::read_dir(root.path()).expect("listed").flatten().map(|entry| entry.file_name());
            assert_eq!(names.count(), 1 + usize::from(expected.is_some()), "{when}: nothing else is left");
            list(&world(root.path()).engine, Vec::new());
            assert_eq!(content(root.path(), "x"), None, "{when}");
        }
    }
}

#[test]
fn changes_after_the_list_of_their_part_are_later_even_while_another_part_has_none() {
    let root = tempfile::tempdir().expect("a folder");
    let forbidden = Part { namespace: Some("forbidden".to_owned()), ..part(Kind::ConfigMap) };
    let World { engine, changes, .. } = world_of(root.path(), "id", false, vec![part(Kind::ConfigMap), forbidden]);
    let a = |text: &str| object("a", 1, &json!({"x": text}), None);
    list(&engine, vec![a("1")]);
    assert!(!changes.take().expect("a change").is_later);
    engine.tell(0, Event::Applied(a("2")));
    assert!(changes.take().expect("a change").is_later);
    engine.tell(0, Event::Deleted(a("2")));
    assert!(changes.take().expect("a change").is_later);
    assert!(!engine.is_listed());
}
