//! Namespaces and Services that are left alone, whatever the configuration says.

/// Namespaces of Kubernetes and Istio: nothing in them is routed, and nothing is written to them.
pub const EXCLUDED_NAMESPACES: [&str; 5] =
    ["kube-system", "kube-public", "kube-node-lease", "istio-system", "istio-injection"];

/// Services of Kubernetes, in whatever namespace: they are not routed.
pub const EXCLUDED_SERVICES: [&str; 3] = ["kubernetes", "kube-dns", "kube-system"];
