//! Why a file of objects is rejected.

use std::{str::Utf8Error, sync::Arc};

use thiserror::Error;

use super::Position;

/// The maximum size of a file, 64 MiB: about 10,000 objects. An object in etcd has at most 1.5 MiB.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// Why a file is rejected. No part of a rejected file is used.
#[derive(Debug, Error)]
pub enum ParseError {
    /// The file is larger than [`MAX_FILE_BYTES`].
    #[error("{file}: more than {MAX_FILE_BYTES} bytes; split the file")]
    TooLarge {
        /// The file's name.
        file: Arc<str>,
    },
    /// The file is not UTF-8.
    #[error("{file}: byte {} is not UTF-8; save the file as UTF-8", source.valid_up_to())]
    NotUtf8 {
        /// The file's name.
        file: Arc<str>,
        /// The problem. `valid_up_to` is the offset of the first invalid byte.
        source: Utf8Error,
    },
    /// The text is neither YAML nor JSON, or violates a rule or limit.
    #[error("{file}:{line}:{column}: {message}")]
    Syntax {
        /// The file's name.
        file: Arc<str>,
        /// The line of the problem, counted from 1.
        line: u64,
        /// The column of the problem, counted from 1.
        column: u64,
        /// The problem.
        message: String,
    },
    /// A document or an item of a List is not a mapping.
    #[error("{position}: {found} where an object with `apiVersion` and `kind` is expected")]
    NotAnObject {
        /// Its position.
        position: Position,
        /// What was found instead.
        found: &'static str,
    },
    /// A field that every object must have is absent or of the wrong type.
    #[error("{position}: `{field}` {problem}")]
    Field {
        /// The position of the object.
        position: Position,
        /// The field's name.
        field: &'static str,
        /// The problem.
        problem: &'static str,
    },
}
