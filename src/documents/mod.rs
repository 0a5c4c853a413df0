//! Files of Kubernetes objects: YAML and JSON, multiple documents in one file, `List` objects, positions for
//! messages, and folders that are re-read when they change.

mod batch;
mod change;
mod error;
mod folder;
mod lines;
mod list;
mod parse;
mod value;
mod written;
mod yaml;

use std::{fmt, sync::Arc};

pub use change::{Change, Content, FileError};
pub use error::{MAX_FILE_BYTES, ParseError};
pub use folder::{Folder, read_bounded, read_regular};
pub use lines::Lines;
pub use parse::{Part, parse, parse_each, parse_value, parse_with};
use serde_json::Value;
pub use value::{MAX_DEPTH, MAX_MEMORY, json};
pub use written::{Stream, Written, written};
pub use yaml::{to_yaml, to_yaml_stream};

/// One object of a file. Its value is a JSON object with strings `apiVersion` and `kind`. The keys keep the order
/// of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The position for messages.
    pub position: Position,
    /// The object.
    pub value: Value,
}

/// The position of a document. Displayed as `sets.yaml:12`, or `sets.yaml:12 items[3]` for an item of a List.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The file's name as passed to [`parse()`].
    pub file: Arc<str>,
    /// Line of the document's first key (for an item, of its List), counted from 1.
    pub line: usize,
    /// Indexes in the `items` of nested Lists; empty for a single document.
    pub items: Vec<usize>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        for (depth, item) in self.items.iter().enumerate() {
            write!(f, "{}items[{item}]", if depth == 0 { " " } else { "." })?;
        }
        Ok(())
    }
}
