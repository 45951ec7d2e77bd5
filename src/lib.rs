//! Highwater tells applications which rows of their PostgreSQL database changed.
//!
//! This page is the map of the source: read it first, then the modules in the order below.
//!
//! # From above
//!
//! ```text
//!  PostgreSQL                        Highwater                              clients
//! ┌───────────┐  logical    ┌─────────────┐ events ┌───────────┐  polls  ┌─────────────────┐
//! │ WAL, slot ├────────────▶│ replication ├───────▶│   store   │◀───────▶│ GET /v1/changes │
//! └─────▲─────┘ replication └──────▲──────┘        └─────┬─────┘  http   │     ?after=…    │
//!       │   how far WAL may go     │  how far applied    │               └─────────────────┘
//!       └──────────────────────────┴─────────────────────┘
//! ```
//!
//! One process follows one publication through one replication slot. It remembers in memory which
//! id of which table changed at which *version*, a position in commit order, and answers one
//! question: what changed since the version you were given last time? Where it cannot know, it says
//! *reset*: read this table again. The durable copy of what it remembers is PostgreSQL's own WAL:
//! the slot is confirmed a while behind what is applied, and after a restart that window is read again.
//!
//! Of the tables that the operator names it also holds rows: those that were asked for, or all of them.
//! They are read once from the database and kept current from the stream. Which changes a row that was
//! read contains already is decided by the transactions its snapshot sees, never by timing:
//! [`store`] and its `rows` say how.
//!
//! # The way of a change
//!
//! 1. A walsender's bytes arrive ([`wire::CopyBoth`]) and are cut into [`wire::Frame`]s.
//! 2. [`pgoutput::decode`] makes a message of a frame's bytes, borrowing from them.
//! 3. [`source::postgres::assembler`] turns tuples into ids ([`render`] writes them as `to_jsonb` would),
//!    stages them until the commit (large ones may come in blocks before it), and hands out a
//!    [`change::Transaction`]: ids, and the documents of tables whose rows are held.
//! 4. The source ([`source::ChangeSource`]) sends batches of [`change::Event`]s over a bounded channel.
//! 5. [`store::Writer`] puts them into the log and the rows of each table, under one hold of a lock; then the
//!    applied position moves, then those who wait wake up.
//! 6. [`store::Store`] answers what changed after a version, each id at most once.
//! 7. [`http`] writes that answer as JSON, or holds the poll until there is one.
//!
//! Rows that are not in memory come the other way round: [`store`] asks a [`load::Loader`], which is
//! [`database::loader`], and joins the answer with the changes that arrived meanwhile.
//!
//! Backwards flows only a number, how far the store has applied: [`source::postgres::feedback`] makes of it
//! the position up to which the server may forget its WAL.
//!
//! # Layers
//!
//! A module uses only what stands above it in this table; `tests/tidy` holds the sources to it.
//!
//! | layer | modules | |
//! | --- | --- | --- |
//! | values | [`lsn`] [`version`] [`history`] [`decimal`] [`json_bytes`] [`json_text`] [`key`] [`json_type`] [`table`] [`row`] [`scope`] [`snapshot`] [`change`] [`load`] [`source_status`] [`metrics`] [`backoff`] [`sql_text`] [`secret`] | what everything else speaks of |
//! | protocol | [`wire`] [`pgoutput`] [`render`] [`codec`] | bytes to meaning; they don't know each other |
//! | parts | [`source`] [`database`] [`store`] [`auth`] | they don't know each other, and meet in values |
//! | API | [`http`] | knows the store, never PostgreSQL |
//! | program | [`config`] [`app`] [`cli`] | reads the configuration, puts the parts together, speaks to people |
//!
//! [`temp_postgres`], a private PostgreSQL for the demo and the tests, stands beside: nothing that serves
//! clients uses it. For a first reading take the modules in the order of the table; or begin with
//! [`version`], [`store`] and [`source::postgres::assembler`], which hold the ideas.
//!
//! # What always holds
//!
//! - **A row never goes back in time**, and several rows are told as they were at one version.
//! - **Nothing is missed.** Whatever can't be told by id is told as a reset: a giant transaction, a lost
//!   slot, another history, a changed definition, a version from below a table's floor.
//! - **Versions come from the stream alone**, never from a clock or a counter of ours. So every instance
//!   that follows the same database understands the others' versions, and a restart changes none.
//! - **A commit is visible whole or not at all**, unless an answer says `more`.
//! - **The slot is confirmed at commit boundaries only, and never beyond what is applied.**
//! - **Every limit has a name and says what happens at it.** Channels, stages, logs, connections, waits:
//!   none grows with what the database or a client does. At a limit, precision is given up, not truth.
//! - **One place for each power:** only [`app`], and [`http`] for its connections, spawn tasks of the
//!   service, on sets that they join; only the `session` of [`source::postgres`] reconnects; only [`config`] reads the
//!   environment; only `pgoutput`'s `reader` takes a message's bytes apart.
//! - **Errors are sentences with a remedy**, one type a layer, told once, where they end. A client gets a
//!   problem document and nothing of the inside.
//!
//! # What is deliberately absent
//!
//! - **A disk of our own.** No file to lose, corrupt or migrate: WAL is the log that lasts.
//! - **Anything in the user's database** but a publication and a slot (and, if the operator wishes, an
//!   event trigger that tells sooner of changed definitions): no tables, extensions, locks or superuser.
//! - **Coordination between instances.** The slot itself decides who follows; the others stand by.
//! - **Users.** Whoever brings a token is its bearer; who they are is known to those who gave it. Without
//!   [`auth`] it listens on the loopback interface until the operator writes otherwise.
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
