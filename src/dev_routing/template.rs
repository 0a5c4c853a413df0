//! Pure: `virtualServiceTemplate`: a VirtualService with `${serviceName}` and `${defaultNamespace}` in its texts.
//!
//! It is parsed as YAML first, and names are substituted in the texts of values, so any name stays a text.

use super::excluded::EXCLUDED_NAMESPACES;
use super::virtual_service::{LABEL, LABEL_VALUE};
use crate::api::decode::{FieldError, typed};
use crate::documents;
use crate::istio::names;
use crate::istio::virtual_service::{GROUP, VERSIONS, VirtualService, is_for_mesh};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use thiserror::Error;

/// The maximum size as JSON with aliases expanded. Each Service has a VirtualService of this size, which is also kept
/// in memory.
const LARGEST: usize = 64 * 1024;

/// The maximum length of an object's name.
const LONGEST_NAME: usize = 253;

const SERVICE_NAME: &str = "serviceName";
const DEFAULT_NAMESPACE: &str = "defaultNamespace";

/// A usable template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    metadata: Value,
    spec: Value,
}

/// A template rendered for one Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its spec, without routes to developers.
    pub virtual_service: VirtualService,
}

/// Why a template cannot be used.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// It is not YAML, or not one object.
    #[error("{0}; put texts with ${{…}} in quotes")]
    Yaml(#[from] documents::ParseError),
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// The metadata allowed in a template.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Metadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The problem.
    pub fn read(text: &str) -> Result<Self, TemplateError> {
        let wrong = |field: &str, problem: &str| Err(FieldError::new(field, problem).into());
        let Value::Object(mut object) = documents::parse_value("line", text.as_bytes())? else {
            return wrong("it", "must be a VirtualService");
        };
        let is_istio = |version: &str| {
            version.split_once('/').is_some_and(|(group, version)| group == GROUP && VERSIONS.contains(&version))
        };
        if !object.get("apiVersion").and_then(Value::as_str).is_some_and(is_istio) {
            return wrong("apiVersion", "must be networking.istio.io/v1, or an older version of it");
        }
        if object.get("kind") != Some(&Value::from("VirtualService")) {
            return wrong("kind", "must be VirtualService");
        }
        let known = ["apiVersion", "kind", "metadata", "spec"];
        if let Some(other) = object.keys().find(|key| !known.contains(&key.as_str())) {
            return wrong(other, "is not known");
        }
        let mut take = |field: &str| object.remove(field).filter(|value| !value.is_null());
        let empty = || Value::Object(Map::new());
        let template =
            Self { metadata: take("metadata").unwrap_or_else(empty), spec: take("spec").unwrap_or_else(empty) };
        if template.metadata.to_string().len() + template.spec.to_string().len() > LARGEST {
            return wrong("it", "must have at most 64 KiB: each Service has a VirtualService of that size");
        }
        template.check()?;
        Ok(template)
    }

    /// Checks everything that does not depend on the Service.
    fn check(&self) -> Result<(), FieldError> {
        let rendered = self.render("a", "b")?;
        let other = self.render("c", "b")?;
        if rendered.name == other.name && rendered.namespace == other.namespace {
            return Err(FieldError::new(
                "metadata.name",
                "must have ${serviceName} in it, for each Service has its own",
            ));
        }
        if rendered.labels.get(LABEL).is_some_and(|value| value != LABEL_VALUE) {
            let problem = format!("must be {LABEL_VALUE}, by which VirtualServices of a template are known");
            return Err(FieldError::new(format!("metadata.labels[{LABEL}]"), problem));
        }
        let VirtualService { hosts, gateways, .. } = &rendered.virtual_service;
        if is_for_mesh(gateways)
            && let Some(index) = hosts.iter().position(|host| other.virtual_service.hosts.contains(host))
        {
            let problem = "must have ${serviceName} in it: Istio follows one VirtualService for a host of the mesh";
            return Err(FieldError::new(format!("spec.hosts[{index}]"), problem));
        }
        Ok(())
    }

    /// Whether it names gateways.
    #[must_use]
    pub fn has_gateways(&self) -> bool {
        self.spec.get("gateways").and_then(Value::as_array).is_some_and(|gateways| !gateways.is_empty())
    }

    /// Returns the namespace of all VirtualServices, if it is the same.
    #[must_use]
    pub fn namespace(&self, default_namespace: &str) -> Option<String> {
        let [one, other] = ["a", "c"].map(|service| self.render(service, default_namespace).ok());
        let (one, other) = (one?.namespace, other?.namespace);
        (one == other).then_some(one)
    }

    /// Renders the VirtualService for a Service.
    ///
    /// # Errors
    /// When a field is not a field of a VirtualService, or a variable is unknown.
    pub fn render(&self, service: &str, default_namespace: &str) -> Result<Rendered, FieldError> {
        let names = Names { service, default_namespace };
        let metadata: Metadata = typed(names.put_into("metadata", &self.metadata)?)
            .map_err(|error| FieldError { field: format!("metadata.{}", error.field), ..error })?;
        let virtual_service = VirtualService::read(names.put_into("spec", &self.spec)?)
            .map_err(|error| FieldError { field: format!("spec.{}", error.field), ..error })?;
        let Metadata { name, namespace, labels, annotations } = metadata;
        if name.is_empty() {
            return Err(FieldError::new("metadata.name", "must be set"));
        }
        let namespace = if namespace.is_empty() { default_namespace.to_owned() } else { namespace };
        let rendered = Rendered { name, namespace, labels, annotations, virtual_service };
        rendered.check_metadata()?;
        Ok(rendered)
    }
}

impl Rendered {
    /// Checks the metadata by the API server's rules.
    fn check_metadata(&self) -> Result<(), FieldError> {
        let wrong = |field: &str, problem: &str| Err(FieldError::new(format!("metadata.{field}"), problem));
        let Self { name, namespace, labels, annotations, .. } = self;
        if name.len() > LONGEST_NAME || !name.split('.').all(is_lower_case_label) {
            return wrong(
                "name",
                "must be at most 253 small letters, digits, '-' and '.', with a letter or digit at both ends",
            );
        }
        if !is_lower_case_label(namespace) {
            return wrong("namespace", "must be the name of a namespace");
        }
        if EXCLUDED_NAMESPACES.contains(&namespace.as_str()) {
            return wrong("namespace", "must not be a system namespace: nothing is written there");
        }
        for (field, entries) in [("labels", labels), ("annotations", annotations)] {
            for (key, value) in entries {
                let checked = names::label_key(key);
                let checked = checked.and_then(|()| if field == "labels" { names::label_value(value) } else { Ok(()) });
                checked.map_err(|problem| FieldError::new(format!("metadata.{field}[{key}]"), problem))?;
            }
        }
        Ok(())
    }
}

/// Whether a text is a Kubernetes DNS label, such as the name of a namespace.
pub(super) fn is_lower_case_label(text: &str) -> bool {
    names::dns_label(text).is_ok() && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// The values of the variables.
struct Names<'a> {
    service: &'a str,
    default_namespace: &'a str,
}

impl Names<'_> {
    /// Substitutes the names in all texts of a value. `at` is its path.
    fn put_into(&self, at: &str, value: &Value) -> Result<Value, FieldError> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(at, text)?),
            Value::Array(items) => {
                let item = |(index, item)| self.put_into(&format!("{at}[{index}]"), item);
                Value::Array(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let field = |(key, value): (&String, &Value)| {
                    let at = format!("{at}.{key}");
                    Ok((self.text(&at, key)?, self.put_into(&at, value)?))
                };
                Value::Object(fields.iter().map(field).collect::<Result<_, FieldError>>()?)
            }
            other => other.clone(),
        })
    }

    fn text(&self, at: &str, text: &str) -> Result<String, FieldError> {
        let mut rendered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            rendered.push_str(before);
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let is_closed = rest.len() > before.len() + 2 + name.len();
            rendered.push_str(match name {
                SERVICE_NAME if is_closed => self.service,
                DEFAULT_NAMESPACE if is_closed => self.default_namespace,
                _ => {
                    let problem = "has a variable that is not known: there are ${serviceName} and ${defaultNamespace}";
                    return Err(FieldError::new(at, problem));
                }
            });
            rest = after;
        }
        rendered.push_str(rest);
        Ok(rendered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// From the seed's document.
    const ADVANCED: &str = r#"
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: "${serviceName}-vs"
  namespace: "${defaultNamespace}"
  labels:
    managed-by: virtualservice-operator
    service: "${serviceName}"
spec:
  hosts:
  - ${serviceName}
  - ${serviceName}.${defaultNamespace}.svc.cluster.local
  http:
  # Developer routes will be injected here
  - route:
    - destination:
        host: ${serviceName}.${defaultNamespace}.svc.cluster.local
      weight: 100
"#;

    fn with(from: &str, to: &str) -> String {
        assert!(ADVANCED.contains(from), "{from}");
        ADVANCED.replace(from, to)
    }

    #[test]
    fn names_are_put_into_texts_and_stay_texts() {
        let template = Template::read(ADVANCED).unwrap();
        let rendered = template.render("true", "123").unwrap();
        assert_eq!((rendered.name.as_str(), rendered.namespace.as_str()), ("true-vs", "123"));
        assert_eq!(rendered.labels["service"], "true");
        assert_eq!(
            rendered.virtual_service.spec(),
            json!({
                "hosts": ["true", "true.123.svc.cluster.local"],
                "http": [{"route": [{"destination": {"host": "true.123.svc.cluster.local"}, "weight": 100}]}],
            })
        );
        let other = with("namespace: \"${defaultNamespace}\"", "annotations: {\"for-${serviceName}\": x}");
        let rendered = Template::read(&other).unwrap().render("a", "prod").unwrap();
        assert_eq!(rendered.namespace, "prod");
        assert_eq!(rendered.annotations["for-a"], "x");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("[]".to_owned(), "it: must be a VirtualService"),
            (with("hosts:\n  - ${serviceName}\n", "hosts: [${serviceName}]\n"), "line:"),
            (with("kind: VirtualService", "kind: Service"), "kind: must be VirtualService"),
            (
                with("networking.istio.io/v1beta1", "networking.istio.io/v2"),
                "apiVersion: must be networking.istio.io/v1",
            ),
            (with("\nspec:", "\nstatus: {}\nspec:"), "status: is not known"),
            (with("  name: \"${serviceName}-vs\"", "  name: a"), "metadata.name: must have ${serviceName}"),
            (with("  name: \"${serviceName}-vs\"\n", ""), "metadata.name: must be set"),
            (with("  labels:", "  finalizers: [a]\n  labels:"), "metadata.finalizers: unknown field"),
            (with("virtualservice-operator", "me"), "metadata.labels[managed-by]: must be virtualservice-operator"),
            (with("  - ${serviceName}\n", "  - all\n"), "spec.hosts[0]: must have ${serviceName} in it"),
            (with("  - ${serviceName}\n", "  - ${service}\n"), "spec.hosts[0]: has a variable that is not known"),
            (with("  - ${serviceName}\n", "  - ${serviceName\n"), "spec.hosts[0]: has a variable that is not known"),
            (with("${serviceName}-vs", "${serviceName}_vs"), "metadata.name: must be at most 253 small letters"),
            (with("\"${defaultNamespace}\"", "istio-system"), "metadata.namespace: must not be a system namespace"),
            (with("\"${defaultNamespace}\"", "Prod"), "metadata.namespace: must be the name of a namespace"),
            (
                with("service: \"${serviceName}\"", "service: a b"),
                "metadata.labels[service]: must be the value of a label",
            ),
            (with("    service:", "    a b:"), "metadata.labels[a b]: must be the key of a label"),
            (with("weight: 100", &format!("subset: {}", "s".repeat(LARGEST))), "it: must have at most 64 KiB"),
            (with("weight: 100", "wait: 100"), "spec.http[0].route[0].wait: unknown field"),
        ] {
            let error = Template::read(&text).expect_err(&text).to_string();
            assert!(error.starts_with(expected), "{error:?} does not start with {expected:?}");
        }
    }
}
