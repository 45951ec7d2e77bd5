//! The connection to PostgreSQL: target, sockets, TLS, authentication, and a walsender's frames.
//!
//! In the order a connection is made: a [`Target`] is parsed ([`target`]); `connect` tries its hosts,
//! `socket` opens a socket and `tls` encrypts it (together a `transport`), `login` starts the session.
//! Its answers are read piece by piece (`answer`). A [`Connection`] speaks SQL and replication commands
//! (`connection`) until [`Connection::start_replication`] turns it into a [`CopyBoth`] (`copy`), whose
//! bytes gather in a `buffer` and are read as [`Frame`]s (`frame`). `message` is the only file that knows how messages
//! are delimited; nothing here indexes into bytes that came from the network.
//!
//! Invariants: the environment is never read here (it is handed in as [`LibpqEnvironment`]); a password
//! is never shown, and never sent in the clear over TCP; waiting for a connection always has a limit;
//! only [`Connection::connect`]'s callers reconnect, nothing here does.

mod answer;
mod buffer;
mod channel;
mod connect;
mod connection;
mod copy;
mod error;
mod frame;
mod login;
mod message;
mod server_error;
mod session;
mod socket;
pub mod target;
mod timeline;
mod tls;
mod transport;

pub(crate) use answer::{Fields, Piece};
pub(crate) use connect::connect;
pub use connection::{Connection, SystemIdentity};
pub use copy::CopyBoth;
pub use error::{ConnectError, Trouble, WireError};
pub use frame::{Frame, StatusUpdate};
pub(crate) use login::{Purpose, Session};
pub use message::ProtocolError;
pub use server_error::ServerError;
pub use target::{LibpqEnvironment, Target, TargetError};
