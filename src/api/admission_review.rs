//! The AdmissionReview envelope of `admission.k8s.io`. It is read without copying and answered directly.
//!
//! It is written by hand because the patch must be base64 text and the object must not be copied. The versions `v1` and
//! `v1beta1` have the same fields.

use super::borrowed::Str;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A review as the API server sends it. `O` is the type of its object, `Old` that of the stored object, which is
/// skipped by default.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>, Old: Deserialize<'de>"))]
pub struct AdmissionReview<'a, O, Old = IgnoredAny> {
    /// `admission.k8s.io/v1` or `admission.k8s.io/v1beta1`.
    #[serde(borrow, default)]
    pub api_version: Str<'a>,
    /// `AdmissionReview`.
    #[serde(borrow, default)]
    pub kind: Str<'a>,
    /// The request.
    #[serde(borrow)]
    pub request: Option<AdmissionRequest<'a, O, Old>>,
}

/// The request of a review.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>, Old: Deserialize<'de>"))]
pub struct AdmissionRequest<'a, O, Old = IgnoredAny> {
    /// Identifies the review; the answer repeats it.
    #[serde(borrow, default)]
    pub uid: Str<'a>,
    /// The object's group, version and kind.
    #[serde(borrow, default)]
    pub kind: GroupVersionKind<'a>,
    /// `status`, `ephemeralcontainers` and so on if a subresource is written.
    #[serde(borrow, default)]
    pub sub_resource: Option<Str<'a>>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow, default)]
    pub operation: Str<'a>,
    /// Namespace of the object.
    #[serde(borrow, default)]
    pub namespace: Option<Str<'a>>,
    /// Whether nothing will be stored. There must be no other side effects then.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// The new object.
    pub object: Option<O>,
    /// The stored object.
    pub old_object: Option<Old>,
}

/// The group, version and kind of an object.
#[derive(Debug, Default, Deserialize)]
pub struct GroupVersionKind<'a> {
    /// Empty for the core group.
    #[serde(borrow, default)]
    pub group: Str<'a>,
    /// Version.
    #[serde(borrow, default)]
    pub version: Str<'a>,
    /// Kind.
    #[serde(borrow, default)]
    pub kind: Str<'a>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionReviewAnswer<'a> {
    /// As in the review.
    pub api_version: &'a str,
    /// `AdmissionReview`.
    pub kind: &'a str,
    /// The response.
    pub response: AdmissionResponse<'a>,
}

/// The response to a review.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionResponse<'a> {
    /// As in the review.
    pub uid: &'a str,
    /// Whether the object may be stored.
    pub allowed: bool,
    /// Why it may not be stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status<'a>>,
    /// `JSONPatch`, together with a patch, which is written behind all other fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<&'a str>,
    /// Shown to the user.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub warnings: &'a [String],
    /// Kept in the audit log.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub audit_annotations: BTreeMap<&'a str, String>,
}

/// Why an object may not be stored.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'a str,
    /// What the user reads.
    pub message: &'a str,
    /// The same by field. kubectl shows this if it is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails<'a>>,
}

/// An object and its problems.
#[derive(Debug, Serialize)]
pub struct StatusDetails<'a> {
    /// Its name.
    pub name: &'a str,
    /// API group of its kind.
    pub group: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// The problems.
    pub causes: Vec<StatusCause<'a>>,
}

/// A field and its problem.
#[derive(Debug, Serialize)]
pub struct StatusCause<'a> {
    /// Machine-readable reason, such as `FieldValueInvalid`.
    pub reason: &'a str,
    /// The problem, without the field.
    pub message: &'a str,
    /// Path of the field.
    pub field: &'a str,
}
