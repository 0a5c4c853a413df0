//! Pure: the ConfigMap as last seen, the configuration in effect, and reports about it on the ConfigMap.

use super::configuration::{Configuration, KEY};
use super::key::{Key, Metadata};
use super::trial;
use crate::api::decode::FieldError;
use crate::cluster::{ObjectVersion, Versioned};
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use kube::runtime::events::EventType;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Annotation of the ConfigMap with its problem. It is absent if there is none.
pub const PROBLEM: &str = "outrigger.dev/configuration-problem";

/// The configuration cannot be used.
pub const INVALID: &str = "InvalidConfiguration";
/// A new configuration is in effect.
pub const APPLIED: &str = "ConfigurationApplied";
/// Namespaces of developers do not exist.
pub const MISSING: &str = "NamespacesMissing";
/// The endpoints that the configuration needs are not known.
pub const ENDPOINTS_UNKNOWN: &str = "EndpointsUnknown";
/// Namespaces of developers are excluded.
pub const EXCLUDED: &str = "NamespacesExcluded";

/// The maximum length of a problem in the annotation, in bytes.
const LONGEST: usize = 2_000;

/// The ConfigMap as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObservedConfigMap {
    pub key: Key,
    uid: String,
    resource_version: String,
    has_annotations: bool,
    problem: Option<String>,
    text: Option<String>,
}

/// The configuration in effect, and the problem of the ConfigMap.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The ConfigMap, if it exists.
    pub config_map: Option<Arc<ObservedConfigMap>>,
    /// The last good configuration.
    pub good: Option<Arc<Configuration>>,
    /// The current problem; `None` if the good configuration is the ConfigMap's.
    pub problem: Option<String>,
    /// Whether it needs endpoints that are not known.
    pub lacks_endpoints: bool,
    /// Reports of this term, and the values of the annotation; empty for its removal.
    told: BTreeSet<(&'static str, String)>,
    annotated: Option<String>,
}

/// What to report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Telling {
    /// Type, reason and note of each Event.
    pub events: Vec<(EventType, &'static str, String)>,
    /// Changes of the ConfigMap.
    pub changes: Vec<PatchOperation>,
}

impl Versioned for ObservedConfigMap {
    fn version(&self) -> ObjectVersion<'_> {
        let Self { key, uid, resource_version, .. } = self;
        ObjectVersion { namespace: &key.namespace, name: &key.name, uid, resource_version }
    }
}

impl<'de> Deserialize<'de> for ObservedConfigMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl ObservedConfigMap {
    /// Reads a ConfigMap. It never fails.
    pub fn read(object: Value) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Document {
            metadata: Metadata,
            data: BTreeMap<String, String>,
        }
        let Document { metadata, mut data } = Document::deserialize(object).unwrap_or_default();
        Self {
            has_annotations: !metadata.annotations.is_empty(),
            problem: metadata.annotations.get(PROBLEM).cloned(),
            key: Key::new(metadata.namespace, metadata.name),
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            text: data.remove(KEY),
        }
    }
}

impl Standing {
    /// The ConfigMap has changed. Returns whether another configuration is now in effect.
    pub fn observe(&mut self, config_map: Option<ObservedConfigMap>) -> bool {
        let read = match &config_map {
            None => Err("the ConfigMap does not exist".to_owned()),
            Some(ObservedConfigMap { text: None, .. }) => Err(format!("data: must have the key {KEY}")),
            Some(ObservedConfigMap { text: Some(text), .. }) => trial::read(text).map_err(|problems| told(&problems)),
        };
        self.config_map = config_map.map(Arc::new);
        match read {
            Ok(read) => {
                self.problem = None;
                let is_new = self.good.as_deref() != Some(&read);
                if is_new {
                    self.good = Some(Arc::new(read));
                }
                is_new
            }
            Err(problem) => {
                self.problem = Some(problem);
                false
            }
        }
    }

    /// A term begins without earlier reports.
    pub fn begin_term(&mut self) {
        (self.told, self.annotated) = (BTreeSet::new(), None);
    }

    /// Returns what to report now, once. `namespaces` are those that exist.
    pub fn tell(&mut self, namespaces: &BTreeSet<String>) -> Telling {
        let mut now: Vec<(EventType, &'static str, String)> = Vec::new();
        if let Some(problem) = &self.problem {
            let stays = if self.good.is_some() {
                "the last good configuration stays in effect"
            } else {
                "nothing is written until it is valid"
            };
            now.push((EventType::Warning, INVALID, format!("{problem}; {stays}")));
        } else if let Some(good) = &self.good {
            now.push((EventType::Normal, APPLIED, applied(good)));
            let missing: Vec<&str> =
                good.namespaces().filter(|namespace| !namespaces.contains(*namespace)).map(String::as_str).collect();
            if !missing.is_empty() {
                let note = format!("These namespaces do not exist yet: {}; all others are served", missing.join(", "));
                now.push((EventType::Warning, MISSING, note));
            }
            if self.lacks_endpoints {
                let note = "requireReadyEndpoints: the EndpointSlices are not known yet, and until then VirtualServices stay as they \
                            are; may outrigger list and watch endpointslices?";
                now.push((EventType::Warning, ENDPOINTS_UNKNOWN, note.to_owned()));
            }
            if !good.excluded.is_empty() {
                let note = format!("System namespaces are skipped: {}", good.excluded.join(", "));
                now.push((EventType::Warning, EXCLUDED, note));
            }
        }
        let keys: BTreeSet<_> = now.iter().map(|(_, reason, note)| (*reason, note.clone())).collect();
        now.retain(|(_, reason, note)| !self.told.contains(&(*reason, note.clone())));
        self.told = keys;
        Telling { events: now, changes: self.changes() }
    }

    /// Returns the changes that write the problem to the annotation. A value written in this term is not written again,
    /// because somebody removed it.
    fn changes(&mut self) -> Vec<PatchOperation> {
        let Some(config_map) = &self.config_map else {
            self.annotated = None;
            return Vec::new();
        };
        let wanted = self.problem.as_deref().map(shortened);
        if config_map.problem == wanted {
            return Vec::new();
        }
        if self.annotated.as_deref() == Some(wanted.as_deref().unwrap_or_default()) {
            return Vec::new();
        }
        let path = |tokens: &[&str]| PointerBuf::from_tokens(tokens.iter().copied());
        let annotation = ["metadata", "annotations", PROBLEM];
        let change = match &wanted {
            None => PatchOperation::Remove(RemoveOperation { path: path(&annotation) }),
            Some(problem) if config_map.has_annotations => {
                PatchOperation::Add(AddOperation { path: path(&annotation), value: problem.as_str().into() })
            }
            Some(problem) => {
                PatchOperation::Add(AddOperation { path: path(&annotation[..2]), value: json!({PROBLEM: problem}) })
            }
        };
        vec![change]
    }

    /// The annotation was written.
    pub fn annotated(&mut self, after: ObservedConfigMap) {
        self.annotated = Some(self.problem.as_deref().map(shortened).unwrap_or_default());
        self.config_map = Some(Arc::new(after));
    }
}

fn told(problems: &[FieldError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn applied(good: &Configuration) -> String {
    format!(
        "Requests to Services in {} are routed to copies in {}{}",
        good.default_namespace,
        if good.developers.is_empty() { "no namespace".to_owned() } else { good.developers.join(", ") },
        if good.placeholders { ", with placeholders where there is none" } else { "" },
    )
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(text: &Value, annotations: &Value) -> ObservedConfigMap {
        ObservedConfigMap::read(json!({
            "metadata": {"name": "c", "namespace": "ns", "resourceVersion": "1", "annotations": annotations},
            "data": {KEY: text},
        }))
    }

    fn good() -> ObservedConfigMap {
        config_map(&json!("developerNamespaces: [dev, istio-system]"), &json!({}))
    }

    fn reasons(telling: &Telling) -> Vec<&str> {
        telling.events.iter().map(|(_, reason, _)| *reason).collect()
    }

    #[test]
    fn what_is_wrong_changes_nothing_and_is_told_once() {
        let (mut standing, all) = (Standing::default(), BTreeSet::from(["default".to_owned(), "dev".to_owned()]));
        assert!(!standing.observe(None));
        assert!(standing.good.is_none());
        assert_eq!(reasons(&standing.tell(&all)), [INVALID]);
        assert!(standing.observe(Some(good())));
        assert!(!standing.observe(Some(good())), "the same");
        assert_eq!(reasons(&standing.tell(&all)), [APPLIED, EXCLUDED]);
        let before = standing.good.clone();
        for bad in [
            None,
            Some(ObservedConfigMap::default()),
            Some(config_map(&json!(""), &json!({}))),
            Some(config_map(&json!("developerNamespaces: [default]"), &json!({}))),
        ] {
            assert!(!standing.observe(bad), "another one holds");
            assert_eq!(standing.good, before);
            assert_eq!(reasons(&standing.tell(&all)), [INVALID]);
            assert_eq!(reasons(&standing.tell(&all)), [""; 0], "told again");
        }
        standing.begin_term();
        assert_eq!(reasons(&standing.tell(&all)), [INVALID]);
    }

    #[test]
    fn namespaces_that_do_not_exist_are_named() {
        let mut standing = Standing::default();
        standing.observe(Some(good()));
        let told = standing.tell(&BTreeSet::from(["dev".to_owned()]));
        assert_eq!(reasons(&told), [APPLIED, MISSING, EXCLUDED]);
        assert!(told.events[1].2.contains("do not exist yet: default;"), "{told:?}");
    }

    #[test]
    fn endpoints_that_nobody_tells_of_are_told() {
        let (mut standing, all) = (Standing::default(), BTreeSet::from(["default".to_owned()]));
        standing.observe(Some(config_map(&json!("requireReadyEndpoints: true"), &json!({}))));
        assert_eq!(reasons(&standing.tell(&all)), [APPLIED]);
        standing.lacks_endpoints = true;
        assert_eq!(reasons(&standing.tell(&all)), [ENDPOINTS_UNKNOWN]);
        assert_eq!(reasons(&standing.tell(&all)), [""; 0]);
    }

    #[test]
    fn the_annotation_says_what_is_wrong_and_is_not_fought_over() {
        let (mut standing, none) = (Standing::default(), BTreeSet::new());
        let change = |standing: &mut Standing| serde_json::to_value(standing.tell(&none).changes).unwrap();
        standing.observe(Some(config_map(&json!(""), &json!({}))));
        let problem = json!({PROBLEM: "config.yaml: is empty"});
        assert_eq!(change(&mut standing), json!([{"op": "add", "path": "/metadata/annotations", "value": problem}]));
        standing.annotated(config_map(&json!(""), &problem));
        assert_eq!(change(&mut standing), json!([]));
        standing.observe(Some(config_map(&json!(""), &json!({"other": "x"}))));
        assert_eq!(change(&mut standing), json!([]), "somebody took it away");
        standing.observe(Some(config_map(&json!("developerNamespaces: [a]"), &problem)));
        let path = "/metadata/annotations/outrigger.dev~1configuration-problem";
        assert_eq!(change(&mut standing), json!([{"op": "remove", "path": path}]));
    }
}
