//! Free ports on 127.0.0.1.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

use anyhow::{Result, bail};

/// Below the range of outgoing connections, so that none of them takes a port before it is listened on.
const RANGE: Range<u16> = 20_000..32_000;

/// Returns a port of 127.0.0.1 on which nothing listens. It is random, because other processes may also be looking for
/// one.
///
/// # Errors
/// When a hundred ports in a row were in use.
pub fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let drawn = RandomState::new().hash_one(()) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(drawn)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {} and {}", RANGE.start, RANGE.end)
}
