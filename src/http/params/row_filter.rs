//! `where`: equality conditions by which a client narrows the rows of a request.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::query_string::from_text;
use crate::http::response::problem::{Problem, shown};

/// Conditions as the client wrote them; which columns they mean depends on the requested tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "owner_id:5")]
pub(crate) struct RowFilter(Vec<FilterTerm>);

/// A column, optionally qualified with its table, and the value that its rows have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterTerm {
    pub(crate) column: String,
    pub(crate) value: String,
}

impl RowFilter {
    /// Reads `owner_id:5,orders.country:fr`. A `,` or `:` inside a name or value is percent-encoded,
    /// so the text is split first and decoded after.
    fn parse(text: &str) -> Result<Self, Problem> {
        text.split(',').map(term).collect::<Result<_, _>>().map(Self)
    }

    /// Reads the object of a WebSocket message: column names, each with a string, number or boolean.
    pub(crate) fn from_members(members: &BTreeMap<String, Value>) -> Result<Self, Problem> {
        let term = |(column, value): (&String, &Value)| {
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
        members.iter().map(term).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn terms(&self) -> &[FilterTerm] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RowFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::parse)
    }
}

fn term(text: &str) -> Result<FilterTerm, Problem> {
    let Some((column, value)) = text.split_once(':').filter(|(column, _)| !column.is_empty())
    else {
        return Err(Problem::invalid(format!(
            "`where` must be column:value, with `,` between several: \"{}\" is not; a `,` or `:` inside a name or value is percent-encoded",
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
    use super::super::query_string::from_query;
    use super::*;

    #[derive(Deserialize)]
    struct FilterParams {
        r#where: Option<RowFilter>,
    }

    fn read(query: &str) -> Result<Vec<(String, String)>, String> {
        let params = from_query(query).map_err(|problem| problem.detail().to_owned())?;
        let FilterParams { r#where: filter } = params;
        let terms = filter.unwrap_or_default().0.into_iter();
        Ok(terms.map(|term| (term.column, term.value)).collect())
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|&(column, value)| (column.into(), value.into())).collect()
    }

    #[test]
    fn terms_come_in_a_list_or_one_by_one() {
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("where=owner_id:5").unwrap(), pairs(&[("owner_id", "5")]));
        let two = pairs(&[("a", "1"), ("s.b", "x:y")]);
        assert_eq!(read("where=a:1,s.b:x:y").unwrap(), two);
        assert_eq!(read("where=a%3A1&where=s.b%3Ax:y").unwrap(), two);
        assert_eq!(read("where=a:").unwrap(), pairs(&[("a", "")]));
    }

    #[test]
    fn separators_can_be_part_of_a_name_or_value() {
        assert_eq!(read("where=a%253Ab:c%252Cd%2525").unwrap(), pairs(&[("a:b", "c,d%")]));
    }

    #[test]
    fn errors_say_what_is_expected() {
        for bad in ["where=", "where=a", "where=:1", "where=a:1,", "where=a:1&where="] {
            assert!(read(bad).unwrap_err().contains("column:value"), "{bad}");
        }
        assert!(read("where=a:%25ff").unwrap_err().contains("not UTF-8"));
        let member =
            |value: Value| RowFilter::from_members(&BTreeMap::from([("a".to_owned(), value)]));
        assert!(member(Value::Null).unwrap_err().detail().contains("string, number or boolean"));
        assert_eq!(member(5.into()).unwrap().terms().len(), 1);
    }
}
