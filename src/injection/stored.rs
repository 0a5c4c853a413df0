//! A SidecarSet as stored in a cluster, possibly past the webhook: ready for injection, or with the reason why it is unfit. If
//! only its containers or volumes are at fault, an earlier version of them is used instead. The choice depends on stored
//! objects only, so every replica makes the same one, also after a restart.

use super::content::Content;
use super::set::{Annotations, InjectableSet, Selectors};
use super::validate::{Cause, unfit_for_pods};
use crate::api::decode::{self, FieldError};
use crate::api::sidecarset::{SidecarSet, SidecarSetSpec};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// At most 8 problems of a set are reported.
const TOLD: usize = 8;

/// The parts of a spec that a `ControllerRevision` keeps.
const CONTENT: [&str; 5] = ["containers", "initContainers", "volumes", "imagePullSecrets", "patchPodMetadata"];

/// A stored SidecarSet, read once for all subscribers, which share its injectable content.
#[derive(Clone, Debug)]
pub struct StoredSet {
    /// The object.
    pub object: Value,
    /// The object with defaults, unless a field has the wrong type.
    pub decoded: Result<DecodedSet, Unfit>,
}

/// A stored SidecarSet whose fields have the right types.
#[derive(Clone, Debug)]
pub struct DecodedSet {
    /// The set.
    pub set: SidecarSet,
    /// The injectable set, unless it is unfit.
    pub injectable: Result<Arc<InjectableSet>, Unfit>,
}

/// A stored SidecarSet that cannot be injected as it is.
#[derive(Clone, Debug)]
pub struct Unfit {
    /// Its name.
    pub set: String,
    /// The problem: sentences that name the fields.
    pub problem: String,
    /// The set without its content, if only the content is at fault.
    rest: Option<Box<SidecarSet>>,
}

impl StoredSet {
    /// Reads an object of either version. It never fails.
    #[must_use]
    pub fn read(object: Value) -> Self {
        let decoded = InjectableSet::decode(&object)
            .map(|set| DecodedSet { injectable: InjectableSet::stored(set.clone()).map(Arc::new), set });
        Self { object, decoded }
    }
}

/// Fails only on invalid JSON, so that a watch continues whatever is stored.
impl<'de> Deserialize<'de> for StoredSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl InjectableSet {
    /// Reads a stored set and applies its defaults.
    ///
    /// # Errors
    /// When it is not a SidecarSet of a known version, or when a field has the wrong type.
    pub fn decode(object: &Value) -> Result<SidecarSet, Unfit> {
        decode::sidecarset(object.clone()).map_err(|error| {
            let set = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let mut rest = object.clone();
            if let Some(spec) = rest.get_mut("spec").and_then(Value::as_object_mut) {
                spec.retain(|field, _| !CONTENT.contains(&field.as_str()));
            }
            let rest = decode::sidecarset(rest).ok().filter(|rest| Selectors::of(rest).is_ok());
            Unfit { set, problem: error.to_string(), rest: rest.map(Box::new) }
        })
    }

    /// Prepares a stored set as [`Self::new`] does. If its annotations contain both hashes, they take precedence, because Pods
    /// injected earlier, by OpenKruise or by outrigger, record them.
    ///
    /// # Errors
    /// As [`Self::new`], and when every Pod that gets the set would be refused because of it ([`unfit_for_pods`]).
    pub fn stored(set: SidecarSet) -> Result<Self, Unfit> {
        let name = set.metadata.name.clone().unwrap_or_default();
        let selectors = match Selectors::of(&set) {
            Ok(selectors) => selectors,
            Err(error) => return Err(Unfit { set: name, problem: error.to_string(), rest: None }),
        };
        match fit_content(&set.spec) {
            Ok(content) => Ok(Self::of_content(set, selectors, content, Annotations::Count)),
            Err(error) => {
                let spec = SidecarSetSpec {
                    containers: None,
                    init_containers: None,
                    volumes: None,
                    image_pull_secrets: None,
                    patch_pod_metadata: None,
                    ..set.spec
                };
                let rest = Some(Box::new(SidecarSet { spec, ..set }));
                Err(Unfit { set: name, problem: error.to_string(), rest })
            }
        }
    }
}

impl Unfit {
    /// Returns the stored set with this content; `None` if the rest of the set is at fault too.
    pub(super) fn with(&self, content: Content) -> Option<InjectableSet> {
        let rest = SidecarSet::clone(self.rest.as_deref()?);
        let selectors = Selectors::of(&rest).ok()?;
        Some(InjectableSet::of_content(rest, selectors, content, Annotations::Ignored))
    }

    /// Whether an earlier version of the content can replace the current one.
    #[must_use]
    pub fn is_replaceable(&self) -> bool {
        self.rest.is_some()
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SidecarSet {:?}: {}", self.set, self.problem)
    }
}

/// Returns the content of a spec, unless every Pod would be refused because of it.
pub(super) fn fit_content(spec: &SidecarSetSpec) -> Result<Content, FieldError> {
    match told(&unfit_for_pods(spec)) {
        Some(error) => Err(error),
        None => Content::new(spec),
    }
}

/// Joins the first problems into one.
fn told(causes: &[Cause]) -> Option<FieldError> {
    let (first, others) = causes.split_first()?;
    let mut problems = vec![first.message.clone()];
    problems.extend(others.iter().take(TOLD - 1).map(ToString::to_string));
    problems.extend((causes.len() > TOLD).then(|| format!("and {} more", causes.len() - TOLD)));
    Some(FieldError::new(first.field.clone(), problems.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(spec: &Value) -> Value {
        let mut whole = json!({"selector": {"matchLabels": {"a": "b"}}, "containers": [{"name": "c", "image": "x:1"}]});
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": whole})
    }

    fn read(spec: &Value) -> Result<InjectableSet, Unfit> {
        InjectableSet::decode(&set(spec)).and_then(InjectableSet::stored)
    }

    fn containers(fields: &Value) -> Value {
        let mut container = json!({"name": "c", "image": "x:1"});
        for (field, value) in fields.as_object().unwrap() {
            container[field] = value.clone();
        }
        json!({"containers": [container]})
    }

    #[test]
    fn what_every_pod_would_be_refused_for_is_unfit_with_the_field() {
        let hot = json!({"upgradeType": "HotUpgrade"});
        for (spec, problem) in [
            (
                containers(&json!({"name": "A_b"})),
                "spec.containers[0].name: Invalid value: \"A_b\": must be a DNS label",
            ),
            (containers(&json!({"image": null})), "spec.containers[0].image: Required value"),
            (containers(&json!({"image": " x:1"})), "spec.containers[0].image: Invalid value: \" x:1\""),
            (
                containers(&json!({"ports": [{"containerPort": 0}]})),
                "spec.containers[0].ports[0].containerPort: Required value",
            ),
            (
                containers(&json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
                "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            ),
            (
                containers(&json!({"resources": {"limits": {"cpu": "-1"}}})),
                "spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be at least 0",
            ),
            (
                containers(&json!({"upgradeStrategy": hot})),
                "spec.containers[0].upgradeStrategy.hotUpgradeEmptyImage: Required value",
            ),
            (
                containers(&json!({"upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "e:1"},
                                  "ports": [{"containerPort": 80, "hostPort": 80}]})),
                "spec.containers[0].ports[0].hostPort: Duplicate value",
            ),
            (containers(&json!({"tty": "yes"})), "spec.containers[0].tty: expected true or false"),
            (json!({"containers": 5}), "spec.containers: invalid type"),
            (json!({"containers": []}), "spec.containers: Required value"),
            (
                json!({"patchPodMetadata": [{"annotations": {"not a key": "x"}}]}),
                "spec.patchPodMetadata[0].annotations: Invalid value: \"not a key\"",
            ),
        ] {
            let unfit = read(&spec).unwrap_err();
            assert!(unfit.problem.starts_with(problem), "{unfit}");
            assert!(unfit.is_replaceable(), "{unfit}");
            assert!(unfit.to_string().starts_with("SidecarSet \"s\": spec."), "{unfit}");
        }
        let unfit = read(&json!({"selector": {"matchLabels": {}}})).unwrap_err();
        assert!(!unfit.is_replaceable(), "whom it is for is not known");
        assert!(!read(&json!({"containers": 5, "selector": {"matchLabels": 5}})).unwrap_err().is_replaceable());
    }

    /// Content that OpenKruise stores and injects is still injected, even if writing the set would now be rejected.
    #[test]
    fn what_pods_can_live_with_is_injected() {
        for spec in [
            json!({"revisionHistoryLimit": -1, "customVersion": "not a label"}),
            json!({"updateStrategy": {"type": "OnDelete", "partition": "150%"}}),
            json!({"namespaceSelector": {}}),
            json!({"selector": {"matchLabels": {"a": "b c"}}}),
            containers(&json!({"image": "x y"})),
            containers(&json!({"restartPolicy": "OnFailure"})),
            containers(&json!({"podInjectPolicy": "Beside", "shareVolumePolicy": {"type": "some"}})),
            containers(&json!({"upgradeStrategy": {"upgradeType": "WarmUpgrade", "hotUpgradeEmptyImage": "a b"}})),
            containers(
                &json!({"transferEnv": [{"sourceContainerNameFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            ),
            containers(
                &json!({"resourcesPolicy": {"targetContainersMode": "sum", "resourcesExpr": {"limits": {"cpu": "cpu*cpu"}}},
                              "resources": {"limits": {"cpu": "1"}}}),
            ),
            json!({"patchPodMetadata": [{"annotations": {"k": "no JSON"}, "patchPolicy": "MergePatchJson"},
                                        {"annotations": {"k": "twice"}, "patchPolicy": "Sometimes"}, {}]}),
            json!({"volumes": [{"name": "Unmounted", "hostPath": {}, "emptyDir": {}}]}),
            json!({"containers": [{"name": "c", "image": "x:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                   "volumes": [{"name": "v", "downwardAPI": {"items": [
                       {"path": "a", "fieldRef": {"fieldPath": "metadata.name"}},
                       {"path": "a", "fieldRef": {"fieldPath": "metadata.uid"}}]}}]}),
            json!({"initContainers": [{"name": "n", "image": "x:1", "restartPolicy": "Always",
                                       "ports": [{"containerPort": 80, "hostPort": 80}]}],
                   "containers": [{"name": "c", "image": "x:1", "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
            json!({"containers": [{"name": "c", "image": "x:1"},
                                  {"name": "c", "image": "x:1", "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "e"}}]}),
        ] {
            assert!(read(&spec).is_ok(), "{spec}: {}", read(&spec).unwrap_err());
        }
    }

    #[test]
    fn of_many_faults_the_first_are_told() {
        let many: Vec<Value> = (0..20).map(|index| json!({"name": format!("c-{index}")})).collect();
        let problem = read(&json!({"containers": many})).unwrap_err().problem;
        assert!(
            problem.starts_with("spec.containers[0].image: Required value; spec.containers[1].image: "),
            "{problem}"
        );
        assert!(problem.ends_with("spec.containers[7].image: Required value; and 12 more"), "{problem}");
    }
}
