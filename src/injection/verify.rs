//! Whether a container in a Pod is the one that a SidecarSet injects. The Pod's own claims prove nothing.
//!
//! The comparison covers what a set fixes and no other webhook changes: image, command and args, and the set's own variables and
//! mounts. A registry's spelling of the image and a wrapper around the command are allowed. Other webhooks and the API server may
//! complete the rest.

use super::fingerprint::{Arguments, Fingerprint, Mount, Variable};
use crate::api::image::is_spelling_of;
use crate::api::keys;
use crate::api::sidecarset::{SidecarContainer, SidecarSetSpec, UpgradeType};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// What happens to a container that is not the set's, although the Pod claims so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// It stays, and the Pod's author gets a warning.
    #[default]
    Warn,
    /// The set's container replaces it.
    Enforce,
}

impl Verification {
    /// The values of [`keys::VERIFY`].
    pub const VALUES: [&str; 2] = ["enforce", "warn"];

    /// Reads a set's annotations. An unknown value counts as absent, and is rejected when a set is written.
    #[must_use]
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        match annotations.get(keys::VERIFY).map(String::as_str) {
            Some("enforce") => Self::Enforce,
            _ => Self::Warn,
        }
    }
}

/// The fixed part of one container in Pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FixedContainer {
    /// Its name in Pods.
    name: String,
    /// Its name in the set.
    base: String,
    /// Whether it runs as long as the Pod: an app container or a native sidecar.
    pub(super) is_sidecar: bool,
    /// Whether it ends with a Job. Pods may then have it as a native sidecar.
    ends_with_job: bool,
    arguments: Arguments,
    /// Hashes of its own variables and mounts, each with the difference to report.
    items: Box<[(Difference, u64)]>,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The image.
    Image,
    /// The command or the args.
    Command,
    /// The variable with which injectors mark their containers.
    Mark,
    /// The variable of this name.
    Variable(String),
    /// The mount at this path.
    Mount(String),
    /// It is too long to be compared.
    TooLong,
    /// It has fields of the wrong type.
    Unreadable,
    /// The container is missing.
    Absent,
}

/// A container of a Pod that is not the set's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// `containers` or `initContainers`.
    pub list: &'static str,
    /// Its name.
    pub container: String,
    /// What differs.
    pub difference: Difference,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.{} {:?} ", self.list, self.container)?;
        match &self.difference {
            Difference::Image => f.write_str("does not have the set's image"),
            Difference::Command => f.write_str("does not have the set's command and args"),
            Difference::Mark => write!(f, "does not have the set's env {:?}", keys::IS_INJECTED),
            Difference::Variable(name) => write!(f, "does not have the set's env {name:?}"),
            Difference::Mount(path) => write!(f, "does not have the set's volumeMount {path:?}"),
            Difference::TooLong => f.write_str("has too many variables, mounts and args to be compared with the set"),
            Difference::Unreadable => f.write_str("cannot be compared with the set: a field has a wrong type"),
            Difference::Absent => f.write_str("is missing"),
        }
    }
}

impl FixedContainer {
    /// Reads the fixed part of `injected`, which is the set's container `base` without anything from a Pod.
    pub(super) fn of(base: &str, is_sidecar: bool, injected: &Value) -> Self {
        let list = |field: &str| injected.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let texts = |field: &str| list(field).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let variables = list("env").iter().filter_map(|item| {
            let difference = match text(item, "name") {
                name if name == keys::IS_INJECTED => Difference::Mark,
                name => Difference::Variable(name),
            };
            Some((difference, Variable::deserialize(item).ok()?.keyed()))
        });
        let mounts = list("volumeMounts").iter().filter_map(|item| {
            Some((Difference::Mount(text(item, "mountPath")), Mount::deserialize(item).ok()?.keyed()?))
        });
        let mut seen = HashSet::new();
        let all: Vec<_> = variables.chain(mounts).collect();
        // The last of several equal names counts.
        let all = all.into_iter().rev().filter(|(_, (key, _))| seen.insert(*key));
        let mut items: Vec<_> = all.map(|(difference, (_, hash))| (difference, hash)).collect();
        items.reverse();
        let ends_with_job = is_sidecar
            && list("env").iter().any(|item| text(item, "name") == keys::ENDS_WITH_JOB && item["value"] == "true");
        let name = text(injected, "name");
        let arguments = Arguments::of(&texts("command"), &texts("args"));
        Self { name, base: base.to_owned(), is_sidecar, ends_with_job, arguments, items: items.into() }
    }

    /// Returns how a container of a Pod differs from this one. `known` are the images of all versions of the set.
    #[must_use]
    pub fn difference(
        &self,
        image: &str,
        fingerprint: Option<&Fingerprint>,
        known: &KnownImages,
    ) -> Option<&Difference> {
        if !known.has(&self.base, image) {
            return Some(&Difference::Image);
        }
        let Some(fingerprint) = fingerprint else { return Some(&Difference::Mark) };
        if fingerprint.is_cut() {
            return Some(&Difference::TooLong);
        }
        if !fingerprint.runs(&self.arguments) {
            return Some(&Difference::Command);
        }
        self.items.iter().find(|(_, item)| !fingerprint.has(*item)).map(|(difference, _)| difference)
    }
}

/// The images of one version of a set, each with its container's name in the set. A hot upgrade has two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images(Box<[(Box<str>, Box<str>)]>);

impl Images {
    /// Reads the images of a spec.
    #[must_use]
    pub fn of(spec: &SidecarSetSpec) -> Self {
        let containers = spec.containers.iter().chain(&spec.init_containers).flatten();
        let images = containers.flat_map(|container| {
            let image = container.template.get("image").and_then(Value::as_str);
            let empty = Some(&container.upgrade_strategy)
                .filter(|strategy| strategy.upgrade_type == Some(UpgradeType::HotUpgrade))
                .map(|strategy| strategy.hot_upgrade_empty_image.as_str());
            [image, empty].into_iter().flatten().map(|image| (container_name(container), image.into()))
        });
        Self(images.collect())
    }
}

fn container_name(container: &SidecarContainer) -> Box<str> {
    container.name().into()
}

/// The images of all known versions of a set, current and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownImages(Vec<Arc<Images>>);

impl KnownImages {
    /// Collects the images of the current and the kept versions.
    pub fn of<'i>(present: &Arc<Images>, kept: impl IntoIterator<Item = &'i Arc<Images>>) -> Self {
        let mut all = vec![Arc::clone(present)];
        for images in kept {
            if !all.contains(images) {
                all.push(Arc::clone(images));
            }
        }
        Self(all)
    }

    /// Whether a container of the set, by its name there, has this image in any version, or a registry's spelling of
    /// it.
    fn has(&self, base: &str, image: &str) -> bool {
        let of_container = || self.0.iter().flat_map(|images| &images.0).filter(|(name, _)| **name == *base);
        of_container().any(|(_, known)| **known == *image)
            || of_container().any(|(_, known)| is_spelling_of(image, known))
    }
}

/// The containers that Pods must have to be up to date with a set: app containers and native sidecars, which the recorded hash
/// covers. Ordinary init containers are not covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedContainers {
    containers: Vec<(&'static str, Arc<FixedContainer>)>,
    images: Arc<Images>,
    known: KnownImages,
}

impl FixedContainers {
    /// Takes these containers, each with its list, and these images. Other versions are not known yet.
    pub(super) fn of<'c>(
        containers: impl Iterator<Item = (&'static str, &'c Arc<FixedContainer>)>,
        images: &Arc<Images>,
    ) -> Self {
        let containers = containers.map(|(list, container)| (list, Arc::clone(container))).collect();
        let images = Arc::clone(images);
        Self { containers, known: KnownImages::of(&images, []), images }
    }

    /// Adds the other known versions.
    pub fn know<'i>(&mut self, kept: impl IntoIterator<Item = &'i Arc<Images>>) {
        self.known = KnownImages::of(&self.images, kept);
    }

    /// Returns the first container of a Pod that is not the set's. `find` looks up the image and fingerprint of a
    /// container in a list.
    pub fn deviation<'p>(
        &self,
        find: impl Fn(&'static str, &str) -> Option<(&'p str, Option<&'p Fingerprint>)>,
    ) -> Option<Deviation> {
        self.containers.iter().find_map(|(list, fixed)| {
            let native = || if fixed.ends_with_job { find("initContainers", &fixed.name) } else { None };
            let difference = match find(list, &fixed.name).or_else(native) {
                None => &Difference::Absent,
                Some((image, fingerprint)) => fixed.difference(image, fingerprint, &self.known)?,
            };
            Some(Deviation { list, container: fixed.name.clone(), difference: difference.clone() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::set::InjectableSet;
    use super::*;
    use crate::api::decode;
    use crate::injection::PodContainer;
    use serde_json::json;

    fn set(container: &Value) -> InjectableSet {
        let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "containers": [container]});
        let object = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": spec});
        InjectableSet::new(decode::sidecarset(object).unwrap()).unwrap()
    }

    /// A container with these fields replaced.
    fn with(container: &Value, fields: &Value) -> Value {
        let mut container = container.clone();
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        container
    }

    /// Returns how the Pod's container differs from the set's.
    fn difference(set: &InjectableSet, present: Value) -> Option<Difference> {
        let present: PodContainer = serde_json::from_value(present).unwrap();
        let find = |list: &str, name: &str| {
            (list == "containers" && name == &*present.name)
                .then_some((&*present.image, present.fingerprint.as_deref()))
        };
        set.fixed_containers().deviation(find).map(|deviation| deviation.difference)
    }

    fn injected(set: &InjectableSet) -> Value {
        serde_json::from_str(&set.content.containers[0].json(&crate::injection::additions::Additions::default()))
            .unwrap()
    }

    #[test]
    fn what_others_may_change_makes_no_difference() {
        let container = json!({
            "name": "c", "image": "x:1", "command": ["run"], "args": ["--fast", "now"],
            "env": [{"name": "A", "value": "1"}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]
        });
        let set = set(&container);
        let injected = injected(&set);
        let env = injected["env"].as_array().unwrap();
        let around = |items: &[Value], first: Value, last: Value| [&[first][..], items, &[last]].concat();
        let mounts = around(
            injected["volumeMounts"].as_array().unwrap(),
            json!({"name": "data", "mountPath": "/data"}),
            json!({"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}),
        );
        for fields in [
            json!({}),
            json!({"image": "mirror.corp/proxy/docker.io/library/x:1"}),
            json!({"image": format!("x@sha256:{}", "0a".repeat(32))}),
            json!({"command": ["/wrapper", "--"], "args": ["run", "--fast", "now"]}),
            json!({"command": ["/wrapper", "--", "run"]}),
            json!({"command": ["run", "--fast", "now"], "args": null}),
            json!({"env": around(env, json!({"name": "B"}), json!({"name": "Z", "value": "z"}))}),
            json!({"volumeMounts": mounts}),
            json!({"imagePullPolicy": "Always", "resources": {"limits": {"cpu": "1"}}, "workingDir": "/",
                   "livenessProbe": {"httpGet": {"path": "/app-health/c/livez", "port": 15020}}}),
        ] {
            assert_eq!(difference(&set, with(&injected, &fields)), None, "{fields}");
        }
    }

    #[test]
    fn what_a_set_fixes_makes_a_difference() {
        let container = json!({
            "name": "c", "image": "x:1", "command": ["run"], "args": ["--fast", "now"],
            "env": [{"name": "A", "value": "1"}, {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]
        });
        let set = set(&container);
        let injected = injected(&set);
        let env = |changed: Value| {
            let mut env = injected["env"].as_array().unwrap().clone();
            env.push(changed); // set twice: the last one counts
            json!({"env": env})
        };
        let (of_a, of_n) = (|| Difference::Variable("A".to_owned()), || Difference::Variable("N".to_owned()));
        let mount = || Difference::Mount("/v".to_owned());
        let field_ref = json!({"fieldRef": {"fieldPath": "metadata.name"}});
        for (fields, expected) in [
            (json!({"image": "evil:1"}), Difference::Image),
            (json!({"image": "x:2"}), Difference::Image),
            (json!({"image": null}), Difference::Image),
            (json!({"command": ["sleep"]}), Difference::Command),
            (json!({"command": null}), Difference::Command),
            (json!({"command": null, "args": ["run", "--fast", "now"]}), Difference::Command),
            (json!({"args": null}), Difference::Command),
            (json!({"args": ["--fast", "now", "--evil"]}), Difference::Command),
            (json!({"args": ["now"]}), Difference::Command),
            (env(json!({"name": "A", "value": "2"})), of_a()),
            (env(json!({"name": "A"})), of_a()),
            (env(json!({"name": "N", "value": "here"})), of_n()),
            (env(json!({"name": "N", "valueFrom": field_ref})), of_n()),
            (env(json!({"name": "IS_INJECTED", "value": "false"})), Difference::Mark),
            (json!({"env": null}), Difference::Mark),
            (json!({"env": [{"name": "IS_INJECTED", "value": "true"}]}), of_a()),
            (json!({"volumeMounts": null}), mount()),
            (json!({"volumeMounts": [{"name": "other", "mountPath": "/v"}]}), mount()),
            (json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "x"}]}), mount()),
            (json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}]}), mount()),
            (json!({"name": "d"}), Difference::Absent),
        ] {
            assert_eq!(difference(&set, with(&injected, &fields)), Some(expected), "{fields}");
        }
    }

    #[test]
    fn a_wrapper_of_an_entrypoint_that_only_the_image_knows_gets_it_as_an_argument() {
        for (own, accepted, rejected) in [
            (
                json!({"name": "c", "image": "x:1"}),
                vec![json!({}), json!({"command": ["/wrapper"], "args": ["/entrypoint", "default"]})],
                vec![json!({"command": ["sleep", "9"]}), json!({"args": ["--evil"]})],
            ),
            (
                json!({"name": "c", "image": "x:1", "args": ["--fast"]}),
                vec![json!({}), json!({"command": ["/wrapper"], "args": ["/entrypoint", "--fast"]})],
                vec![
                    json!({"command": ["sleep"]}),
                    json!({"command": ["sleep", "9", "--fast"], "args": []}),
                    json!({"args": []}),
                    json!({"args": ["--evil", "--fast"]}),
                    json!({"args": ["--fast", "--evil"]}),
                ],
            ),
        ] {
            let set = set(&own);
            let injected = injected(&set);
            for fields in accepted {
                assert_eq!(difference(&set, with(&injected, &fields)), None, "{own} {fields}");
            }
            for fields in rejected {
                assert_eq!(difference(&set, with(&injected, &fields)), Some(Difference::Command), "{own} {fields}");
            }
        }
    }

    #[test]
    fn images_of_other_versions_are_known() {
        let images = |container: &Value| Arc::clone(&set(container).content.images);
        let hot = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
        let present = images(&json!({"name": "c", "image": "x:2", "upgradeStrategy": hot}));
        let kept = [images(&json!({"name": "c", "image": "x:1"})), images(&json!({"name": "other", "image": "y:1"}))];
        let known = KnownImages::of(&present, &kept);
        for image in ["x:2", "x:1", "empty:1", "mirror.corp/library/x:1"] {
            assert!(known.has("c", image), "{image}");
        }
        for image in ["x:3", "y:1", ""] {
            assert!(!known.has("c", image), "{image}");
        }
    }

    #[test]
    fn a_deviation_names_container_and_field() {
        let told = |difference| Deviation { list: "containers", container: "c".to_owned(), difference }.to_string();
        assert_eq!(told(Difference::Image), "spec.containers \"c\" does not have the set's image");
        assert_eq!(
            told(Difference::Variable("A".to_owned())),
            "spec.containers \"c\" does not have the set's env \"A\""
        );
        assert_eq!(told(Difference::Absent), "spec.containers \"c\" is missing");
    }
}
