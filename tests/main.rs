//! Everything tested from outside: one binary, one harness (`support`).

mod commands;
mod support;
mod throwaway;
mod wire;
