//! `GET /`: the console, a page for people who want to see how the service is doing.
//!
//! A few static files, part of the program. The page is a client like any other: it reads `/v1/stream`
//! and `/v1/status` and knows nothing that these don't tell. It asks nobody but its own server, and what
//! comes from the database reaches it as text only; the policy in [`files`] lets the browser see to both.

mod answers;
mod files;

pub(crate) use answers::{file, page};
pub(crate) use files::Console;
