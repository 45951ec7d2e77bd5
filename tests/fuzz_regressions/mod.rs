//! Malformed bytes from the network: the checks of the fuzz targets in `fuzz/`, applied to their corpus and
//! to random mutations of it.

mod checks;

use std::path::Path;

use proptest::prelude::*;

use checks::FuzzedService;

/// The corpus of a fuzz target, by file name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).expect("fuzz/corpus");
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 10, "{} inputs are too few for the corpus of {target}", paths.len());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A mutated input: bytes replaced, inserted and removed, the end cut off, another input spliced in.
fn mutated(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
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
fn the_corpus_is_decoded_or_rejected() {
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
fn mutated_logical_messages_are_decoded_or_rejected() {
    let config = ProptestConfig::with_cases(3_000);
    proptest!(config, |(bytes in mutated(corpus("pgoutput")))| checks::pgoutput(&bytes));
}

#[test]
fn mutated_frames_are_decoded_or_rejected() {
    let config = ProptestConfig::with_cases(3_000);
    proptest!(config, |(bytes in mutated(corpus("frame")))| checks::frame(&bytes));
}

#[test]
fn mutated_requests_get_a_valid_response() {
    let service = FuzzedService::start();
    let config = ProptestConfig::with_cases(1_000);
    proptest!(config, |(bytes in mutated(corpus("http")))| service.request(&bytes));
}
