//! Push: responses sent as soon as there are changes, on a connection that stays open.
//!
//! [`mod@stream`] implements Server-Sent Events, [`handshake`] and [`ws_session`] WebSocket. Both repeat
//! the same request, each time with the version they sent last ([`subscription`]); each message is the
//! response of a poll, byte for byte.
//!
//! Invariants:
//! - **No queues.** One message is in flight to a client, and the next is made when the connection has
//!   accepted it. Everything since then is in that next message, each row once: a slow client costs a
//!   version, and one that accepts nothing is disconnected.
//! - **Nothing is missed.** A version counts as sent only with the message that carries it, and clients
//!   reconnect with the last version they received.
//! - **Closing the store ends every connection** ([`crate::store::Store::close`]): streams with their
//!   end, WebSockets with close code 1001.

mod clients;
pub(in crate::http) mod handshake;
mod message;
pub(in crate::http) mod stream;
mod subscription;
mod ws_session;
mod ws_wire;

pub(crate) use clients::PushClients;
pub(crate) use stream::LAST_EVENT_ID;
