//! A small TCP receive window for streams from loopback addresses, so that the server sends in large pieces.
//!
//! A walsender writes to its socket after each message. A client that reads as fast as the server writes
//! makes both sides work in small segments, with a system call and a context switch for each. A window
//! that is soon full makes the server's writes accumulate, and a pause between reads (in `replication`)
//! lets the window fill: fewer, larger transfers. `docs/src/design/decisions/small-receive-window.md`
//! states the measured gain and the command that repeats the measurement.

use socket2::SockRef;

use super::transport::Transport;

/// Receive buffer of a stream from a loopback address, in bytes (`SO_RCVBUF` of tcp(7)); Linux allocates
/// twice that.
///
/// With half of it the stream stalls, because a segment on the loopback interface may be 64 KiB. With
/// twice of it a server that sends small segments does not fill the window, and continues to send them.
const LOOPBACK_RECEIVE_BUFFER: usize = 32 << 10;

/// Limits how many unread bytes the server may send, if it is at a loopback address. Returns true if the
/// window is limited now.
///
/// Over a network a small window would be all that travels in one round trip. TLS is excluded because it
/// reads in small pieces, between which the window opens again.
pub(crate) fn limit_receive_window(transport: &Transport) -> bool {
    let Transport::Tcp(stream) = transport else { return false };
    let is_loopback = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    // Other systems don't double the size, so the constant would stall the stream there.
    let doubles = cfg!(target_os = "linux");
    is_loopback
        && doubles
        && SockRef::from(stream).set_recv_buffer_size(LOOPBACK_RECEIVE_BUFFER).is_ok()
}

/// Bytes received by the kernel and not yet read; `None` for transports whose window is never limited.
pub(crate) fn readable_bytes(transport: &Transport) -> Option<usize> {
    let Transport::Tcp(stream) = transport else { return None };
    rustix::io::ioctl_fionread(stream).ok().and_then(|bytes| bytes.try_into().ok())
}
