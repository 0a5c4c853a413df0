//! The annotations that record in a Pod what was injected, in OpenKruise's format because other programs read them.

use super::go_json::write_text;
use crate::api::borrowed::Str;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The SidecarSets that a Pod records as injected: the parsed value of one of the two hash annotations.
///
/// OpenKruise's older format maps a name to a bare hash. Such entries are read, and upgraded when the value is next
/// written.
#[derive(Debug, Default)]
pub struct Record<'a> {
    entries: BTreeMap<Str<'a>, &'a RawValue>,
}

/// The entry to record for one set.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The set's name.
    pub set: &'a str,
    /// The set's hash.
    pub hash: &'a str,
    /// Names of the set's containers and native sidecars as JSON text, sorted.
    pub sidecars: &'a str,
    /// The set's `ControllerRevision`, if it is recorded and known.
    pub revision: Option<&'a str>,
    /// The time of injection.
    pub time: Timestamp,
}

/// The recorded entry of one set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Recorded<'a> {
    /// The set's hash; empty if there is none.
    #[serde(borrow, default)]
    pub hash: Str<'a>,
    /// The injected `ControllerRevision`.
    #[serde(borrow, default, rename = "controllerRevision")]
    pub revision: Option<Str<'a>>,
}

/// An annotation that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the value is not a JSON map from SidecarSet name to what was injected: correct or remove it")]
pub struct Unreadable;

impl<'a> Record<'a> {
    /// Parses the annotation's value. An absent, blank or `null` value counts as empty.
    ///
    /// # Errors
    /// When the value is not a JSON object of objects (or of bare hashes, the older format).
    pub fn parse(value: Option<&'a str>) -> Result<Self, Unreadable> {
        let value = value.map(str::trim).filter(|value| !value.is_empty() && *value != "null");
        let Some(value) = value else { return Ok(Self::default()) };
        let entries: BTreeMap<Str<'a>, &'a RawValue> = serde_json::from_str(value).map_err(|_| Unreadable)?;
        if !entries.values().all(|entry| entry.get().starts_with(['{', 'n', '"'])) {
            return Err(Unreadable);
        }
        Ok(Self { entries })
    }

    /// Whether the set is recorded with this hash, in either format.
    #[must_use]
    pub fn has(&self, set: &str, hash: &str) -> bool {
        self.recorded(set).is_some_and(|recorded| *recorded.hash == *hash)
    }

    /// Returns the recorded entry of the set, in either format; `None` if there is no readable entry.
    #[must_use]
    pub fn recorded(&self, set: &str) -> Option<Recorded<'a>> {
        let entry = self.entry(set)?.get();
        let bare = serde_json::from_str(entry).ok().map(|hash| Recorded { hash, revision: None });
        bare.or_else(|| serde_json::from_str(entry).ok())
    }

    fn entry(&self, set: &str) -> Option<&'a RawValue> {
        self.entries.get(set).copied()
    }

    /// Returns the annotation's new value once `sets` are recorded, or `None` if nothing changes. Current entries and
    /// entries of other sets keep their text. Entries in the older format get the time `now`.
    #[must_use]
    pub fn updated(&self, sets: &[Entry<'_>], now: Timestamp) -> Option<String> {
        let up_to_date = |set: &&Entry<'_>| {
            self.has(set.set, set.hash) && self.entry(set.set).is_some_and(|entry| !is_bare_hash(entry))
        };
        let outdated: Vec<_> = sets.iter().filter(|set| !up_to_date(set)).collect();
        if outdated.is_empty() && !self.entries.values().any(|entry| is_bare_hash(entry)) {
            return None;
        }
        let mut entries: BTreeMap<&str, String> =
            self.entries.iter().map(|(name, entry)| (&**name, upgraded(name, entry.get(), now))).collect();
        for set in outdated {
            entries.insert(set.set, set.json());
        }
        let mut json = String::from("{");
        for (index, (name, entry)) in entries.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            write_text(&mut json, name);
            json.push(':');
            json.push_str(entry);
        }
        json.push('}');
        Some(json)
    }
}

/// The recorded hashes of fields that the two hash annotations do not cover: the value of
/// [`crate::api::keys::HASH_OF_REST`].
#[derive(Debug, Default)]
pub struct RecordOfRest<'a>(BTreeMap<Str<'a>, Str<'a>>);

impl<'a> RecordOfRest<'a> {
    /// Parses the annotation's value. An unreadable value counts as absent, because no other program writes this
    /// annotation.
    #[must_use]
    pub fn parse(value: Option<&'a str>) -> Self {
        Self(value.and_then(|value| serde_json::from_str(value).ok()).unwrap_or_default())
    }

    /// Returns the recorded hash of the set.
    #[must_use]
    pub fn recorded(&self, set: &str) -> Option<&str> {
        self.0.get(set).map(|hash| &**hash)
    }

    /// Whether the set may have been injected with this hash. A Pod without a recorded hash was injected by a program
    /// that does not write one.
    #[must_use]
    pub fn agrees(&self, set: &str, hash: Option<&str>) -> bool {
        self.recorded(set).is_none_or(|recorded| Some(recorded) == hash)
    }

    /// Returns the annotation's new value once these sets are recorded, or `None` if nothing changes.
    #[must_use]
    pub fn updated<'s>(&self, sets: impl Iterator<Item = (&'s str, Option<&'s str>)>) -> Option<String> {
        let outdated: Vec<_> = sets.filter(|(set, hash)| self.recorded(set) != *hash).collect();
        if outdated.is_empty() {
            return None;
        }
        let mut entries: BTreeMap<&str, &str> = self.0.iter().map(|(set, hash)| (&**set, &**hash)).collect();
        for (set, hash) in outdated {
            match hash {
                Some(hash) => _ = entries.insert(set, hash),
                None => _ = entries.remove(set),
            }
        }
        serde_json::to_string(&entries).ok()
    }
}

/// The format in which Go writes Kubernetes times.
const TIME: &str = "%Y-%m-%dT%H:%M:%SZ";

impl Entry<'_> {
    fn json(&self) -> String {
        let mut json = format!("{{\"updateTimestamp\":\"{}\",\"hash\":", self.time.strftime(TIME));
        write_text(&mut json, self.hash);
        json.push_str(",\"sidecarSetName\":");
        write_text(&mut json, self.set);
        json.push_str(",\"sidecarList\":");
        json.push_str(self.sidecars);
        if let Some(revision) = self.revision {
            json.push_str(",\"controllerRevision\":");
            write_text(&mut json, revision);
        }
        json.push('}');
        json
    }
}

fn is_bare_hash(entry: &RawValue) -> bool {
    entry.get().starts_with('"')
}

/// Returns the entry unchanged, or a bare hash converted to the current format.
fn upgraded(set: &str, entry: &str, now: Timestamp) -> String {
    match serde_json::from_str::<Str<'_>>(entry) {
        Ok(hash) => Entry { set, hash: &hash, sidecars: "null", revision: None, time: now }.json(),
        Err(_) => entry.to_owned(),
    }
}

/// Returns the set names in an injected-list annotation.
pub fn listed(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// Returns the new value of the injected-list annotation: the sorted union of its names and `sets`. `None` if nothing
/// changes.
#[must_use]
pub fn injected_list<'a>(present: Option<&'a str>, sets: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: BTreeSet<&str> = listed(present.unwrap_or_default()).chain(sets).collect();
    let list = names.into_iter().collect::<Vec<_>>().join(",");
    (present != Some(&list)).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_767_323_045, 0);

    fn entry<'a>(set: &'a str, hash: &'a str) -> Entry<'a> {
        Entry { set, hash, sidecars: r#"["a","b"]"#, revision: None, time: NOW }
    }

    #[test]
    fn a_first_record_has_openkruise_keys_in_order() {
        let with_revision = Entry { revision: Some("s-abc"), ..entry("s", "h") };
        assert_eq!(
            Record::default().updated(&[with_revision], NOW).unwrap(),
            r#"{"s":{"updateTimestamp":"2026-01-02T03:04:05Z","hash":"h","sidecarSetName":"s","sidecarList":["a","b"],"controllerRevision":"s-abc"}}"#
        );
    }

    #[test]
    fn entries_of_other_sets_keep_their_text() {
        let text = r#"{"zz": {"hash" : "x","extra":1.10}, "m":null}"#;
        let updated = Record::parse(Some(text)).unwrap().updated(&[entry("s", "h")], NOW).unwrap();
        assert!(updated.starts_with(r#"{"m":null,"s":{"updateTimestamp""#), "{updated}");
        assert!(updated.ends_with(r#""zz":{"hash" : "x","extra":1.10}}"#), "{updated}");
    }

    #[test]
    fn a_current_entry_changes_nothing() {
        let text = r#"{"s":{"updateTimestamp":"2020-01-01T00:00:00Z","hash":"h"}}"#;
        let record = Record::parse(Some(text)).unwrap();
        assert!(record.has("s", "h"));
        assert_eq!(record.updated(&[entry("s", "h")], NOW), None);
        assert!(record.updated(&[entry("s", "other")], NOW).unwrap().contains(r#""hash":"other""#));
    }

    #[test]
    fn bare_hashes_are_upgraded() {
        let record = Record::parse(Some(r#"{"old":"h0"}"#)).unwrap();
        assert_eq!(
            record.updated(&[], NOW).unwrap(),
            r#"{"old":{"updateTimestamp":"2026-01-02T03:04:05Z","hash":"h0","sidecarSetName":"old","sidecarList":null}}"#
        );
    }

    #[test]
    fn absent_blank_and_null_are_empty_and_the_rest_is_an_error() {
        for empty in [None, Some(""), Some(" \n"), Some("null"), Some("{}")] {
            assert!(Record::parse(empty).is_ok_and(|record| record.entries.is_empty()), "{empty:?}");
        }
        for wrong in ["x", "[]", "5", r#"{"a":5}"#, r#"{"a":[]}"#, "{\"a\":{}"] {
            assert_eq!(Record::parse(Some(wrong)).err(), Some(Unreadable), "{wrong}");
        }
    }

    #[test]
    fn the_injected_list_is_a_sorted_union_without_blanks() {
        assert_eq!(injected_list(None, ["b", "a"].into_iter()), Some("a,b".to_owned()));
        assert_eq!(injected_list(Some("zzz,,aaa"), ["c"].into_iter()), Some("aaa,c,zzz".to_owned()));
        assert_eq!(injected_list(Some("a,b"), ["b"].into_iter()), None);
    }

    #[test]
    fn the_third_hash_is_recorded_only_for_sets_that_have_one() {
        let none = RecordOfRest::parse(None);
        assert_eq!(none.updated([("a", None)].into_iter()), None);
        assert!(none.agrees("a", None) && none.agrees("a", Some("h")));
        assert_eq!(none.updated([("b", Some("h")), ("a", None)].into_iter()).as_deref(), Some(r#"{"b":"h"}"#));
        let some = RecordOfRest::parse(Some(r#"{"b":"h","other":"x"}"#));
        assert!(some.agrees("b", Some("h")) && !some.agrees("b", Some("i")) && !some.agrees("b", None));
        assert_eq!(some.updated([("b", Some("h"))].into_iter()), None);
        assert_eq!(some.updated([("b", None)].into_iter()).as_deref(), Some(r#"{"other":"x"}"#));
        for unreadable in ["x", "[]", r#"{"b":5}"#, "null"] {
            assert!(RecordOfRest::parse(Some(unreadable)).agrees("b", None), "{unreadable}");
        }
    }
}
