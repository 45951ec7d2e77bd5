//! Bytes from the network that nobody meant: what the fuzzers of `fuzz/` try, tried here as well, on
//! the corpus they keep and on what chance makes of it.

mod checks;

use std::path::Path;

use proptest::prelude::*;

use checks::FuzzedService;

/// Every input that a fuzzer found worth keeping, by name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).expect("fuzz/corpus");
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 10, "{} inputs of {target} are no corpus", paths.len());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One input changed: bytes replaced, inserted and taken out, the end cut, another one put in.
fn changed(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let any_of = prop::sample::select(corpus);
    let place = any::<prop::sample::Index>;
    let edits = prop::collection::vec((0..4_u8, place(), any::<u8>()), 0..6);
    (any_of.clone(), any_of, edits, place()).prop_map(|(mut bytes, other, edits, cut)| {
        for (edit, at, byte) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => drop(bytes.splice(at..at, other.iter().copied().take(byte.into()))),
            }
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len() + 1) / 4);
        bytes
    })
}

#[test]
fn the_corpus_is_read_or_refused() {
    let service = FuzzedService::start();
    for bytes in corpus("pgoutput") {
        checks::pgoutput(&bytes);
    }
    for bytes in corpus("frame") {
        checks::frame(&bytes);
    }
    for bytes in corpus("http") {
        service.request(&bytes);
    }
}

#[test]
fn what_chance_makes_of_logical_messages_is_read_or_refused() {
    let config = ProptestConfig::with_cases(3_000);
    proptest!(config, |(bytes in changed(corpus("pgoutput")))| checks::pgoutput(&bytes));
}

#[test]
fn what_chance_makes_of_frames_is_read_or_refused() {
    let config = ProptestConfig::with_cases(3_000);
    proptest!(config, |(bytes in changed(corpus("frame")))| checks::frame(&bytes));
}

#[test]
fn what_chance_makes_of_requests_is_answered_in_order() {
    let service = FuzzedService::start();
    let config = ProptestConfig::with_cases(1_000);
    proptest!(config, |(bytes in changed(corpus("http")))| service.request(&bytes));
}
