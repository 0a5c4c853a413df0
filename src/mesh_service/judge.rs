//! The checks of the cluster's mesh, kept up to date from watches: a change checks again what it may concern, on a thread of its own.

use crate::mesh_integrity::{self, Change, Changes, Finding, Found};
use std::collections::{BTreeSet, HashMap};

/// The checks, as the index knows them.
#[derive(Debug, Default)]
pub struct Judge {
    /// Where changes are told; nowhere, before the first lists are complete.
    changes: Option<Changes>,
    told: u64,
    found: Found,
    by_object: HashMap<mesh_integrity::Key, Vec<Finding>>,
    has_found: bool,
}

impl Judge {
    /// From now on it is told of changes here.
    pub fn begin(&mut self, changes: Changes) {
        *self = Self { changes: Some(changes), ..Self::default() };
    }

    /// Something changed.
    pub fn tell(&mut self, change: Change) {
        if let Some(changes) = &self.changes {
            changes.tell(change);
            self.told += 1;
        }
    }

    /// How many changes were told.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Whether what was found is of so many changes at least.
    #[must_use]
    pub fn has_checked(&self, changes: u64) -> bool {
        self.has_found && self.found.changes >= changes
    }

    /// Takes what was found. Returns the objects of which something else is said than before.
    pub fn take(&mut self, found: Found) -> BTreeSet<mesh_integrity::Key> {
        let is_same = self.has_found && std::sync::Arc::ptr_eq(&self.found.findings, &found.findings);
        self.has_found = true;
        self.found = found;
        if is_same {
            return BTreeSet::new();
        }
        let mut by_object: HashMap<mesh_integrity::Key, Vec<Finding>> = HashMap::new();
        for finding in &*self.found.findings {
            for object in &finding.objects {
                by_object.entry(object.clone()).or_default().push(finding.clone());
            }
        }
        let before = std::mem::replace(&mut self.by_object, by_object);
        let after = &self.by_object;
        let gone = before.keys().filter(|object| !after.contains_key(*object));
        let changed = after.iter().filter(|(object, findings)| before.get(*object) != Some(findings));
        gone.chain(changed.map(|(object, _)| object)).cloned().collect()
    }

    /// What is said of an object.
    #[must_use]
    pub fn of(&self, object: &mesh_integrity::Key) -> &[Finding] {
        self.by_object.get(object).map_or(&[], Vec::as_slice)
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
        assert_eq!(judge.of(&two).len(), 1);
    }
}
