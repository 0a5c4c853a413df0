//! The decision about a Pod, and why it may be refused.

use super::exclusion::Exclusion;
use super::forecast::Forecast;
use super::request::Abandoned;
use super::verify::Deviation;
use crate::api::decode::FieldError;
use thiserror::Error;

/// The decision about a Pod.
#[derive(Debug)]
pub enum Injection {
    /// The Pod is excluded, whatever the SidecarSets are.
    Excluded(Exclusion),
    /// No SidecarSet matches.
    NotMatched,
    /// Some SidecarSets match.
    Matched(Injected),
}

/// The result of injecting the matching SidecarSets.
#[derive(Debug)]
pub struct Injected {
    /// The sets, in name order.
    pub sets: Vec<InjectedSet>,
    /// JSON Patch as text; `None` if the Pod already has everything.
    pub patch: Option<String>,
    /// Warnings for the Pod's author.
    pub warnings: Vec<String>,
}

/// The result of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedSet {
    /// Its name.
    pub name: String,
    /// The revision recorded in the Pod.
    pub revision: Option<String>,
    /// Names of the added or replaced containers and init containers. Empty if the Pod already has them all.
    pub containers: Vec<String>,
    /// Containers of the Pod that claim to be the set's, differ from it, and are kept.
    pub deviations: Vec<Deviation>,
    /// Parts of the set that do not fit the Pod.
    pub forecasts: Vec<Forecast>,
}

/// Why no patch could be computed for a Pod.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InjectError {
    /// The Pod must not be created.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The Pod cannot be read.
    #[error("the Pod's {0}")]
    Unreadable(FieldError),
    /// The client no longer waits for the answer, according to [`super::PodRequest::abandoned`].
    #[error("nobody waits for the review of this Pod any more")]
    Abandoned,
}

/// Why a Pod must not be created.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("SidecarSet {set:?} cannot be injected: {field}: {problem}")]
pub struct Denial {
    /// The set.
    pub set: String,
    /// The field at fault, of the set or of the Pod.
    pub field: String,
    /// The problem and its solution.
    pub problem: String,
}

impl From<Abandoned> for InjectError {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}
