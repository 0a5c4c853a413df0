//! The Pod template of an object, the Pod injected in its place, and the translation of its patch.

use crate::api::decode::{FieldError, without_value};
use crate::api::pod::PodView;
use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::Pointer};
use serde_json::{Map, Value, json};

/// OpenKruise's API group.
const KRUISE: &str = "apps.kruise.io";

/// The Pod template of a workload, or a Pod, which is its own template.
#[derive(Debug, Clone, Copy)]
pub struct Template<'o> {
    object: &'o Value,
    pod: &'o Value,
    /// The path from the object to the template; the root for a Pod.
    root: &'static Pointer,
}

/// Finds the Pod template of an object: a Pod itself, `/spec/template` of a Deployment, `StatefulSet`, `DaemonSet`,
/// `ReplicaSet`, `ReplicationController` or Job, `/spec/jobTemplate/spec/template` of a `CronJob` (each in Kubernetes' own API
/// groups), and `/spec/template` of OpenKruise's `CloneSet`, `StatefulSet` and `DaemonSet`. Other objects, and workloads whose
/// template is not a mapping, have none.
#[must_use]
pub fn pod_template(object: &Value) -> Option<Template<'_>> {
    let root = match (group(object)?, object["kind"].as_str()?) {
        ("", "Pod") => Pointer::root(),
        ("", "ReplicationController")
        | ("apps" | "extensions", "Deployment" | "DaemonSet" | "ReplicaSet")
        | ("apps", "StatefulSet")
        | ("batch", "Job")
        | (KRUISE, "CloneSet" | "StatefulSet" | "DaemonSet") => const { Pointer::from_static("/spec/template") },
        ("batch", "CronJob") => const { Pointer::from_static("/spec/jobTemplate/spec/template") },
        _ => return None,
    };
    let pod = object.pointer(root.as_str())?;
    pod.is_object().then_some(Template { object, pod, root })
}

/// Returns why an object with containers is not injected; `None` if no reason is needed: it has no containers, its Pod template
/// is known, or it is a SidecarSet.
#[must_use]
pub fn skipped(object: &Value) -> Option<String> {
    let kind = object["kind"].as_str().unwrap_or("object");
    if pod_template(object).is_some()
        || (group(object), kind) == (Some(KRUISE), "SidecarSet")
        || !has_containers(object)
    {
        return None;
    }
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    Some(format!("skipped: the Pod template of a {kind} of {api_version} is not known here; give its Pod instead"))
}

/// Whether it contains a list `containers` of named objects at any depth.
fn has_containers(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(field, value)| {
            let is_list = field == "containers" && value.as_array().is_some_and(|list| list.iter().any(is_container));
            is_list || has_containers(value)
        }),
        Value::Array(items) => items.iter().any(has_containers),
        _ => false,
    }
}

fn is_container(item: &Value) -> bool {
    item.get("name").is_some() || item.get("image").is_some()
}

fn group(object: &Value) -> Option<&str> {
    Some(object["apiVersion"].as_str()?.rsplit_once('/').map_or("", |(group, _)| group))
}

impl Template<'_> {
    /// Returns the Pod to inject: a Pod itself, or the Pod that the workload's controller would create from the
    /// template, with the workload's namespace and `generateName: <workload>-`. The template's own name and namespace
    /// do not count.
    #[must_use]
    pub fn pod(&self) -> Value {
        if self.root.is_root() {
            return self.object.clone();
        }
        let mut metadata = self.pod["metadata"].as_object().cloned().unwrap_or_default();
        metadata.shift_remove("name");
        metadata.shift_remove("generateName");
        metadata.shift_remove("namespace");
        let workload = &self.object["metadata"];
        if let Some(name) = workload["name"].as_str() {
            metadata.insert("generateName".to_owned(), format!("{name}-").into());
        }
        if let Some(namespace) = workload["namespace"].as_str() {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        let mut pod = Map::new();
        pod.insert("apiVersion".to_owned(), "v1".into());
        pod.insert("kind".to_owned(), "Pod".into());
        pod.insert("metadata".to_owned(), metadata.into());
        let rest = self.pod.as_object().into_iter().flatten();
        for (key, value) in rest.filter(|(key, _)| !["apiVersion", "kind", "metadata"].contains(&key.as_str())) {
            pod.insert(key.clone(), value.clone());
        }
        pod.into()
    }

    /// Parses the text of [`Template::pod`]. An error names the field of the whole object.
    pub fn view<'p>(&self, pod: &'p str) -> Result<PodView<'p>, FieldError> {
        serde_json::from_str(pod).map_err(|error| {
            // It is parsed again for the path of the field, which the fast parser does not track.
            let mut again = serde_json::Deserializer::from_str(pod);
            let (path, error) = match serde_path_to_error::deserialize::<_, PodView<'_>>(&mut again) {
                Err(traced) => (traced.path().to_string(), traced.into_inner()),
                Ok(_) => (String::new(), error),
            };
            let problem = without_value(&error.to_string());
            // The position refers to the text of the Pod, which nobody wrote.
            let problem = problem.split(" at line ").next().unwrap_or_default();
            let root = self.root.as_str().split('/').skip(1).map(|field| format!("{field}."));
            FieldError::new(format!("{}{path}", root.collect::<String>()), problem)
        })
    }

    /// Translates a patch of [`Template::pod`] to the whole object: `/spec/containers/-` becomes
    /// `/spec/template/spec/containers/-`. If the patch needs metadata that the template does not have, the
    /// metadata is added first.
    #[must_use]
    pub fn re_root(&self, patch: Patch) -> Patch {
        let metadata = self.root.with_trailing_token("metadata");
        let mut operations: Vec<_> = patch.0.into_iter().map(|operation| below(self.root, operation)).collect();
        let writes_into = |operation: &PatchOperation| {
            let target = operation.path();
            target.starts_with(&metadata) && target != metadata.as_ptr()
        };
        if !self.pod["metadata"].is_object() && operations.iter().any(writes_into) {
            operations.insert(0, PatchOperation::Add(AddOperation { path: metadata, value: json!({}) }));
        }
        Patch(operations)
    }
}

/// Returns the operation with `root` before each of its pointers.
fn below(root: &Pointer, mut operation: PatchOperation) -> PatchOperation {
    let pointers = match &mut operation {
        PatchOperation::Add(operation) => [Some(&mut operation.path), None],
        PatchOperation::Remove(operation) => [Some(&mut operation.path), None],
        PatchOperation::Replace(operation) => [Some(&mut operation.path), None],
        PatchOperation::Test(operation) => [Some(&mut operation.path), None],
        PatchOperation::Move(operation) => [Some(&mut operation.path), Some(&mut operation.from)],
        PatchOperation::Copy(operation) => [Some(&mut operation.path), Some(&mut operation.from)],
    };
    for pointer in pointers.into_iter().flatten() {
        *pointer = root.concat(pointer);
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(operations: Value) -> Patch {
        serde_json::from_value(operations).unwrap()
    }

    fn workload(api_version: &str, kind: &str) -> Value {
        let template = json!({"metadata": {"labels": {"app": kind}}, "spec": {"containers": [{"name": "main"}]}});
        let spec = match kind {
            "CronJob" => json!({"jobTemplate": {"spec": {"template": template}}}),
            _ => json!({"template": template}),
        };
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    }

    #[test]
    fn each_workload_kind_has_its_template_where_kubernetes_puts_it() {
        let kinds = [
            ("apps/v1", "Deployment"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("apps/v1", "ReplicaSet"),
            ("v1", "ReplicationController"),
            ("batch/v1", "Job"),
            ("batch/v1", "CronJob"),
            ("apps.kruise.io/v1alpha1", "CloneSet"),
            ("apps.kruise.io/v1beta1", "StatefulSet"),
            ("apps.kruise.io/v1alpha1", "DaemonSet"),
        ];
        for (api_version, kind) in kinds {
            let mut object = workload(api_version, kind);
            let template = pod_template(&object).unwrap_or_else(|| panic!("{kind} has no template"));
            assert_eq!(template.pod()["metadata"]["labels"]["app"], kind);
            let added = json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar"}}]);
            let patch = template.re_root(patch(added));
            json_patch::patch(&mut object, &patch).unwrap();
            let pod = pod_template(&object).unwrap().pod();
            assert_eq!(pod["spec"]["containers"], json!([{"name": "main"}, {"name": "sidecar"}]), "{kind}");
        }
    }

    #[test]
    fn a_pod_is_its_own_template_and_its_patch_stays() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}});
        let template = pod_template(&pod).unwrap();
        assert_eq!(template.pod(), pod);
        let operations = patch(json!([{"op": "add", "path": "/metadata/annotations", "value": {}}]));
        assert_eq!(template.re_root(operations.clone()), operations);
    }

    #[test]
    fn other_objects_have_no_template() {
        for object in [
            workload("v1", "Service"),
            workload("batch.volcano.sh/v1alpha1", "Job"),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": "text"}}),
            json!({"kind": "Pod"}),
            json!([]),
        ] {
            assert!(pod_template(&object).is_none(), "{object}");
        }
    }

    #[test]
    fn what_has_containers_and_no_known_template_is_named() {
        let template = json!({"metadata": {}, "spec": {"containers": [{"image": "nginx"}]}});
        let united = json!({"template": {"statefulSetTemplate": {"spec": {"template": template}}}});
        for object in [
            workload("argoproj.io/v1alpha1", "Rollout"),
            workload("serving.knative.dev/v1", "Service"),
            workload("apps.kruise.io/v1alpha1", "BroadcastJob"),
            json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "p"}, "template": template}),
            json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "UnitedDeployment", "spec": united}),
        ] {
            let (kind, version) = (object["kind"].as_str().unwrap(), object["apiVersion"].as_str().unwrap());
            let told = skipped(&object).unwrap_or_else(|| panic!("{kind} is passed over"));
            assert!(told.contains(&format!("the Pod template of a {kind} of {version} is not known")), "{told}");
        }
        for object in [
            workload("apps/v1", "Deployment"),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}}),
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"name": "http"}]}}),
            json!({"apiVersion": "example.com/v1", "kind": "Report", "spec": {"containers": 3}}),
            json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "spec": {"containers": [{"name": "c"}]}}),
        ] {
            assert_eq!(skipped(&object), None, "{object}");
        }
    }

    #[test]
    fn a_field_of_wrong_type_is_named_as_the_object_has_it() {
        for (kind, field) in
            [("Deployment", "spec.template."), ("CronJob", "spec.jobTemplate.spec.template."), ("Pod", "")]
        {
            let object = if kind == "Pod" {
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": 5}})
            } else {
                let mut object = workload(if kind == "CronJob" { "batch/v1" } else { "apps/v1" }, kind);
                let pointer = format!("/{}metadata/labels", field.replace('.', "/"));
                *object.pointer_mut(&pointer).unwrap() = json!(5);
                object
            };
            let template = pod_template(&object).unwrap();
            let error = template.view(&template.pod().to_string()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{field}metadata.labels: invalid type: integer `5`, expected a map of strings")
            );
        }
    }

    #[test]
    fn a_templates_pod_is_the_one_its_controller_would_create() {
        let mut object = workload("apps/v1", "Deployment");
        object["spec"]["template"]["metadata"]["name"] = "ignored".into();
        object["spec"]["template"]["metadata"]["namespace"] = "ignored".into();
        assert_eq!(
            pod_template(&object).unwrap().pod(),
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"labels": {"app": "Deployment"}, "generateName": "web-", "namespace": "shop"},
                "spec": {"containers": [{"name": "main"}]},
            })
        );
    }

    #[test]
    fn a_workload_without_name_and_namespace_gives_its_pod_none() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {}}}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {}});
        assert_eq!(pod_template(&object).unwrap().pod(), pod);
    }

    #[test]
    fn every_pointer_of_a_patch_is_re_rooted() {
        let object = workload("batch/v1", "CronJob");
        let operations = json!([
            {"op": "test", "path": "/spec/containers/0/name", "value": "main"},
            {"op": "replace", "path": "/spec/containers/0", "value": {}},
            {"op": "remove", "path": "/spec/a~1b"},
            {"op": "move", "path": "/spec/x", "from": "/spec/y"},
            {"op": "copy", "path": "/spec/x", "from": "/spec/y"},
        ]);
        let root = "/spec/jobTemplate/spec/template";
        assert_eq!(
            serde_json::to_value(pod_template(&object).unwrap().re_root(patch(operations))).unwrap(),
            json!([
                {"op": "test", "path": format!("{root}/spec/containers/0/name"), "value": "main"},
                {"op": "replace", "path": format!("{root}/spec/containers/0"), "value": {}},
                {"op": "remove", "path": format!("{root}/spec/a~1b")},
                {"op": "move", "path": format!("{root}/spec/x"), "from": format!("{root}/spec/y")},
                {"op": "copy", "path": format!("{root}/spec/x"), "from": format!("{root}/spec/y")},
            ])
        );
    }

    #[test]
    fn metadata_that_only_the_built_pod_had_are_created_before_a_patch_writes_into_them() {
        for metadata in [None, Some(Value::Null)] {
            let mut object = workload("apps/v1", "Deployment");
            let template = object["spec"]["template"].as_object_mut().unwrap();
            match metadata {
                Some(null) => template.insert("metadata".into(), null),
                None => template.shift_remove("metadata"),
            };
            let operations = patch(json!([{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]));
            let operations = pod_template(&object).unwrap().re_root(operations);
            json_patch::patch(&mut object, &operations).unwrap();
            assert_eq!(object["spec"]["template"]["metadata"], json!({"annotations": {"a": "b"}}));
        }
    }

    #[test]
    fn metadata_are_not_created_for_a_patch_that_leaves_them_alone() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {}}}});
        let template = pod_template(&object).unwrap();
        assert_eq!(template.re_root(Patch(Vec::new())).0, []);
        let whole = json!([{"op": "add", "path": "/metadata", "value": {"annotations": {}}}]);
        assert_eq!(template.re_root(patch(whole)).0.len(), 1);
    }
}
