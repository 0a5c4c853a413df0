//! The resources that expressions compute.

use crate::api::quantity::Format;
use std::fmt;

/// The resource that an expression computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// CPU. A plain number counts cores: `0.5` is `500m`.
    Cpu,
    /// Memory. A plain number counts bytes; the fraction is dropped.
    Memory,
}

impl Resource {
    /// The name of the resource and of its variable.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// The format of amounts that were computed from plain numbers only.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            Self::Cpu => Format::DecimalSi,
            Self::Memory => Format::BinarySi,
        }
    }
}

/// Its name.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
