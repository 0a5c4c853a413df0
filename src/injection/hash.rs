//! The hash of a SidecarSet's containers, bit for bit as OpenKruise computes it.
//!
//! OpenKruise hashes the JSON that Go writes for its typed containers: fields in the order of their structs, empty ones left
//! out, quantities canonical, `<`, `>` and `&` escaped, fields unknown to its types (Kubernetes 1.32) left out. The tables
//! below describe those types. A Pod whose recorded hash differs counts as outdated, so a deviation here would upgrade or block
//! every Pod of a cluster that OpenKruise has injected.

use super::go_json::Presence::{Always, NotEmpty, OrNull, Set};
use super::go_json::Type::{self, Bool, Int, IntOrString, List, MapOf, Struct, Text};
use super::go_json::{Field, Path, write_sorted, write_struct};
use super::resize::RESIZABLE;
use crate::api::decode::FieldError;
use crate::api::sidecarset::{SidecarContainer, SidecarSetSpec};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The two hashes of a SidecarSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// The hash of everything in the containers.
    pub hash: String,
    /// The hash with every image empty. It stays the same if only images change.
    pub without_image: String,
}

/// Hashes the containers of a SidecarSet. Defaults must have been applied.
///
/// # Errors
/// When a field that OpenKruise knows has the wrong type.
pub fn hashes(spec: &SidecarSetSpec) -> Result<Hashes, FieldError> {
    Ok(Hashes { hash: hash(spec, Images::Kept)?, without_image: hash(spec, Images::Empty)? })
}

/// Hashes the containers without images and amounts of CPU and memory. The hash stays the same if only those change.
///
/// # Errors
/// When a field that OpenKruise knows has the wrong type.
pub fn hash_without_amounts(spec: &SidecarSetSpec) -> Result<String, FieldError> {
    hash(spec, Images::EmptyAndAmounts)
}

/// Hashes the container fields that OpenKruise's types do not know, which the other two hashes do not cover. `None` if there are
/// none.
///
/// # Errors
/// When a container cannot be written as JSON.
pub fn hash_of_rest(spec: &SidecarSetSpec) -> Result<Option<String>, FieldError> {
    let has_native = spec.init_containers.iter().flatten().any(SidecarContainer::restarts_always);
    let init_containers = spec.init_containers.as_deref().filter(|_| has_native).unwrap_or_default();
    let lists = [("containers", spec.containers.as_deref().unwrap_or_default()), ("initContainers", init_containers)];
    let mut rest = Map::new();
    for (field, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let value = serde_json::to_value(container)
                .map_err(|e| FieldError::new(format!("spec.{field}[{index}]"), e.to_string()))?;
            if let Some(unknown) = unknown_of(&value, &Struct(CONTAINER)) {
                rest.insert(format!("{field}/{}", container.name()), unknown);
            }
        }
    }
    if rest.is_empty() {
        return Ok(None);
    }
    let mut json = String::new();
    write_sorted(&mut json, &Value::Object(rest));
    Ok(Some(safe_encode(hexadecimal(&Sha256::digest(json)))))
}

/// Returns the parts of a value that its type does not know; `None` if there are none.
fn unknown_of(value: &Value, of_type: &Type) -> Option<Value> {
    match (of_type, value) {
        (Struct(known), Value::Object(fields)) => {
            let unknown: Map<String, Value> = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .filter_map(|(name, value)| {
                    let unknown = match known.iter().find(|(known, ..)| known == name) {
                        None => Some(value.clone()),
                        Some((_, of_type, _)) => unknown_of(value, of_type),
                    };
                    Some((name.clone(), unknown?))
                })
                .collect();
            (!unknown.is_empty()).then_some(Value::Object(unknown))
        }
        (List(of_item), Value::Array(items)) => {
            let unknown: Vec<Option<Value>> = items.iter().map(|item| unknown_of(item, of_item)).collect();
            unknown.iter().any(Option::is_some).then(|| unknown.into_iter().map(Option::unwrap_or_default).collect())
        }
        _ => None,
    }
}

/// Returns the containers as OpenKruise serializes them, including all init containers.
///
/// # Errors
/// When a field that OpenKruise knows has the wrong type.
pub(super) fn canonical_containers(spec: &SidecarSetSpec) -> Result<String, FieldError> {
    let mut json = String::new();
    for (field, list) in [("spec.containers", &spec.containers), ("spec.initContainers", &spec.init_containers)] {
        write_containers(&mut json, field, Some(list.as_deref().unwrap_or_default()), Images::Kept)?;
    }
    Ok(json)
}

#[derive(Clone, Copy, PartialEq)]
enum Images {
    Kept,
    Empty,
    /// Images are empty, and so are the amounts that can be changed while a Pod runs.
    EmptyAndAmounts,
}

fn hash(spec: &SidecarSetSpec, images: Images) -> Result<String, FieldError> {
    let mut json = String::from("{\"containers\":");
    write_containers(&mut json, "spec.containers", spec.containers.as_deref(), images)?;
    let init_containers = spec.init_containers.as_deref();
    if init_containers.is_some_and(|list| list.iter().any(SidecarContainer::restarts_always)) {
        json.push_str(",\"initContainers\":");
        write_containers(&mut json, "spec.initContainers", init_containers, images)?;
    }
    json.push('}');
    Ok(safe_encode(hexadecimal(&Sha256::digest(json.as_bytes()))))
}

fn write_containers(
    json: &mut String,
    field: &str,
    containers: Option<&[SidecarContainer]>,
    images: Images,
) -> Result<(), FieldError> {
    let Some(containers) = containers else {
        json.push_str("null");
        return Ok(());
    };
    json.push('[');
    for (index, container) in containers.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        let mut path = Path(format!("{field}[{index}]"));
        let mut fields = match serde_json::to_value(container) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => Map::new(),
            Err(e) => return Err(path.error(e.to_string())),
        };
        if images != Images::Kept {
            fields.shift_remove("image");
        }
        if images == Images::EmptyAndAmounts {
            for kind in ["limits", "requests"] {
                for resource in RESIZABLE {
                    if let Some(amount) =
                        fields.get_mut("resources").and_then(|all| all.get_mut(kind)?.get_mut(resource))
                    {
                        *amount = "0".into();
                    }
                }
            }
        }
        write_struct(json, &mut path, CONTAINER, Some(&fields))?;
    }
    json.push(']');
    Ok(())
}

/// Kubernetes' `SafeEncodeString` over decimal or lower-case hexadecimal digits. It has no vowels, so that no words
/// appear.
pub(super) fn safe_encode(digits: impl IntoIterator<Item = u8>) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    digits.into_iter().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// The digest in lower-case hexadecimal.
fn hexadecimal(digest: &[u8]) -> impl Iterator<Item = u8> {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    digest.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}

const CONTAINER: &[Field] = &[
    ("name", Text, Always),
    ("image", Text, NotEmpty),
    ("command", List(&Text), NotEmpty),
    ("args", List(&Text), NotEmpty),
    ("workingDir", Text, NotEmpty),
    ("ports", List(&Struct(PORT)), NotEmpty),
    ("envFrom", List(&Struct(ENV_FROM)), NotEmpty),
    ("env", List(&Struct(ENV)), NotEmpty),
    ("resources", Struct(RESOURCES), Always),
    ("resizePolicy", List(&Struct(&[("resourceName", Text, Always), ("restartPolicy", Text, Always)])), NotEmpty),
    ("restartPolicy", Text, Set),
    ("volumeMounts", List(&Struct(VOLUME_MOUNT)), NotEmpty),
    ("volumeDevices", List(&Struct(&[("name", Text, Always), ("devicePath", Text, Always)])), NotEmpty),
    ("livenessProbe", Struct(PROBE), Set),
    ("readinessProbe", Struct(PROBE), Set),
    ("startupProbe", Struct(PROBE), Set),
    ("lifecycle", Struct(&[("postStart", Struct(HOOK), Set), ("preStop", Struct(HOOK), Set)]), Set),
    ("terminationMessagePath", Text, NotEmpty),
    ("terminationMessagePolicy", Text, NotEmpty),
    ("imagePullPolicy", Text, NotEmpty),
    ("securityContext", Struct(SECURITY_CONTEXT), Set),
    ("stdin", Bool, NotEmpty),
    ("stdinOnce", Bool, NotEmpty),
    ("tty", Bool, NotEmpty),
    ("podInjectPolicy", Text, NotEmpty),
    ("upgradeStrategy", Struct(&[("upgradeType", Text, NotEmpty), ("hotUpgradeEmptyImage", Text, NotEmpty)]), Always),
    ("shareVolumePolicy", Struct(&[("type", Text, NotEmpty)]), Always),
    ("shareVolumeDevicePolicy", Struct(&[("type", Text, NotEmpty)]), Set),
    ("transferEnv", List(&Struct(TRANSFER_ENV)), NotEmpty),
    ("resourcesPolicy", Struct(RESOURCES_POLICY), Set),
];

const PORT: &[Field] = &[
    ("name", Text, NotEmpty),
    ("hostPort", Int, NotEmpty),
    ("containerPort", Int, Always),
    ("protocol", Text, NotEmpty),
    ("hostIP", Text, NotEmpty),
];

const NAMED_OPTIONAL: &[Field] = &[("name", Text, NotEmpty), ("optional", Bool, Set)];
const KEY_OPTIONAL: &[Field] = &[("name", Text, NotEmpty), ("key", Text, Always), ("optional", Bool, Set)];
const FIELD_REF: &[Field] = &[("apiVersion", Text, NotEmpty), ("fieldPath", Text, Always)];

const ENV_FROM: &[Field] = &[
    ("prefix", Text, NotEmpty),
    ("configMapRef", Struct(NAMED_OPTIONAL), Set),
    ("secretRef", Struct(NAMED_OPTIONAL), Set),
];

const ENV: &[Field] = &[("name", Text, Always), ("value", Text, NotEmpty), ("valueFrom", Struct(ENV_SOURCE), Set)];

const ENV_SOURCE: &[Field] = &[
    ("fieldRef", Struct(FIELD_REF), Set),
    (
        "resourceFieldRef",
        Struct(&[("containerName", Text, NotEmpty), ("resource", Text, Always), ("divisor", Type::Quantity, Always)]),
        Set,
    ),
    ("configMapKeyRef", Struct(KEY_OPTIONAL), Set),
    ("secretKeyRef", Struct(KEY_OPTIONAL), Set),
];

const RESOURCES: &[Field] = &[
    ("limits", MapOf(&Type::Quantity), NotEmpty),
    ("requests", MapOf(&Type::Quantity), NotEmpty),
    ("claims", List(&Struct(&[("name", Text, Always), ("request", Text, NotEmpty)])), NotEmpty),
];

const VOLUME_MOUNT: &[Field] = &[
    ("name", Text, Always),
    ("readOnly", Bool, NotEmpty),
    ("recursiveReadOnly", Text, Set),
    ("mountPath", Text, Always),
    ("subPath", Text, NotEmpty),
    ("mountPropagation", Text, Set),
    ("subPathExpr", Text, NotEmpty),
];

const EXEC: Field = ("exec", Struct(&[("command", List(&Text), NotEmpty)]), Set);
const HTTP_GET: Field = (
    "httpGet",
    Struct(&[
        ("path", Text, NotEmpty),
        ("port", IntOrString, Always),
        ("host", Text, NotEmpty),
        ("scheme", Text, NotEmpty),
        ("httpHeaders", List(&Struct(&[("name", Text, Always), ("value", Text, Always)])), NotEmpty),
    ]),
    Set,
);
const TCP_SOCKET: Field = ("tcpSocket", Struct(&[("port", IntOrString, Always), ("host", Text, NotEmpty)]), Set);

const PROBE: &[Field] = &[
    EXEC,
    HTTP_GET,
    TCP_SOCKET,
    ("grpc", Struct(&[("port", Int, Always), ("service", Text, OrNull)]), Set),
    ("initialDelaySeconds", Int, NotEmpty),
    ("timeoutSeconds", Int, NotEmpty),
    ("periodSeconds", Int, NotEmpty),
    ("successThreshold", Int, NotEmpty),
    ("failureThreshold", Int, NotEmpty),
    ("terminationGracePeriodSeconds", Int, Set),
];

const HOOK: &[Field] = &[EXEC, HTTP_GET, TCP_SOCKET, ("sleep", Struct(&[("seconds", Int, Always)]), Set)];

const PROFILE: &[Field] = &[("type", Text, Always), ("localhostProfile", Text, Set)];

const SECURITY_CONTEXT: &[Field] = &[
    ("capabilities", Struct(&[("add", List(&Text), NotEmpty), ("drop", List(&Text), NotEmpty)]), Set),
    ("privileged", Bool, Set),
    (
        "seLinuxOptions",
        Struct(&[
            ("user", Text, NotEmpty),
            ("role", Text, NotEmpty),
            ("type", Text, NotEmpty),
            ("level", Text, NotEmpty),
        ]),
        Set,
    ),
    (
        "windowsOptions",
        Struct(&[
            ("gmsaCredentialSpecName", Text, Set),
            ("gmsaCredentialSpec", Text, Set),
            ("runAsUserName", Text, Set),
            ("hostProcess", Bool, Set),
        ]),
        Set,
    ),
    ("runAsUser", Int, Set),
    ("runAsGroup", Int, Set),
    ("runAsNonRoot", Bool, Set),
    ("readOnlyRootFilesystem", Bool, Set),
    ("allowPrivilegeEscalation", Bool, Set),
    ("procMount", Text, Set),
    ("seccompProfile", Struct(PROFILE), Set),
    ("appArmorProfile", Struct(PROFILE), Set),
];

const TRANSFER_ENV: &[Field] = &[
    ("sourceContainerName", Text, NotEmpty),
    ("sourceContainerNameFrom", Struct(&[("fieldRef", Struct(FIELD_REF), Set)]), Set),
    ("envName", Text, NotEmpty),
    ("envNames", List(&Text), NotEmpty),
];

const EXPRESSIONS: &[Field] = &[("cpu", Text, NotEmpty), ("memory", Text, NotEmpty)];

const RESOURCES_POLICY: &[Field] = &[
    ("targetContainersMode", Text, Always),
    ("targetContainersNameRegex", Text, NotEmpty),
    ("resourcesExpr", Struct(&[("limits", Struct(EXPRESSIONS), Set), ("requests", Struct(EXPRESSIONS), Set)]), Always),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conversion::{Version, convert};
    use crate::api::defaults;
    use serde::Deserialize;
    use serde_json::json;

    /// A SidecarSet as OpenKruise's own webhook stored it.
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Vector {
        case: String,
        object: Value,
        hash: String,
        hash_without_image: String,
        #[serde(rename = "stored_spec")]
        stored_spec: Value,
    }

    fn vectors() -> Vec<Vector> {
        include_str!("../../tests/data/sidecarset-hash-vectors.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn hashes_of_submitted_sets_equal_openkruise() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 30);
        for vector in vectors {
            let object = convert(vector.object, Version::V1beta1).unwrap();
            let mut spec: SidecarSetSpec = serde_json::from_value(object["spec"].clone()).unwrap();
            defaults::apply(&mut spec);
            let expected = Hashes { hash: vector.hash, without_image: vector.hash_without_image };
            assert_eq!(hashes(&spec).unwrap(), expected, "{}", vector.case);
        }
    }

    #[test]
    fn defaults_are_those_that_openkruise_stores() {
        for vector in vectors() {
            // OpenKruise drops unknown fields and empty texts; we keep what was written
            if ["unknown", "env"].contains(&vector.case.as_str()) {
                continue;
            }
            let stored = vector.stored_spec;
            let object = convert(vector.object, Version::V1beta1).unwrap();
            let mut spec: SidecarSetSpec = serde_json::from_value(object["spec"].clone()).unwrap();
            defaults::apply(&mut spec);
            assert_eq!(serde_json::to_value(&spec).unwrap(), stored, "{}", vector.case);
            let once = spec.clone();
            defaults::apply(&mut spec);
            assert_eq!(spec, once, "{}", vector.case);
        }
    }

    #[test]
    fn absent_and_empty_containers_differ() {
        let of = |spec: Value| hashes(&serde_json::from_value(spec).unwrap()).unwrap().hash;
        assert_ne!(of(json!({})), of(json!({"containers": []})));
        // Expected values from OpenKruise's own tests.
        assert_eq!(
            of(json!({"containers": [{"name": "container1", "image": "test-image"}]})),
            "w26c4x8fz245642fdv499b464248f974xddx4x55z5dw55bc6x66464fxz77dc78"
        );
        assert_eq!(
            of(json!({
                "containers": [{"name": "container1", "image": "test-image"}],
                "initContainers": [{"name": "container1", "image": "test-image", "restartPolicy": "Always"}]
            })),
            "4xwx4d4844vd4v9x79wb4xbxf4xb29475cc4446v8cz2c2f2f5c5bw448vd42z8w"
        );
    }

    #[test]
    fn a_field_of_wrong_type_is_named() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b", "env": [{"name": "X"}, {"name": 5}]}]});
        let error = hashes(&serde_json::from_value(spec).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "spec.containers[1].env[1].name: expected a string, found a number");
    }

    #[test]
    fn what_openkruise_does_not_know_has_a_hash_of_its_own_and_changes_neither_of_the_others() {
        let of = |container: Value| {
            let spec: SidecarSetSpec = serde_json::from_value(json!({"containers": [container]})).unwrap();
            (hashes(&spec).unwrap(), hash_of_rest(&spec).unwrap())
        };
        let rules = |code: i64| {
            json!({"name": "c", "image": "x", "restartPolicy": "Never", "ports": [{"containerPort": 1}],
                   "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [code]}}]})
        };
        let (one, other) = (of(rules(1)), of(rules(2)));
        assert_eq!(one.0, other.0);
        assert!(one.1.is_some() && other.1.is_some() && one.1 != other.1);
        let mut image = rules(1);
        image["image"] = json!("y");
        assert_eq!(of(image).1, one.1, "images are the others' matter");
        let plain = json!({"name": "c", "image": "x", "restartPolicy": "Never", "future": null, "ports": [{"containerPort": 1}]});
        assert_eq!(of(plain), (one.0, None));
        let nested = |key: &str| {
            of(json!({"name": "c", "env": [{"name": "A"}, {"name": "B", "valueFrom": {"fileKeyRef": {"key": key}}}]})).1
        };
        assert_ne!(nested("K"), nested("L"));
        let order = |text: &str| of(serde_json::from_str(text).unwrap()).1;
        assert_eq!(order(r#"{"name":"c","a":{"x":1,"y":2},"b":1}"#), order(r#"{"b":1,"a":{"y":2,"x":1},"name":"c"}"#));
    }

    #[test]
    fn of_what_openkruise_stores_only_fields_it_does_not_know_have_the_third_hash() {
        for vector in vectors() {
            let object = convert(vector.object, Version::V1beta1).unwrap();
            let spec: SidecarSetSpec = serde_json::from_value(object["spec"].clone()).unwrap();
            assert_eq!(hash_of_rest(&spec).unwrap().is_some(), vector.case.contains("unknown"), "{}", vector.case);
        }
    }
}
