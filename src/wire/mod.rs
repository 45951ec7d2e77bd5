//! The connection to PostgreSQL: target, sockets, TLS, authentication, and a walsender's frames.
//!
//! In the order a connection is made: a [`ConnectOptions`] is parsed ([`target`]); `connect` tries its hosts,
//! `socket` opens a socket and `tls` encrypts it (together a `transport`), `login` starts the session.
//! Its answers are read piece by piece (`answer`). A [`WalsenderConnection`] speaks SQL and replication commands
//! (`connection`) until [`WalsenderConnection::start_replication`] turns it into a [`CopyBoth`] (`copy`), whose
//! bytes gather in a `buffer` and are read as [`Frame`]s (`frame`). `message` is the only file that knows how messages
//! are delimited; nothing here indexes into bytes that came from the network.
//!
//! Invariants: the environment is never read here (it is handed in as [`LibpqEnvironment`]); a password
//! is never shown, and never sent in the clear over TCP; waiting for a connection always has a limit;
//! only [`WalsenderConnection::connect`]'s callers reconnect, nothing here does.

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
