//! The `ControllerRevisions` of a SidecarSet: one for its current content, which is the newest, and a limited history.

use super::revision_object::RevisionObject;
use super::set::{ObservedSet, RevisionContent, UsableSet};
use crate::api::keys;
use crate::api::sidecarset::{GROUP, InjectRevision, KIND};
use crate::cluster::{ObjectVersion, Versioned};
use crate::injection::verify::Images;
use crate::injection::{Revision, revision_data};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A `ControllerRevision` as kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRevision {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// The set that it belongs to.
    pub set: String,
    /// Increases with each new version.
    pub number: i64,
    /// The custom version in its label.
    pub custom_version: Option<String>,
    /// [`revision_data::digest`] of the kept content; `None` if it cannot be read.
    pub data: Option<[u8; 32]>,
    /// The kept images.
    pub images: Arc<Images>,
    /// The hash that Pods with this revision record.
    pub hash: Option<Box<str>>,
    /// The hash of the kept content without images and amounts of CPU and memory.
    pub hash_without_amounts: Option<Box<str>>,
    /// Whether the kept content can be injected.
    pub is_fit: bool,
}

/// All revisions are in one namespace.
impl Versioned for KeptRevision {
    fn version(&self) -> ObjectVersion<'_> {
        ObjectVersion { namespace: "", name: &self.name, uid: &self.uid, resource_version: &self.resource_version }
    }
}

impl From<&Revision> for KeptRevision {
    fn from(revision: &Revision) -> Self {
        Self {
            name: revision.name.clone(),
            uid: revision.uid.clone(),
            resource_version: revision.resource_version.clone(),
            set: revision.set.clone(),
            number: revision.number,
            custom_version: revision.custom_version.clone(),
            data: revision.data,
            images: Arc::clone(&revision.images),
            hash: revision.hash.clone(),
            hash_without_amounts: revision.hash_without_amounts.clone(),
            is_fit: revision.is_fit,
        }
    }
}

/// The revisions of all sets, and names used by objects that are not readable revisions.
#[derive(Debug, Default)]
pub struct RevisionIndex {
    by_name: HashMap<String, KeptRevision>,
    /// Names of the revisions of each set.
    by_set: HashMap<String, BTreeSet<String>>,
    taken: BTreeSet<String>,
}

impl RevisionIndex {
    /// A revision was created or changed. Returns its previous state.
    pub fn apply(&mut self, revision: KeptRevision) -> Option<KeptRevision> {
        let before = self.delete(&revision.name);
        self.by_set.entry(revision.set.clone()).or_default().insert(revision.name.clone());
        self.by_name.insert(revision.name.clone(), revision);
        before
    }

    /// A revision was deleted. Returns its last state.
    pub fn delete(&mut self, name: &str) -> Option<KeptRevision> {
        self.taken.remove(name);
        let revision = self.by_name.remove(name)?;
        if let Some(names) = self.by_set.get_mut(&revision.set) {
            names.remove(name);
            if names.is_empty() {
                self.by_set.remove(&revision.set);
            }
        }
        Some(revision)
    }

    /// Returns the revision of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&KeptRevision> {
        self.by_name.get(name)
    }

    /// Returns the names of all revisions.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.by_name.keys()
    }

    /// Forgets the unavailable names, because their objects may be gone.
    pub fn forget_taken(&mut self) {
        self.taken.clear();
    }

    /// Marks a name as unavailable, because another object has it.
    pub fn mark_taken(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// Returns the revisions of a set, by name.
    pub fn of(&self, set: &str) -> impl Iterator<Item = &KeptRevision> + Clone {
        let names = self.by_set.get(set).into_iter().flatten();
        names.filter_map(|name| self.by_name.get(name))
    }

    /// Returns the newest revision of a set that can be injected, as injection finds it.
    #[must_use]
    pub fn last_good(&self, set: &str) -> Option<&KeptRevision> {
        self.of(set).filter(|revision| revision.is_fit).max_by_key(|revision| revision.number)
    }
}

/// The plan for the revisions of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionPlan {
    /// The revision of the current content, if it must be written.
    pub write: Option<RevisionWrite>,
    /// Name of the revision of the current content.
    pub latest: String,
    /// Hash collisions so far.
    pub collision_count: i32,
    /// Revisions beyond the history limit, to delete once the status names [`Self::latest`].
    pub obsolete: Vec<KeptRevision>,
    /// Why the pinned version cannot be injected: a sentence that names the field.
    pub unusable_pin: Option<String>,
}

/// How to write the revision of the current content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevisionWrite {
    /// It does not exist yet.
    Create(NewRevision),
    /// It exists, but does not have the highest number or the custom version.
    Update {
        /// As it was seen.
        seen: KeptRevision,
        /// Its new number.
        number: i64,
        /// The custom version to label it with, if it differs.
        custom_version: Option<String>,
    },
}

/// A revision to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRevision {
    /// Its name.
    pub name: String,
    /// The last part of its name.
    pub hash: String,
    /// One more than the highest so far.
    pub number: i64,
}

impl NewRevision {
    /// Returns the object to create, owned by the set.
    ///
    /// # Errors
    /// When the content is not JSON, which cannot happen.
    pub fn object(
        &self,
        set: &ObservedSet,
        content: &RevisionContent,
        namespace: &str,
    ) -> Result<RevisionObject, serde_json::Error> {
        let mut labels = content.labels.clone();
        labels.insert(keys::REVISION_OF.to_owned(), set.name.clone());
        labels.insert(keys::REVISION_HASH.to_owned(), self.hash.clone());
        labels.extend(content.custom_version.clone().map(|version| (keys::CUSTOM_VERSION.to_owned(), version)));
        let owner = OwnerReference {
            api_version: format!("{GROUP}/v1beta1"),
            kind: KIND.to_owned(),
            name: set.name.clone(),
            uid: set.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(content.annotations.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        };
        RevisionObject::new(metadata, self.number, &content.data)
    }
}

impl KeptRevision {
    /// Returns the object as it was seen, which is enough to change or delete it if it has not changed.
    #[must_use]
    pub fn seen(&self, namespace: &str) -> RevisionObject {
        RevisionObject::seen(ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(self.uid.clone()),
            resource_version: Some(self.resource_version.clone()),
            ..ObjectMeta::default()
        })
    }
}

/// Plans the revisions of the set, from those that exist and those that matching Pods record. A revision whose content cannot
/// be read keeps its name and number, and is not changed.
pub fn plan(
    set: &ObservedSet,
    usable: &UsableSet,
    revisions: &RevisionIndex,
    in_use: impl Fn(&str) -> bool,
) -> RevisionPlan {
    let UsableSet { content, pinned, .. } = usable;
    let kept = revisions.of(&set.name);
    let highest = kept.clone().map(|revision| revision.number).max().unwrap_or_default();
    let current = kept.clone().filter(|revision| revision.data == Some(content.digest));
    let current = current.max_by_key(|revision| revision.number);
    let mut collision_count = set.status.collision_count.unwrap_or_default();
    let (latest, write) = if let Some(current) = current {
        (current.name.clone(), update(current, highest, content.custom_version.as_deref()))
    } else {
        let free = |name: &String| !revisions.taken.contains(name) && kept.clone().all(|seen| seen.name != *name);
        let (hash, name) = loop {
            let hash = revision_data::hash(&content.data, collision_count);
            let name = revision_data::name(&set.name, &hash);
            if free(&name) {
                break (hash, name);
            }
            collision_count = collision_count.wrapping_add(1);
        };
        let new = NewRevision { name: name.clone(), hash, number: highest.saturating_add(1) };
        (name, Some(RevisionWrite::Create(new)))
    };
    let pin = pinned.as_ref().map(|wanted| pinned_revision(wanted, kept.clone()));
    let pinned_name = pin.as_ref().and_then(|pin| pin.as_ref().ok().copied().flatten());
    let is_obsolete = |revision: &&KeptRevision| {
        revision.data.is_some()
            && revision.name != latest
            && pinned_name.is_none_or(|pinned| *revision != pinned)
            && !in_use(&revision.name)
    };
    let total = kept.clone().count() + usize::from(current.is_none());
    let mut obsolete: Vec<KeptRevision> = kept.filter(is_obsolete).cloned().collect();
    obsolete.sort_by_key(|revision| revision.number);
    obsolete.truncate(total.saturating_sub(usable.history_limit));
    let is_written_now = pinned.as_ref().is_some_and(|wanted| match wanted {
        InjectRevision { revision_name: Some(name), .. } => *name == latest,
        InjectRevision { custom_version, .. } => *custom_version == content.custom_version,
    });
    let unfit = |revision: &KeptRevision| {
        let name = &revision.name;
        format!("spec.injectionStrategy.revision: Pods would be refused for what ControllerRevision {name:?} keeps")
    };
    let unusable_pin = match pin {
        Some(Ok(Some(revision))) => (!revision.is_fit).then(|| unfit(revision)),
        Some(Err(missing)) => Some(missing).filter(|_| !is_written_now),
        Some(Ok(None)) | None => None,
    };
    RevisionPlan { write, latest, collision_count, obsolete, unusable_pin }
}

/// Returns what the revision of the current content lacks: the highest number, or the custom version.
fn update(current: &KeptRevision, highest: i64, custom_version: Option<&str>) -> Option<RevisionWrite> {
    let number = if current.number < highest { highest.saturating_add(1) } else { current.number };
    let label = custom_version.filter(|version| current.custom_version.as_deref() != Some(version));
    (number != current.number || label.is_some()).then(|| RevisionWrite::Update {
        seen: current.clone(),
        number,
        custom_version: label.map(str::to_owned),
    })
}

/// Returns the pinned revision as injection finds it; `None` if the set pins none.
fn pinned_revision<'k>(
    wanted: &InjectRevision,
    mut kept: impl Iterator<Item = &'k KeptRevision>,
) -> Result<Option<&'k KeptRevision>, String> {
    let (found, what) = match wanted {
        InjectRevision { revision_name: Some(name), .. } => {
            (kept.find(|revision| revision.name == *name), format!("ControllerRevision {name:?}"))
        }
        InjectRevision { custom_version: Some(version), .. } => {
            let of_version = kept.filter(|revision| revision.custom_version.as_ref() == Some(version));
            (
                of_version.max_by_key(|revision| revision.number),
                format!("ControllerRevision with the custom version {version:?}"),
            )
        }
        InjectRevision { revision_name: None, custom_version: None, .. } => return Ok(None),
    };
    let found = found.ok_or_else(|| format!("spec.injectionStrategy.revision: there is no {what} of this set"));
    found.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::tests::set;
    use serde_json::{Value, json};

    fn observed(image: &str, more: &Value) -> (ObservedSet, UsableSet) {
        let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "containers": [{"name": "c", "image": image}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let set = ObservedSet::read(&set("s", &spec));
        let usable = set.usable.clone().unwrap();
        (set, usable)
    }

    /// A revision with the set's content and this image, or with something else.
    fn kept(name: &str, number: i64, image: &str) -> KeptRevision {
        KeptRevision {
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            resource_version: "5".to_owned(),
            set: "s".to_owned(),
            number,
            custom_version: None,
            data: Some(if image.is_empty() { [0; 32] } else { observed(image, &json!({})).1.content.digest }),
            images: Arc::default(),
            hash: None,
            hash_without_amounts: None,
            is_fit: true,
        }
    }

    fn index(revisions: &[KeptRevision]) -> RevisionIndex {
        let mut index = RevisionIndex::default();
        for revision in revisions {
            index.apply(revision.clone());
        }
        index
    }

    fn planned(image: &str, more: &Value, index: &RevisionIndex, in_use: &[&str]) -> RevisionPlan {
        let (set, usable) = observed(image, more);
        plan(&set, &usable, index, |name| in_use.contains(&name))
    }

    fn name_of(image: &str, collisions: i32) -> (String, String) {
        let hash = revision_data::hash(&observed(image, &json!({})).1.content.data, collisions);
        (revision_data::name("s", &hash), hash)
    }

    #[test]
    fn the_first_revision_has_number_1_and_all_that_openkruise_gives_it() {
        let more = json!({"customVersion": "v1"});
        let plan = planned("x:1", &more, &index(&[]), &[]);
        let (name, hash) = name_of("x:1", 0);
        let new = NewRevision { name: name.clone(), hash: hash.clone(), number: 1 };
        assert_eq!(plan.write, Some(RevisionWrite::Create(new.clone())));
        assert_eq!((plan.latest, plan.collision_count, plan.obsolete.len()), (name.clone(), 0, 0));
        let (set, usable) = observed("x:1", &more);
        let object = new.object(&set, &usable.content, "kruise-system").unwrap();
        let object = serde_json::to_value(object).unwrap();
        assert_eq!(object["data"].to_string(), &*usable.content.data);
        let labels = json!({keys::REVISION_OF: "s", keys::REVISION_HASH: hash, keys::CUSTOM_VERSION: "v1"});
        assert_eq!((&object["metadata"]["labels"], &object["revision"]), (&labels, &json!(1)));
        let owner = json!([{"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "name": "s", "uid": "uid-of-s",
                            "controller": true, "blockOwnerDeletion": true}]);
        assert_eq!(object["metadata"]["ownerReferences"], owner);
        let read = Revision::read(object).unwrap().unwrap();
        assert_eq!(read.data, Some(usable.content.digest), "what is written is found again");
    }

    #[test]
    fn the_newest_with_the_present_content_is_kept_as_it_is() {
        let plan = planned("x:2", &json!({}), &index(&[kept("s-1", 1, "x:1"), kept("s-2", 2, "x:2")]), &[]);
        assert_eq!((plan.write, plan.latest.as_str()), (None, "s-2"));
    }

    #[test]
    fn going_back_gives_the_old_revision_the_highest_number() {
        let (old, new) = (kept("s-1", 1, "x:1"), kept("s-2", 2, "x:2"));
        let plan = planned("x:1", &json!({}), &index(&[old.clone(), new]), &[]);
        assert_eq!(plan.latest, "s-1");
        assert_eq!(plan.write, Some(RevisionWrite::Update { seen: old, number: 3, custom_version: None }));
    }

    #[test]
    fn the_custom_version_is_put_on_the_present_revision_and_never_taken_off() {
        let mut present = kept("s-1", 1, "x:1");
        let write = |present: &KeptRevision, more: Value| {
            planned("x:1", &more, &index(std::slice::from_ref(present)), &[]).write
        };
        let update = RevisionWrite::Update { seen: present.clone(), number: 1, custom_version: Some("v1".to_owned()) };
        assert_eq!(write(&present, json!({"customVersion": "v1"})), Some(update));
        present.custom_version = Some("v1".to_owned());
        assert_eq!(write(&present, json!({"customVersion": "v1"})), None);
        assert_eq!(write(&present, json!({})), None);
    }

    #[test]
    fn a_name_that_is_taken_counts_as_a_collision() {
        let (first, second) = (name_of("x:2", 0).0, name_of("x:2", 1).0);
        let mut index = index(&[kept(&first, 1, "x:1")]);
        index.mark_taken(&second);
        let plan = planned("x:2", &json!({}), &index, &[]);
        assert_eq!((plan.latest, plan.collision_count), (name_of("x:2", 2).0, 2));
    }

    #[test]
    fn the_history_is_bounded_but_for_what_is_in_use_pinned_or_newest() {
        let all: Vec<_> = (1..=6).map(|n| kept(&format!("s-{n}"), n, &format!("x:{n}"))).collect();
        let obsolete = |image: &str, more: Value, in_use: &[&str]| {
            let plan = planned(image, &more, &index(&all), in_use);
            plan.obsolete.into_iter().map(|revision| revision.name).collect::<Vec<_>>()
        };
        assert_eq!(obsolete("x:6", json!({"revisionHistoryLimit": 4}), &[]), ["s-1", "s-2"]);
        assert_eq!(obsolete("x:new", json!({"revisionHistoryLimit": 4}), &[]), ["s-1", "s-2", "s-3"]);
        assert_eq!(obsolete("x:6", json!({"revisionHistoryLimit": 4}), &["s-1", "s-3"]), ["s-2", "s-4"]);
        assert_eq!(obsolete("x:1", json!({"revisionHistoryLimit": 0}), &["s-6"]), ["s-2", "s-3", "s-4", "s-5"]);
        assert_eq!(obsolete("x:6", json!({}), &[]), [""; 0]);
        let pinned = json!({"revisionHistoryLimit": 1, "injectionStrategy": {"revision": {"revisionName": "s-2"}}});
        assert_eq!(obsolete("x:6", pinned, &[]), ["s-1", "s-3", "s-4", "s-5"]);
    }

    #[test]
    fn of_a_pinned_custom_version_the_newest_is_kept_and_a_missing_one_is_told() {
        let mut all: Vec<_> = (1..=3).map(|n| kept(&format!("s-{n}"), n, &format!("x:{n}"))).collect();
        all[0].custom_version = Some("v1".to_owned());
        all[1].custom_version = Some("v1".to_owned());
        let pin = |version: &str| json!({"revisionHistoryLimit": 1, "injectionStrategy": {"revision": {"customVersion": version}}});
        let plan = planned("x:3", &pin("v1"), &index(&all), &[]);
        assert_eq!(plan.obsolete.iter().map(|revision| revision.name.as_str()).collect::<Vec<_>>(), ["s-1"]);
        assert_eq!(plan.unusable_pin, None);
        let mut own = pin("v4");
        own["customVersion"] = json!("v4");
        assert_eq!(planned("x:4", &own, &index(&all), &[]).unusable_pin, None, "it is about to be written");
        let missing = planned("x:3", &pin("v9"), &index(&all), &[]).unusable_pin.unwrap();
        assert!(
            missing.ends_with("there is no ControllerRevision with the custom version \"v9\" of this set"),
            "{missing}"
        );
    }

    #[test]
    fn a_pinned_revision_that_pods_would_be_refused_for_is_told_and_kept() {
        let all = [KeptRevision { is_fit: false, ..kept("s-1", 1, "") }, kept("s-2", 2, "x:2"), kept("s-3", 3, "x:3")];
        let pinned = json!({"revisionHistoryLimit": 1, "injectionStrategy": {"revision": {"revisionName": "s-1"}}});
        let plan = planned("x:3", &pinned, &index(&all), &[]);
        assert_eq!(plan.obsolete.iter().map(|revision| revision.name.as_str()).collect::<Vec<_>>(), ["s-2"]);
        assert_eq!(
            plan.unusable_pin.unwrap(),
            "spec.injectionStrategy.revision: Pods would be refused for what ControllerRevision \"s-1\" keeps"
        );
    }

    #[test]
    fn a_revision_with_garbage_is_left_alone_and_its_number_is_passed() {
        let garbage = KeptRevision { data: None, ..kept("s-1", 7, "x:1") };
        let plan = planned("x:1", &json!({"revisionHistoryLimit": 1}), &index(&[garbage]), &[]);
        let (name, hash) = name_of("x:1", 0);
        assert_eq!(plan.write, Some(RevisionWrite::Create(NewRevision { name, hash, number: 8 })));
        assert_eq!(plan.obsolete, []);
    }

    #[test]
    fn the_index_follows_events() {
        let mut index = index(&[kept("s-1", 1, "x:1")]);
        index.apply(KeptRevision { number: 9, ..kept("s-1", 1, "x:1") });
        assert_eq!(index.of("s").map(|revision| revision.number).collect::<Vec<_>>(), [9]);
        index.apply(KeptRevision { set: "t".to_owned(), ..kept("s-1", 1, "x:1") });
        assert_eq!((index.of("s").count(), index.of("t").count()), (0, 1));
        assert_eq!((index.delete("s-1").map(|seen| seen.set), index.delete("s-1")), (Some("t".to_owned()), None));
        index.mark_taken("s-1");
        index.forget_taken();
        assert!(index.taken.is_empty() && index.by_set.is_empty() && index.by_name.is_empty());
    }
}
