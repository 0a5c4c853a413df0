//! Connections of clients: limited in number, each with timeouts for everything it waits for.
//!
//! - `places`: the limit of connections, and which of them gives way to a new one
//! - `place`: the state of one connection
//! - `port`: accepts connections and serves them until it is told to stop
//! - `self_woken`: polls a connection again that woke itself
//! - `stream`: ends a connection that takes too long
//! - `exchange`: the requests of a connection and their answers
//! - `tcp`: closes a connection so that its last answer arrives
//! - `admin`: the admin port, for probes and scrapers

mod admin;
mod exchange;
mod place;
mod places;
mod port;
mod self_woken;
mod stream;
mod tcp;

pub use admin::AdminServer;
pub use exchange::Certified;
pub use places::{Bounds, Places};
pub use port::{Handshake, Plain, Port, Stop};
pub use stream::{Timeouts, allowance};
pub use tcp::Tcp;
