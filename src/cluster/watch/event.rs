//! What the sink of a watch is told: lists, object by object, and the changes between them.

/// What a sink is told.
///
/// A list that breaks off begins again. So until [`Event::End`] what was known before is not to be dropped, and what is missing is
/// not known to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// A list begins, as of a moment before this.
    Begin,
    /// The list has this object, new or not.
    Item(K),
    /// The list is complete: objects that it did not have are gone.
    End,
    /// This object is new or changed. Never within a list.
    Applied(K),
    /// This object is gone; its last state. Never within a list.
    Deleted(K),
}

impl<K> Event<K> {
    /// The same about another object, or why there is none.
    ///
    /// # Errors
    /// There is no counterpart.
    pub fn try_map<T, E>(self, counterpart: impl FnOnce(K) -> Result<T, E>) -> Result<Event<T>, E> {
        Ok(match self {
            Self::Begin => Event::Begin,
            Self::Item(object) => Event::Item(counterpart(object)?),
            Self::End => Event::End,
            Self::Applied(object) => Event::Applied(counterpart(object)?),
            Self::Deleted(object) => Event::Deleted(counterpart(object)?),
        })
    }

    /// The same about another object.
    pub fn map<T>(self, counterpart: impl FnOnce(K) -> T) -> Event<T> {
        match self {
            Self::Begin => Event::Begin,
            Self::Item(object) => Event::Item(counterpart(object)),
            Self::End => Event::End,
            Self::Applied(object) => Event::Applied(counterpart(object)),
            Self::Deleted(object) => Event::Deleted(counterpart(object)),
        }
    }

    /// The same, for one more who is told.
    pub const fn as_ref(&self) -> Event<&K> {
        match self {
            Self::Begin => Event::Begin,
            Self::Item(object) => Event::Item(object),
            Self::End => Event::End,
            Self::Applied(object) => Event::Applied(object),
            Self::Deleted(object) => Event::Deleted(object),
        }
    }

    /// The same about another object; an event about one that has no counterpart is none.
    pub fn filter_map<T>(self, counterpart: impl FnOnce(K) -> Option<T>) -> Option<Event<T>> {
        self.try_map(|object| counterpart(object).ok_or(())).ok()
    }

    /// The events of a list of these objects.
    pub fn list(objects: impl IntoIterator<Item = K>) -> impl Iterator<Item = Self> {
        let items = objects.into_iter().map(Self::Item);
        std::iter::once(Self::Begin).chain(items).chain(std::iter::once(Self::End))
    }
}
