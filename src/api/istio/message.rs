//! Messages of protobuf, as far as Istio's API uses them.

/// A type of protobuf, as far as Istio's messages use it.
pub(crate) enum Type {
    Text,
    Bool,
    /// `int32`
    Signed,
    /// `uint32`
    Unsigned,
    /// `double`
    Double,
    /// Its names; the number of each is its place.
    Enum(&'static [&'static str]),
    /// `google.protobuf.BoolValue`: `false` is not the same as absent.
    OptionalBool,
    /// `google.protobuf.Duration`
    Duration,
    List(&'static Type),
    /// `map<string, string>`
    Labels,
    /// A map from texts to other values.
    Map(&'static Type),
    Message(&'static [Field]),
}

/// A field of a message: its name in JSON, in the order of declaration.
pub(crate) type Field = (&'static str, Type);
