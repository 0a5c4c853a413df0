//! A list of named items of a Pod, with lookup by name in constant time.

use crate::api::borrowed::Str;
use crate::api::pod::{ContainerView, NamedView, WithText};
use std::collections::HashMap;
use std::ops::Deref;

/// Lists up to this length are scanned, which is faster than a table.
const SCANNED: usize = 16;

/// The list. The first of several equal names counts.
#[derive(Debug)]
pub(super) struct Named<'a, T> {
    items: Vec<T>,
    /// Empty if the list is scanned.
    by_name: HashMap<Str<'a>, usize>,
}

pub(super) trait HasName<'a> {
    fn name(&self) -> &Str<'a>;
}

impl<'a> HasName<'a> for ContainerView<'a> {
    fn name(&self) -> &Str<'a> {
        &self.name
    }
}

impl<'a> HasName<'a> for WithText<'a, NamedView<'a>> {
    fn name(&self) -> &Str<'a> {
        &self.value.name
    }
}

impl<'a, T: HasName<'a>> Named<'a, T> {
    pub fn new(items: Vec<T>) -> Self {
        let mut by_name = HashMap::new();
        if items.len() > SCANNED {
            by_name.reserve(items.len());
            for (index, item) in items.iter().enumerate() {
                by_name.entry(item.name().clone()).or_insert(index);
            }
        }
        Self { items, by_name }
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        if self.items.len() > SCANNED {
            self.by_name.get(name).copied()
        } else {
            self.items.iter().position(|item| **item.name() == *name)
        }
    }

    pub fn get(&self, name: &str) -> Option<&T> {
        self.items.get(self.position(name)?)
    }
}

impl<T> Deref for Named<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lists_give_the_first_of_a_name() {
        for length in [3, SCANNED, SCANNED + 1, 100] {
            let names = (0..length - 1).map(|index| format!("c{index}")).chain(["c1".to_owned()]);
            let items = names.map(|name| format!(r#"{{"name":"{name}"}}"#)).collect::<Vec<_>>().join(",");
            let text = format!("[{items}]");
            let list: Named<'_, ContainerView<'_>> = Named::new(serde_json::from_str(&text).unwrap());
            assert_eq!((list.position("c0"), list.position("c1"), list.position("c")), (Some(0), Some(1), None));
            assert_eq!(list.len(), length);
        }
    }
}
