//! SidecarSets and Pods used by several tests, as YAML.

/// The SidecarSet of the smallest example, and the Pod it selects.
pub const SEED_SET: &str = include_str!("../../examples/test-sidecarset/0-sidecarset.yaml");
pub const SEED_POD: &str = include_str!("../../examples/test-sidecarset/pod.yaml");

/// A SidecarSet with one container of the same name, for Pods labelled `app: nginx`.
pub fn set(name: &str) -> String {
    format!(
        "\
apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata:
  name: {name}
spec:
  selector:
    matchLabels:
      app: nginx
  containers:
    - name: {name}
      image: busybox:1.36.1
"
    )
}

/// A Namespace with one label `team`.
pub fn namespace(name: &str, team: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    team: {team}\n")
}
