//! The `ConversionReview` envelope of `apiextensions.k8s.io/v1`: read borrowed, object by object, answered directly.

use super::borrowed::Str;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The only version there is in use: the `CustomResourceDefinition` registers no other.
pub const API_VERSION: &str = "apiextensions.k8s.io/v1";
/// Kind of the envelope.
pub const KIND: &str = "ConversionReview";

/// A review as the API server sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversionReview<'a> {
    /// [`API_VERSION`].
    #[serde(borrow, default)]
    pub api_version: Str<'a>,
    /// [`KIND`].
    #[serde(borrow, default)]
    pub kind: Str<'a>,
    /// What is asked.
    #[serde(borrow)]
    pub request: Option<ConversionRequest<'a>>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
pub struct ConversionRequest<'a> {
    /// Identifies the review; the answer repeats it.
    #[serde(borrow, default)]
    pub uid: Str<'a>,
    /// The version to bring the objects to: `group/version`.
    #[serde(borrow, default, rename = "desiredAPIVersion")]
    pub desired_api_version: Str<'a>,
    /// The objects, one or all of a list, as their JSON text.
    #[serde(borrow, default)]
    pub objects: Vec<&'a RawValue>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversionReviewAnswer<'a> {
    /// [`API_VERSION`].
    pub api_version: &'a str,
    /// [`KIND`].
    pub kind: &'a str,
    /// What is answered.
    pub response: ConversionResponse<'a>,
}

/// What is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversionResponse<'a> {
    /// As in the review.
    pub uid: &'a str,
    /// The objects, in the order of the review; none where the conversion failed.
    pub converted_objects: Vec<Box<RawValue>>,
    /// Whether all of them were converted.
    pub result: ConversionResult<'a>,
}

/// Whether the objects were converted.
#[derive(Debug, Serialize)]
#[serde(tag = "status")]
pub enum ConversionResult<'a> {
    /// They were.
    Success,
    /// None was.
    Failure {
        /// What the API server's client reads.
        message: &'a str,
    },
}
