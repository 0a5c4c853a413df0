//! What whoever watches, reads and downloads tells: the state behind a lock that is never waited under.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::folder::{Arrived, Draft};
use super::naming::Place;
use super::object::{ObjectKey, WireObject};
use super::state::{Parts, Problems, State, Wanted};
use crate::cluster::Event;

/// The files and what is known of them. A clone is the same.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to read.
    read: Notify,
}

impl Engine {
    /// An engine that knows what the last process wrote.
    pub fn new(parts: Parts) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(State::new(parts)), read: Notify::new() }) }
    }

    /// Takes an event of a part.
    pub fn tell(&self, part: u16, event: Event<WireObject>) {
        self.with(|state| state.tell(part, event));
    }

    /// Takes an object that was read again, or that it could not be.
    pub fn read(&self, key: &ObjectKey, object: Option<&WireObject>) {
        self.with(|state| state.read(key, object));
    }

    /// It is a download's turn: what is wanted now, if anything is.
    pub fn begin(&self, place: &Arc<Place>) -> Option<Wanted> {
        self.lock().begin(place)
    }

    /// A file for what is downloaded.
    pub fn draft(&self, wanted: &Wanted) -> io::Result<Draft> {
        let mut draft = Err(io::ErrorKind::NotFound.into());
        self.with(|state| draft = state.draft(wanted));
        draft
    }

    /// Takes what was downloaded, if it is wanted still.
    pub fn downloaded(&self, wanted: &Wanted, arrived: Arrived) {
        self.with(|state| state.downloaded(wanted, arrived));
    }

    /// What was downloaded is what it was.
    pub fn same_as_before(&self, wanted: &Wanted) {
        self.with(|state| state.same_as_before(wanted));
    }

    /// A download failed; the file stays as it is.
    pub fn not_downloaded(&self, wanted: &Wanted, problem: &str) {
        self.with(|state| state.not_downloaded(wanted, problem));
    }

    /// Whether something is downloaded now.
    pub fn is_downloading(&self) -> bool {
        self.lock().is_downloading()
    }

    /// What is not downloaded yet.
    pub fn downloading(&self) -> Vec<String> {
        self.lock().downloading()
    }

    /// Looks at all files: what changed on disk is made as it should be, and what is downloaded is asked for again.
    pub fn look(&self, heal: bool) {
        self.with(|state| state.look(heal));
    }

    /// The objects to be read again, once there are some.
    pub async fn to_read(&self) -> Vec<ObjectKey> {
        loop {
            let keys = self.lock().take_reads();
            if !keys.is_empty() {
                return keys;
            }
            self.shared.read.notified().await;
        }
    }

    /// Whether an object has to be read again, or is being read.
    pub fn is_reading(&self) -> bool {
        self.lock().is_reading()
    }

    /// Whether a file could not be written, or none could.
    pub fn has_failures(&self) -> bool {
        self.lock().has_failures()
    }

    /// Tries what failed once more.
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

    /// What is wrong with files, objects and downloads.
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
