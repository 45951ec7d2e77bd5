//! Which tables an operator means.

use super::pairs::QueryPairs;
use crate::http::response::problem::Problem;

/// The parameter of `POST /admin/reload` and `POST /admin/verify`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AdminQuery {
    /// The table's name as sent; `None`: every published table.
    pub(crate) table: Option<String>,
}

impl AdminQuery {
    /// `all` is every table; a table of that name is called `public.all`.
    pub(crate) fn read(query: &str) -> Result<Self, Problem> {
        let sent = QueryPairs::read(query, ["table"])?;
        match sent.text("table") {
            None => Err(Problem::invalid(
                "`table` is missing: name the table, or `all` for every table",
            )),
            Some("all") => Ok(Self { table: None }),
            Some(name) => Ok(Self { table: Some(name.to_owned()) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_or_all_must_be_named() {
        let table = |query| AdminQuery::read(query).map(|query| query.table);
        assert_eq!(table("table=all").unwrap(), None);
        assert_eq!(table("table=public.all").unwrap(), Some("public.all".to_owned()));
        assert!(table("").unwrap_err().detail().contains("missing"));
        assert!(table("tables=items").unwrap_err().detail().contains("`table`"));
    }
}
