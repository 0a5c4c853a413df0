//! Strings and string maps that borrow from the received bytes if JSON allows it.
//!
//! `Cow<str>` borrows only as a plain field; inside `Option` or a map it silently copies. These two types always
//! borrow.

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;

/// A string of the received document. It is borrowed unless it contains escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Str<'a>(Cow<'a, str>);

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> Str<'a> {
    /// Returns the text itself.
    #[must_use]
    pub fn into_cow(self) -> Cow<'a, str> {
        self.0
    }
}

impl<'a> From<&'a str> for Str<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl Borrow<str> for Str<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrVisitor;

        impl<'de> Visitor<'de> for StrVisitor {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(StrVisitor)
    }
}

/// Labels or annotations, sorted by key. `null` counts as empty, and a `null` value as an empty string, as in Go. If a key
/// occurs twice, the last value counts, as JSON parsers agree.
///
/// The API server sends them sorted, so keeping them sorted costs one comparison each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrMap<'a>(Vec<(Str<'a>, Str<'a>)>);

impl<'a> StrMap<'a> {
    fn new(mut pairs: Vec<(Str<'a>, Str<'a>)>) -> Self {
        if !pairs.is_sorted_by(|(one, _), (next, _)| one < next) {
            pairs.reverse();
            pairs.sort_by(|(one, _), (other, _)| one.cmp(other)); // stable: the last of equal keys comes first
            pairs.dedup_by(|(later, _), (kept, _)| later == kept);
        }
        Self(pairs)
    }
}

impl StrMap<'_> {
    /// Returns the value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        self.0.get(index).map(|(_, value)| &**value)
    }

    /// Iterates over all pairs.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for StrMap<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor;

        impl<'de> Visitor<'de> for MapVisitor {
            type Value = StrMap<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(StrMap::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry::<Str<'de>, Option<Str<'de>>>()? {
                    pairs.push((key, value.unwrap_or_default()));
                }
                Ok(StrMap::new(pairs))
            }
        }

        deserializer.deserialize_any(MapVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_found_by_key_in_whatever_order_it_came() {
        let map: StrMap<'_> = serde_json::from_str(r#"{"b":"1","a":"2","c":"3","a":"4","b":null}"#).unwrap();
        assert_eq!(map.iter().collect::<Vec<_>>(), [("a", "4"), ("b", ""), ("c", "3")]);
        assert_eq!(["a", "b", "c", "d"].map(|key| map.get(key)), [Some("4"), Some(""), Some("3"), None]);
    }

    #[test]
    fn plain_text_is_borrowed_and_escapes_are_read() {
        let map: StrMap<'_> = serde_json::from_str(r#"{"a":"b","c":"\u0064","e":null}"#).unwrap();
        assert!(matches!(&map.0[0].1.0, Cow::Borrowed("b")));
        assert_eq!(map.iter().collect::<Vec<_>>(), [("a", "b"), ("c", "d"), ("e", "")]);
        assert_eq!(map.get("c"), Some("d"));
        assert_eq!(serde_json::from_str::<StrMap<'_>>("null").unwrap(), StrMap::default());
        assert!(serde_json::from_str::<StrMap<'_>>(r#"{"a":1}"#).is_err());
    }
}
