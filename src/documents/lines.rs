//! The lines of a document's fields, for messages.

use super::Position;
use super::parse::options;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{MergeKeyPolicy, Spanned};
use std::fmt::{self, Write as _};

/// The lines of an object's fields.
#[derive(Debug)]
pub struct Lines<'t> {
    root: Tree,
    /// The document's lines, and the number of lines before them.
    text: Vec<&'t str>,
    before: usize,
    /// The path to the object in nested Lists.
    items: Vec<usize>,
}

#[derive(Debug)]
enum Tree {
    Scalar,
    Mapping(Vec<(String, Place)>),
    List(Vec<Place>),
}

/// A value and its first line, relative to the document.
#[derive(Debug)]
struct Place {
    line: usize,
    tree: Tree,
}

impl<'t> Lines<'t> {
    /// Reads the object at a position of a parsed file. `from` is the file's text from the object's line on. `None` if it cannot be
    /// parsed again.
    #[must_use]
    pub fn read(from: &'t str, position: &Position) -> Option<Self> {
        let text: Vec<&str> = from
            .lines()
            .enumerate()
            .take_while(|(index, line)| *index == 0 || !(line.starts_with("---") || line.starts_with("...")))
            .map(|(_, line)| line)
            .collect();
        let document = text.join("\n");
        let mut bytes = document.as_bytes();
        let options = options(MergeKeyPolicy::AsOrdinary);
        let root: Spanned<Tree> = serde_saphyr::read_with_options(&mut bytes, options).next()?.ok()?;
        let before = position.line.saturating_sub(1);
        Some(Self { root: root.value, text, before, items: position.items.clone() })
    }

    /// Returns the line of a field such as `spec.http[0].route`, or of the nearest enclosing field that exists.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<usize> {
        let mut to_object = String::new();
        for item in &self.items {
            let _ = write!(to_object, ".items[{item}]"); // writing to a String cannot fail
        }
        let _ = write!(to_object, ".{path}");
        let (mut tree, mut rest, mut line) = (&self.root, to_object.as_str(), None);
        while let Some(step) = tree.step(rest) {
            line = Some(self.line_of(&step));
            (tree, rest) = (&step.place.tree, step.rest);
        }
        line.map(|line| line + self.before)
    }

    /// Returns the line of a key rather than of its value, which may begin below it.
    fn line_of(&self, step: &Step<'_>) -> usize {
        let value = step.place.line;
        let Some(key) = step.key else { return value };
        let has_key = |line: &usize| self.text.get(line.wrapping_sub(1)).is_some_and(|text| text.contains(key));
        (1..=value).rev().take(DISTANCE).find(has_key).unwrap_or(value)
    }
}

/// The maximum number of lines (comments and blank lines) between a key and its value.
const DISTANCE: usize = 20;

/// A step of a path.
struct Step<'s> {
    key: Option<&'s str>,
    place: &'s Place,
    rest: &'s str,
}

impl Tree {
    /// Parses the first step of a path: `.key`, `[key]` or `[index]`. Keys may contain dots and brackets, so the longest matching one
    /// is used.
    fn step<'s>(&'s self, path: &'s str) -> Option<Step<'s>> {
        match self {
            Self::Scalar => None,
            Self::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let place = items.get(index.parse::<usize>().ok()?)?;
                Some(Step { key: None, place, rest })
            }
            Self::Mapping(entries) => {
                let fits = |(key, place): &'s (String, Place)| {
                    let plain = path.strip_prefix('.').and_then(|path| path.strip_prefix(key.as_str()));
                    let in_brackets = || path.strip_prefix('[')?.strip_prefix(key.as_str())?.strip_prefix(']');
                    let rest = plain.or_else(in_brackets)?;
                    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(Step { key: Some(key), place, rest })
                };
                entries.iter().filter_map(fits).min_by_key(|step| step.rest.len())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Key, Spanned<Tree>>()? {
            entries.push((key.0, Place::of(value)));
        }
        Ok(Tree::Mapping(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(value) = list.next_element::<Spanned<Tree>>()? {
            items.push(Place::of(value));
        }
        Ok(Tree::List(items))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }
}

impl Place {
    fn of(value: Spanned<Tree>) -> Self {
        Self { line: usize::try_from(value.referenced.line()).unwrap_or_default(), tree: value.value }
    }
}

/// A text key. No path refers to other keys.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(Key(key.to_owned()))
    }

    fn visit_bool<E>(self, key: bool) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_i64<E>(self, key: i64) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_u64<E>(self, key: u64) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Key, E> {
        Ok(Key(String::new()))
    }

    fn visit_unit<E>(self) -> Result<Key, E> {
        Ok(Key(String::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Key, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Key(String::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::parse;

    /// The lines of an object in a file.
    fn lines<'f>(file: &'f str, position: &Position) -> Lines<'f> {
        let start = file.split_inclusive('\n').take(position.line - 1).map(str::len).sum::<usize>();
        Lines::read(&file[start..], position).unwrap()
    }

    const FILE: &str = "\
# A comment.
apiVersion: v1
kind: First
---
apiVersion: v1
kind: Second
metadata:
  labels: {a.b/c: d}
spec:
  http:
  # What comes first.

  - match:
    - headers:
        '@claims[a]': {exact: b}
    route:
    - destination:
        host: a
    - destination: {host: b,
        subset: c}
  empty:
  text: |
    route: none
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Third}
- apiVersion: v1
  kind: Fourth
  spec:
    hosts:
    - a
";

    #[test]
    fn a_field_is_found_at_the_line_of_its_key() {
        let documents = parse("f.yaml", FILE.as_bytes()).unwrap();
        for (document, path, line) in [
            (0, "kind", 3),
            (1, "kind", 6),
            (1, "metadata.labels[a.b/c]", 8),
            (1, "spec.http", 10),
            (1, "spec.http[0]", 13),
            (1, "spec.http[0].match[0].headers[@claims[a]]", 15),
            (1, "spec.http[0].match[0].headers[@claims[a]].exact", 15),
            (1, "spec.http[0].route", 16),
            (1, "spec.http[0].route[0].destination.host", 18),
            (1, "spec.http[0].route[1].destination.subset", 20),
            (1, "spec.empty", 21),
            (1, "spec.text", 22),
            (3, "kind", 30),
            (3, "spec.hosts[0]", 33),
        ] {
            let lines = self::lines(FILE, &documents[document].position);
            assert_eq!(lines.line(path), Some(line), "{document} {path}");
        }
    }

    #[test]
    fn of_a_field_that_is_not_there_the_nearest_one_around_it_is_found() {
        let documents = parse("f.yaml", FILE.as_bytes()).unwrap();
        let lines = self::lines(FILE, &documents[1].position);
        assert_eq!(lines.line("spec.http[0].route[0].destination.port.number"), Some(17));
        assert_eq!(lines.line("spec.http[7]"), Some(10));
        assert_eq!(lines.line("status"), None);
    }

    #[test]
    fn json_has_lines_too() {
        let text = "{\"apiVersion\": \"v1\", \"kind\": \"A\",\n\"spec\": {\n\"a\": [1,\n2]}}\n";
        let documents = parse("f.json", text.as_bytes()).unwrap();
        let lines = self::lines(text, &documents[0].position);
        assert_eq!((lines.line("spec"), lines.line("spec.a[1]")), (Some(2), Some(4)));
    }
}
