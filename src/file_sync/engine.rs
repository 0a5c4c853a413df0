//! The state, behind a lock that is never held across an await. Watches, readers and downloads report to it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::folder::{Arrived, Draft};
use super::naming::Place;
use super::object::{ObjectKey, WireObject};
use super::state::{Parts, Problems, State, Wanted};
use crate::cluster::Event;

/// The files and their state. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when there is something to read.
    read: Notify,
}

impl Engine {
    /// Creates an engine that knows what the last process wrote.
    pub fn new(parts: Parts) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(State::new(parts)), read: Notify::new() }) }
    }

    /// Handles an event of a part.
    pub fn tell(&self, part: u16, event: Event<WireObject>) {
        self.with(|state| state.tell(part, event));
    }

    /// Handles an object that was read again, or a failed read.
    pub fn read(&self, key: &ObjectKey, object: Option<&WireObject>) {
        self.with(|state| state.read(key, object));
    }

    /// Begins a download if it is still needed.
    pub fn begin(&self, place: &Arc<Place>) -> Option<Wanted> {
        self.lock().begin(place)
    }

    /// Creates a file for a download.
    pub fn draft(&self, wanted: &Wanted) -> io::Result<Draft> {
        let mut draft = Err(io::ErrorKind::NotFound.into());
        self.with(|state| draft = state.draft(wanted));
        draft
    }

    /// Stores a downloaded file if it is still needed.
    pub fn downloaded(&self, wanted: &Wanted, arrived: Arrived) {
        self.with(|state| state.downloaded(wanted, arrived));
    }

    /// The download has not changed.
    pub fn same_as_before(&self, wanted: &Wanted) {
        self.with(|state| state.same_as_before(wanted));
    }

    /// A download failed. The file stays unchanged.
    pub fn not_downloaded(&self, wanted: &Wanted, problem: &str) {
        self.with(|state| state.not_downloaded(wanted, problem));
    }

    /// Whether a download is in progress.
    pub fn is_downloading(&self) -> bool {
        self.lock().is_downloading()
    }

    /// Returns the pending downloads.
    pub fn downloading(&self) -> Vec<String> {
        self.lock().downloading()
    }

    /// Checks all files: restores those that changed on disk, and repeats downloads.
    pub fn look(&self, heal: bool) {
        self.with(|state| state.look(heal));
    }

    /// Waits for objects to read again, and returns them.
    pub async fn to_read(&self) -> Vec<ObjectKey> {
        loop {
            let keys = self.lock().take_reads();
            if !keys.is_empty() {
                return keys;
            }
            self.shared.read.notified().await;
        }
    }

    /// Whether an object must be read again or is being read.
    pub fn is_reading(&self) -> bool {
        self.lock().is_reading()
    }

    /// Whether a file, or any file at all, could not be written.
    pub fn has_failures(&self) -> bool {
        self.lock().has_failures()
    }

    /// Retries what failed.
    pub fn retry(&self) {
        self.with(State::retry);
    }

    /// Whether every part had a complete list.
    pub fn is_listed(&self) -> bool {
        self.lock().is_listed()
    }

    /// Whether a folder cannot be written at all.
    pub fn is_folder_broken(&self) -> bool {
        self.lock().is_folder_broken()
    }

    /// Returns the problems of files, objects and downloads.
    pub fn problems(&self) -> Problems {
        self.lock().problems()
    }

    fn with(&self, act: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        act(&mut state);
        state.count();
        if state.has_reads() {
            self.shared.read.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
