//! `where`: which rows a client asks about, of those it may see.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::pairs::{QueryPairs, WHERE};
use crate::http::response::problem::{Problem, shown};

/// Conditions as a client writes them; what columns they mean depends on the tables asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowFilter(Vec<FilterTerm>);

/// A column, perhaps with its table before it, and the value it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterTerm {
    pub(crate) column: String,
    pub(crate) value: String,
}

impl RowFilter {
    /// Reads `owner_id:5,orders.country:fr`. What is part of a name or value is percent-encoded, a
    /// `,` or `:` above all: so the text is split first and decoded after.
    pub(super) fn sent<const N: usize>(sent: &QueryPairs<N>) -> Result<Self, Problem> {
        let Some(text) = sent.text(WHERE) else { return Ok(Self::default()) };
        text.split(',').map(clause).collect::<Result<_, _>>().map(Self)
    }

    /// The same of a message: names, each with a string, number or boolean.
    pub(crate) fn members(members: &BTreeMap<String, Value>) -> Result<Self, Problem> {
        let clause = |(column, value): (&String, &Value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => {
                    return Err(Problem::invalid(format!(
                        "`where` needs a string, number or boolean for {}",
                        shown(column)
                    )));
                }
            };
            Ok(FilterTerm { column: column.clone(), value })
        };
        members.iter().map(clause).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clauses(&self) -> &[FilterTerm] {
        &self.0
    }
}

fn clause(text: &str) -> Result<FilterTerm, Problem> {
    let Some((column, value)) = text.split_once(':').filter(|(column, _)| !column.is_empty())
    else {
        return Err(Problem::invalid(format!(
            "`where` is column:value, with `,` between several, and \"{}\" is not; a `,` or `:` inside is percent-encoded",
            shown(text)
        )));
    };
    Ok(FilterTerm { column: decode(column)?, value: decode(value)? })
}

fn decode(text: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| Problem::invalid("`where` is not UTF-8 once decoded"))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Vec<(String, String)>, String> {
        let narrowing = QueryPairs::read(query, [WHERE]).and_then(|sent| RowFilter::sent(&sent));
        let narrowing = narrowing.map_err(|problem| problem.detail().to_owned())?;
        Ok(narrowing.0.into_iter().map(|clause| (clause.column, clause.value)).collect())
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|&(column, value)| (column.into(), value.into())).collect()
    }

    #[test]
    fn conditions_come_in_a_list_or_one_by_one() {
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("where=owner_id:5").unwrap(), pairs(&[("owner_id", "5")]));
        let two = pairs(&[("a", "1"), ("s.b", "x:y")]);
        assert_eq!(read("where=a:1,s.b:x:y").unwrap(), two);
        assert_eq!(read("where=a%3A1&where=s.b%3Ax:y").unwrap(), two);
        assert_eq!(read("where=a:").unwrap(), pairs(&[("a", "")]));
    }

    #[test]
    fn what_separates_can_be_part_of_a_name_or_value() {
        assert_eq!(read("where=a%253Ab:c%252Cd%2525").unwrap(), pairs(&[("a:b", "c,d%")]));
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["where=", "where=a", "where=:1", "where=a:1,", "where=a:1&where="] {
            assert!(read(bad).unwrap_err().contains("column:value"), "{bad}");
        }
        assert!(read("where=a:%25ff").unwrap_err().contains("not UTF-8"));
        let member = |value: Value| RowFilter::members(&BTreeMap::from([("a".to_owned(), value)]));
        assert!(member(Value::Null).unwrap_err().detail().contains("string, number or boolean"));
        assert_eq!(member(5.into()).unwrap().clauses().len(), 1);
    }
}
