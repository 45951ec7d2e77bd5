//! Messages of real servers: `tests/fixtures/pgoutput/<major>.hex`, captured by the script there.

use super::transcript::TranscriptWriter;
use super::*;
use crate::lsn::Lsn;

/// The messages of one scenario on one major version.
pub(crate) struct Scenario {
    pub(crate) major: &'static str,
    pub(crate) name: &'static str,
    /// Whether each message was inside a stream block, and its bytes.
    pub(crate) messages: Vec<(bool, Vec<u8>)>,
}

macro_rules! fixture {
    ($file:literal) => {
        include_str!(concat!("../../../tests/fixtures/pgoutput/", $file))
    };
}

const CAPTURES: [(&str, &str); 5] = [
    ("14", fixture!("14.hex")),
    ("15", fixture!("15.hex")),
    ("16", fixture!("16.hex")),
    ("17", fixture!("17.hex")),
    ("18", fixture!("18.hex")),
];

const TRANSCRIPTS: &str = fixture!("transcripts.txt");

/// Every scenario of every major version.
pub(crate) fn captured() -> Vec<Scenario> {
    let scenarios = CAPTURES.iter().flat_map(|&(major, text)| {
        assert!(text.starts_with(&format!("# PostgreSQL {major}.")), "{major}");
        text.split("\n== ").skip(1).map(move |text| Scenario::parse(major, text))
    });
    scenarios.collect()
}

impl Scenario {
    fn parse(major: &'static str, text: &'static str) -> Self {
        let (name, rest) = text.split_once(':').unwrap();
        let lines = rest.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with("--"));
        let mut in_stream = false;
        let messages = lines.map(|line| {
            let bytes = from_hex(line);
            match bytes[0] {
                b'S' => in_stream = true,
                b'E' => in_stream = false,
                _ => {}
            }
            (in_stream, bytes)
        });
        Self { major, name, messages: messages.collect() }
    }

    fn decoded(&self) -> impl Iterator<Item = Streamed<'_>> {
        self.messages.iter().map(move |(streamed, bytes)| {
            decode_at(*streamed, bytes).unwrap_or_else(|error| panic!("{self}: {error}"))
        })
    }

    /// The transcript of the messages, without empty transactions and blocks, whose number depends on the
    /// version.
    fn transcript(&self) -> Vec<String> {
        let mut writer = TranscriptWriter::default();
        let mut lines: Vec<String> = Vec::new();
        for message in self.decoded() {
            let line = writer.line(&message);
            let last = lines.last().map_or("", String::as_str);
            let closes = match line.as_str() {
                "commit" => last == "begin",
                "stream stop" => last.starts_with("stream start") && !last.ends_with("first"),
                _ => false,
            };
            if closes {
                lines.pop();
            } else {
                lines.push(line);
            }
        }
        lines
    }
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on PostgreSQL {}", self.name, self.major)
    }
}

fn from_hex(line: &str) -> Vec<u8> {
    let digits = line.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// The transcript of this name in `transcripts.txt`.
fn expected(name: &str) -> Vec<&'static str> {
    let start = format!("== {name}\n");
    let (_, rest) =
        TRANSCRIPTS.split_once(&start).unwrap_or_else(|| panic!("no transcript of {name}"));
    rest.lines().take_while(|line| !line.is_empty()).collect()
}

#[test]
fn every_capture_has_the_expected_transcript() {
    for scenario in captured() {
        assert_eq!(scenario.transcript(), expected(scenario.name), "{scenario}");
    }
}

#[test]
fn every_scenario_was_captured_on_the_versions_that_support_it() {
    for name in TRANSCRIPTS.lines().filter_map(|line| line.strip_prefix("== ")) {
        let majors: Vec<_> =
            captured().iter().filter(|s| s.name == name).map(|s| s.major).collect();
        let expected: &[&str] = match name {
            "two_phase" | "two_phase_streaming" | "column_list" => &["15", "16", "17", "18"],
            "streaming_rollback" => &["14", "15", "16", "17"],
            "parallel" | "parallel_in_turns" => &["16", "17", "18"],
            "generated_columns" => &["18"],
            _ => &["14", "15", "16", "17", "18"],
        };
        assert_eq!(majors, expected, "{name}");
    }
}

#[test]
fn positions_and_times_agree_with_each_other() {
    for scenario in captured() {
        let mut open = None;
        for Streamed { message, .. } in scenario.decoded() {
            match message {
                LogicalMessage::Begin(begin) => {
                    assert!(begin.xid.0 > 3 && begin.xid.0 < 100_000, "{scenario}");
                    open = Some(begin);
                }
                LogicalMessage::Commit(commit) => {
                    let begin = open.take().unwrap();
                    assert_eq!(begin.final_lsn, commit.commit_lsn, "{scenario}");
                    assert_eq!(begin.committed_at, commit.committed_at, "{scenario}");
                    assert_close(&scenario, commit.commit_lsn, commit.end_lsn);
                }
                LogicalMessage::StreamCommit(m) => assert_close(&scenario, m.commit_lsn, m.end_lsn),
                LogicalMessage::BeginPrepare(m) => {
                    assert_close(&scenario, m.prepare_lsn, m.end_lsn);
                }
                LogicalMessage::Prepare(m) => assert_close(&scenario, m.prepare_lsn, m.end_lsn),
                LogicalMessage::CommitPrepared(m) => {
                    assert_close(&scenario, m.commit_lsn, m.end_lsn);
                }
                LogicalMessage::RollbackPrepared(m) => {
                    assert_close(&scenario, m.prepare_end_lsn, m.rollback_end_lsn);
                    assert!(m.prepared_at <= m.rolled_back_at, "{scenario}");
                }
                _ => {}
            }
        }
    }
}

/// Asserts that a record begins before it ends, and is short.
fn assert_close(scenario: &Scenario, start: Lsn, end: Lsn) {
    assert!(start < end && end.bytes_since(start) < 10_000, "{scenario}: {start} to {end}");
}

#[test]
fn a_commit_time_is_decoded_exactly() {
    for scenario in captured().iter().filter(|scenario| scenario.name == "origin") {
        let begun = scenario.decoded().find_map(|streamed| match streamed.message {
            LogicalMessage::Begin(begin) => begin.committed_at.to_timestamp(),
            _ => None,
        });
        assert_eq!(begun.unwrap().to_string(), "2024-05-01T12:00:00Z", "{scenario}");
    }
}
