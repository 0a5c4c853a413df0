//! Pure: reads a configuration and tries its template with a Service, so that what Istio would refuse is told before anything is written.

use super::configuration::Configuration;
use super::key::Key;
use super::routes;
use super::service::{ObservedService, Port};
use crate::api::decode::FieldError;

/// The Service that a template is tried with.
const SAMPLE: &str = "sample";

/// Reads `config.yaml`.
///
/// # Errors
/// All that is wrong with it, by field.
pub fn read(text: &str) -> Result<Configuration, Vec<FieldError>> {
    let configuration = Configuration::read(text)?;
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
            "virtualServiceTemplate: spec.http[0].timeout: must be a duration such as 1.5s, 500ms or 1m30s"
        );
        assert!(read(&template.replace("never", "5s")).is_ok());
    }
}
