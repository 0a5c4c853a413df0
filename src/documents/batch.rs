//! Files that are parsed together, on all processors.

use std::num::NonZero;
use std::thread;

use super::change::{Change, Content, FileError};
use super::{Document, parse_with};

/// Files that were read and are not parsed yet, with their names.
#[derive(Debug, Default)]
pub(super) struct Batch {
    files: Vec<(String, Result<Vec<u8>, FileError>)>,
    bytes: usize,
}

/// The maximum of files, and of their bytes, that are parsed together.
const FILES: usize = 512;
const BYTES: usize = 4 * 1024 * 1024;

/// The minimum of files for another thread.
const FEW: usize = 8;

impl Batch {
    pub fn add(&mut self, name: String, found: Result<Vec<u8>, FileError>) {
        self.bytes += found.as_ref().map_or(0, Vec::len);
        self.files.push((name, found));
    }

    pub fn is_full(&self) -> bool {
        self.files.len() >= FILES || self.bytes >= BYTES
    }

    /// Reports the content of the files in their order, and removes them from the batch.
    pub fn parse<T: Send>(&mut self, read: &(impl Fn(Document) -> T + Sync), mut take: impl FnMut(Change<T>)) {
        let files = std::mem::take(self).files;
        // Most polls find no change, and the number of processors takes system calls.
        if files.is_empty() {
            return;
        }
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let share = files.len().div_ceil(threads).max(FEW);
        let mut files = files.into_iter();
        let first: Vec<_> = files.by_ref().take(share).collect();
        thread::scope(|scope| {
            let mut others = Vec::new();
            loop {
                let next: Vec<_> = files.by_ref().take(share).collect();
                if next.is_empty() {
                    break;
                }
                others.push(scope.spawn(move || next.into_iter().map(|file| parsed(file, read)).collect::<Vec<_>>()));
            }
            for file in first {
                take(parsed(file, read));
            }
            for other in others {
                match other.join() {
                    Ok(changes) => changes.into_iter().for_each(&mut take),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }
}

fn parsed<T>((file, found): (String, Result<Vec<u8>, FileError>), read: &impl Fn(Document) -> T) -> Change<T> {
    let documents = found.and_then(|bytes| Ok(parse_with(&file, &bytes, read)?));
    Change { file, content: documents.map_or_else(Content::Broken, Content::Documents) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_many_files_is_reported_in_their_order() {
        let mut batch = Batch::default();
        let names: Vec<String> = (0..100).map(|number| format!("{number:03}.yaml")).collect();
        for (number, name) in names.iter().enumerate() {
            let text =
                if number % 10 == 3 { "a: b: c".to_owned() } else { format!("apiVersion: v1\nkind: K{number}\n") };
            batch.add(name.clone(), Ok(text.into_bytes()));
        }
        let mut found = Vec::new();
        batch.parse(&|document| document.value["kind"].clone(), |change| {
            let kinds = match change.content {
                Content::Documents(kinds) => Ok(kinds),
                Content::Broken(error) => Err(matches!(error, FileError::Parse(_))),
                Content::Removed => Err(false),
            };
            found.push((change.file, kinds));
        });
        let expected = names.into_iter().enumerate().map(|(number, name)| {
            let kinds = if number % 10 == 3 { Err(true) } else { Ok(vec![format!("K{number}").into()]) };
            (name, kinds)
        });
        assert_eq!(found, expected.collect::<Vec<(String, Result<Vec<serde_json::Value>, bool>)>>());
        batch.parse(&|document| document, |_| panic!("it is empty"));
    }
}
