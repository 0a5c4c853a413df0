//! Which files keys become.

use std::path::Path;

use serde_json::json;

use super::{key, naming, object};
use crate::file_sync::naming::{Absolute, Content, Naming};

fn paths(naming: &Naming, data: &serde_json::Value, folder: Option<&str>) -> (Vec<String>, usize) {
    let object = object("o", 1, data, folder);
    let (entries, errors) = naming.entries(&key("n", "o"), &object);
    (entries.iter().map(|entry| naming.path(&entry.place).display().to_string()).collect(), errors.len())
}

#[test]
fn no_annotation_leads_out_of_the_folders_that_are_allowed() {
    let mut naming = naming(Path::new("/folder"));
    naming.roots.push("/other/place".into());
    for (folder, expected) in [
        ("", Some("/folder/k")),
        ("a/b/", Some("/folder/a/b/k")),
        ("a//./b/../c", Some("/folder/a/c/k")),
        ("..", None),
        ("a/../../b", None),
        ("/folder/a", Some("/folder/a/k")),
        ("/other/place/a/", Some("/other/place/a/k")),
        ("/other/place", Some("/other/place/k")),
        ("/other/placebo", None),
        ("/other/place/../x", None),
        ("/etc", None),
        ("/", None),
        ("a\0b", None),
        (".outrigger-sync", None),
    ] {
        let (paths, errors) = paths(&naming, &json!({"k": "v"}), Some(folder));
        assert_eq!(
            (paths.first().map(String::as_str), errors),
            (expected, usize::from(expected.is_none())),
            "{folder:?}"
        );
    }
    naming.absolute = Absolute::Nested;
    assert_eq!(paths(&naming, &json!({"k": "v"}), Some("/etc")).0, ["/folder/etc/k"]);
    assert_eq!(paths(&naming, &json!({"k": "v"}), Some("/../etc")).1, 1);
}

#[test]
fn no_key_is_more_than_the_name_of_a_file() {
    let keys =
        json!({"a/b": "", "..": "", ".": "", "": "", ".url": "", "...url": "", ".outrigger-sync-x": "", "good": ""});
    assert_eq!(paths(&naming(Path::new("/folder")), &keys, None), (vec!["/folder/good".to_owned()], 7));
}

#[test]
fn what_can_never_be_written_or_would_cost_others_much_is_refused_before_it_is_tried() {
    let mut naming = naming(Path::new("/folder"));
    let long = json!({"k".repeat(253): ""});
    assert_eq!(paths(&naming, &long, None).1, 0);
    naming.unique = true;
    assert_eq!(paths(&naming, &long, None), (Vec::new(), 1), "namespace and name come before it");
    naming.unique = false;
    let deep = "abcdefghijklmnopqrstuvwxyz0123456789/".repeat(28);
    for folder in ["a".repeat(256), "a/".repeat(32), deep, "a\nb".to_owned(), "\u{202e}a".to_owned()] {
        assert_eq!(paths(&naming, &json!({"k": ""}), Some(&folder)), (Vec::new(), 1), "{folder:?}");
    }
    let keys = |count: usize, suffix: &str| {
        let keys = (0..count).map(|number| (format!("{number}{suffix}"), json!("http://h/")));
        serde_json::Value::Object(keys.collect())
    };
    let (some, errors) = paths(&naming, &keys(5_001, ""), None);
    assert_eq!((some.len(), errors), (5_000, 1));
    let (some, errors) = paths(&naming, &keys(65, ".url"), None);
    assert_eq!((some.len(), errors), (64, 1));
}

#[test]
fn a_folder_has_one_place_however_it_is_named() {
    let mut naming = naming(Path::new("/folder"));
    naming.roots.push("/folder/sub".into());
    let place = |naming: &Naming, folder: &str| {
        let object = object("o", 1, &json!({"k": ""}), Some(folder));
        naming.entries(&key("n", "o"), &object).0[0].place.clone()
    };
    assert_eq!(place(&naming, "sub/x"), place(&naming, "/folder/sub/x"));
    assert_eq!(naming.place_of_file(Path::new("/folder/sub/x/k")), Some(place(&naming, "sub/x")));
    assert_eq!(naming.place_of_file(Path::new("/folder/sub")).map(|place| place.root), Some(0));
    assert_eq!(naming.place_of_file(Path::new("/elsewhere/x")), None);
}

#[test]
fn no_annotation_leads_into_another_namespaces_folder() {
    let mut naming = naming(Path::new("/folder"));
    naming.per_namespace = true;
    naming.roots.push("/shared".into());
    for (folder, expected) in [
        ("/folder/n/a", Some("/folder/n/a/k")),
        ("/folder/n", Some("/folder/n/k")),
        ("/folder/other", None),
        ("/folder/nn", None),
        ("/folder", None),
        ("../other", None),
        ("/shared/a", Some("/shared/a/k")),
    ] {
        let (paths, errors) = paths(&naming, &json!({"k": ""}), Some(folder));
        let expected = (expected, usize::from(expected.is_none()));
        assert_eq!((paths.first().map(String::as_str), errors), expected, "{folder}");
    }
}

#[test]
fn names_are_made_unique_and_folders_of_namespaces_as_asked() {
    let mut naming = naming(Path::new("/folder"));
    naming.unique = true;
    assert_eq!(paths(&naming, &json!({"k.json": ""}), None).0, ["/folder/namespace_n.configmap_o.k.json"]);
    naming.unique = false;
    naming.per_namespace = true;
    assert_eq!(paths(&naming, &json!({"k": ""}), None).0, ["/folder/n/k"]);
    assert_eq!(paths(&naming, &json!({"k": ""}), Some("a")).0, ["/folder/n/a/k"]);
}

#[test]
fn only_keys_of_the_suffixes_asked_for_become_files() {
    let mut naming = naming(Path::new("/folder"));
    naming.suffixes = vec![".json".to_owned(), ".yaml".to_owned()];
    let keys = json!({"a.json": "", "b.yaml": "", "c.txt": "", "d.json.bak": ""});
    assert_eq!(paths(&naming, &keys, None).0, ["/folder/a.json", "/folder/b.yaml"]);
}

#[test]
fn a_key_with_its_content_comes_before_one_of_the_same_file_by_url() {
    let naming = naming(Path::new("/folder"));
    let object = object("o", 1, &json!({"a.url": " http://host/a\n", "b": "here", "b.url": "http://host/b"}), None);
    let (entries, errors) = naming.entries(&key("n", "o"), &object);
    let found: Vec<_> = entries.iter().map(|entry| (&*entry.place.path, entry.content.clone())).collect();
    assert_eq!(found, [("b", Content::Bytes(b"here".as_slice().into())), ("a", Content::Url("http://host/a".into()))]);
    assert!(errors.is_empty());
}
