//! Another MeshService that may name the same Service or Gateway.

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
    /// Whether it serves this Service already.
    pub serves: bool,
    /// The Gateway that it names.
    pub gateway: Option<&'a Key>,
}

impl Rival<'_> {
    /// Returns the order in which MeshServices get a Service. The one that serves it comes first, so an edit of an
    /// older one does not take the Service.
    pub(super) fn for_service(&self) -> (bool, (bool, Option<Timestamp>, &Key)) {
        (!self.serves, self.by_age())
    }

    /// Returns the order in which they make a Gateway that does not exist: the oldest first.
    pub(super) fn by_age(&self) -> (bool, Option<Timestamp>, &Key) {
        (self.created.is_none(), self.created, self.key)
    }
}
