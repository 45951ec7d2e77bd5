//! The connection to PostgreSQL: target, sockets, TLS, authentication, and a walsender's frames.
//!
//! In the order in which a connection is made: [`ConnectOptions`] are parsed ([`conn_options`]); `connect`
//! tries the hosts, `socket` opens a socket and `tls` encrypts it (together a `transport`), `login` starts the
//! session. `query_response` reads the messages of a response one by one. A [`WalsenderConnection`]
//! (`connection`) accepts SQL and replication commands until [`WalsenderConnection::start_replication`] turns
//! it into a [`CopyBoth`] (`copy`), which receives into a `buffer` and parses [`Frame`]s (`frame`).
//! `receive_window` limits how far the server may send ahead. `message` is the only file that knows how
//! messages are delimited; no code here indexes into bytes that came from the network.
//!
//! Invariants: the environment is never read here (it is passed in as [`LibpqEnvironment`]); a password is
//! never shown, and never sent unencrypted over TCP; every wait for a connection has a limit; only the
//! callers of [`WalsenderConnection::connect`] reconnect.

mod buffer;
mod channel;
pub mod conn_options;
mod connect;
mod connection;
mod copy;
mod error;
mod frame;
mod login;
mod message;
mod query_response;
mod receive_window;
mod server_error;
mod session;
mod socket;
mod timeline;
mod tls;
mod transport;

pub use conn_options::{ConnectOptions, ConnectOptionsError, LibpqEnvironment};
pub(crate) use connect::connect;
pub use connection::{SystemIdentity, WalsenderConnection};
pub use copy::CopyBoth;
pub use error::{ConnectError, ConnectErrorKind, WireError};
pub use frame::{Frame, StatusUpdate};
pub(crate) use login::{LoggedIn, SessionPurpose};
pub use message::ProtocolError;
pub(crate) use query_response::{Fields, QueryResponse};
pub use server_error::ServerError;
