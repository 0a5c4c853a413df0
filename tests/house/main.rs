//! Checks the rules of the house: dependencies point one way between rooms and between the files of a folder; pure rooms
//! have no effects; `anyhow` stays in `cli`; every file begins with a sentence about its subject and is not too long.

mod circles;
mod failpoints;
mod paths;

use std::{collections::BTreeSet, fmt, fs, path::Path};

use circles::{Circle, Modules};
use paths::{Mention, Reading};

/// A longer file has a second subject.
const LONGEST_FILE: usize = 600;

/// The floor of a room. Dependencies point down, never sideways.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    Api,
    Support,
    Job,
    Cli,
}

struct Room {
    name: &'static str,
    floor: Floor,
    /// A pure room uses only pure rooms: no runtime, no clock, no files, no network.
    pure: bool,
    /// Rooms of the same floor that it may also use.
    also: &'static [&'static str],
}

const fn room(name: &'static str, floor: Floor) -> Room {
    Room { name, floor, pure: false, also: &[] }
}

impl Room {
    const fn pure(self) -> Self {
        Self { pure: true, ..self }
    }

    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    fn named(name: &str) -> Option<&'static Self> {
        ROOMS.iter().find(|room| room.name == name)
    }

    fn may_use(&self, other: &Self) -> bool {
        let downwards = self.floor > other.floor || self.also.contains(&other.name);
        self.name == other.name || (downwards && (other.pure || !self.pure))
    }
}

/// All rooms, including planned ones.
const ROOMS: &[Room] = &[
    room("cli", Floor::Cli),
    room("injection", Floor::Job).pure(),
    room("admission", Floor::Job).also(&["injection"]),
    room("rollout", Floor::Job).also(&["injection"]),
    room("sidecar_generator", Floor::Job),
    room("dev_routing", Floor::Job),
    room("mesh_integrity", Floor::Job),
    room("mesh_service", Floor::Job).also(&["mesh_integrity"]),
    room("file_sync", Floor::Job),
    room("istio", Floor::Support).pure(),
    room("fetch", Floor::Support),
    room("documents", Floor::Support),
    room("cluster", Floor::Support),
    room("connections", Floor::Support).also(&["telemetry"]),
    room("telemetry", Floor::Support),
    room("api", Floor::Api).pure(),
];

/// Paths with these prefixes are forbidden in a pure room, except in its tests ...
const IMPURE_PATHS: &[&str] = &[
    "axum",
    "getrandom",
    "hyper",
    "hyper_util",
    "kube::Api",
    "kube::Client",
    "kube::Config",
    "kube::api::Api",
    "kube::client",
    "kube::config",
    "kube::runtime",
    "rand",
    "rustls",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "tokio",
    "tokio_rustls",
    "tokio_util",
    "tower",
];

/// ... and paths with one of these names. `std::net` also has addresses, which are only values.
const IMPURE_NAMES: &[&str] = &[
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "stderr",
    "stdin",
    "stdout",
];

impl Mention {
    /// Whether the path is a clock, a runtime, a file or a connection. `now` alone is the name of an argument.
    fn is_impure(&self) -> bool {
        let path = self.path.join("::");
        let begins =
            |start: &&str| path.strip_prefix(*start).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        let ends_in_now = self.path.len() > 1 && self.path.last().is_some_and(|name| name == "now");
        ends_in_now
            || IMPURE_PATHS.iter().any(begins)
            || self.path.iter().any(|name| IMPURE_NAMES.contains(&name.as_str()))
    }

    /// Returns the problem of this mention in this room (`None`: `lib.rs` and `main.rs`).
    fn fault(&self, room: Option<&Room>) -> Option<String> {
        let path = self.path.join("::");
        if let Some(inside) = self.inside() {
            let Some(target) = inside.first() else {
                return Some(format!("`{path}` is the whole crate: name the room"));
            };
            return match (Room::named(target), room) {
                (None, _) => Some(format!("`{path}`: `{target}` is no room, add it to ROOMS in tests/house/main.rs")),
                (Some(other), Some(room)) if !room.may_use(other) => {
                    Some(format!("`{path}`: `{}` may not use `{}`", room.name, other.name))
                }
                (Some(other), None) if other.floor != Floor::Cli => Some(format!("`{path}`: only `cli` belongs here")),
                _ => None,
            };
        }
        if self.test {
            return None;
        }
        let room = room?;
        if room.pure && self.is_impure() {
            return Some(format!("`{path}`: `{}` is pure", room.name));
        }
        (room.floor != Floor::Cli && self.path[0] == "anyhow").then(|| format!("`{path}`: `anyhow` belongs to `cli`"))
    }
}

/// A file below `src`.
struct Source {
    /// Its path below `src`.
    file: String,
    text: String,
    module: Vec<String>,
    reading: Reading,
}

impl Source {
    fn read(file: &str, text: &str) -> Result<Self, String> {
        let module = module_of(file);
        let reading = paths::read(text, &module).map_err(|error| format!("src/{file}: {error}"))?;
        Ok(Self { file: file.to_owned(), text: text.to_owned(), module, reading })
    }
}

/// Returns the modules of a file, given its path below `src`.
fn module_of(file: &str) -> Vec<String> {
    let name = file.trim_end_matches(".rs");
    if matches!(name, "lib" | "main") {
        return Vec::new();
    }
    name.trim_end_matches("/mod").split('/').map(str::to_owned).collect()
}

/// Returns every problem of these files, given their paths below `src` and their texts.
fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let read: Result<Vec<_>, _> = files.iter().map(|(file, text)| Source::read(file, text)).collect();
    let mut sources = match read {
        Ok(sources) => sources,
        Err(problem) => return vec![problem],
    };
    let test_modules: BTreeSet<_> = sources.iter().flat_map(|source| source.reading.test_modules.clone()).collect();
    for Source { module, reading, .. } in &mut sources {
        let test = (1..=module.len()).any(|length| test_modules.contains(&module[..length]));
        reading.mentions.iter_mut().for_each(|mention| mention.test |= test);
    }
    let circles = circles(&sources).into_iter().map(|circle| circle.to_string());
    sources.iter().flat_map(faults_of_file).chain(circles).collect()
}

/// Returns the problems of one file by itself.
fn faults_of_file(source: &Source) -> Vec<String> {
    let Source { file, text, module, reading } = source;
    let mut faults = Vec::new();
    let mut fault = |line: usize, what: &str| faults.push(format!("src/{file}:{line}: {what}"));

    let subject = text.lines().next().and_then(|line| line.strip_prefix("//!")).unwrap_or_default().trim();
    if !subject.starts_with(char::is_alphanumeric) && !subject.starts_with('`') {
        fault(1, "the file must open with `//!` and the sentence that says its subject");
    }
    let length = text.lines().count();
    if length > LONGEST_FILE {
        fault(length, &format!("longer than {LONGEST_FILE} lines: move its second subject to a file of its own"));
    }

    let room = module.first().and_then(|name| Room::named(name));
    if room.is_none() && !module.is_empty() {
        fault(1, &format!("`{}` is no room, add it to ROOMS in tests/house/main.rs", module[0]));
    }
    for mention in &reading.mentions {
        if let Some(what) = mention.fault(room) {
            fault(mention.line, &what);
        }
    }
    faults
}

/// Returns the circles among the files. `main.rs` is a separate crate.
fn circles(sources: &[Source]) -> Vec<Circle> {
    let sources: Vec<_> = sources.iter().filter(|source| source.file != "main.rs").collect();
    let mentions =
        || sources.iter().flat_map(|source| source.reading.mentions.iter().map(|mention| (&*source.file, mention)));
    Modules::new(sources.iter().map(|source| source.module.clone()), mentions().map(|(_, mention)| mention))
        .circles(mentions())
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, files, uses) = (self.folder.join("/"), self.files.join(" -> "), self.uses.join(", "));
        write!(f, "src/{folder}: {files} -> {} is a circle: {uses}", self.files[0])
    }
}

/// Returns all `.rs` files below `directory` as (path below `root`, text).
fn sources(root: &Path, directory: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            files.extend(sources(root, &path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name =
                path.strip_prefix(root).expect("a file lies below its root").to_string_lossy().replace('\\', "/");
            files.push((name, fs::read_to_string(&path).expect("the file is UTF-8 text")));
        }
    }
    files
}

#[test]
fn the_sources_keep_the_rules_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = sources(&root, &root);
    assert!(sources.iter().any(|(file, _)| file == "lib.rs"), "src/lib.rs was not found below {}", root.display());
    let sources: Vec<_> = sources.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let faults = faults(&sources);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

mod the_checker {
    use super::{LONGEST_FILE, faults};

    /// Returns the problems of `code` in `file`, after a valid first line.
    fn check(file: &str, code: &str) -> Vec<String> {
        faults(&[(file, &format!("//! Subject.\n{code}"))])
    }

    #[track_caller]
    fn accepts(file: &str, code: &str) {
        assert_eq!(check(file, code), Vec::<String>::new(), "{file}: {code}");
    }

    #[track_caller]
    fn rejects(file: &str, code: &str, expected: &[&str]) {
        assert_eq!(check(file, code), expected, "{file}: {code}");
    }

    #[test]
    fn accepts_arrows_that_point_down() {
        accepts("cli/serve.rs", "use crate::{admission::Server, documents, injection::Index, telemetry};");
        accepts("admission/review.rs", "use crate::injection::patch;\nuse crate::api::SidecarSet;");
        accepts("rollout/plan.rs", "use crate::injection::hash;");
        accepts("mesh_integrity/plan.rs", "use crate::istio::hosts;");
        accepts("injection/mod.rs", "mod patch;\nuse patch::Patch;\npub(crate) fn f(x: crate::api::SidecarSet) {}");
        accepts("injection/patch.rs", "use super::{matching, super::api::SidecarSet};\nuse self::inner::X;");
        accepts("main.rs", "fn main() -> std::process::ExitCode { outrigger::cli::run() }");
        accepts("lib.rs", "pub mod admission;\npub mod api;");
    }

    #[test]
    fn rejects_arrows_that_point_up_or_sideways() {
        rejects(
            "api/mod.rs",
            "use crate::documents::File;",
            &["src/api/mod.rs:2: `crate::documents::File`: `api` may not use `documents`"],
        );
        rejects(
            "injection/patch.rs",
            "fn f() {\n    g(crate::admission::limits());\n}",
            &["src/injection/patch.rs:3: `crate::admission::limits`: `injection` may not use `admission`"],
        );
        rejects(
            "rollout/plan.rs",
            "use crate::{api, admission as door};",
            &["src/rollout/plan.rs:2: `crate::admission`: `rollout` may not use `admission`"],
        );
        rejects(
            "documents/read.rs",
            "use super::super::{cli::{self, Arguments}, api};",
            &[
                "src/documents/read.rs:2: `super::super::cli::self`: `documents` may not use `cli`",
                "src/documents/read.rs:2: `super::super::cli::Arguments`: `documents` may not use `cli`",
            ],
        );
        rejects(
            "telemetry/mod.rs",
            "#[cfg(test)] mod tests { use super::super::admission; }",
            &["src/telemetry/mod.rs:2: `super::super::admission`: `telemetry` may not use `admission`"],
        );
        rejects(
            "main.rs",
            "fn main() { outrigger::injection::run() }",
            &["src/main.rs:2: `outrigger::injection::run`: only `cli` belongs here"],
        );
    }

    #[test]
    fn sees_paths_inside_macros() {
        rejects(
            "api/mod.rs",
            "fn f() { assert_eq!(1, crate::cli::ONE); }",
            &["src/api/mod.rs:2: `crate::cli::ONE`: `api` may not use `cli`"],
        );
    }

    #[test]
    fn rejects_ways_round_the_rooms() {
        let whole = |path| format!("src/injection/mod.rs:2: `{path}` is the whole crate: name the room");
        rejects("injection/mod.rs", "use crate as all;", &[&whole("crate")]);
        rejects("injection/mod.rs", "use super::*;", &[&whole("super")]);
        rejects(
            "injection/mod.rs",
            "use crate::Everything;",
            &[
                "src/injection/mod.rs:2: `crate::Everything`: `Everything` is no room, add it to ROOMS in tests/house/main.rs",
            ],
        );
        rejects(
            "attic/mod.rs",
            "",
            &["src/attic/mod.rs:1: `attic` is no room, add it to ROOMS in tests/house/main.rs"],
        );
    }

    #[test]
    fn a_pure_room_has_no_clock_no_runtime_no_files_and_no_network() {
        accepts("injection/mod.rs", "use kube::core::ObjectMeta;\nuse std::{net::IpAddr, time::Duration};");
        accepts("injection/mod.rs", "fn f(now: jiff::Timestamp) -> String { now.to_string() }");
        accepts("injection/mod.rs", "#[cfg(test)] mod tests { use std::{fs, thread}; }");
        accepts("admission/mod.rs", "use std::time::Instant;\nuse tokio::net::TcpListener;");
        for (code, path) in [
            ("use std::{collections::BTreeMap, fs};", "std::fs"),
            ("use std::fs::File;", "std::fs::File"),
            ("use std::net::{IpAddr, TcpStream};", "std::net::TcpStream"),
            ("fn f() -> u8 { std::time::SystemTime::now() }", "std::time::SystemTime::now"),
            ("fn f() { g(jiff::Timestamp::now()) }", "jiff::Timestamp::now"),
            ("use kube::{Client as Connection, core::ObjectMeta};", "kube::Client"),
            ("use ::tokio::sync::Mutex;", "tokio::sync::Mutex"),
            ("#[tokio::main] fn f() {}", "tokio::main"),
        ] {
            rejects("injection/mod.rs", code, &[&format!("src/injection/mod.rs:2: `{path}`: `injection` is pure")]);
        }
        rejects(
            "injection/mod.rs",
            "use crate::telemetry::Metrics;",
            &["src/injection/mod.rs:2: `crate::telemetry::Metrics`: `injection` may not use `telemetry`"],
        );
    }

    #[test]
    fn anyhow_stays_in_cli() {
        accepts("cli/mod.rs", "use anyhow::Context;");
        accepts("main.rs", "fn main() -> anyhow::Result<()> { outrigger::cli::run() }");
        rejects(
            "documents/mod.rs",
            "use anyhow::{Context, bail};",
            &[
                "src/documents/mod.rs:2: `anyhow::Context`: `anyhow` belongs to `cli`",
                "src/documents/mod.rs:2: `anyhow::bail`: `anyhow` belongs to `cli`",
            ],
        );
    }

    #[test]
    fn a_file_opens_with_its_subject_and_has_only_one() {
        for text in ["", "fn f() {}", "//!\n//! Later.", "//! (to be written)", "/// Not of the file.\nfn f() {}"] {
            assert_eq!(
                faults(&[("api/mod.rs", text)]),
                ["src/api/mod.rs:1: the file must open with `//!` and the sentence that says its subject"],
                "{text:?}"
            );
        }
        accepts("api/mod.rs", &"\n".repeat(LONGEST_FILE - 1));
        rejects(
            "api/mod.rs",
            &"\n".repeat(LONGEST_FILE),
            &["src/api/mod.rs:601: longer than 600 lines: move its second subject to a file of its own"],
        );
    }

    /// Expects these circles of the files of `istio`, given by name and code, and no other problems.
    #[track_caller]
    fn circles(files: &[(&str, &str)], expected: &[&str]) {
        let files: Vec<_> =
            files.iter().map(|(file, code)| (format!("istio/{file}.rs"), format!("//! Subject.\n{code}"))).collect();
        let files: Vec<_> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
        assert_eq!(faults(&files), expected);
    }

    const A_USES_B: (&str, &str) = ("a", "use super::b::B;\npub struct A;");
    const B_USES_A: (&str, &str) = ("b", "pub struct B(super::a::A);");
    const A_AND_B: &str =
        "src/istio: a -> b -> a is a circle: src/istio/a.rs:2: `super::b::B`, src/istio/b.rs:2: `super::a::A`";

    #[test]
    fn files_beside_each_other_do_not_use_each_other() {
        circles(&[("mod", "mod a;\nmod b;"), A_USES_B, ("b", "pub struct B;")], &[]);
        circles(&[("mod", "mod a;\nmod b;"), A_USES_B, B_USES_A], &[A_AND_B]);
    }

    #[test]
    fn a_circle_may_be_of_any_length() {
        let files = [("mod", ""), A_USES_B, ("b", "use crate::istio::c::C;"), ("c", "fn f() { super::a::f() }")];
        let expected = "src/istio: a -> b -> c -> a is a circle: src/istio/a.rs:2: `super::b::B`, \
                        src/istio/b.rs:2: `crate::istio::c::C`, src/istio/c.rs:2: `super::a::f`";
        circles(&files, &[expected]);
    }

    #[test]
    fn who_uses_a_re_export_uses_what_it_stands_for() {
        let files = [("mod", "mod a;\nmod b;\npub use b::B;"), ("a", "use super::B as Other;"), B_USES_A];
        circles(&files, &[&A_AND_B.replace("super::b::B", "super::B")]);
    }

    #[test]
    fn a_folder_and_its_files_do_not_use_each_other_but_it_may_re_export() {
        let b = ("b", "use super::Shared;\npub struct B;");
        circles(&[("mod", "mod b;\npub use b::B;\npub struct Shared;"), b], &[]);
        circles(
            &[("mod", "mod b;\npub use b::B;\npub struct Shared;\nfn f(b: B) {}"), b],
            &["src/istio: b -> mod -> b is a circle: src/istio/b.rs:2: `super::Shared`, src/istio/mod.rs:5: `B`"],
        );
        circles(
            &[("mod", "mod b;\npub struct Shared;\nfn f() { b::f() }"), b],
            &["src/istio: b -> mod -> b is a circle: src/istio/b.rs:2: `super::Shared`, src/istio/mod.rs:4: `b::f`"],
        );
    }

    #[test]
    fn a_folder_beside_a_file_is_one_with_its_files() {
        let files = [("mod", ""), A_USES_B, ("b/mod", "mod c;\npub use c::B;"), ("b/c", "use super::super::a::A;")];
        let expected = "src/istio: a -> b -> a is a circle: src/istio/a.rs:2: `super::b::B`, src/istio/b/c.rs:2: `super::super::a::A`";
        circles(&files, &[expected]);
    }

    #[test]
    fn tests_may_use_any_file_of_their_room() {
        let inside = ("b", "pub struct B;\n#[cfg(test)] mod tests { use super::super::a::A; }");
        circles(&[("mod", ""), A_USES_B, inside], &[]);
        let outside = ("b/mod", "pub struct B;\n#[cfg(test)] mod samples;");
        circles(&[("mod", ""), A_USES_B, outside, ("b/samples", "use crate::istio::a::A;")], &[]);
    }
}
