//! Pure: which objects the plan of each MeshService depends on. When one of them changes, the MeshService is planned again.

use super::key::Key;
use super::watched::ObjectKey;
use std::collections::{BTreeSet, HashMap};

/// The objects that plans depend on, by MeshService.
#[derive(Debug, Default)]
pub struct Claims {
    of: HashMap<Key, BTreeSet<ObjectKey>>,
    by: HashMap<ObjectKey, BTreeSet<Key>>,
}

impl Claims {
    /// Records that the plan of a MeshService now depends on these objects only.
    pub fn set(&mut self, mesh_service: &Key, objects: BTreeSet<ObjectKey>) {
        if self.of.get(mesh_service).map_or(objects.is_empty(), |before| *before == objects) {
            return;
        }
        for object in self.of.remove(mesh_service).unwrap_or_default() {
            if let Some(by) = self.by.get_mut(&object) {
                by.remove(mesh_service);
                if by.is_empty() {
                    self.by.remove(&object);
                }
            }
        }
        for object in &objects {
            self.by.entry(object.clone()).or_default().insert(mesh_service.clone());
        }
        if !objects.is_empty() {
            self.of.insert(mesh_service.clone(), objects);
        }
    }

    /// Returns the MeshServices whose plans depend on an object.
    pub fn by(&self, object: &ObjectKey) -> impl Iterator<Item = &Key> {
        self.by.get(object).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::MeshKind;
    use super::*;

    #[test]
    fn the_last_word_of_a_meshservice_counts() {
        let (mut claims, one, two) = (Claims::default(), Key::new("a", "one"), Key::new("a", "two"));
        let (gateway, service) = (
            ObjectKey::made(MeshKind::Gateway, Key::new("a", "g")),
            ObjectKey::made(MeshKind::Service, Key::new("a", "s")),
        );
        claims.set(&one, [gateway.clone(), service.clone()].into());
        claims.set(&two, [gateway.clone()].into());
        assert_eq!(claims.by(&gateway).collect::<Vec<_>>(), [&one, &two]);
        claims.set(&one, [service.clone()].into());
        assert_eq!(claims.by(&gateway).collect::<Vec<_>>(), [&two]);
        claims.set(&one, BTreeSet::new());
        claims.set(&two, BTreeSet::new());
        assert_eq!((claims.of.len(), claims.by.len()), (0, 0));
    }
}
