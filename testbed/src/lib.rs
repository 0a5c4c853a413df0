//! Starts a real Kubernetes control plane, as users of a cluster meet it, and stops what it started.
