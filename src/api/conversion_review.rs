//! The `ConversionReview` envelope of `apiextensions.k8s.io/v1`. It is read without copying, object by object, and
//! answered directly.

use super::borrowed::Str;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// The only version in use. The `CustomResourceDefinition` registers no other.
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
    /// The request.
    #[serde(borrow)]
    pub request: Option<ConversionRequest<'a>>,
}

/// The request of a review.
#[derive(Debug, Deserialize)]
pub struct ConversionRequest<'a> {
    /// Identifies the review; the answer repeats it.
    #[serde(borrow, default)]
    pub uid: Str<'a>,
    /// The target version of the objects: `group/version`.
    #[serde(borrow, default, rename = "desiredAPIVersion")]
    pub desired_api_version: Str<'a>,
    /// The objects, one or a whole list, as JSON text.
    #[serde(borrow, default)]
    pub objects: Option<&'a RawValue>,
}

/// The answer, written object by object.
#[derive(Debug)]
pub struct ConversionReviewAnswer {
    text: Vec<u8>,
    has_objects: bool,
}

/// Whether the objects were converted.
#[derive(Debug, Serialize)]
#[serde(tag = "status")]
pub enum ConversionResult<'a> {
    /// All objects were converted.
    Success,
    /// No object was converted.
    Failure {
        /// The message for the API server's client.
        message: &'a str,
    },
}

impl<'a> ConversionRequest<'a> {
    /// Iterates over the objects without keeping any of them.
    ///
    /// # Errors
    /// When they are not a list, or when `each` fails.
    pub fn for_each_object<E>(
        &self,
        each: impl FnMut(&'a RawValue) -> Result<(), E>,
    ) -> Result<Result<(), E>, serde_json::Error> {
        struct Each<F>(F);

        impl<'de, E, F: FnMut(&'de RawValue) -> Result<(), E>> Visitor<'de> for Each<F> {
            type Value = Result<(), E>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(mut self, mut objects: A) -> Result<Self::Value, A::Error> {
                let mut outcome = Ok(());
                while let Some(object) = objects.next_element::<&RawValue>()? {
                    if outcome.is_ok() {
                        outcome = (self.0)(object);
                    }
                }
                Ok(outcome)
            }
        }

        let objects = self.objects.map_or("[]", RawValue::get);
        serde_json::Deserializer::from_str(objects).deserialize_seq(Each(each))
    }
}

impl ConversionReviewAnswer {
    /// Begins an answer without objects. Up to `capacity` bytes of them can be written without reallocation.
    ///
    /// # Errors
    /// Never, because only text is written.
    pub fn begin(uid: &str, capacity: usize) -> Result<Self, serde_json::Error> {
        let uid = serde_json::to_string(uid)?;
        let mut text = Vec::with_capacity(capacity);
        let head =
            format!(r#"{{"apiVersion":"{API_VERSION}","kind":"{KIND}","response":{{"uid":{uid},"convertedObjects":["#);
        text.extend_from_slice(head.as_bytes());
        Ok(Self { text, has_objects: false })
    }

    /// Returns the buffer for the next object. Objects must be written in the order of the review, and none if the
    /// conversion failed.
    pub fn next_object(&mut self) -> &mut Vec<u8> {
        if self.has_objects {
            self.text.push(b',');
        }
        self.has_objects = true;
        &mut self.text
    }

    /// Returns its size so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// Returns the whole answer.
    ///
    /// # Errors
    /// Never, because only text is written.
    pub fn end(mut self, result: &ConversionResult<'_>) -> Result<Vec<u8>, serde_json::Error> {
        self.text.extend_from_slice(br#"],"result":"#);
        serde_json::to_writer(&mut self.text, result)?;
        self.text.extend_from_slice(b"}}");
        Ok(self.text)
    }
}
