//! Protobuf messages, as far as Istio's API needs them.

/// A protobuf type, as far as Istio's messages need it.
pub(crate) enum Type {
    Text,
    Bool,
    /// `int32`
    Signed,
    /// `uint32`
    Unsigned,
    /// `double`
    Double,
    /// The names of an enumeration. A name's index is its number.
    Enum(&'static [&'static str]),
    /// `google.protobuf.BoolValue`. `false` differs from absent.
    OptionalBool,
    /// `google.protobuf.Duration`
    Duration,
    List(&'static Type),
    /// `map<string, string>`
    Labels,
    /// A map from strings to other values.
    Map(&'static Type),
    Message(&'static [Field]),
}

/// A field of a message by its JSON name, in the order of declaration.
pub(crate) type Field = (&'static str, Type);
