//! Each field of containers and volumes in Kubernetes, from the API server's own schema.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use json_patch::Patch;
use outrigger::api::conversion::{Version, convert};
use outrigger::api::decode;
use outrigger::api::pod::PodView;
use outrigger::injection::{Index, InjectableSet, Injection, Options, PodRequest};
use outrigger_testbed::Case;
use serde_json::{Map, Value, json};

use crate::outrigger::Outrigger;
use crate::versions::is_newest;

/// The fields known to outrigger: one path a line, `.*` for the keys of a map, a feature gate after a space.
const KNOWN: [(&str, &str); 2] = [
    ("io.k8s.api.core.v1.Container", include_str!("../../src/injection/validate/known_fields/container.txt")),
    ("io.k8s.api.core.v1.Volume", include_str!("../../src/injection/validate/known_fields/volume.txt")),
];

/// Paths of all fields of a type, each with an object that has the field.
struct Fields<'s> {
    schemas: &'s Map<String, Value>,
    found: BTreeMap<String, Value>,
}

impl<'s> Fields<'s> {
    fn of(schemas: &'s Map<String, Value>, name: &str) -> Self {
        let mut fields = Self { schemas, found: BTreeMap::new() };
        fields.walk(name, "", &|value| value);
        fields
    }

    /// Returns the type of a property, if that has properties itself.
    fn object(&self, property: &'s Value) -> Option<&'s str> {
        let reference = property.get("$ref").or_else(|| property.get("allOf")?.get(0)?.get("$ref"))?.as_str()?;
        let name = reference.rsplit('/').next()?;
        self.schemas.get(name)?.get("properties").map(|_| name)
    }

    /// `around` builds a whole object from the value of a field of this type.
    fn walk(&mut self, name: &str, path: &str, around: &dyn Fn(Value) -> Value) {
        let Some(properties) = self.schemas[name]["properties"].as_object() else { return };
        for (field, property) in properties {
            let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
            let around = |value: Value| around(json!({field: value}));
            let kind = property["type"].as_str().unwrap_or_default();
            if let Some(object) = self.object(property) {
                self.found.insert(path.clone(), around(json!({})));
                self.walk(object, &path, &around);
            } else if kind == "array" {
                let object = self.object(&property["items"]);
                let item = object.map_or_else(|| sample(&property["items"]), |_| json!({}));
                self.found.insert(path.clone(), around(json!([item])));
                if let Some(object) = object {
                    self.walk(object, &path, &|value| around(json!([value])));
                }
            } else if property.get("additionalProperties").is_some() {
                self.found.insert(format!("{path}.*"), around(json!({"key": "1"})));
            } else {
                let sample = sample(property);
                self.found.insert(path, around(sample));
            }
        }
    }
}

/// Returns a value of a property without properties.
fn sample(property: &Value) -> Value {
    let reference = property.get("$ref").or_else(|| property.get("allOf")?.get(0)?.get("$ref"));
    let name = reference.and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next());
    if let Some(name) = name {
        return match name.rsplit('.').next() {
            Some("IntOrString") => json!(1),
            _ => json!("1"),
        };
    }
    match property["type"].as_str() {
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("x"),
    }
}

/// Whether `whole` has everything that `part` has; lists item by item.
fn has(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| has(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() >= part.len() && whole.iter().zip(part).all(|(whole, part)| has(whole, part))
        }
        _ => whole == part,
    }
}

/// A set whose container or volume has a field: the field survives conversion and injection, the set can be hashed, and
/// there is no second pass.
fn survives(kind: &str, object: &Value) -> Result<()> {
    let mut container = json!({"name": "sidecar", "image": "side:1"});
    let mut volume = json!({"name": "volume"});
    let written = if kind.ends_with("Container") { &mut container } else { &mut volume };
    for (field, value) in object.as_object().into_iter().flatten() {
        written[field] = value.clone();
    }
    let expected = object.clone();
    if kind.ends_with("Volume") {
        container["volumeMounts"] = json!([{"name": volume["name"], "mountPath": "/v"}]);
    }
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "containers": [container], "volumes": [volume]});
    let set =
        json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": spec});
    let there = convert(set.clone(), Version::V1alpha1)?;
    let back = convert(there, Version::V1beta1)?;
    ensure!(has(&back["spec"], &set["spec"]), "conversion loses it: {back}");

    let mut index = Index::new(Options::default());
    index.apply_set(InjectableSet::new(decode::sidecarset(back)?)?);
    let snapshot = index.snapshot();
    let mut pod = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app"}]}});
    for pass in 1..=2 {
        let text = pod.to_string();
        let view: PodView<'_> = serde_json::from_str(&text)?;
        match snapshot.inject(&view, &PodRequest::create("default", Timestamp::UNIX_EPOCH))? {
            Injection::Matched(injected) if pass == 1 => {
                let patch = injected.patch.context("a patch")?;
                json_patch::patch(&mut pod, &serde_json::from_str::<Patch>(&patch)?)?;
            }
            Injection::Matched(injected) => ensure!(injected.patch.is_none(), "a second pass: {:?}", injected.patch),
            other => bail!("{other:?}"),
        }
    }
    let injected = if kind.ends_with("Container") { &pod["spec"]["containers"][0] } else { &pod["spec"]["volumes"][0] };
    ensure!(has(injected, &expected), "injection loses it: {injected}");
    Ok(())
}

/// Outrigger knows the fields of this API server, and each survives everything it does.
pub async fn each_field_of_kubernetes_is_known_and_survives(case: Case<Outrigger>) -> Result<()> {
    let request = http::Request::get("/openapi/v3/api/v1").body(Vec::new())?;
    let document: Value = serde_json::from_str(&case.plane.client().request_text(request).await?)?;
    let schemas = document["components"]["schemas"].as_object().context("a document of OpenAPI")?;
    let (newest, mut wrong) = (is_newest(&case.plane).await?, Vec::new());
    for (kind, known) in KNOWN {
        let fields = Fields::of(schemas, kind).found;
        let known: BTreeSet<&str> = known.lines().filter_map(|line| line.split(' ').next()).collect();
        let real: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
        wrong.extend(real.difference(&known).map(|path| format!("{kind} {path}: has no row")));
        if newest {
            wrong.extend(known.difference(&real).map(|path| format!("{kind} {path}: Kubernetes does not have it")));
        }
        for (path, object) in &fields {
            if let Err(error) = survives(kind, object) {
                wrong.push(format!("{kind} {path}: {error:#}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
