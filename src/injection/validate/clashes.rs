//! Clashes between SidecarSets, found over all of them at once: containers, volumes and annotations that two sets bring to Pods
//! which both may match. The rules are those of [`super::conflicts`], told where there is no set to refuse: files.

use super::overlap;
use crate::api::sidecarset::PatchPolicy;
use crate::injection::InjectableSet;
use std::collections::BTreeMap;

/// Something that a set brings to its Pods.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Brought<'s> {
    Container(&'s str),
    Volume(&'s str),
    Annotation(&'s str),
}

/// A set that brings it, with how: two sets with the same text do not clash, where there is one.
struct Owner<'s> {
    set: &'s InjectableSet,
    same: Option<&'s str>,
}

/// A sentence for each thing that two sets bring to Pods which both may match, and that cannot stand twice.
#[must_use]
pub fn clashes<'s>(sets: impl Iterator<Item = &'s InjectableSet>) -> Vec<String> {
    let mut owners: BTreeMap<Brought<'_>, Vec<Owner<'_>>> = BTreeMap::new();
    for set in sets {
        let mut own = |brought, same| owners.entry(brought).or_default().push(Owner { set, same });
        for name in set.content.container_names() {
            own(Brought::Container(name), None);
        }
        for volume in &set.content.volumes {
            own(Brought::Volume(&volume.name), Some(volume.json.as_str()));
        }
        for patch in &set.content.metadata_patches {
            // What is merged goes together with what is merged, whatever it is.
            let same = match patch.patch_policy {
                Some(PatchPolicy::Overwrite) => None,
                Some(PatchPolicy::MergePatchJson) => Some("merged"),
                _ => continue,
            };
            for key in patch.annotations.iter().flat_map(BTreeMap::keys) {
                own(Brought::Annotation(key), same);
            }
        }
    }
    let mut sentences = Vec::new();
    for (brought, owners) in owners {
        for (index, owner) in owners.iter().enumerate() {
            let clash = owners[..index].iter().find(|other| {
                (owner.same.is_none() || owner.same != other.same) && may_both_match(owner.set, other.set)
            });
            sentences.extend(clash.map(|other| brought.sentence(&other.set.name, &owner.set.name)));
        }
    }
    sentences
}

impl Brought<'_> {
    fn sentence(self, one: &str, other: &str) -> String {
        let sets = format!("SidecarSets {one:?} and {other:?} both");
        match self {
            Self::Container(name) => format!("{sets} inject a container {name:?}: Pods that both match are denied"),
            Self::Volume(name) => {
                format!("{sets} have a volume {name:?}, but not the same: Pods that both match get that of {one:?}")
            }
            Self::Annotation(key) => {
                format!("{sets} patch the annotation {key:?}: Pods that both match get what {other:?} makes of it")
            }
        }
    }
}

fn may_both_match(one: &InjectableSet, other: &InjectableSet) -> bool {
    let replaces = |canary: &InjectableSet, base: &InjectableSet| canary.canary_of.as_ref() == Some(&base.name);
    let namespaces = match (&one.namespace_selector, &other.namespace_selector) {
        (Some(one), Some(other)) => overlap::overlap(one, other),
        _ => true,
    };
    !replaces(one, other) && !replaces(other, one) && namespaces && overlap::overlap(&one.selector, &other.selector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use serde_json::{Value, json};

    fn set(name: &str, app: &str, container: &str, annotations: &Value) -> InjectableSet {
        set_with(name, app, container, annotations, &json!({}))
    }

    fn set_with(name: &str, app: &str, container: &str, annotations: &Value, more: &Value) -> InjectableSet {
        let mut object = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name, "annotations": annotations},
            "spec": {"selector": {"matchLabels": {"app": app}}, "containers": [{"name": container, "image": "x:1"}]}
        });
        for (field, value) in more.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        InjectableSet::new(decode::sidecarset(object).unwrap()).unwrap()
    }

    #[test]
    fn only_sets_that_may_match_one_pod_share_a_name() {
        let none = json!({});
        let (a, b) = (set("a", "web", "c", &none), set("b", "web", "c", &none));
        let (elsewhere, other) = (set("x", "db", "c", &none), set("y", "web", "d", &none));
        let canary = json!({"apps.kruise.io/sidecarset-canary": "true", "apps.kruise.io/sidecarset-base": "a"});
        let canary = set("z", "web", "c", &canary);
        assert_eq!(
            clashes([&a, &b, &elsewhere, &other].into_iter()),
            ["SidecarSets \"a\" and \"b\" both inject a container \"c\": Pods that both match are denied"]
        );
        assert!(clashes([&a, &canary].into_iter()).is_empty());
    }

    #[test]
    fn volumes_clash_where_they_differ_and_annotations_where_one_overwrites() {
        let none = json!({});
        let volume = |name: &str, container: &str, source: &Value| {
            set_with(name, "web", container, &none, &json!({"volumes": [{"name": "v", "emptyDir": source}]}))
        };
        let (a, b) = (volume("a", "x", &json!({})), volume("b", "y", &json!({})));
        assert!(clashes([&a, &b].into_iter()).is_empty());
        let b = volume("b", "y", &json!({"medium": "Memory"}));
        assert_eq!(clashes([&a, &b].into_iter()).len(), 1);

        let patch = |name: &str, container: &str, policy: &str| {
            let patches = json!({"patchPodMetadata": [{"annotations": {"k": "{}"}, "patchPolicy": policy}]});
            set_with(name, "web", container, &none, &patches)
        };
        for (one, other, count) in [
            ("MergePatchJson", "MergePatchJson", 0),
            ("Retain", "Overwrite", 0),
            ("Overwrite", "MergePatchJson", 1),
            ("Overwrite", "Overwrite", 1),
        ] {
            let sets = [patch("a", "x", one), patch("b", "y", other)];
            assert_eq!(clashes(sets.iter()).len(), count, "{one} {other}");
        }
    }
}
