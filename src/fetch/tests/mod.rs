//! Fetches over real sockets, all on this machine.
