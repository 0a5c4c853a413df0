//! What a poll of a folder reports: the changed files, and why a file cannot be used.

use std::io;

use thiserror::Error;

use super::ParseError;

/// A difference from the previous poll.
#[derive(Debug)]
pub struct Change<T> {
    /// The file's path below the folder. For the folder itself or a single file, the path it was opened by.
    pub file: String,
    /// The current content.
    pub content: Content<T>,
}

/// The content of a file.
#[derive(Debug)]
pub enum Content<T> {
    /// The results for all of the file's objects, in order.
    Documents(Vec<T>),
    /// The file or folder cannot be read: keep its last content. Reported once, not at each poll.
    Broken(FileError),
    /// The file is gone. For a folder that was reported as broken: it can be read again.
    Removed,
}

/// Why a file or a folder cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Its path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// It cannot be parsed.
    #[error(transparent)]
    Parse(#[from] ParseError),
}
