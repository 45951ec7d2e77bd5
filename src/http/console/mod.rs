//! `GET /`: the console, a web page that shows the state of the service.
//!
//! It is a set of static files inside the program. The page is a client like any other: it reads
//! `/v1/stream` and `/v1/status` and has no other source. It connects to no server but its own, and values
//! from the database reach it as text only; the policy in [`files`] makes the browser enforce both.

mod files;
mod handlers;

pub(crate) use files::Console;
pub(crate) use handlers::{file, page};
