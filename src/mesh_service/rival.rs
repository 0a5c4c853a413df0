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
    pub service: Option<&'a Key>,
    /// Whether its objects are for this Service already.
    pub serves: bool,
    /// The Gateway that it names.
    pub gateway: Option<&'a Key>,
}

impl Rival<'_> {
    /// The order in which MeshServices have a Service: first who has it, or editing an older one would take it from who serves.
    pub(super) fn for_service(&self) -> (bool, (bool, Option<Timestamp>, &Key)) {
        (!self.serves, self.by_age())
    }

    /// The order in which they have a Gateway made that is not there: the older first.
    pub(super) fn by_age(&self) -> (bool, Option<Timestamp>, &Key) {
        (self.created.is_none(), self.created, self.key)
    }
}
