//! Highwater reports which rows of a PostgreSQL database changed, and serves rows from memory.
//!
//! This page is the map of the source: read it first, then the modules in the order below.
//!
//! # Overview
//!
//! ```text
//!  PostgreSQL                        Highwater                              clients
//! ┌───────────┐  logical    ┌─────────────┐ events ┌───────────┐  polls  ┌─────────────────┐
//! │ WAL, slot ├────────────▶│   source    ├───────▶│   store   │◀───────▶│ GET /v1/changes │
//! └─────▲─────┘ replication └──────▲──────┘        └─────┬─────┘  http   │     ?after=…    │
//!       │    confirmed position    │   applied position  │               └─────────────────┘
//!       └──────────────────────────┴─────────────────────┘
//! ```
//!
//! One process follows one publication through one replication slot. It keeps in memory which id of
//! which table changed at which *version*, a position in commit order, and answers one question: what
//! changed since the version of the client's previous response? Where it cannot know, it reports a
//! *reset*: read this table again. The durable copy of its log is PostgreSQL's own WAL: the confirmed
//! position of the slot lags behind the applied position by a configured window, and after a restart
//! that window is read again.
//!
//! It also caches rows of the tables that the operator names: those that were requested, or all of a
//! table. Rows are read once from the database and kept current from the stream. Whether a row that was
//! read contains a change is decided by the transactions its snapshot sees, never by timing: [`store`]
//! and its `rows` explain how.
//!
//! # The flow of a change
//!
//! 1. A walsender's bytes arrive ([`wire::CopyBoth`]) and are split into [`wire::Frame`]s.
//! 2. [`pgoutput::decode`] makes a message of a frame's bytes, borrowing from them.
//! 3. [`source::postgres::assembler`] turns tuples into ids ([`render`] writes them as `to_jsonb` would),
//!    buffers them until the commit (large transactions may arrive in blocks before it), and returns a
//!    [`change::Transaction`]: ids, and the documents of tables whose rows are cached.
//! 4. The source ([`source::ChangeSource`]) sends batches of [`change::Event`]s over a bounded channel.
//! 5. [`store::Applier`] hands them to [`store::Writer`], which adds them to the log and the rows of each
//!    table under one acquisition of a lock; then the applied position moves, then waiters wake up.
//! 6. [`store::Store`] returns what changed after a version, each id at most once.
//! 7. [`http`] writes that result as JSON, or holds the poll until there is one.
//!
//! Rows that are not in memory flow the other way: [`store`] requests them from a [`load::Loader`], which
//! is [`database::loader`], and joins the result with the changes that arrived meanwhile.
//!
//! Only one number flows backwards, the applied position: [`source::postgres::feedback`] derives from it
//! the position up to which the server may remove its WAL.
//!
//! # Layers
//!
//! A module uses only modules above it in this table; `tests/tidy` enforces it.
//!
//! | layer | modules | |
//! | --- | --- | --- |
//! | values | [`lsn`] [`version`] [`history`] [`decimal`] [`json_bytes`] [`json_text`] [`key`] [`json_type`] [`table`] [`row`] [`scope`] [`snapshot`] [`change`] [`load`] [`source_status`] [`metrics`] [`backoff`] [`sql_text`] [`secret`] | shared by everything else |
//! | protocol | [`wire`] [`pgoutput`] [`render`] [`codec`] | bytes to meaning; independent of each other |
//! | parts | [`source`] [`database`] [`store`] [`auth`] | independent of each other; they share only values |
//! | API | [`http`] | uses the store, never PostgreSQL |
//! | program | [`config`] [`app`] [`cli`] | reads the configuration, connects the parts, talks to people |
//!
//! [`temp_postgres`], a private PostgreSQL for the demo and the tests, is apart: nothing that serves
//! clients uses it. For a first reading take the modules in the order of the table; or begin with
//! [`version`], [`store`] and [`source::postgres::assembler`], which contain the ideas.
//!
//! # Invariants
//!
//! - **A row never goes back in time**, and several rows in one response are those of one version.
//! - **Nothing is missed.** A change that can't be reported by id is reported as a reset: a giant
//!   transaction, a lost slot, another history, a changed definition, a version below a table's floor.
//! - **Versions come from the stream alone**, never from a clock or a local counter. So every instance
//!   that follows the same database accepts the others' versions, and a restart changes none.
//! - **A commit is visible whole or not at all**, unless a response says `more`.
//! - **The slot is confirmed at commit boundaries only, and never beyond the applied position.**
//! - **Every limit has a name and a documented behaviour.** Channels, buffers, logs, connections, waits:
//!   none grows with what the database or a client does. At a limit precision is given up, not truth.
//! - **One owner for each capability:** only [`app`], and [`http`] for its connections, spawn tasks of the
//!   service, on sets that they join; only the `session` of [`source::postgres`] reconnects; only
//!   [`config`] reads the environment; only `pgoutput`'s `reader` parses a message's bytes.
//! - **Errors are sentences with a remedy**, one type per layer, logged once, where they are handled. A
//!   client gets a problem document without internal details.
//!
//! # Deliberately absent
//!
//! - **A disk.** No file to lose, corrupt or migrate: WAL is the durable log.
//! - **Objects in the user's database** except a publication and a slot (and, optionally, an event trigger
//!   that announces changed definitions early): no tables, extensions, locks or superuser.
//! - **Coordination between instances.** The slot itself decides which one follows; the others stand by.
//! - **Users.** The holder of a token is its bearer; who that is, is known to its issuer. Without [`auth`]
//!   the service listens on the loopback interface unless the operator configures otherwise.
//! - **`unsafe` code and unbounded channels**: the compiler and the linter refuse them.

// In reading order; the blank lines keep rustfmt from sorting them.

pub mod lsn;

mod json_bytes;

pub mod backoff;

pub mod sql_text;

pub mod version;

pub mod history;

pub mod decimal;

pub mod json_text;

pub mod key;

pub mod json_type;

pub mod table;

pub mod row;

pub mod scope;

pub mod snapshot;

pub mod change;

pub mod load;

pub mod source_status;

pub mod metrics;

pub mod secret;

pub mod wire;

pub mod pgoutput;

pub mod render;

pub mod codec;

pub mod source;

pub mod database;

pub mod store;

pub mod auth;

pub mod http;

pub mod config;

pub mod app;

pub mod cli;

#[cfg(feature = "demo")]
pub mod temp_postgres;
