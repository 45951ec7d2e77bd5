//! Sockets: finding addresses, opening a connection, keeping watch over it.

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

/// One thing to connect to.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Every address of a host, in the resolver's order.
pub(crate) async fn addresses(host: &Host) -> Result<Vec<Address>, ConnectErrorKind> {
    match &host.place {
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

/// Opens a connection without TLS.
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
    // Status updates are small and must not wait for company.
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

/// The receive buffer of a stream from a loopback address (`SO_RCVBUF` of tcp(7)); Linux makes it twice
/// that.
///
/// With half of it the stream stalls, because a segment on the loopback may be 64 KiB. With twice of it a
/// server that sends small segments does not fill the window, and goes on sending them.
const LOOPBACK_RECEIVE_BUFFER: usize = 32 << 10;

/// Keeps the window small in which the server may send what is not read yet, if it is at a loopback
/// address: over a long way a small window would be all that travels in one round trip. True if the
/// window is limited now.
///
/// TLS is left alone: it reads in small pieces, between which the window opens again.
pub(crate) fn limit_receive_window(transport: &Transport) -> bool {
    let Transport::Tcp(stream) = transport else { return false };
    let near = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    // Elsewhere the size given is the size had.
    let doubles = cfg!(target_os = "linux");
    near && doubles && SockRef::from(stream).set_recv_buffer_size(LOOPBACK_RECEIVE_BUFFER).is_ok()
}

/// Bytes that have arrived and are not read; `None` where no window is ever limited.
pub(crate) fn waiting(transport: &Transport) -> Option<usize> {
    let Transport::Tcp(stream) = transport else { return None };
    rustix::io::ioctl_fionread(stream).ok().and_then(|bytes| bytes.try_into().ok())
}

/// Puts the items into random order (`load_balance_hosts=random`).
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
