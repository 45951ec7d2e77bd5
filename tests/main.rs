//! Everything tested from outside: one binary, one harness (`support`).

mod support;

mod changes;
mod identity;
mod mirrors;
mod publication;
mod restart;
mod throwaway;
mod tidy;
mod wire;
