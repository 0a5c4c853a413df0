//! Objects that every mesh has and files rarely contain. Objects of the same name replace them.

use super::object::Object;
use crate::documents::{self, ParseError};

/// Returns these objects. No findings about them are reported.
///
/// # Errors
/// Never: the file is part of the program.
pub fn assumed() -> Result<Vec<Object>, ParseError> {
    let text = include_bytes!("defaults.yaml");
    let documents = documents::parse("defaults.yaml", text)?;
    let objects = documents.iter().filter_map(|document| Object::read(&document.value, ""));
    Ok(objects.map(|object| Object { assumed: true, ..object }).collect())
}
