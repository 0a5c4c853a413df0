//! Reads one field of a review without the rest, for what has to be known before the review is handled.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Returns the namespace of a review as it is written; `None` if there is none or it cannot be read this way.
///
/// The API server writes it before the object, so only the head of the review is read.
pub(super) fn namespace_of(body: &[u8]) -> Option<&str> {
    let mut found = None;
    let field = FieldAt { path: &["request", "namespace"], found: &mut found };
    // Errors in the rest are reported by the handler.
    let _ = field.deserialize(&mut serde_json::Deserializer::from_slice(body));
    found
}

/// A text at the end of a path of keys.
struct FieldAt<'p, 'f, 'de> {
    path: &'p [&'p str],
    found: &'f mut Option<&'de str>,
}

impl<'de> DeserializeSeed<'de> for FieldAt<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.path.is_empty() {
            return deserializer.deserialize_map(self);
        }
        *self.found = Some(Deserialize::deserialize(deserializer)?);
        Err(D::Error::custom("the rest is not read"))
    }
}

impl<'de> Visitor<'de> for FieldAt<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return Ok(()) };
        while let Some(key) = map.next_key::<&str>()? {
            if key == *first {
                return map.next_value_seed(FieldAt { path: rest, found: self.found });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_read_and_nothing_behind_it() {
        let head = r#"{"kind":"AdmissionReview","request":{"uid":"u","kind":{"kind":"Pod"},"namespace":"ours""#;
        assert_eq!(namespace_of(head.as_bytes()), Some("ours"));
        assert_eq!(namespace_of(format!("{head},\"object\":[[").as_bytes()), Some("ours"));
        let deep =
            format!(r#"{{"request":{{"name":{}{},"namespace":"deep"}}}}"#, "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(namespace_of(deep.as_bytes()), Some("deep"));
    }

    #[test]
    fn a_review_that_has_none_or_cannot_be_read_has_none() {
        for body in [
            "",
            "[]",
            r#"{"namespace":"of nothing"}"#,
            r#"{"request":{"object":{"metadata":{"namespace":"the Pod's"}}}}"#,
            r#"{"request":{"namespace":5}}"#,
            r#"{"request":"text"}"#,
        ] {
            assert_eq!(namespace_of(body.as_bytes()), None, "{body}");
        }
    }
}
