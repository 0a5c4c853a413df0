//! Outrigger puts sidecar containers into Pods, keeps them up to date, and keeps the Istio configuration around them
//! right. Arrows point one way: `cli` -> jobs -> `documents`, `telemetry` -> `api`.

pub mod admission;
pub mod api;
pub mod cli;
pub mod documents;
pub mod injection;
pub mod telemetry;
