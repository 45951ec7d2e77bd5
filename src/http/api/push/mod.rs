//! Push: answers sent as soon as there is something to tell, on a connection that stays open.
//!
//! [`mod@stream`] speaks Server-Sent Events, [`socket`] WebSocket. Both ask the same question again and
//! again, each time with the version they told last ([`subscription`]), and what they send is a
//! poll's answer, byte for byte.
//!
//! What always holds:
//! - **Nobody is queued for.** One answer is under way to a client, and the next is made when the
//!   connection has taken it. What happened meanwhile is in that next one, each row once: so a slow
//!   client costs a version, and one that takes nothing at all is disconnected.
//! - **Nothing is missed.** A version counts as told only with the answer that tells it, and clients
//!   come back with the last one they have.
//! - **All of it ends with the store** ([`crate::store::Store::close`]): streams with their end,
//!   sockets with close code 1001.

mod clients;
mod handshake;
mod message;
mod stream;
mod subscription;
mod ws_session;
mod ws_wire;

pub(crate) use clients::PushClients;
pub(crate) use handshake::{__path_socket, socket};
pub(crate) use stream::{__path_stream, LAST_EVENT_ID, stream};
