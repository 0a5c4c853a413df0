//! Fields of containers and volumes that the API server drops silently: fields unknown to Kubernetes, which are most likely
//! misspelt, and fields behind a feature gate that is off by default.
//!
//! The lists are the schema of Kubernetes 1.37 (`/openapi/v3/api/v1`), one path a line. `.*` stands for the keys of a map. After a
//! space comes the feature gate of a field that is off by default. A test compares the lists with an API server.

use super::sentences::Sentences;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The newest Kubernetes version whose fields are known.
const NEWEST: &str = "1.37";

static CONTAINER: LazyLock<Schema> = LazyLock::new(|| Schema::of(include_str!("known_fields/container.txt")));
static VOLUME: LazyLock<Schema> = LazyLock::new(|| Schema::of(include_str!("known_fields/volume.txt")));

/// Field paths, each with its feature gate if that is off by default.
struct Schema(HashMap<&'static str, Option<&'static str>>);

impl Schema {
    fn of(text: &'static str) -> Self {
        let lines =
            text.lines().map(|line| line.split_once(' ').map_or((line, None), |(path, gate)| (path, Some(gate))));
        Self(lines.collect())
    }

    fn is_map(&self, path: &str) -> bool {
        self.0.contains_key(format!("{path}.*").as_str())
    }

    /// Adds a sentence for each dropped field. `place` is the location of the object, `path` its path in the schema.
    fn check(&self, fields: &Map<String, Value>, place: &str, path: &str, told: &mut Sentences) {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let place = format!("{place}.{name}");
            match self.0.get(path.as_str()) {
                None if self.is_map(&path) => continue,
                None => {
                    told.add(|| {
                        format!(
                            "{place}: no Kubernetes up to {NEWEST} has this field: one that does not know it drops it without a word"
                        )
                    });
                    continue;
                }
                Some(Some(gate)) => {
                    told.add(|| format!("{place}: Kubernetes {NEWEST} drops this field without a word unless its feature gate {gate} is on"));
                }
                Some(None) => {}
            }
            match value {
                Value::Object(fields) => self.check(fields, &place, &path, told),
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        if let Value::Object(fields) = item {
                            self.check(fields, &format!("{place}[{index}]"), &path, told);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Returns sentences about the fields that a container loses.
pub(super) fn of_container(container: &Map<String, Value>, place: &str, told: &mut Sentences) {
    CONTAINER.check(container, place, "", told);
}

/// Returns sentences about the fields that a volume loses.
pub(super) fn of_volume(volume: &Map<String, Value>, place: &str, told: &mut Sentences) {
    VOLUME.check(volume, place, "", told);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(container: &Value, volume: &Value) -> Vec<String> {
        let mut told = Sentences::default();
        of_container(container.as_object().unwrap(), "c", &mut told);
        of_volume(volume.as_object().unwrap(), "v", &mut told);
        told.into_told()
    }

    #[test]
    fn misspelt_fields_are_named_wherever_they_stand() {
        let container = json!({
            "name": "c", "livenesProbe": {"anything": 1}, "volumeMount": [], "nothing": null,
            "lifecycle": {"postStar": {}}, "ports": [{"containerPort": 1}, {"containerport": 2}],
            "resources": {"limits": {"example.com/gpu": 1}, "request": {}}
        });
        let volume = json!({"name": "v", "csi": {"driver": "d", "volumeAttributes": {"any": "x"}, "driverName": "d"}});
        let places: Vec<String> =
            told(&container, &volume).iter().map(|line| line.split_once(": ").unwrap().0.to_owned()).collect();
        let expected = [
            "c.livenesProbe",
            "c.volumeMount",
            "c.lifecycle.postStar",
            "c.ports[1].containerport",
            "c.resources.request",
            "v.csi.driverName",
        ];
        assert_eq!(places, expected);
    }

    /// The API server of 1.37.2 accepts them and drops them.
    #[test]
    fn fields_whose_feature_gate_is_off_by_default_are_named_with_it() {
        let container = json!({
            "lifecycle": {"stopSignal": "SIGUSR1"}, "livenessProbe": {"grpc": {"port": 1, "mode": "TLS"}},
            "readinessProbe": {"httpGet": {"port": 1, "protocol": "HTTP2"}}
        });
        let gates: Vec<String> = told(&container, &json!({"emptyDir": {"mode": 511}}))
            .iter()
            .map(|line| line.rsplit_once(" feature gate ").unwrap().1.to_owned())
            .collect();
        let expected = ["ContainerStopSignals", "GRPCContainerProbeTLS", "H2CContainerProbe", "EmptyDirVolumeMode"];
        assert_eq!(gates, expected.map(|gate| format!("{gate} is on")));
    }

    #[test]
    fn what_kubernetes_knows_is_not_told() {
        let container = json!({
            "name": "c", "image": "x", "restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
            "env": [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "K"}}}],
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "capabilities": {"add": ["A"]}}
        });
        assert_eq!(told(&container, &json!({"name": "v", "image": {"reference": "x"}})), [""; 0]);
    }
}
