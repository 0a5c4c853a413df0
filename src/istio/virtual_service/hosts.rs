//! The scope of a VirtualService: hosts as Istio resolves them, mesh or gateways, and who can see it.

use crate::istio::host;

/// The value of `gateways` for the proxies of the mesh.
pub const MESH: &str = "mesh";

/// A cluster's default domain.
const DOMAIN: &str = "cluster.local";

/// Returns the full host as Istio resolves it. A name without a dot is a Service in the namespace of the
/// VirtualService.
#[must_use]
pub fn resolve(host: &str, namespace: &str) -> String {
    host::full(host, namespace, DOMAIN).into_owned()
}

/// Returns the full name of a Service.
#[must_use]
pub fn fqdn(service: &str, namespace: &str) -> String {
    host::service(service, namespace, DOMAIN)
}

/// Returns name and namespace of the Service with a full name.
#[must_use]
pub fn service_of(fqdn: &str) -> Option<(&str, &str)> {
    let (service, namespace) = fqdn.strip_suffix(DOMAIN)?.strip_suffix(".svc.")?.split_once('.')?;
    (!service.is_empty() && !namespace.is_empty() && !namespace.contains('.')).then_some((service, namespace))
}

/// Whether a VirtualService with these gateways applies to the proxies of the mesh.
#[must_use]
pub fn is_for_mesh<S: AsRef<str>>(gateways: &[S]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway.as_ref() == MESH)
}

/// Whether an object in `namespace` with this `exportTo` is visible in `viewer`.
#[must_use]
pub fn exports_to<S: AsRef<str>>(export_to: &[S], namespace: &str, viewer: &str) -> bool {
    export_to.is_empty()
        || export_to.iter().any(|to| match to.as_ref() {
            "*" => true,
            "." => namespace == viewer,
            other => other == viewer,
        })
}
