//! Files of all kinds, and their changes.

use super::*;
use std::fs;

const SET: &str = "apiVersion: apps.kruise.io/v1beta1\nkind: SidecarSet\nmetadata: {name: NAME}\nspec:\n  selector: {matchLabels: {app: nginx}}\n  containers: [{name: NAME, image: busybox:1.36.1}]\n";

fn set(name: &str) -> String {
    SET.replace("NAME", name)
}

struct Dir {
    dir: tempfile::TempDir,
    source: Source,
}

fn loaded(source: &Source) -> &Loaded {
    source.loaded.as_ref().unwrap()
}

impl Dir {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::open(dir.path(), Options::default()).unwrap();
        let this = Self { dir, source };
        for (name, text) in files {
            this.write(name, text);
        }
        this
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn problems(&mut self) -> Vec<String> {
        self.source.refresh();
        self.source.refresh(); // a change is complete once it was seen twice
        loaded(&self.source).problems.iter().map(ToString::to_string).collect()
    }

    fn names(&self) -> Vec<String> {
        loaded(&self.source).snapshot.sets().map(|set| set.name.clone()).collect()
    }
}

#[test]
fn a_broken_file_keeps_its_last_good_content() {
    let mut dir = Dir::new(&[("a.yaml", &set("a"))]);
    assert!(dir.problems().is_empty());
    dir.write("a.yaml", "kind: [");
    let problems = dir.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("a.yaml") && problems[0].contains("last good content"), "{problems:?}");
    assert_eq!(dir.names(), ["a"]);
    dir.write("a.yaml", &set("b"));
    assert!(dir.problems().is_empty());
    assert_eq!(dir.names(), ["b"]);
}

#[test]
fn a_broken_object_keeps_its_last_good_version_and_its_neighbours_load() {
    let mut dir = Dir::new(&[("a.yaml", &format!("{}---\n{}", set("a"), set("b")))]);
    dir.problems();
    let broken = set("a").replace("matchLabels: {app: nginx}", "matchLabels: {app: 5}");
    dir.write("a.yaml", &format!("{broken}---\n{}---\n{}", set("b"), set("c")));
    let problems = dir.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("a.yaml:1: SidecarSet \"a\": spec.selector.matchLabels.app: "), "{problems:?}");
    assert!(problems[0].ends_with("(its last good version stays in use)"), "{problems:?}");
    assert_eq!(dir.names(), ["a", "b", "c"]);
}

#[test]
fn a_set_that_moves_to_another_file_broken_keeps_its_last_good_version() {
    let mut dir = Dir::new(&[("a.yaml", &set("a"))]);
    dir.problems();
    fs::remove_file(dir.dir.path().join("a.yaml")).unwrap();
    dir.write("z.yaml", &set("a").replace("selector: {", "selector: {matchExpressions: 5, "));
    let problems = dir.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].ends_with("(its last good version stays in use)"), "{problems:?}");
    assert_eq!(dir.names(), ["a"]);
}

#[test]
fn a_file_that_never_was_good_is_not_said_to_stay_in_use() {
    let mut dir = Dir::new(&[("a.yaml", "kind: [")]);
    let problems = dir.problems();
    assert!(!problems[0].contains("stays in use"), "{problems:?}");
}

#[test]
fn a_label_of_wrong_type_is_named() {
    let mut dir =
        Dir::new(&[("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {app: 5}}\n")]);
    let problems = dir.problems();
    assert!(problems[0].starts_with("a.yaml:1: Namespace \"shop\": metadata.labels.app: "), "{problems:?}");
}

#[test]
fn the_first_of_two_objects_of_a_name_counts() {
    let mut dir = Dir::new(&[("a.yaml", &set("a")), ("b.yaml", &set("a"))]);
    assert_eq!(
        dir.problems(),
        ["b.yaml:1: SidecarSet \"a\" is already defined at a.yaml:1, which counts: remove or rename one of them"]
    );
    fs::remove_file(dir.dir.path().join("a.yaml")).unwrap();
    assert!(dir.problems().is_empty());
    assert_eq!(dir.names(), ["a"]);
}

#[test]
fn a_namespace_may_stand_in_several_files_that_say_the_same_of_it() {
    let namespace = |team: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{team: {team}}}}}}}\n")
    };
    let mut dir =
        Dir::new(&[("a.yaml", &namespace("blue")), ("b.yaml", &namespace("blue")), ("c.yaml", &namespace("red"))]);
    assert_eq!(
        dir.problems(),
        ["c.yaml:1: Namespace \"shop\" is already defined at a.yaml:1, which counts: remove or rename one of them"]
    );
}

#[test]
fn an_unknown_version_is_an_error_and_other_kinds_are_counted() {
    let mut dir = Dir::new(&[
        ("a.yaml", &set("a").replace("v1beta1", "v2")),
        (
            "b.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\napiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\nmetadata: {name: c}\n",
        ),
    ]);
    assert_eq!(
        dir.problems(),
        [
            "a.yaml:1: apiVersion: \"apps.kruise.io/v2\" of SidecarSet is not known: use apps.kruise.io/v1beta1 or apps.kruise.io/v1alpha1"
        ]
    );
    assert_eq!(loaded(&dir.source).ignored, 2);
}

/// The API server's message is `strict decoding error: unknown field "spec.injectStrategy", …`.
#[test]
fn fields_that_kubectl_refuses_are_errors_that_name_them() {
    let misspelt = set("a").replace("spec:\n", "spec:\n  namespace: team-a\n  injectStrategy: {paused: true}\n");
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, label: {a: b}}\n";
    let mut dir = Dir::new(&[("a.yaml", &format!("{misspelt}{namespace}"))]);
    let [set, namespace] = &dir.problems()[..] else { panic!("two problems") };
    assert_eq!(
        set,
        "a.yaml:1: SidecarSet \"a\": spec.namespace: unknown field in apps.kruise.io/v1beta1; \
         spec.injectStrategy: unknown field in apps.kruise.io/v1beta1"
    );
    assert!(namespace.ends_with("Namespace \"shop\": metadata.label: unknown field in v1"), "{namespace}");
    dir.write("a.yaml", &misspelt.replace("v1beta1", "v1alpha1").replace("injectStrategy", "injectionStrategy"));
    assert_eq!(dir.problems(), [""; 0]);
}

#[test]
fn an_empty_folder_is_a_warning() {
    let mut dir = Dir::new(&[]);
    assert!(dir.problems().is_empty());
    let mut dir = Dir::new(&[("a.yaml", "# nothing\n")]);
    assert!(dir.problems().is_empty());
    assert_eq!(loaded(&dir.source).warnings, ["no SidecarSet in use: no Pod is injected"]);
}
