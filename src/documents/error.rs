//! Why a file of objects is refused.

use std::{str::Utf8Error, sync::Arc};

use thiserror::Error;

use super::Position;

/// The largest file that is read, 64 MiB: some 10,000 objects, where etcd holds objects of 1.5 MiB at most.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// Why a file is refused. No part of a refused file is used.
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
        /// What is wrong with the bytes; `valid_up_to` is the offset of the first bad one.
        source: Utf8Error,
    },
    /// The text is neither YAML nor JSON, or breaks a rule or a bound for values.
    #[error("{file}:{line}:{column}: {message}")]
    Syntax {
        /// The file's name.
        file: Arc<str>,
        /// Line of the fault, counted from 1.
        line: u64,
        /// Column of the fault, counted from 1.
        column: u64,
        /// What is wrong there.
        message: String,
    },
    /// A document or an item of a List is no mapping.
    #[error("{position}: {found} where an object with `apiVersion` and `kind` is expected")]
    NotAnObject {
        /// Where it stands.
        position: Position,
        /// What stands there instead.
        found: &'static str,
    },
    /// A field that every object has is absent or of the wrong type.
    #[error("{position}: `{field}` {problem}")]
    Field {
        /// Where the object stands.
        position: Position,
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}
