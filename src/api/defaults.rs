//! Defaults of a SidecarSet, as OpenKruise's webhook stores them. They affect the hash, which is computed afterwards.
//!
//! Container fields get defaults exactly where OpenKruise sets them. A startup probe gets only those without which
//! OpenKruise rejects it. More would change the hash of stored sets.

use super::image::tag_of;
use super::quantity::Quantity;
use super::sidecarset::{
    ContainerUpgradeStrategy, PatchPolicy, PodInjectPolicy, SharePolicy, SidecarContainer, SidecarSetSpec,
    UpdateStrategyType, UpgradeType,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

/// Volume sources whose files get `defaultMode`.
const FILE_SOURCES: [&str; 4] = ["secret", "configMap", "downwardAPI", "projected"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
/// 0644
const DEFAULT_MODE: i32 = 420;
/// Lifetime of a projected service account token, in seconds.
const TOKEN_SECONDS: i32 = 3600;

/// Fields of the spec that may get a default.
const FIELDS_WITH_DEFAULTS: [&str; 7] = [
    "updateStrategy",
    "injectionStrategy",
    "revisionHistoryLimit",
    "initContainers",
    "containers",
    "volumes",
    "patchPodMetadata",
];

/// Returns the fields of a spec that may consist of defaults. Defaults must have been applied. Both versions have the
/// same fields.
#[must_use]
pub fn fields(spec: &SidecarSetSpec) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(spec) else { return Map::new() };
    // An object that is empty after defaulting means nothing. The types write it because they cannot express absence.
    fields.retain(|name, field| FIELDS_WITH_DEFAULTS.contains(&name.as_str()) && *field != json!({}));
    fields
}

/// Sets the defaults of absent fields.
pub fn apply(spec: &mut SidecarSetSpec) {
    let update = &mut spec.update_strategy;
    // Go's types do not distinguish an empty text from an absent one.
    update.strategy.take_if(|strategy| *strategy == UpdateStrategyType::Other(String::new()));
    update.strategy.get_or_insert(UpdateStrategyType::RollingUpdate);
    update.max_unavailable.get_or_insert(IntOrString::Int(1));
    update.partition.get_or_insert(IntOrString::Int(0));
    spec.revision_history_limit.get_or_insert(10);
    for container in spec.init_containers.iter_mut().flatten() {
        default_container(container, PodInjectPolicy::After);
    }
    for container in spec.containers.iter_mut().flatten() {
        default_container(container, PodInjectPolicy::Before);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        default_volume(volume);
    }
    for patch in spec.patch_pod_metadata.iter_mut().flatten() {
        patch.patch_policy.take_if(|policy| *policy == PatchPolicy::Other(String::new()));
        patch.patch_policy.get_or_insert(PatchPolicy::Retain);
    }
}

fn default_container(container: &mut SidecarContainer, side: PodInjectPolicy) {
    container.pod_inject_policy.take_if(|policy| *policy == PodInjectPolicy::Other(String::new()));
    container.pod_inject_policy.get_or_insert(side);
    let ContainerUpgradeStrategy { upgrade_type, .. } = &mut container.upgrade_strategy;
    upgrade_type.take_if(|upgrade| *upgrade == UpgradeType::Other(String::new()));
    upgrade_type.get_or_insert(UpgradeType::ColdUpgrade);
    let SharePolicy { policy } = &mut container.share_volume_policy;
    policy.take_if(|policy| policy.is_empty());
    policy.get_or_insert_with(|| "disabled".to_owned());
    for source in container.transfer_env.iter_mut().flatten() {
        if let Some(field) = source.source_container_name_from.as_mut().and_then(|from| from.field_ref.as_mut())
            && field.api_version.is_empty()
        {
            "v1".clone_into(&mut field.api_version);
        }
    }

    let template = &mut container.template;
    let image = template.get("image").and_then(Value::as_str).unwrap_or_default();
    let pull_policy = pull_policy_of(image);
    default(template, "imagePullPolicy", pull_policy);
    default(template, "terminationMessagePath", "/dev/termination-log");
    default(template, "terminationMessagePolicy", "File");
    for port in objects(template.get_mut("ports")) {
        default(port, "protocol", "TCP");
    }
    for env in objects(template.get_mut("env")) {
        if let Some(field) = child(env.get_mut("valueFrom"), "fieldRef") {
            default(field, "apiVersion", "v1");
        }
        default_divisor(child(env.get_mut("valueFrom"), "resourceFieldRef"));
    }
    let resources = template.entry("resources").or_insert(Value::Null);
    if resources.is_null() {
        *resources = json!({});
    }
    for amounts in ["limits", "requests"] {
        if let Some(amounts) = child(template.get_mut("resources"), amounts) {
            amounts.values_mut().for_each(canonical_amount);
        }
    }
    for probe in ["livenessProbe", "readinessProbe"] {
        if let Some(probe) = object(template.get_mut(probe)) {
            default_http_get(probe);
            default_number(probe, "timeoutSeconds", 1);
            default_number(probe, "periodSeconds", 10);
            default_number(probe, "successThreshold", 1);
            default_number(probe, "failureThreshold", 3);
        }
    }
    if let Some(probe) = object(template.get_mut("startupProbe")) {
        default_http_get(probe);
        default_number(probe, "successThreshold", 1);
    }
    for probe in PROBES {
        // Go writes this pointer even if it is nil.
        if let Some(grpc) = child(template.get_mut(probe), "grpc") {
            grpc.entry("service").or_insert(Value::Null);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = child(template.get_mut("lifecycle"), hook) {
            default_http_get(hook);
        }
    }
}

fn default_http_get(handler: &mut Map<String, Value>) {
    if let Some(http) = object(handler.get_mut("httpGet")) {
        default(http, "path", "/");
        default(http, "scheme", "HTTP");
    }
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume.iter().all(|(key, value)| key == "name" || value.is_null()) {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    if let Some(limit) = object(volume.get_mut("emptyDir")).and_then(|directory| directory.get_mut("sizeLimit")) {
        canonical(limit, |amount| amount);
    }
    let claim = volume.get_mut("ephemeral").and_then(|ephemeral| ephemeral.pointer_mut("/volumeClaimTemplate/spec"));
    if let Some(amounts) = claim.and_then(|claim| child(claim.get_mut("resources"), "requests")) {
        amounts.values_mut().for_each(|amount| canonical(amount, |amount| amount));
    }
    if let Some(path) = object(volume.get_mut("hostPath"))
        && path.get("type").is_none_or(Value::is_null)
    {
        path.insert("type".to_owned(), Value::String(String::new()));
    }
    if let Some(image) = object(volume.get_mut("image")) {
        let policy = pull_policy_of(image.get("reference").and_then(Value::as_str).unwrap_or_default());
        default(image, "pullPolicy", policy);
    }
    for source in FILE_SOURCES {
        if let Some(files) = object(volume.get_mut(source)) {
            if files.get("defaultMode").is_none_or(Value::is_null) {
                files.insert("defaultMode".to_owned(), DEFAULT_MODE.into());
            }
            default_field_refs(files);
        }
    }
    if let Some(projected) = object(volume.get_mut("projected")) {
        for source in objects(projected.get_mut("sources")) {
            if let Some(token) = object(source.get_mut("serviceAccountToken")) {
                default_number(token, "expirationSeconds", TOKEN_SECONDS);
            }
            if let Some(downward) = object(source.get_mut("downwardAPI")) {
                default_field_refs(downward);
            }
        }
    }
}

fn default_field_refs(downward: &mut Map<String, Value>) {
    for item in objects(downward.get_mut("items")) {
        if let Some(field) = object(item.get_mut("fieldRef")) {
            default(field, "apiVersion", "v1");
        }
        default_divisor(object(item.get_mut("resourceFieldRef")));
    }
}

/// `Always` for the tag `latest`, written or implied.
fn pull_policy_of(image: &str) -> &'static str {
    if tag_of(image) == "latest" { "Always" } else { "IfNotPresent" }
}

/// An absent divisor is empty, which Go writes as 0.
fn default_divisor(reference: Option<&mut Map<String, Value>>) {
    let Some(reference) = reference else { return };
    let divisor = reference.entry("divisor").or_insert(Value::Null);
    if divisor.is_null() {
        *divisor = "0".into();
    }
    canonical(divisor, |amount| amount);
}

/// Rounds a resource amount up to thousandths and writes it in canonical form.
fn canonical_amount(amount: &mut Value) {
    canonical(amount, Quantity::round_up_to_milli);
}

/// Writes an amount in canonical form. Validation reports anything else.
fn canonical(amount: &mut Value, rounded: impl Fn(Quantity) -> Quantity) {
    let text = match amount {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    if let Ok(quantity) = Quantity::parse(&text) {
        *amount = Value::String(rounded(quantity).to_string());
    }
}

/// Sets a text if it is absent, `null` or empty.
fn default(map: &mut Map<String, Value>, key: &str, value: &str) {
    if map.get(key).is_none_or(|v| v.is_null() || v.as_str() == Some("")) {
        map.insert(key.to_owned(), Value::String(value.to_owned()));
    }
}

/// Sets a number if it is absent, `null` or zero.
fn default_number(map: &mut Map<String, Value>, key: &str, value: i32) {
    if map.get(key).is_none_or(|v| v.is_null() || v.as_i64() == Some(0)) {
        map.insert(key.to_owned(), value.into());
    }
}

fn object(value: Option<&mut Value>) -> Option<&mut Map<String, Value>> {
    value.and_then(Value::as_object_mut)
}

fn child<'a>(value: Option<&'a mut Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    object(object(value)?.get_mut(key))
}

fn objects(value: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    value.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_startup_probe_gets_only_what_it_would_be_refused_without() {
        let mut spec: SidecarSetSpec = serde_json::from_value(json!({
            "containers": [{"name": "a", "startupProbe": {"httpGet": {"port": 80}}, "livenessProbe": {"exec": {"command": ["x"]}}}]
        }))
        .unwrap();
        apply(&mut spec);
        let template = &spec.containers.unwrap()[0].template;
        assert_eq!(
            template["startupProbe"],
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "successThreshold": 1})
        );
        assert_eq!(template["livenessProbe"]["periodSeconds"], 10);
    }

    #[test]
    fn an_empty_text_counts_as_absent() {
        let mut spec: SidecarSetSpec = serde_json::from_value(json!({
            "updateStrategy": {"type": ""}, "patchPodMetadata": [{"patchPolicy": ""}],
            "containers": [{"name": "a", "podInjectPolicy": "", "upgradeStrategy": {"upgradeType": ""}, "shareVolumePolicy": {"type": ""}}]
        }))
        .unwrap();
        let mut absent: SidecarSetSpec =
            serde_json::from_value(json!({"patchPodMetadata": [{}], "containers": [{"name": "a"}]})).unwrap();
        apply(&mut spec);
        apply(&mut absent);
        assert_eq!(spec, absent);
    }

    #[test]
    fn volumes_of_unknown_source_stay_as_written() {
        let mut volumes = [
            json!({"name": "a"}),
            json!({"name": "b", "future": {"x": 1}}),
            json!({"name": "c", "secret": {"secretName": "s"}}),
        ];
        for volume in &mut volumes {
            default_volume(volume.as_object_mut().unwrap());
        }
        assert_eq!(volumes[0], json!({"name": "a", "emptyDir": {}}));
        assert_eq!(volumes[1], json!({"name": "b", "future": {"x": 1}}));
        assert_eq!(volumes[2], json!({"name": "c", "secret": {"secretName": "s", "defaultMode": 420}}));
    }
}
