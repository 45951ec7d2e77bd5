//! Everything tested from outside: one binary, one harness (`support`).

mod support;
mod throwaway;
mod tidy;
mod wire;
