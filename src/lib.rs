//! Outrigger puts sidecar containers into Pods, keeps them up to date, and keeps the Istio configuration around them
//! right. Dependencies point one way: `cli` -> jobs -> `istio`, `fetch`, `cluster`, `documents`, `telemetry`,
//! `connections` -> `api`.
//!
//! * [`cli`]: one file or folder for each command; the only module that combines the others
//! * [`admission`]: the HTTPS server, the reviews it answers, and its registration in a cluster
//! * [`injection`]: pure: which SidecarSets match a Pod, the patch that injects them, and what makes a SidecarSet valid
//! * [`rollout`]: a SidecarSet after admission: the counts and conditions of its status, and its `ControllerRevisions`
//! * [`dev_routing`]: Services and one ConfigMap -> VirtualServices with developers' routes, placeholder Services
//! * [`sidecar_generator`]: URL -> Istio Sidecar
//! * [`mesh_integrity`]: the integrity of a mesh, in the cluster and offline
//! * [`mesh_service`]: MeshService, one object for a service in the mesh -> Istio objects
//! * [`file_sync`]: ConfigMaps and Secrets as files next to an app
//! * [`istio`]: pure: the parts of Istio's API in use, and their validation
//! * [`fetch`]: the guarded HTTP client: address rules, limits, conditional requests
//! * [`documents`]: files of objects: YAML and JSON, positions for messages, re-reading on change
//! * [`cluster`]: client, watches, work queue, lease, events, conditions, conditional writes, shutdown
//! * [`telemetry`]: logs, readiness, and the metrics that jobs register
//! * [`connections`]: listening ports: limits, timeouts, and which connections are closed first
//! * [`api`]: wire types, their defaults and conversion

pub mod admission;
pub mod api;
pub mod cli;
pub mod cluster;
pub mod connections;
pub mod dev_routing;
pub mod documents;
pub mod fetch;
pub mod file_sync;
pub mod injection;
pub mod istio;
pub mod mesh_integrity;
pub mod mesh_service;
pub mod rollout;
pub mod sidecar_generator;
pub mod telemetry;
