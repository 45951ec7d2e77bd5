//! Sockets: name resolution, connecting, TCP options.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::conn_options::{Host, HostAddr, TcpOptions};
use super::error::ConnectErrorKind;
use super::transport::Transport;

/// A socket address of either family.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Every address of a host, in the resolver's order.
pub(crate) async fn addresses(host: &Host) -> Result<Vec<Address>, ConnectErrorKind> {
    match &host.addr {
        HostAddr::Unix(_) => Ok(host.socket_path().map(Address::Unix).into_iter().collect()),
        HostAddr::Address { address, .. } => Ok(vec![Address::Tcp((*address, host.port).into())]),
        HostAddr::Name(name) => {
            let found =
                lookup_host((name.as_str(), host.port)).await.map_err(ConnectErrorKind::Lookup)?;
            let found: Vec<Address> = found.map(Address::Tcp).collect();
            let none = || ConnectErrorKind::Lookup(io::Error::other("the name has no address"));
            if found.is_empty() { Err(none()) } else { Ok(found) }
        }
    }
}

/// Opens a connection, still without TLS.
pub(crate) async fn open(address: &Address, options: &TcpOptions) -> io::Result<Transport> {
    match address {
        Address::Unix(path) => Ok(Transport::Unix(UnixStream::connect(path).await?)),
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            set_options(&stream, options)?;
            Ok(Transport::Tcp(stream))
        }
    }
}

fn set_options(stream: &TcpStream, options: &TcpOptions) -> io::Result<()> {
    // Status updates are small and must not wait for Nagle's algorithm.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some(keepalive) = options.keepalive {
        let keepalive = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// Returns the items in random order (`load_balance_hosts=random`).
pub(crate) fn shuffle<T>(items: Vec<T>) -> Vec<T> {
    // The standard library's hash keys are random: enough to spread load.
    let random = RandomState::new();
    let mut keyed: Vec<(u64, T)> =
        items.into_iter().enumerate().map(|(at, item)| (random.hash_one(at), item)).collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_every_item_and_no_order() {
        let items: Vec<u32> = (0..50).collect();
        let shuffled = shuffle(items.clone());
        assert_ne!(shuffled, items);
        let mut sorted = shuffled;
        sorted.sort_unstable();
        assert_eq!(sorted, items);
    }
}
