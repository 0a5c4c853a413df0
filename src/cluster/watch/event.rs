//! The events for the sink of a watch: lists, object by object, and the changes between them.

/// An event for a sink.
///
/// A list that is interrupted begins again. So until [`Event::End`] the known objects must be kept, and missing ones are not known
/// to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// A list begins, as of a moment before this.
    Begin,
    /// The list has this object, new or known.
    Item(K),
    /// The list is complete. Objects that were not in it are gone.
    End,
    /// This object is new or changed. Never within a list.
    Applied(K),
    /// This object is gone. Has its last state. Never within a list.
    Deleted(K),
}

impl<K> Event<K> {
    /// Maps the object, or fails.
    ///
    /// # Errors
    /// When there is no counterpart.
    pub fn try_map<T, E>(self, counterpart: impl FnOnce(K) -> Result<T, E>) -> Result<Event<T>, E> {
        Ok(match self {
            Self::Begin => Event::Begin,
            Self::Item(object) => Event::Item(counterpart(object)?),
            Self::End => Event::End,
            Self::Applied(object) => Event::Applied(counterpart(object)?),
            Self::Deleted(object) => Event::Deleted(counterpart(object)?),
        })
    }

    /// Maps the object.
    pub fn map<T>(self, counterpart: impl FnOnce(K) -> T) -> Event<T> {
        match self {
            Self::Begin => Event::Begin,
            Self::Item(object) => Event::Item(counterpart(object)),
            Self::End => Event::End,
            Self::Applied(object) => Event::Applied(counterpart(object)),
            Self::Deleted(object) => Event::Deleted(counterpart(object)),
        }
    }

    /// Borrows the event, for another sink.
    pub const fn as_ref(&self) -> Event<&K> {
        match self {
            Self::Begin => Event::Begin,
            Self::Item(object) => Event::Item(object),
            Self::End => Event::End,
            Self::Applied(object) => Event::Applied(object),
            Self::Deleted(object) => Event::Deleted(object),
        }
    }

    /// Maps the object. An event about an object without a counterpart is dropped.
    pub fn filter_map<T>(self, counterpart: impl FnOnce(K) -> Option<T>) -> Option<Event<T>> {
        self.try_map(|object| counterpart(object).ok_or(())).ok()
    }

    /// Returns the events of a list of these objects.
    pub fn list(objects: impl IntoIterator<Item = K>) -> impl Iterator<Item = Self> {
        let items = objects.into_iter().map(Self::Item);
        std::iter::once(Self::Begin).chain(items).chain(std::iter::once(Self::End))
    }
}
