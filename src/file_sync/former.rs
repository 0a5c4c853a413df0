//! What agents of other selections left behind: the files of those that nobody has run for a while go, for otherwise a change of LABEL
//! would leave what it selected before. Those of agents that run, and of single runs, stay.

use std::collections::BTreeMap;

use super::folder::Folder;
use super::manifest::Manifest;

/// Looks in a row at which nobody held a journal, before its files go: a container that fails is started again within five minutes.
const LOOKS: u32 = 10;

/// The journals of others that nobody holds.
#[derive(Debug, Default)]
pub struct Former {
    seen: BTreeMap<String, u32>,
}

impl Former {
    /// Looks once more; the names of those that nobody has held for long.
    pub fn look(&mut self, folder: &Folder, own: &str) -> Vec<String> {
        let names = folder.names(Manifest::PREFIX).unwrap_or_default();
        let before = std::mem::take(&mut self.seen);
        let looks = |name: &String| before.get(name).copied().unwrap_or_default().saturating_add(1);
        let free = names.into_iter().filter(|name| name != own && folder.is_held_by_none(name));
        self.seen = free.map(|name| (name.clone(), looks(&name))).collect();
        self.seen.iter().filter(|(_, looks)| **looks >= LOOKS).map(|(name, _)| name.clone()).collect()
    }

    /// The id of an agent whose journal has this name.
    pub fn id(journal: &str) -> &str {
        journal.strip_prefix(Manifest::PREFIX).unwrap_or_default()
    }
}
