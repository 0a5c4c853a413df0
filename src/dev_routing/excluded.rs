//! Namespaces and Services that are never routed, whatever the configuration says.

/// Namespaces of Kubernetes and Istio. Nothing in them is routed or written.
pub const EXCLUDED_NAMESPACES: [&str; 5] =
    ["kube-system", "kube-public", "kube-node-lease", "istio-system", "istio-injection"];

/// Services of Kubernetes in any namespace. They are not routed.
pub const EXCLUDED_SERVICES: [&str; 3] = ["kubernetes", "kube-dns", "kube-system"];
