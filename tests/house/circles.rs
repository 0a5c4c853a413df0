//! Finds files of one folder with circular uses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::paths::{Mention, inside};

type Module = [String];

/// The modules that have a file, and the imports of each module.
pub struct Modules {
    files: BTreeSet<Vec<String>>,
    /// The imported path, by module and local name.
    imports: BTreeMap<(Vec<String>, String), (Vec<String>, bool)>,
}

/// A circle of files in one folder: each uses the next, and the last uses the first.
#[derive(Debug, PartialEq)]
pub struct Circle {
    /// The folder's module.
    pub folder: Vec<String>,
    /// The files by module name, and `mod` for the folder's own; the smallest name first.
    pub files: Vec<String>,
    /// Where each file uses the next.
    pub uses: Vec<String>,
}

/// Uses between the files of a folder, with their locations.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

impl Modules {
    /// Creates it from the files' modules and all their mentions.
    pub fn new<'m>(
        files: impl IntoIterator<Item = Vec<String>>,
        mentions: impl IntoIterator<Item = &'m Mention>,
    ) -> Self {
        let mut imports = BTreeMap::new();
        for mention in mentions {
            if let (Some(import), false) = (&mention.import, mention.test) {
                let key = (mention.module.clone(), import.name.clone());
                imports.insert(key, (mention.path.clone(), import.re_export));
            }
        }
        Self { files: files.into_iter().collect(), imports }
    }

    /// Returns all circles, each the shortest one through its first use.
    pub fn circles<'m>(&self, mentions: impl IntoIterator<Item = (&'m str, &'m Mention)>) -> Vec<Circle> {
        let mut folders: BTreeMap<Vec<String>, Uses> = BTreeMap::new();
        for (file, mention) in mentions {
            let from = self.file_of(&mention.module);
            let to = self.target(mention);
            let (Some(to), false) = (to, mention.test) else { continue };
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if from.len() == common && to.len() == common {
                continue;
            }
            let name = |module: &Module| module.get(common).map_or("mod", String::as_str).to_owned();
            let place = format!("src/{file}:{}: `{}`", mention.line, mention.path.join("::"));
            let uses = folders.entry(from[..common].to_vec()).or_default();
            uses.entry(name(from)).or_default().entry(name(&to)).or_insert(place);
        }
        folders.iter().flat_map(|(folder, uses)| circles(folder, uses)).collect()
    }

    /// Returns the module with its own file that a mention refers to. A re-export is not a use; its user uses the re-exported
    /// item. So a plain name that is re-exported counts. Other plain names are imported by a `use`, which is itself a mention, or
    /// are not paths.
    fn target(&self, mention: &Mention) -> Option<Vec<String>> {
        if mention.import.as_ref().is_some_and(|import| import.re_export) {
            return None;
        }
        if let ([name], None) = (&mention.path[..], &mention.import) {
            let (_, re_export) = self.imports.get(&(mention.module.clone(), name.clone()))?;
            if !re_export {
                return None;
            }
        }
        let defined = self.resolve(&mention.module, &mention.path, 0)?;
        Some(self.file_of(&defined).to_vec())
    }

    /// Returns the module of what `path` refers to in `module`; `None` if it is in another crate. The number of followed imports is
    /// limited, because `use a::b as a` may refer to another crate.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<Vec<String>> {
        if depth > 16 {
            return None;
        }
        let Some(absolute) = inside(module, path) else {
            let child = [module, &path[..1]].concat();
            let known = self.files.contains(&child) || self.imports.contains_key(&(module.to_vec(), path[0].clone()));
            return if known { self.descend(module.to_vec(), path, depth) } else { None };
        };
        self.descend(Vec::new(), &absolute, depth)
    }

    fn descend(&self, mut module: Vec<String>, path: &[String], depth: usize) -> Option<Vec<String>> {
        for (at, name) in path.iter().enumerate() {
            let child = [&module[..], std::slice::from_ref(name)].concat();
            if self.files.contains(&child) {
                module = child;
            } else if let Some((import, _)) = self.imports.get(&(module.clone(), name.clone())) {
                let path = [import, &path[at + 1..]].concat();
                return self.resolve(&module, &path, depth + 1);
            } else {
                break;
            }
        }
        Some(module)
    }

    /// Returns the innermost module around `module` that has a file.
    fn file_of<'a>(&self, module: &'a Module) -> &'a Module {
        let longest = (0..=module.len()).rev().find(|length| self.files.contains(&module[..*length]));
        &module[..longest.unwrap_or(0)]
    }
}

/// Returns the circles of one folder: for each use, the shortest way back.
fn circles(folder: &Module, uses: &Uses) -> Vec<Circle> {
    let mut circles = BTreeMap::new();
    for (from, targets) in uses {
        for to in targets.keys() {
            let Some(mut files) = way(uses, to, from) else { continue };
            let least = (0..files.len()).min_by_key(|at| &files[*at]).unwrap_or(0);
            files.rotate_left(least);
            let next = files.iter().cycle().skip(1);
            let places = files.iter().zip(next).filter_map(|(from, to)| uses.get(from)?.get(to).cloned()).collect();
            circles.insert(files, places);
        }
    }
    let circle = |(files, uses)| Circle { folder: folder.to_vec(), files, uses };
    circles.into_iter().map(circle).collect()
}

/// Returns the files on the shortest path of uses, including both ends.
fn way(uses: &Uses, from: &str, to: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let back = std::iter::successors(Some(to), |file| before.get(file).copied());
            let mut files: Vec<_> = back.map(str::to_owned).collect();
            files.reverse();
            return Some(files);
        }
        for next in uses.get(file).into_iter().flat_map(BTreeMap::keys) {
            if next != from && !before.contains_key(next.as_str()) {
                before.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}
