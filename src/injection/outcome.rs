//! What is decided about a Pod, and why it may be refused.

use super::exclusion::Exclusion;
use super::forecast::Forecast;
use super::request::Abandoned;
use super::verify::Deviation;
use crate::api::decode::FieldError;
use thiserror::Error;

/// What was decided about a Pod.
#[derive(Debug)]
pub enum Injection {
    /// It is left alone, whatever SidecarSets say.
    Excluded(Exclusion),
    /// No SidecarSet matches.
    NotMatched,
    /// Some match.
    Matched(Injected),
}

/// What matching SidecarSets do to a Pod.
#[derive(Debug)]
pub struct Injected {
    /// The sets, in name order.
    pub sets: Vec<InjectedSet>,
    /// JSON Patch as text; `None` when the Pod has everything.
    pub patch: Option<String>,
    /// What the Pod's author should know.
    pub warnings: Vec<String>,
}

/// What one set does to a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedSet {
    /// Its name.
    pub name: String,
    /// The revision recorded in the Pod.
    pub revision: Option<String>,
    /// Names of the containers and init containers that are added or replaced; none where the Pod has them all.
    pub containers: Vec<String>,
    /// Containers of the Pod that claim to be the set's, are not, and stay.
    pub deviations: Vec<Deviation>,
    /// What of the set does not fit the Pod.
    pub forecasts: Vec<Forecast>,
}

/// Why a Pod gets no answer that could be applied.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InjectError {
    /// The Pod must not be created.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The Pod cannot be read.
    #[error("the Pod's {0}")]
    Unreadable(FieldError),
    /// Nobody waits for the answer any more, as [`super::PodRequest::abandoned`] says.
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
    /// What is wrong and what to do.
    pub problem: String,
}

impl From<Abandoned> for InjectError {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}
