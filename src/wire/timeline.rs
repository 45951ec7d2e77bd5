//! The timeline history file, as a walsender sends it.
//!
//! `TIMELINE_HISTORY` returns the server's own file (manual, "Streaming Replication Protocol"): a line for each
//! ancestor of the timeline, with its number, the position of the switch, and the reason.

use super::session::TextRow;
use crate::history::TimelineSwitch;

/// The switches that led to a timeline, oldest first; `None` when the row is not a history file.
pub(super) fn parse(row: &TextRow) -> Option<Vec<TimelineSwitch>> {
    let [_file_name, Some(content)] = row.as_slice() else { return None };
    let lines = content.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<TimelineSwitch> {
    let mut words = line.split_whitespace();
    Some(TimelineSwitch { timeline: words.next()?.parse().ok()?, at: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    fn parsed(content: &str) -> Option<Vec<TimelineSwitch>> {
        parse(&vec![Some("00000003.history".into()), Some(content.into())])
    }

    #[test]
    fn each_line_is_a_switch() {
        let content = "1\t0/3000158\tno recovery target specified\n\n# by hand\n  2 16/B374D848 before 2000-01-01\n";
        let switch = |timeline, at| TimelineSwitch { timeline, at: Lsn(at) };
        assert_eq!(parsed(content), Some(vec![switch(1, 0x300_0158), switch(2, 0x16_B374_D848)]));
        assert_eq!(parsed(""), Some(vec![]));
    }

    #[test]
    fn anything_else_is_rejected() {
        for content in ["1", "one\t0/3000158", "1\t3000158", "-1\t0/8", "1\t0/8\n2"] {
            assert_eq!(parsed(content), None, "{content}");
        }
        assert_eq!(parse(&vec![Some("00000003.history".into()), None]), None);
        assert_eq!(parse(&vec![]), None);
    }
}
