//! One file or folder per subcommand; the only place that wires rooms together.

pub mod inject;
