//! ConfigMaps and Secrets as files next to an app: selected objects are written to a folder, and the app is notified.
//!
//! Pure parts:
//! - [`options`]: the configuration
//! - `object`: the parts of `ConfigMap` and `Secret` that become files
//! - [`naming`]: which file each key becomes, and which names are forbidden
//! - `plan`: the owner of each file, and the steps when objects come, change and go
//!
//! Parts with effects:
//! - `folder`: atomic writes that cannot leave their folder
//! - `manifest`: the journal of written files for the next start
//! - `former`: files left behind by agents with other selections
//! - `state`: executes the plan, and remembers failures
//! - `engine`: the state behind a lock, for all that report to it
//! - `reading`: reads objects whose content is needed again
//! - `download`: the content of keys with a URL
//! - [`calls`]: requests with their retries and credentials
//! - `reload`: script and request, once for each burst of changes
//! - [`health`], `metrics`: probes and metrics
//! - [`agent`]: combines all parts

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
