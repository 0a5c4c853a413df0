//! The values of a document in either format: a `serde_json::Value` with kubectl's rules for keys and numbers,
//! and with limits.
//!
//! A key that is not a string is converted as by kubectl (`1: a` is `"1"`, `yes: a` is `"true"`). A duplicate key in
//! a mapping, a null key, and a key with a fraction are errors. Integers are exact from `i64::MIN` to `u64::MAX`. A
//! number without a fraction is an integer in any notation (`1e3`, `1.0`), as in kubectl's JSON. Other numbers are
//! rounded to the nearest double, as by the API server. Numbers beyond 64 bits, NaN and infinities are errors.
//!
//! A merge key (`<<`) takes effect at its position, as in kubectl: its entries replace earlier ones, and later ones replace them. In
//! a list of mappings, the first one has the highest precedence.

use std::{cell::Cell, collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// The maximum nesting of mappings and lists. Real objects, including custom resource schemas, are well below.
/// Reading this many levels takes less than a thread's usual 2 MiB of stack, even without optimization.
pub const MAX_DEPTH: usize = 64;

/// The maximum memory of a file's values with aliases expanded (256 MiB). It is enough for any real file of 64 MiB,
/// and a few lines of aliases cannot exhaust the machine.
pub const MAX_MEMORY: usize = 256 * 1024 * 1024;

/// The root value of a document, and its approximate memory. `MERGES`: whether the key `<<` is a merge key.
pub(super) struct Root<const MERGES: bool> {
    pub value: Value,
    pub memory: usize,
}

/// Reads one value as JSON with the same rules and limits.
///
/// # Errors
/// When it is not JSON, or violates a rule or limit (an error of the category data). The message may contain a key.
pub fn json(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice::<Root<false>>(text).map(|root| root.value)
}

/// Reads one value with at most `depth` more levels, and with `memory` bytes left for it and everything after it.
#[derive(Clone, Copy)]
struct Node<'m> {
    memory: &'m Cell<usize>,
    depth: usize,
    merges: bool,
}

/// The key that merges the entries of other mappings.
const MERGE_KEY: &str = "<<";

/// Reads a key as the string that kubectl converts it to.
struct Key;

impl<'de, const MERGES: bool> Deserialize<'de> for Root<MERGES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let memory = Cell::new(MAX_MEMORY);
        let value = Node { memory: &memory, depth: MAX_DEPTH, merges: MERGES }.deserialize(deserializer)?;
        Ok(Root { value, memory: MAX_MEMORY - memory.get() })
    }
}

/// The message for values that take more than [`MAX_MEMORY`].
pub(super) fn out_of_memory() -> impl fmt::Display {
    format!("the values of the file, aliases expanded, take more than {MAX_MEMORY} bytes of memory; split the file")
}

impl Node<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        self.memory.set(self.memory.get().checked_sub(bytes).ok_or_else(|| E::custom(out_of_memory()))?);
        Ok(())
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Node { depth, ..self }),
            None => Err(E::custom(format_args!("mappings and lists nest more than {MAX_DEPTH} deep"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.take(size_of::<Value>())?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML or JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        number(value).map(Value::Number).ok_or_else(|| {
            E::custom("a number that 64 bits cannot hold exactly: write it in quotes, or within -2^63 and 2^64")
        })
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let item = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = items.next_element_seed(item)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let entry = self.deeper()?;
        let (mut map, mut merged) = (Map::new(), BTreeSet::new());
        while let Some(key) = entries.next_key_seed(Key)? {
            if self.merges && key == MERGE_KEY {
                merge(&mut map, &mut merged, entries.next_value_seed(entry)?).map_err(A::Error::custom)?;
                continue;
            }
            self.take(size_of::<String>() + key.len())?;
            if map.contains_key(&key) && !merged.remove(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is a duplicate in its mapping")));
            }
            map.insert(key, entries.next_value_seed(entry)?);
        }
        Ok(Value::Object(map))
    }
}

/// Adds the entries of a merge key to a mapping, and remembers their keys, which the mapping may also contain.
fn merge(map: &mut Map<String, Value>, merged: &mut BTreeSet<String>, brought: Value) -> Result<(), &'static str> {
    let mappings = match brought {
        Value::Array(mappings) => mappings,
        mapping => vec![mapping],
    };
    for mapping in mappings.into_iter().rev() {
        let Value::Object(entries) = mapping else {
            return Err("a merge key (<<) takes a mapping or a list of mappings");
        };
        for (key, value) in entries {
            merged.insert(key.clone());
            map.insert(key, value);
        }
    }
    Ok(())
}

/// Returns the JSON number of a floating-point literal: an integer if it has no fraction. An integer literal arrives
/// here only if it does not fit in 64 bits, so `-2^63` is rounded.
fn number(value: f64) -> Option<Number> {
    if !value.is_finite() || value.fract() != 0.0 {
        return Number::from_f64(value);
    }
    let digits = format!("{value:.0}");
    let signed = digits.parse().ok().filter(|integer: &i64| *integer != i64::MIN);
    signed.map(Number::from).or_else(|| digits.parse::<u64>().ok().map(Number::from))
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key: a string, an integer or a boolean (others only in quotes)")
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }

    fn visit_string<E: Error>(self, key: String) -> Result<String, E> {
        Ok(key)
    }
}
