//! Volumes of a SidecarSet: names, and Kubernetes' rules for the common sources.
//!
//! Source: `ValidateVolumes` of `k8s.io/kubernetes/pkg/apis/core/validation`. A source without a rule here, or newer than this
//! program, is accepted unchecked.

use super::kind;
use super::node::{Body, Node, Report};
use super::resource_field;
use super::syntax;
use super::transfer;
use crate::api::quantity::Quantity;
use crate::api::sidecarset::SidecarSetSpec;
use crate::injection::volume_names::volumes_of;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Fields of a Pod that a file may show, besides single labels and annotations.
const POD_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "configMap",
    "vsphereVolume",
    "quobyte",
    "azureFile",
    "azureDisk",
    "photonPersistentDisk",
    "projected",
    "portworxVolume",
    "scaleIO",
    "storageos",
    "csi",
    "ephemeral",
    "image",
];
const PROJECTIONS: [&str; 5] = ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle"];
const HOST_PATH_TYPES: [&str; 8] =
    ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
const ACCESS_MODES: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];
/// 10 minutes to 2^32 seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;

/// The volumes that containers may refer to, with their possible uses.
pub(super) struct Volumes<'a>(BTreeMap<&'a str, Uses>);

/// The uses of a volume, besides mounting it.
#[derive(Clone, Copy)]
struct Uses {
    /// As a block device.
    as_device: bool,
    /// As a source of variables from its files.
    for_variables: bool,
}

impl Volumes<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn may_be_block(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|uses| uses.as_device)
    }

    /// Whether it is an `emptyDir`.
    pub fn may_have_variables(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|uses| uses.for_variables)
    }
}

pub(super) fn check<'a>(spec: &'a SidecarSetSpec, report: &'a Report) -> Volumes<'a> {
    let mut volumes = BTreeMap::new();
    let (mounted, hot) = (mounted(spec), hot_names(spec));
    for (index, fields) in spec.volumes.iter().flatten().enumerate() {
        let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
        let place = report.root("spec").field("volumes").item(index, name);
        // Pods get only the volumes that containers refer to, and a set with unnamed volumes cannot be prepared.
        let place = if mounted.contains(name) { place.of_pods() } else { place };
        let volume = Body { place, fields };
        if Node::new(volume.place.of_pods().field("name"), fields.get("name")).required_text().is_some() {
            volume.get("name").syntax(syntax::dns_label);
        }
        let sources: Vec<_> =
            SOURCES.iter().map(|source| (*source, volume.get(source))).filter(|(_, node)| node.is_set()).collect();
        for (_, source) in sources.iter().skip(1) {
            source.forbidden("may not specify more than 1 volume type");
        }
        for (name, source) in &sources {
            check_source(name, source);
            if !hot.is_empty() && *name == "downwardAPI" {
                check_hot_files(source, &hot);
            }
            if !hot.is_empty() && *name == "projected" {
                source.get("sources").items("").for_each(|source| check_hot_files(&source.get("downwardAPI"), &hot));
            }
        }
        let is = |source: &str| sources.iter().any(|(name, _)| *name == source);
        let uses = Uses { as_device: is("persistentVolumeClaim") || is("ephemeral"), for_variables: is("emptyDir") };
        if volumes.insert(name, uses).is_some() && !name.is_empty() {
            volume.place.of_pods().field("name").duplicate(name, "");
        }
    }
    Volumes(volumes)
}

/// Names of the volumes that containers refer to.
fn mounted(spec: &SidecarSetSpec) -> BTreeSet<&str> {
    kind::each(spec).flat_map(|(_, container)| volumes_of(&container.template)).collect()
}

fn check_source(name: &str, source: &Node<'_>) {
    match name {
        "emptyDir" => check_size(&source.get("sizeLimit")),
        "hostPath" => {
            if source.get("path").required_text().is_some() {
                source.get("path").syntax(syntax::no_backsteps);
            }
            source.get("type").one_of(&HOST_PATH_TYPES);
        }
        "secret" => {
            source.get("secretName").required_text();
            check_items(source);
        }
        "configMap" => {
            source.get("name").required_text();
            check_items(source);
        }
        "persistentVolumeClaim" => {
            source.get("claimName").required_text();
        }
        "nfs" => {
            source.get("server").required_text();
            if let Some(path) = source.get("path").required_text()
                && !path.starts_with('/')
            {
                source.get("path").place.invalid(path, "must be an absolute path");
            }
        }
        "csi" => {
            source.get("driver").required_text();
        }
        "ephemeral" => check_claim(&source.get("volumeClaimTemplate")),
        "image" => {
            if source.get("reference").required_text().is_some() {
                // Kubernetes accepts any text, which the kubelet then fails to pull.
                source.get("reference").of_set().syntax(syntax::image_reference);
            }
            source.get("pullPolicy").one_of(&["Always", "IfNotPresent", "Never"]);
        }
        "downwardAPI" => {
            check_mode(&source.get("defaultMode"));
            let mut paths = BTreeSet::new();
            for path in check_downward_files(source) {
                // Kubernetes accepts the same path twice here, but nobody can want that.
                check_path_is_free(&path.of_set(), &mut paths);
            }
        }
        "projected" => check_projected(source),
        _ => {}
    }
}

/// The claim that is created for each Pod.
fn check_claim(template: &Node<'_>) {
    if !template.is_set() {
        template.place.required("");
        return;
    }
    let spec = template.get("spec");
    let modes = spec.get("accessModes");
    if modes.items("").next().is_none() {
        modes.place.required("at least 1 access mode is required");
    }
    modes.items("").for_each(|mode| mode.one_of(&ACCESS_MODES));
    let is_once_pod = |mode: Node<'_>| mode.value.and_then(Value::as_str) == Some("ReadWriteOncePod");
    if modes.items("").any(is_once_pod) && !modes.items("").all(is_once_pod) {
        modes.forbidden("may not use ReadWriteOncePod with other access modes");
    }
    let storage = spec.get("resources").get("requests").get("storage");
    if storage.is_set() {
        check_amount(&storage, |amount| amount.is_negative() || amount.is_zero(), "must be greater than 0");
    } else {
        storage.place.required("");
    }
}

fn check_size(size: &Node<'_>) {
    check_amount(size, Quantity::is_negative, "must be at least 0");
}

fn check_amount(size: &Node<'_>, is_wrong: impl Fn(Quantity) -> bool, problem: &str) {
    let text = match size.value {
        None => return,
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => match size.text() {
            Some(text) => text.to_owned(),
            None => return,
        },
    };
    match Quantity::parse(&text) {
        Err(error) => size.place.invalid(text, &error.to_string()),
        Ok(amount) if is_wrong(amount) => size.place.invalid(text, problem),
        Ok(_) => {}
    }
}

/// 0 to 0777.
fn check_mode(mode: &Node<'_>) {
    mode.in_range(0..=0o777);
}

/// Files from a Secret or `ConfigMap`. Returns their paths.
fn check_items<'a>(source: &Node<'a>) -> Vec<Node<'a>> {
    check_mode(&source.get("defaultMode"));
    let mut paths = Vec::new();
    for item in source.get("items").items("path") {
        item.get("key").required_text();
        check_file(&item);
        paths.push(item.get("path"));
    }
    paths
}

/// Path and mode of a file in a volume.
fn check_file(file: &Node<'_>) {
    if file.get("path").required_text().is_some() {
        file.get("path").syntax(syntax::volume_file_path);
    }
    check_mode(&file.get("mode"));
}

/// Files with fields of the Pod. Returns their paths.
fn check_downward_files<'a>(downward: &Node<'a>) -> Vec<Node<'a>> {
    let mut paths = Vec::new();
    for file in downward.get("items").items("path") {
        check_file(&file);
        paths.push(file.get("path"));
        let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
        match (field.is_set(), resource.is_set()) {
            (false, false) => file.place.required("one of fieldRef and resourceFieldRef is required"),
            (true, true) => resource.forbidden("fieldRef and resourceFieldRef can not be specified simultaneously"),
            _ => {}
        }
        if field.is_set() {
            transfer::check_field_ref(&field, &POD_FIELDS);
        }
        if resource.is_set() {
            resource.get("containerName").required_text();
            resource_field::check(&resource);
        }
    }
    paths
}

fn check_path_is_free<'a>(path: &Node<'a>, paths: &mut BTreeSet<&'a str>) {
    if let Some(text) = path.text().filter(|text| !text.is_empty())
        && !paths.insert(text)
    {
        path.place.invalid(text, "conflicting duplicate paths");
    }
}

fn check_projected(projected: &Node<'_>) {
    check_mode(&projected.get("defaultMode"));
    let mut paths = BTreeSet::new();
    for source in projected.get("sources").items("") {
        let (projections, _) = source.alternatives(&PROJECTIONS, &[]);
        for (_, second) in projections.iter().skip(1) {
            second.forbidden("may not specify more than 1 volume type per source");
        }
        for (name, projection) in projections {
            match name {
                "secret" | "configMap" => {
                    projection.get("name").required_text();
                    for path in check_items(&projection) {
                        check_path_is_free(&path, &mut paths);
                    }
                }
                "downwardAPI" => {
                    for path in check_downward_files(&projection) {
                        check_path_is_free(&path, &mut paths);
                    }
                }
                "serviceAccountToken" => {
                    projection.get("expirationSeconds").in_range(TOKEN_SECONDS);
                    if projection.get("path").required_text().is_some() {
                        projection.get("path").syntax(syntax::volume_file_path);
                    }
                }
                "clusterTrustBundle" => check_trust_bundle(&projection),
                _ => {}
            }
        }
    }
}

fn check_trust_bundle(bundle: &Node<'_>) {
    let (name, signer) = (bundle.get("name"), bundle.get("signerName"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => bundle.place.invalid("", "only one of name and signerName may be used"),
        (false, false) => bundle.place.required("either name or signerName must be specified"),
        (true, false) => {
            name.required_text();
            if bundle.get("labelSelector").is_set() {
                bundle.get("labelSelector").place.invalid("", "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => _ = signer.required_text(),
    }
    if bundle.get("path").required_text().is_some() {
        bundle.get("path").syntax(syntax::volume_file_path);
    }
}

/// Names that volumes use for containers that have other names in Pods.
fn hot_names(spec: &SidecarSetSpec) -> BTreeSet<&str> {
    let hot = kind::each(spec).filter(|(kind, container)| kind::has_twins(*kind, container));
    hot.map(|(_, container)| container.name()).collect()
}

/// Files with resources of a container that Pods have twice, under other names.
fn check_hot_files(source: &Node<'_>, hot: &BTreeSet<&str>) {
    for file in source.get("items").items("path") {
        let name = file.get("resourceFieldRef").get("containerName");
        if let Some(text) = name.text().filter(|text| hot.contains(text)) {
            name.place
                .of_set()
                .invalid(text, &format!("Pods have no such container, but {text}-1 and {text}-2: name one of them"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts_spec, rejects_spec};
    use serde_json::{Value, json};

    fn volume(source: &Value) -> Value {
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({"volumes": [volume]})
    }

    /// A volume with a claim that is created for each Pod.
    fn claim(modes: &Value, storage: &str) -> Value {
        let spec = json!({"accessModes": modes, "resources": {"requests": {"storage": storage}}});
        json!({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}})
    }

    fn rejects(source: &Value, field: &str, reason: &str) {
        rejects_spec(&volume(source), &format!("spec.volumes[0]{field}"), reason);
    }

    #[test]
    fn names_are_dns_labels_and_unique() {
        rejects_spec(&json!({"volumes": [{"emptyDir": {}}]}), "spec.volumes[0].name", "FieldValueRequired");
        rejects_spec(&json!({"volumes": [{"name": "A"}]}), "spec.volumes[0].name", "FieldValueInvalid");
        rejects_spec(
            &json!({"volumes": [{"name": "a"}, {"name": "a"}]}),
            "spec.volumes[1].name",
            "FieldValueDuplicate",
        );
    }

    #[test]
    fn a_volume_has_one_source_and_unknown_ones_are_kept() {
        accepts_spec(&volume(&json!({})));
        accepts_spec(&volume(&json!({"emptyDir": {}, "hostPath": null})));
        accepts_spec(&volume(&json!({"futureDisk": {"x": [1]}})));
        rejects(&json!({"emptyDir": {}, "hostPath": {"path": "/a"}}), ".hostPath", "FieldValueForbidden");
    }

    #[test]
    fn common_sources_are_complete() {
        for source in [
            json!({"emptyDir": {"sizeLimit": 1024, "medium": "Memory"}}),
            json!({"hostPath": {"path": "/var/log"}}),
            json!({"secret": {"secretName": "s", "items": [{"key": "k", "path": "a/b", "mode": 256}]}}),
            json!({"configMap": {"name": "c", "optional": true}}),
            json!({"image": {"reference": "example.com/data:1"}}),
            json!({"nfs": {"server": "s", "path": "/p"}}),
            claim(&json!(["ReadWriteOnce"]), "1Gi"),
        ] {
            accepts_spec(&volume(&source));
        }
        for (source, field, reason) in [
            (json!({"emptyDir": {"sizeLimit": "x"}}), ".emptyDir.sizeLimit", "FieldValueInvalid"),
            (json!({"emptyDir": {"sizeLimit": "-1"}}), ".emptyDir.sizeLimit", "FieldValueInvalid"),
            (json!({"emptyDir": []}), ".emptyDir", "FieldValueTypeInvalid"),
            (json!({"hostPath": {}}), ".hostPath.path", "FieldValueRequired"),
            (json!({"hostPath": {"path": "/a/../b"}}), ".hostPath.path", "FieldValueInvalid"),
            (json!({"hostPath": {"path": "/a", "type": "Folder"}}), ".hostPath.type", "FieldValueNotSupported"),
            (json!({"secret": {}}), ".secret.secretName", "FieldValueRequired"),
            (json!({"secret": {"secretName": "s", "defaultMode": 512}}), ".secret.defaultMode", "FieldValueInvalid"),
            (json!({"configMap": {}}), ".configMap.name", "FieldValueRequired"),
            (
                json!({"configMap": {"name": "c", "items": [{"path": "p"}]}}),
                ".configMap.items[0].key",
                "FieldValueRequired",
            ),
            (
                json!({"configMap": {"name": "c", "items": [{"key": "k"}]}}),
                ".configMap.items[0].path",
                "FieldValueRequired",
            ),
            (
                json!({"configMap": {"name": "c", "items": [{"key": "k", "path": "../p"}]}}),
                ".configMap.items[0].path",
                "FieldValueInvalid",
            ),
            (json!({"persistentVolumeClaim": {}}), ".persistentVolumeClaim.claimName", "FieldValueRequired"),
            (json!({"csi": {}}), ".csi.driver", "FieldValueRequired"),
            (json!({"ephemeral": {}}), ".ephemeral.volumeClaimTemplate", "FieldValueRequired"),
            (
                claim(&json!(["Sometimes"]), "1Gi"),
                ".ephemeral.volumeClaimTemplate.spec.accessModes[0]",
                "FieldValueNotSupported",
            ),
            (
                claim(&json!(["ReadWriteOncePod", "ReadWriteOnce"]), "1Gi"),
                ".ephemeral.volumeClaimTemplate.spec.accessModes",
                "FieldValueForbidden",
            ),
            (claim(&json!(null), "1Gi"), ".ephemeral.volumeClaimTemplate.spec.accessModes", "FieldValueRequired"),
            (
                claim(&json!(["ReadWriteOnce"]), "0"),
                ".ephemeral.volumeClaimTemplate.spec.resources.requests.storage",
                "FieldValueInvalid",
            ),
            (json!({"nfs": {"server": "s", "path": "p"}}), ".nfs.path", "FieldValueInvalid"),
            (json!({"image": {"reference": "x y"}}), ".image.reference", "FieldValueInvalid"),
        ] {
            rejects(&source, field, reason);
        }
    }

    #[test]
    fn downward_files_show_one_known_field() {
        let files = |file: Value| json!({"downwardAPI": {"items": [file]}});
        accepts_spec(&volume(&files(json!({"path": "a", "fieldRef": {"fieldPath": "metadata.labels"}}))));
        accepts_spec(&volume(&files(
            json!({"path": "a", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}),
        )));
        for (file, field, reason) in [
            (json!({"path": "a"}), "", "FieldValueRequired"),
            (json!({"fieldRef": {"fieldPath": "metadata.name"}}), ".path", "FieldValueRequired"),
            (
                json!({"path": "a", "fieldRef": {"fieldPath": "status.podIP"}}),
                ".fieldRef.fieldPath",
                "FieldValueNotSupported",
            ),
            (
                json!({"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}),
                ".resourceFieldRef.containerName",
                "FieldValueRequired",
            ),
        ] {
            rejects(&files(file), &format!(".downwardAPI.items[0]{field}"), reason);
        }
    }

    #[test]
    fn projected_sources_do_not_collide() {
        let sources = |sources: Value| json!({"projected": {"sources": sources}});
        let secret = json!({"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}});
        accepts_spec(&volume(&sources(json!([secret, {"serviceAccountToken": {"path": "token"}}, {"future": {}}]))));
        rejects(&sources(json!([secret, secret])), ".projected.sources[1].secret.items[0].path", "FieldValueInvalid");
        rejects(
            &sources(json!([{"secret": {"name": "s"}, "configMap": {"name": "c"}}])),
            ".projected.sources[0].configMap",
            "FieldValueForbidden",
        );
        rejects(
            &sources(json!([{"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}])),
            ".projected.sources[0].serviceAccountToken.expirationSeconds",
            "FieldValueInvalid",
        );
    }

    #[test]
    fn a_trust_bundle_is_named_by_itself_or_by_its_signer() {
        let of = |bundle: Value| volume(&json!({"projected": {"sources": [{"clusterTrustBundle": bundle}]}}));
        accepts_spec(&of(json!({"name": "b", "path": "ca.pem"})));
        accepts_spec(&of(json!({"signerName": "example.com/s", "labelSelector": {}, "path": "ca.pem"})));
        let place = "spec.volumes[0].projected.sources[0].clusterTrustBundle";
        for (bundle, field, reason) in [
            (json!({"name": "b", "signerName": "example.com/s", "path": "p"}), "", "FieldValueInvalid"),
            (json!({"path": "p"}), "", "FieldValueRequired"),
            (json!({"name": "b"}), ".path", "FieldValueRequired"),
            (json!({"name": "b", "path": "p", "labelSelector": {}}), ".labelSelector", "FieldValueInvalid"),
        ] {
            rejects_spec(&of(bundle), &format!("{place}{field}"), reason);
        }
    }

    #[test]
    fn a_file_shows_resources_of_a_container_that_pods_have() {
        let with = |name: &str| {
            let hot = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
            let reference = json!({"containerName": name, "resource": "limits.memory"});
            json!({
                "containers": [{"name": "proxy", "image": "x:1", "upgradeStrategy": hot}],
                "volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "m", "resourceFieldRef": reference}]}}]
            })
        };
        accepts_spec(&with("proxy-1"));
        accepts_spec(&with("app"));
        let field = "spec.volumes[0].downwardAPI.items[0].resourceFieldRef.containerName";
        rejects_spec(&with("proxy"), field, "FieldValueInvalid");
    }
}
