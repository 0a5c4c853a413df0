//! What an operator sees of the program: logs, metrics, readiness, and the admin port, which serves the last two.

pub mod admin;
pub mod logs;
pub mod metrics;
pub mod readiness;
pub(crate) mod text;
mod throttle;

pub use logs::LogFormat;
pub use metrics::Metrics;
pub use readiness::Readiness;
pub use throttle::Throttle;
pub(crate) use throttle::seldom;
