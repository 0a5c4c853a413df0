//! What a VirtualService is for: hosts as Istio resolves them, the mesh or gateways, and who sees it.

use crate::istio::host;

/// Among `gateways`: the proxies of the mesh.
pub const MESH: &str = "mesh";

/// The domain of a cluster, unless its administrators chose another.
const DOMAIN: &str = "cluster.local";

/// The host that Istio takes a short one for: a name without a dot is a Service in the namespace of the VirtualService.
#[must_use]
pub fn resolve(host: &str, namespace: &str) -> String {
    host::full(host, namespace, DOMAIN).into_owned()
}

/// The whole name of a Service.
#[must_use]
pub fn fqdn(service: &str, namespace: &str) -> String {
    host::service(service, namespace, DOMAIN)
}

/// Name and namespace of the Service of a whole name.
#[must_use]
pub fn service_of(fqdn: &str) -> Option<(&str, &str)> {
    let (service, namespace) = fqdn.strip_suffix(DOMAIN)?.strip_suffix(".svc.")?.split_once('.')?;
    (!service.is_empty() && !namespace.is_empty() && !namespace.contains('.')).then_some((service, namespace))
}

/// Whether one with these gateways counts for the proxies of the mesh.
#[must_use]
pub fn is_for_mesh<S: AsRef<str>>(gateways: &[S]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway.as_ref() == MESH)
}

/// Whether one in `namespace` with this `exportTo` is seen in `viewer`.
#[must_use]
pub fn exports_to<S: AsRef<str>>(export_to: &[S], namespace: &str, viewer: &str) -> bool {
    export_to.is_empty()
        || export_to.iter().any(|to| match to.as_ref() {
            "*" => true,
            "." => namespace == viewer,
            other => other == viewer,
        })
}
