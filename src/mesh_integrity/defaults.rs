//! Objects that stand for what files rarely hold and every mesh has; those of the same name take their place.

use super::object::Object;
use crate::documents::{self, ParseError};

/// These objects. Nothing is said about them.
///
/// # Errors
/// None: the file is part of the program.
pub fn assumed() -> Result<Vec<Object>, ParseError> {
    let text = include_bytes!("defaults.yaml");
    let documents = documents::parse("defaults.yaml", text)?;
    let objects = documents.iter().filter_map(|document| Object::read(&document.value, ""));
    Ok(objects.map(|object| Object { assumed: true, ..object }).collect())
}
