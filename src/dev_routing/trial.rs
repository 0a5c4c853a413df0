//! Pure: reads a configuration and renders its template for a sample Service, so that what Istio would reject is
//! reported before anything is written.

use super::configuration::Configuration;
use super::key::Key;
use super::routes;
use super::service::{ObservedService, Port};
use crate::api::decode::FieldError;

/// Istio's maximum length of an expression.
const LONGEST_EXPRESSION: usize = 1024;

/// The sample Service.
const SAMPLE: &str = "sample";

/// Reads `config.yaml`.
///
/// # Errors
/// When it has problems, by field.
pub fn read(text: &str) -> Result<Configuration, Vec<FieldError>> {
    let configuration = Configuration::read(text)?;
    let Configuration { matching, developers, .. } = &configuration;
    let longest = developers.iter().max_by_key(|developer| developer.len()).filter(|_| matching.baggage);
    if longest.is_some_and(|developer| routes::member(&matching.headers, developer).len() > LONGEST_EXPRESSION) {
        let problem = "must be fewer or shorter with baggage: Istio takes expressions of at most 1024 characters";
        return Err(vec![FieldError::new("headers", problem)]);
    }
    if configuration.template.is_some() {
        let ports = vec![Port { name: Box::default(), number: 80, http: true }];
        let key = Key::new(&configuration.default_namespace, SAMPLE);
        let service = ObservedService { key, ports, ..ObservedService::default() };
        let of_template =
            |FieldError { field, problem }| FieldError::new(format!("virtualServiceTemplate: {field}"), problem);
        routes::virtual_service(&configuration, &service, &[])
            .map_err(|errors| errors.into_iter().map(of_template).collect::<Vec<_>>())?;
    }
    Ok(configuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_istio_would_refuse_is_refused_with_its_field() {
        let template = "
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: \"${serviceName}\"}
  spec:
    hosts: [\"${serviceName}\"]
    http: [{route: [{destination: {host: \"${serviceName}\"}}], timeout: never}]
";
        let problems = read(template).unwrap_err();
        assert_eq!(
            problems[0].to_string(),
            "virtualServiceTemplate: spec.http[0].timeout: must be a duration such as \"1.5s\""
        );
        assert!(read(&template.replace("never", "5s")).is_ok());
    }

    /// Envoy's expressions are RE2, without look-around and back-references.
    #[test]
    fn an_expression_that_re2_does_not_take_is_refused() {
        let template = r#"
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: "${serviceName}"}
  spec:
    hosts: ["${serviceName}"]
    http:
    - match: [{uri: {regex: 'PATTERN'}}]
      route: [{destination: {host: "${serviceName}"}}]
    - route: [{destination: {host: "${serviceName}"}}]
"#;
        for pattern in ["/(?!admin).*", "(?<=a)b", r"(a)\1", "a++", "(", "a{1001}"] {
            let problems = read(&template.replace("PATTERN", pattern)).expect_err(pattern);
            let problem = problems[0].to_string();
            let expected =
                "virtualServiceTemplate: spec.http[0].match[0].uri.regex: must be a regular expression of RE2: ";
            assert!(problem.starts_with(expected) && problems.len() == 1, "{problem}");
        }
        for pattern in [r"/v\d+/\w*", "(?i)^/a.*$", r"/\Q${serviceName}\E/\pL+", "/(?P<name>[[:alpha:]]*?)"] {
            assert!(read(&template.replace("PATTERN", pattern)).is_ok(), "{pattern}");
        }
    }

    /// From the seed's document: the host and its full name, which Istio accepts.
    #[test]
    fn a_template_may_name_a_service_in_both_ways() {
        let template = "
defaultNamespace: production
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1beta1
  kind: VirtualService
  metadata:
    name: \"${serviceName}-vs\"
    namespace: \"${defaultNamespace}\"
    labels:
      managed-by: virtualservice-operator
      service: \"${serviceName}\"
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
";
        assert_eq!(read(template).err(), None);
    }

    #[test]
    fn headers_are_bounded_where_they_stand_in_one_expression() {
        let headers: Vec<String> = (0..60).map(|number| format!("x-a-rather-long-header-{number}")).collect();
        let text = format!("developerNamespaces: [dev]\nheaders: [{}]\n", headers.join(", "));
        assert!(read(&text).is_ok());
        assert_eq!(read(&(text + "baggage: true")).unwrap_err()[0].field, "headers");
    }
}
