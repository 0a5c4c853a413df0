//! `SidecarGenerator`: egress listeners fetched from a URL, kept as an Istio Sidecar.
