//! Reading a SidecarSet of either version: converted to v1beta1, typed, and with its defaults.

use super::conversion::{ConversionError, Version, convert};
use super::defaults;
use super::sidecarset::SidecarSet;
use serde_json::Value;
use thiserror::Error;

/// Why an object is no readable SidecarSet.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// It is no SidecarSet of a known version.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// A field has the wrong type.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads a SidecarSet and fills in its defaults.
///
/// # Errors
/// When it is no SidecarSet of a known version, or a field has the wrong type.
pub fn sidecarset(object: Value) -> Result<SidecarSet, DecodeError> {
    let mut set: SidecarSet = typed(convert(object, Version::V1beta1)?)?;
    defaults::apply(&mut set.spec);
    Ok(set)
}

/// Reads an object of any type, naming the field at fault.
///
/// # Errors
/// When a field has the wrong type.
pub fn typed<T: serde::de::DeserializeOwned>(object: Value) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(object)
        .map_err(|e| DecodeError::Field { field: e.path().to_string(), problem: e.into_inner().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_of_wrong_type_is_named() {
        let object = json!({
            "apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "transferEnv": [{"envName": 5}]}]}
        });
        let error = sidecarset(object).unwrap_err().to_string();
        assert_eq!(error, "spec.containers[0].transferEnv[0].envName: invalid type: integer `5`, expected a string");
    }
}
