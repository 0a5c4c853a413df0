//! The Sidecars of a namespace, by name and by selector. Two that select the same Pods conflict.

use super::generator::Key;
use super::sidecar::{ObservedSidecar, Selects};
use crate::istio::sidecar::WorkloadSelector;
use crate::istio::sidecar::overlap::{Overlap, overlap};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// All Sidecars of one namespace.
#[derive(Debug, Default)]
pub struct Neighbours {
    by_name: BTreeMap<String, Arc<ObservedSidecar>>,
    /// Names by the keys of the selector, then by its values. Most namespaces have one or two sets of keys, so few selectors can
    /// overlap without being equal. No keys: the whole namespace.
    by_keys: BTreeMap<Vec<String>, HashMap<Vec<String>, BTreeSet<String>>>,
}

/// Keys and values of a selector.
type Selection = (Vec<String>, Vec<String>);

/// Other Sidecars that select the same Pods as a Sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlaps {
    /// Those that certainly do, sorted. With [`Overlap::WithoutSelector`], only these.
    pub certain: Vec<String>,
    /// Those that do if a Pod has the labels of both, sorted.
    pub possible: Vec<String>,
}

impl Neighbours {
    /// Returns the Sidecar of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ObservedSidecar>> {
        self.by_name.get(name)
    }

    /// Returns their keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.by_name.values().map(|sidecar| &sidecar.key)
    }

    /// Returns their names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.by_name.keys()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// A Sidecar is new or changed. Returns whether selectors changed.
    pub fn apply(&mut self, sidecar: Arc<ObservedSidecar>) -> bool {
        let name = sidecar.key.name.clone();
        let selection = selection(&sidecar);
        let before = self.by_name.insert(name.clone(), sidecar).and_then(|before| self::selection(&before));
        if before == selection {
            return false;
        }
        if let Some(before) = before {
            self.deselect(&name, &before);
        }
        if let Some((keys, values)) = selection {
            self.by_keys.entry(keys).or_default().entry(values).or_default().insert(name);
        }
        true
    }

    /// A Sidecar is gone. Returns whether selectors changed.
    pub fn delete(&mut self, name: &str) -> bool {
        let before = self.by_name.remove(name).and_then(|before| selection(&before));
        if let Some(before) = &before {
            self.deselect(name, before);
        }
        before.is_some()
    }

    fn deselect(&mut self, name: &str, (keys, values): &Selection) {
        let Some(with_keys) = self.by_keys.get_mut(keys) else { return };
        if let Some(names) = with_keys.get_mut(values) {
            names.remove(name);
            if names.is_empty() {
                with_keys.remove(values);
            }
        }
        if with_keys.is_empty() {
            self.by_keys.remove(keys);
        }
    }

    /// Returns which other Sidecars select the same Pods.
    #[must_use]
    pub fn overlaps(&self, sidecar: &ObservedSidecar) -> Overlaps {
        let Some((keys, values)) = selection(sidecar) else { return Overlaps::default() };
        let ours = sidecar.labels().map(|labels| WorkloadSelector { labels: labels.clone() });
        let mut overlaps = Overlaps::default();
        for (other_keys, by_values) in &self.by_keys {
            if *other_keys == keys {
                overlaps.certain.extend(by_values.get(&values).into_iter().flatten().cloned());
                continue;
            }
            for (other_values, names) in by_values {
                let labels = other_keys.iter().cloned().zip(other_values.iter().cloned()).collect();
                match overlap(ours.as_ref(), Some(&WorkloadSelector { labels })) {
                    Some(Overlap::SameSelection | Overlap::WithoutSelector) => {
                        overlaps.certain.extend(names.iter().cloned());
                    }
                    Some(Overlap::Possible) => overlaps.possible.extend(names.iter().cloned()),
                    None => {}
                }
            }
        }
        overlaps.certain.retain(|name| *name != sidecar.key.name);
        overlaps.possible.retain(|name| *name != sidecar.key.name);
        overlaps.certain.sort_unstable();
        overlaps.possible.sort_unstable();
        overlaps
    }
}

/// Returns its selector; `None` if it selects nothing.
fn selection(sidecar: &ObservedSidecar) -> Option<Selection> {
    let labels = sidecar.labels().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
    (sidecar.selects != Selects::Nothing).then(|| labels.unzip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar_generator::tests::sidecar;
    use serde_json::{Value, json};

    fn selecting(name: &str, labels: &Value) -> Arc<ObservedSidecar> {
        Arc::new(ObservedSidecar::read(sidecar(name, &json!({"workloadSelector": {"labels": labels}}))))
    }

    fn neighbours() -> Neighbours {
        let mut neighbours = Neighbours::default();
        for (name, labels) in [
            ("all", json!({})),
            ("app", json!({"app": "a"})),
            ("app-v1", json!({"app": "a", "version": "1"})),
            ("app-v2", json!({"app": "a", "version": "2"})),
            ("other", json!({"app": "b"})),
            ("team", json!({"team": "x"})),
        ] {
            assert!(neighbours.apply(selecting(name, &labels)));
        }
        neighbours
    }

    fn overlaps(neighbours: &Neighbours, name: &str, labels: &Value) -> (Vec<String>, Vec<String>) {
        let Overlaps { certain, possible } = neighbours.overlaps(&selecting(name, labels));
        (certain, possible)
    }

    fn names<const N: usize, const M: usize>(certain: [&str; N], possible: [&str; M]) -> (Vec<String>, Vec<String>) {
        (certain.map(str::to_owned).to_vec(), possible.map(str::to_owned).to_vec())
    }

    #[test]
    fn those_that_select_the_same_pods_are_found() {
        let neighbours = neighbours();
        let of = |name, labels: Value| overlaps(&neighbours, name, &labels);
        assert_eq!(of("new", json!({})), names(["all"], []));
        assert_eq!(of("all", json!({})), names([], []), "not itself");
        assert_eq!(of("app", json!({"app": "a"})), names(["app-v1", "app-v2"], ["team"]));
        assert_eq!(of("app-v1", json!({"app": "a", "version": "1"})), names(["app"], ["team"]));
        assert_eq!(of("new", json!({"app": "c"})), names([], ["team"]));
        assert_eq!(of("new", json!({"version": "1"})), names(["app-v1"], ["app", "other", "team"]));
        assert_eq!(of("new", json!({"app": "b"})), names(["other"], ["team"]));
    }

    #[test]
    fn one_whose_selector_istio_does_not_take_selects_nothing() {
        let mut neighbours = neighbours();
        assert!(neighbours.apply(selecting("all", &json!({"app": "*"}))));
        assert_eq!(overlaps(&neighbours, "new", &json!({})), names([], []));
        assert_eq!(overlaps(&neighbours, "new", &json!({"app": "*"})), names([], []));
        assert!(!neighbours.delete("all") && neighbours.get("all").is_none());
    }

    #[test]
    fn the_index_follows_changes() {
        let mut neighbours = neighbours();
        assert!(!neighbours.apply(selecting("team", &json!({"team": "x"}))), "selects the same as before");
        assert!(neighbours.apply(selecting("team", &json!({}))));
        assert_eq!(overlaps(&neighbours, "new", &json!({})), names(["all", "team"], []));
        assert!(neighbours.delete("team") && !neighbours.delete("team"));
        assert_eq!(overlaps(&neighbours, "all", &json!({})), names([], []));
        for name in ["all", "app", "app-v1", "app-v2", "other"] {
            neighbours.delete(name);
        }
        assert!(neighbours.is_empty() && neighbours.by_keys.is_empty());
    }
}
