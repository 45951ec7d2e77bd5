//! A free loopback port for the server.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};

/// The range of candidate ports: below the ephemeral ports of any system (from 32768 on Linux,
/// from 49152 on macOS). A client that keeps trying to reach a stopped server at an ephemeral port
/// would eventually be connected to itself and occupy the port.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// Candidates tested before giving up.
const TRIES: u16 = 200;

/// A port of 127.0.0.1 that was free when tested. Another process may take it before the caller does.
pub(crate) fn free_port() -> Option<u16> {
    let span = PORTS.end - PORTS.start;
    let random = RandomState::new().build_hasher().finish() % u64::from(span);
    let first = u16::try_from(random).unwrap_or_default();
    (0..TRIES)
        .map(|step| PORTS.start + (first + step) % span)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_not_ephemeral() {
        let port = free_port().unwrap();
        assert!(PORTS.contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
