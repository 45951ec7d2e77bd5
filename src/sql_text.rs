//! SQL text with placeholders.
//!
//! Statements are written for psql: `:"name"` is an identifier, `:'name'` a literal, `:name` text
//! inserted unchanged (`psql -v name=value -f file.sql` runs them as they are). Here the placeholders
//! are replaced in one pass, so that a value is never searched for placeholders, and comments are
//! left alone.

use crate::table::quoted;

/// `text` as an SQL string literal that is valid with either setting of `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// The statement with every placeholder replaced by its value. Comments are kept, except for the
/// paragraph that explains the placeholders.
///
/// A placeholder without a value is left unchanged, which no server accepts.
pub fn fill(statement: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(statement.len());
    let mut explaining = false;
    for line in statement.split_inclusive('\n') {
        let comment = line.trim_start().starts_with("--");
        explaining = comment && (explaining || line.starts_with("-- Placeholders:"));
        if !comment {
            fill_line(line, values, &mut filled);
        } else if !explaining {
            filled.push_str(line);
        }
    }
    filled
}

/// The statement without its comments, as it is sent to the server.
pub(crate) fn without_comments(statement: &str) -> String {
    statement
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn fill_line(line: &str, values: &[(&str, &str)], filled: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find(':') {
        let (before, from_colon) = rest.split_at(at);
        filled.push_str(before);
        // A cast (`::text`) and an array slice (`[0:n]`) are no placeholders.
        let found = values.iter().find_map(|(name, value)| placeholder(from_colon, name, value));
        rest = if let Some((value, after)) = found {
            filled.push_str(&value);
            after
        } else {
            let skipped = if from_colon.starts_with("::") { 2 } else { 1 };
            let (colons, after) = from_colon.split_at(skipped);
            filled.push_str(colons);
            after
        };
    }
    filled.push_str(rest);
}

/// The quoted value for the placeholder at the start of `text`, and the text after it.
fn placeholder<'a>(text: &'a str, name: &str, value: &str) -> Option<(String, &'a str)> {
    let rest = text.strip_prefix(':')?;
    if let Some(after) = rest.strip_prefix(&*format!("\"{name}\"")) {
        return Some((quoted(value), after));
    }
    if let Some(after) = rest.strip_prefix(&*format!("'{name}'")) {
        return Some((literal(value), after));
    }
    let after = rest.strip_prefix(name)?;
    let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    ends.then(|| (value.to_owned(), after))
}

/// The query wrapped so that it returns one column, each row as a JSON object with a member for
/// every column.
///
/// Rows are then read by column name through the simple protocol, which poolers and walsenders
/// understand, and the query itself stays one that psql shows as a table.
pub(crate) fn as_json_rows(query: &str) -> String {
    let query = without_comments(query);
    let query = query.trim().trim_end_matches(';');
    format!("SELECT to_jsonb(answer) FROM (\n{query}\n) AS answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_quoted_as_psql_would() {
        let filled = fill("SELECT :\"a\", :'a', :a, x::a, y[0:b];", &[("a", "o'n\"e")]);
        assert_eq!(filled, "SELECT \"o'n\"\"e\", 'o''n\"e', o'n\"e, x::a, y[0:b];");
        assert_eq!(fill(":'a' :a_b", &[("a", r"\x")]), r" E'\\x' :a_b");
    }

    #[test]
    fn a_value_is_never_filled_again_and_comments_are_left_alone() {
        let filled = fill("-- :\"a\"\n:\"a\" :\"b\"", &[("a", ":\"b\""), ("b", "x\n")]);
        assert_eq!(filled, "-- :\"a\"\n\":\"\"b\"\"\" \"x\n\"");
        let filled =
            fill("-- Why.\n-- Placeholders: a, one of\n--   b\nSELECT :a;\n-- End.", &[("a", "1")]);
        assert_eq!(filled, "-- Why.\nSELECT 1;\n-- End.");
        assert_eq!(without_comments("-- why\nSELECT 1;\n"), "SELECT 1;");
    }

    #[test]
    fn a_query_is_wrapped_without_its_comments_and_semicolon() {
        let wrapped = as_json_rows("-- why\nSELECT 1 AS n;\n");
        assert_eq!(wrapped, "SELECT to_jsonb(answer) FROM (\nSELECT 1 AS n\n) AS answer");
    }
}
