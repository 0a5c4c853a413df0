//! ConfigMaps and Secrets as files beside an app: what the options select is written to a folder, and the app is told.
//!
//! Thinking, without files and clocks:
//! - [`options`]: what is wanted
//! - `object`: the slices of `ConfigMap` and `Secret` that files are made of
//! - [`naming`]: which file each key becomes, and which it may not become
//! - `plan`: who owns which file, and what is to be done when objects come, change and go
//!
//! Doing:
//! - `folder`: writes that no reader sees half of and that do not leave their folder
//! - `manifest`: what was written, for the next start
//! - `former`: what agents of other selections left behind
//! - `state`: does what the plan says, and remembers what failed
//! - `engine`: the same behind a lock, for all who tell it
//! - `reading`: reads objects again whose content is needed once more
//! - `download`: the contents that keys name by URL
//! - [`calls`]: requests with their retries and credentials
//! - `reload`: script and request, once for each burst of changes
//! - [`health`], `metrics`: what probes and scrapers are told
//! - [`agent`]: all of it together

pub mod agent;
pub mod calls;
mod download;
mod engine;
mod folder;
mod former;
pub mod health;
mod manifest;
mod metrics;
pub mod naming;
mod object;
pub mod options;
mod plan;
mod reading;
mod reload;
mod state;

#[cfg(test)]
mod tests;

pub use agent::{Agent, AgentError};
pub use object::Kind;
pub use options::Options;
