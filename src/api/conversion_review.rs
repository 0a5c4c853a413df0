//! The `ConversionReview` envelope of `apiextensions.k8s.io/v1`: read borrowed, object by object, answered directly.

use super::borrowed::Str;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

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
    /// They were.
    Success,
    /// None was.
    Failure {
        /// What the API server's client reads.
        message: &'a str,
    },
}

impl<'a> ConversionRequest<'a> {
    /// Goes through the objects, and keeps none of them.
    ///
    /// # Errors
    /// When they are no list, or `each` fails.
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
    /// An answer without objects. Up to `capacity` bytes of them will be written in place.
    ///
    /// # Errors
    /// Never: what is written is text.
    pub fn begin(uid: &str, capacity: usize) -> Result<Self, serde_json::Error> {
        let uid = serde_json::to_string(uid)?;
        let mut text = Vec::with_capacity(capacity);
        let head =
            format!(r#"{{"apiVersion":"{API_VERSION}","kind":"{KIND}","response":{{"uid":{uid},"convertedObjects":["#);
        text.extend_from_slice(head.as_bytes());
        Ok(Self { text, has_objects: false })
    }

    /// Where the next object is to be written: the objects, in the order of the review; none where the conversion failed.
    pub fn next_object(&mut self) -> &mut Vec<u8> {
        if self.has_objects {
            self.text.push(b',');
        }
        self.has_objects = true;
        &mut self.text
    }

    /// Its bytes until now.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// The whole of it.
    ///
    /// # Errors
    /// Never: what is written is text.
    pub fn end(mut self, result: &ConversionResult<'_>) -> Result<Vec<u8>, serde_json::Error> {
        self.text.extend_from_slice(br#"],"result":"#);
        serde_json::to_writer(&mut self.text, result)?;
        self.text.extend_from_slice(b"}}");
        Ok(self.text)
    }
}
