//! Files left behind by agents with other selections. If no process has run with a selection for a while, its files are removed,
//! because a change of LABEL would otherwise leave the previously selected files. Files of running agents and of single runs stay.

use std::collections::BTreeMap;

use super::folder::Folder;
use super::manifest::Manifest;

/// The number of consecutive checks at which nobody holds a journal before its files are removed. A failed container
/// restarts within five minutes.
const LOOKS: u32 = 10;

/// Unlocked journals of others.
#[derive(Debug, Default)]
pub struct Former {
    seen: BTreeMap<String, u32>,
}

impl Former {
    /// Checks once more. Returns the names of journals that nobody has locked for long.
    pub fn look(&mut self, folder: &Folder, own: &str) -> Vec<String> {
        let names = folder.names(Manifest::PREFIX).unwrap_or_default();
        let before = std::mem::take(&mut self.seen);
        let looks = |name: &String| before.get(name).copied().unwrap_or_default().saturating_add(1);
        let free = names.into_iter().filter(|name| name != own && folder.is_held_by_none(name));
        self.seen = free.map(|name| (name.clone(), looks(&name))).collect();
        self.seen.iter().filter(|(_, looks)| **looks >= LOOKS).map(|(name, _)| name.clone()).collect()
    }

    /// Returns the agent's id in a journal's name.
    pub fn id(journal: &str) -> &str {
        journal.strip_prefix(Manifest::PREFIX).unwrap_or_default()
    }
}
