//! The checks of the cluster's mesh, kept up to date from watches. They run on a separate thread; a change checks only
//! what it may concern.

use crate::mesh_integrity::{self, Change, Changes, Finding, Found};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The checks, as the index knows them.
#[derive(Debug, Default)]
pub struct Judge {
    /// The receiver of changes. `None` until the first lists are complete.
    changes: Option<Changes>,
    told: u64,
    found: Found,
    /// The indexes of the findings about each object. One finding may be about very many objects.
    by_object: HashMap<mesh_integrity::Key, Vec<usize>>,
    has_found: bool,
}

impl Judge {
    /// Sends changes here from now on.
    pub fn begin(&mut self, changes: Changes) {
        *self = Self { changes: Some(changes), ..Self::default() };
    }

    /// Sends a change.
    pub fn tell(&mut self, change: Change) {
        if let Some(changes) = &self.changes {
            changes.tell(change);
            self.told += 1;
        }
    }

    /// Returns how many changes were sent.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Returns whether the findings cover at least this many changes.
    #[must_use]
    pub fn has_checked(&self, changes: u64) -> bool {
        self.has_found && self.found.changes >= changes
    }

    /// Takes new findings. Returns the objects whose findings differ from before.
    pub fn take(&mut self, found: Found) -> BTreeSet<mesh_integrity::Key> {
        self.has_found = true;
        let before = std::mem::replace(&mut self.found, found);
        let (before, after) = (before.findings, &self.found.findings);
        if Arc::ptr_eq(&before, after) {
            return BTreeSet::new();
        }
        self.by_object.clear();
        for (place, finding) in after.iter().enumerate() {
            for object in &finding.objects {
                self.by_object.entry(object.clone()).or_default().push(place);
            }
        }
        let (before, after): (BTreeSet<&Finding>, BTreeSet<&Finding>) =
            (before.iter().collect(), after.iter().collect());
        before.symmetric_difference(&after).flat_map(|finding| &finding.objects).cloned().collect()
    }

    /// Returns the findings about these objects, each once.
    #[must_use]
    pub fn about(&self, objects: impl IntoIterator<Item = mesh_integrity::Key>) -> Vec<&Finding> {
        let places = objects.into_iter().filter_map(|object| self.by_object.get(&object)).flatten();
        let places: BTreeSet<usize> = places.copied().collect();
        places.into_iter().filter_map(|place| self.found.findings.get(place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh_integrity::{Engine, Options};
    use crate::mesh_service::sample::mesh;

    fn found(objects: &str, changes: u64) -> Found {
        let engine = Engine::of_shared(Options::default(), mesh(objects)).unwrap();
        Found { findings: engine.findings().into(), changes }
    }

    #[test]
    fn those_of_which_something_else_is_said_are_touched() {
        let rule = |name: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: a}}\nspec: {{host: {name}}}\n"
            )
        };
        let names =
            |touched: BTreeSet<mesh_integrity::Key>| touched.into_iter().map(|key| key.name).collect::<Vec<_>>();
        let mut judge = Judge::default();
        assert!(!judge.has_checked(0), "nothing yet");
        let one = found(&rule("one"), 0);
        assert_eq!(names(judge.take(one.clone())), ["one"]);
        assert!(judge.has_checked(0) && !judge.has_checked(1));
        assert_eq!(names(judge.take(Found { changes: 3, ..one })), [""; 0]);
        assert!(judge.has_checked(3));
        assert_eq!(names(judge.take(found(&[rule("one"), rule("two")].join("---\n"), 4))), ["two"]);
        assert_eq!(names(judge.take(found(&rule("two"), 5))), ["one"]);
        let two = judge.by_object.keys().next().unwrap().clone();
        assert_eq!(judge.about([two.clone(), two]).len(), 1);
    }

    #[test]
    fn what_is_said_of_many_objects_is_kept_once_and_told_once() {
        let object = |number: u32| mesh_integrity::Key {
            kind: mesh_integrity::Kind::ServiceEntry,
            namespace: "a".to_owned(),
            name: number.to_string(),
        };
        let finding = |message: &str| Finding {
            objects: (0..2000).map(object).collect(),
            field: String::new(),
            code: mesh_integrity::Code::IST0101,
            severity: mesh_integrity::Severity::Error,
            resource: "x".to_owned(),
            message: message.to_owned(),
            advice: String::new(),
        };
        let mut judge = Judge::default();
        let both = Found { findings: [finding("one"), finding("two")].into(), changes: 0 };
        assert_eq!(judge.take(both).len(), 2000);
        let said = judge.about((0..2000).map(object));
        assert_eq!(said.len(), 2);
        assert!(std::ptr::eq(said[0], &raw const judge.found.findings[0]), "it is shared");
        let same = Found { findings: [finding("one"), finding("two")].into(), changes: 1 };
        assert!(judge.take(same).is_empty(), "another list that says the same");
    }
}
