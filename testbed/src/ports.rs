//! Free ports on 127.0.0.1.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

use anyhow::{Result, bail};

/// Below the ports that systems give to outgoing connections, so that none of those takes one before it is listened on.
const RANGE: Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 on which nothing listens now. Drawn at random: others may be looking too.
///
/// # Errors
/// When a hundred ports in a row were taken.
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
