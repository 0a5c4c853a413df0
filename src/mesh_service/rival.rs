//! Another MeshService, as far as it may name the same Service or Gateway.

use super::key::Key;
use jiff::Timestamp;

/// Another MeshService.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival<'a> {
    /// Its namespace and name.
    pub key: &'a Key,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its Service.
    pub service: &'a Key,
    /// The Gateway that it names.
    pub gateway: Option<&'a Key>,
}

impl Rival<'_> {
    /// The order in which MeshServices have their wish: the older first.
    pub(super) fn order(&self) -> (bool, Option<Timestamp>, &Key) {
        (self.created.is_none(), self.created, self.key)
    }
}
