//! The integration tests: one binary, one harness (`support`).

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

mod access;
mod changes;
mod commands;
mod examples;
mod faults;
mod fuzz_regressions;
mod hardening;
mod https;
mod identity;
mod loader;
mod memory;
mod publication;
mod push;
mod reference;
mod replica_clients;
mod restart;
mod rows;
mod scopes;
mod startup_errors;
mod streamed_transactions;
mod temp_postgres;
mod tidy;
mod type_matrix;
mod wire;
