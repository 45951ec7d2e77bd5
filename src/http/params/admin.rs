//! The parameters of admin commands.

use serde::Deserialize;
use utoipa::IntoParams;

use super::query_string::from_query;
use crate::http::response::problem::Problem;

/// The query of `POST /admin/reload` and `POST /admin/verify`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AdminParams {
    /// The table's name; `all` for every table
    #[param(required, example = "items")]
    table: Option<String>,
}

/// The tables that an admin command applies to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AdminTables {
    All,
    /// A table's name as sent.
    Named(String),
}

impl AdminParams {
    /// `all` selects every table; a table of that name is called `public.all`.
    pub(crate) fn read(query: &str) -> Result<AdminTables, Problem> {
        let Self { table } = from_query(query)?;
        match table {
            None => Err(Problem::invalid(
                "`table` is missing: name the table, or `all` for every table",
            )),
            Some(name) if name == "all" => Ok(AdminTables::All),
            Some(name) => Ok(AdminTables::Named(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_required() {
        let read = AdminParams::read;
        assert_eq!(read("table=all").unwrap(), AdminTables::All);
        assert_eq!(read("table=public.all").unwrap(), AdminTables::Named("public.all".to_owned()));
        assert!(read("").unwrap_err().detail().contains("missing"));
        assert!(read("tables=items").unwrap_err().detail().contains("`table`"));
    }
}
