#![no_main]
//! See `checks::Service::request`.

use std::cell::LazyCell;

#[allow(dead_code)]
#[path = "../../tests/fuzz_regressions/checks.rs"]
mod checks;

thread_local! {
    static SERVICE: LazyCell<checks::Service> = const { LazyCell::new(checks::Service::start) };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| SERVICE.with(|service| service.request(bytes)));
