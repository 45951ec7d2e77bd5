//! Everything tested from outside: one binary, one harness (`support`).

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

mod access;
mod changes;
mod commands;
mod examples;
mod faults;
mod fuzzed;
mod hardening;
mod https;
mod identity;
mod loader;
mod memory;
mod mirrors;
mod publication;
mod push;
mod reference;
mod restart;
mod rows;
mod scopes;
mod streamed;
mod temp_postgres;
mod tidy;
mod trouble;
mod wire;
mod zoo;
