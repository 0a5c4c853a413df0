//! Pure: the configuration in `config.yaml` of the ConfigMap, and its problems.

use super::excluded::EXCLUDED_NAMESPACES;
use super::template::{Template, is_lower_case_label};
use crate::api::decode::{FieldError, typed};
use crate::documents;
use crate::istio::names;
use crate::istio::validate::refused_virtual_service;
use crate::istio::virtual_service::http::{HttpRoute, Retries};
use crate::istio::virtual_service::{Destination, VirtualService};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The key of the ConfigMap.
pub const KEY: &str = "config.yaml";

/// The Service for trying a configuration.
const SAMPLE: &str = "sample";

/// A usable configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The namespace of the shared Services.
    pub default_namespace: String,
    /// Namespaces with copies, in the order of their routes.
    pub developers: Vec<String>,
    /// Listed namespaces that are [`EXCLUDED_NAMESPACES`].
    pub excluded: Vec<String>,
    /// Whether placeholders are created.
    pub placeholders: bool,
    /// The VirtualService that the routes are added to.
    pub template: Option<Template>,
    /// The namespace of the template's VirtualServices, if it is the same for all.
    pub virtual_services_in: Option<String>,
    /// How requests name a developer.
    pub matching: Matching,
    /// Whether a copy is routed only with a ready endpoint.
    pub require_ready_endpoints: bool,
    /// The time limit for an answer.
    pub timeout: Option<String>,
    /// The retries of a request.
    pub retries: Option<Retries>,
    /// Gateways of VirtualServices without a template.
    pub gateways: Vec<String>,
}

/// How requests name a developer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// Any of these headers, in lower case.
    pub headers: Vec<String>,
    /// Whether a header only needs to begin with the namespace.
    pub prefix: bool,
    /// Whether members of the header `baggage` also count.
    pub baggage: bool,
}

/// `match`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Match {
    #[default]
    Exact,
    Prefix,
}

/// The fields as written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Fields {
    default_namespace: String,
    developer_namespaces: Vec<String>,
    enable_placeholder_services: bool,
    virtual_service_template: Option<String>,
    headers: Option<Vec<String>>,
    #[serde(rename = "match")]
    matching: Match,
    baggage: bool,
    require_ready_endpoints: bool,
    timeout: Option<String>,
    retries: Option<Retries>,
    gateways: Vec<String>,
}

/// Names of [`Fields`].
const FIELDS: [&str; 11] = [
    "defaultNamespace",
    "developerNamespaces",
    "enablePlaceholderServices",
    "virtualServiceTemplate",
    "headers",
    "match",
    "baggage",
    "requireReadyEndpoints",
    "timeout",
    "retries",
    "gateways",
];

/// The header of vs-operator.
const HEADER: &str = "x-developer";

impl Configuration {
    /// Reads `config.yaml`.
    ///
    /// # Errors
    /// When it has problems, by field.
    pub fn read(text: &str) -> Result<Self, Vec<FieldError>> {
        let value = documents::parse_value(KEY, text.as_bytes()).map_err(|error| {
            let error = error.to_string();
            let (place, problem) = error.split_once(": ").unwrap_or((KEY, &error));
            vec![FieldError::new(place, problem)]
        })?;
        let fields = match value {
            Value::Null => return Err(vec![FieldError::new(KEY, "is empty")]),
            Value::Object(fields) => fields,
            _ => return Err(vec![FieldError::new(KEY, "must be an object with fields such as defaultNamespace")]),
        };
        let fields: Fields = typed(Value::Object(as_documented(fields))).map_err(|error| vec![error])?;
        Self::check(fields)
    }

    fn check(fields: Fields) -> Result<Self, Vec<FieldError>> {
        let mut problems = Vec::new();
        let default_namespace = Some(fields.default_namespace).filter(|name| !name.is_empty());
        let default_namespace = default_namespace.unwrap_or_else(|| "default".to_owned());
        if !is_lower_case_label(&default_namespace) {
            problems.push(FieldError::new("defaultNamespace", "must be the name of a namespace"));
        } else if EXCLUDED_NAMESPACES.contains(&default_namespace.as_str()) {
            let problem = format!("must not be {default_namespace}: nothing in a system namespace is routed");
            problems.push(FieldError::new("defaultNamespace", problem));
        }
        let (mut developers, mut excluded) = (Vec::new(), Vec::new());
        for (index, namespace) in fields.developer_namespaces.into_iter().enumerate() {
            let mut wrong = |problem: String| {
                problems.push(FieldError::new(format!("developerNamespaces[{index}]"), problem));
            };
            if !is_lower_case_label(&namespace) {
                wrong("must be the name of a namespace".to_owned());
            } else if namespace == default_namespace {
                wrong(format!("must not be {namespace}, which is the defaultNamespace"));
            } else if developers.contains(&namespace) || excluded.contains(&namespace) {
                wrong(format!("must not name {namespace} again"));
            } else if EXCLUDED_NAMESPACES.contains(&namespace.as_str()) {
                excluded.push(namespace);
            } else {
                developers.push(namespace);
            }
        }
        let matching = Matching {
            headers: headers(fields.headers, &mut problems),
            prefix: fields.matching == Match::Prefix,
            baggage: fields.baggage,
        };
        let template = fields.virtual_service_template.as_deref().map(Template::read).transpose();
        let template = template.unwrap_or_else(|error| {
            problems.push(FieldError::new("virtualServiceTemplate", error.to_string()));
            None
        });
        if template.as_ref().is_some_and(Template::has_gateways) && !fields.gateways.is_empty() {
            problems.push(FieldError::new("gateways", "must not be set where the virtualServiceTemplate has gateways"));
        }
        let virtual_services_in = template.as_ref().and_then(|template| template.namespace(&default_namespace));
        let configuration = Self {
            virtual_services_in,
            default_namespace,
            developers,
            excluded,
            placeholders: fields.enable_placeholder_services,
            template,
            matching,
            require_ready_endpoints: fields.require_ready_endpoints,
            timeout: fields.timeout,
            retries: fields.retries,
            gateways: fields.gateways,
        };
        if problems.is_empty() {
            configuration.check_as_istio_does(&mut problems);
        }
        if problems.is_empty() { Ok(configuration) } else { Err(problems) }
    }

    /// Checks the parts of routes by Istio's rules.
    fn check_as_istio_does(&self, problems: &mut Vec<FieldError>) {
        let route = HttpRoute {
            timeout: self.timeout.clone(),
            retries: self.retries.clone(),
            ..HttpRoute::to(Destination::host(SAMPLE))
        };
        let own = VirtualService {
            hosts: vec![SAMPLE.to_owned()],
            gateways: self.gateways.clone(),
            http: vec![route],
            ..VirtualService::default()
        };
        for FieldError { field, problem } in refused_virtual_service(&own.spec(), &self.default_namespace) {
            let field = field.trim_start_matches("spec.").trim_start_matches("http[0].");
            problems.push(FieldError::new(field, problem));
        }
    }

    /// Returns the namespaces of Services and of VirtualServices.
    pub fn namespaces(&self) -> impl Iterator<Item = &String> {
        let of_template = self.virtual_services_in.as_ref().filter(|namespace| !self.is_developer(namespace));
        let of_template = of_template.filter(|namespace| **namespace != self.default_namespace);
        std::iter::once(&self.default_namespace).chain(&self.developers).chain(of_template)
    }

    /// Whether the namespace belongs to a developer.
    #[must_use]
    pub fn is_developer(&self, namespace: &str) -> bool {
        self.developers.iter().any(|developer| developer == namespace)
    }
}

/// Renames fields to the documented names, because vs-operator ignores case.
fn as_documented(fields: Map<String, Value>) -> Map<String, Value> {
    let name = |key: String| match FIELDS.iter().find(|field| field.eq_ignore_ascii_case(&key)) {
        Some(field) => (*field).to_owned(),
        None => key,
    };
    // A field without a value counts as absent.
    fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (name(key), value)).collect()
}

fn headers(given: Option<Vec<String>>, problems: &mut Vec<FieldError>) -> Vec<String> {
    let Some(given) = given else { return vec![HEADER.to_owned()] };
    if given.is_empty() {
        problems.push(FieldError::new("headers", "must have a header"));
    }
    let mut headers: Vec<String> = Vec::new();
    for (index, header) in given.into_iter().enumerate() {
        let header = header.to_ascii_lowercase();
        let field = format!("headers[{index}]");
        if let Err(problem) = names::header(&header, false) {
            problems.push(FieldError::new(field, problem));
        } else if headers.contains(&header) {
            problems.push(FieldError::new(field, format!("must not name {header} again")));
        } else {
            headers.push(header);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the fields with problems.
    fn problems(text: &str) -> Vec<String> {
        let problems = Configuration::read(text).expect_err(text);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_readme_s_fields_are_read() {
        let text = "
defaultNamespace: \"default\"
developerNamespaces:
  - \"dev-alice\"
  - \"dev-bob\"
  - \"staging\"
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1beta1
  kind: VirtualService
  metadata:
    name: \"${serviceName}-virtual-service\"
    namespace: \"${defaultNamespace}\"
  spec:
    hosts:
    - ${serviceName}
    http:
    # Developer routes will be injected here
    - route:
      - destination:
          host: ${serviceName}.${defaultNamespace}.svc.cluster.local
";
        let read = Configuration::read(text).unwrap();
        assert_eq!((read.default_namespace.as_str(), read.placeholders), ("default", false));
        assert_eq!(read.developers, ["dev-alice", "dev-bob", "staging"]);
        assert!(read.template.is_some());
        assert_eq!(read.matching, Matching { headers: vec!["x-developer".to_owned()], prefix: false, baggage: false });
    }

    #[test]
    fn keys_count_in_any_case_and_absent_ones_have_defaults() {
        let read =
            Configuration::read("DEVELOPERNAMESPACES: [a]\nenableplaceholderservices: true\ngateways:\n").unwrap();
        assert_eq!((read.default_namespace.as_str(), read.placeholders), ("default", true));
        assert_eq!(read.developers, ["a"]);
    }

    #[test]
    fn system_namespaces_are_left_out_and_are_no_default() {
        let read = Configuration::read("developerNamespaces: [istio-system, a, kube-public]").unwrap();
        assert_eq!(read.developers, ["a"]);
        assert_eq!(read.excluded, ["istio-system", "kube-public"]);
        assert_eq!(
            problems("defaultNamespace: kube-system"),
            ["defaultNamespace: must not be kube-system: nothing in a system namespace is routed"]
        );
    }

    #[test]
    fn each_thing_that_is_wrong_is_named() {
        for (text, expected) in [
            ("", vec!["config.yaml: is empty"]),
            ("[]", vec!["config.yaml: must be an object with fields such as defaultNamespace"]),
            ("developerNamespace: [a]", vec!["developerNamespace: unknown field `developerNamespace`"]),
            ("developerNamespaces: a", vec!["developerNamespaces: invalid type"]),
            (
                "defaultNamespace: a\ndeveloperNamespaces: [a, B, '', c, c]",
                vec![
                    "developerNamespaces[0]: must not be a, which is the defaultNamespace",
                    "developerNamespaces[1]: must be the name of a namespace",
                    "developerNamespaces[2]: must be the name of a namespace",
                    "developerNamespaces[4]: must not name c again",
                ],
            ),
            ("headers: []", vec!["headers: must have a header"]),
            (
                "headers: [a b, x, X]",
                vec!["headers[0]: must be the name of a header", "headers[2]: must not name x again"],
            ),
            ("match: regex", vec!["match: Unsupported value"]),
            ("timeout: 5", vec!["timeout: invalid type"]),
            ("timeout: soon", vec!["timeout: must be a duration such as \"1.5s\""]),
            ("retries: {attempts: -1}", vec!["retries.attempts: must be at least 0"]),
            ("gateways: [a/b/c]", vec!["gateways[0]: must be mesh, NAME or NAMESPACE/NAME"]),
            ("virtualServiceTemplate: 'a: ['", vec!["virtualServiceTemplate: "]),
        ] {
            let problems = problems(text);
            assert_eq!(problems.len(), expected.len(), "{problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.starts_with(expected), "{problem:?} does not start with {expected:?}");
            }
        }
    }
}
