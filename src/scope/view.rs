//! Conditions, as a table understands them.

use std::sync::Arc;

use super::{Combination, Conditions, ScopeValues};
use crate::kind;
use crate::row::Row;
use crate::table::Table;

/// Which rows of a table are seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// All of them.
    #[default]
    All,
    /// Those of one scope.
    Scope(Arc<Seen>),
    /// None: no row can fulfil the conditions.
    Nothing,
}

/// One scope of a table's rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// The columns that have to have a value.
    pub columns: Combination,
    /// What values.
    pub values: ScopeValues,
    /// The same as members of a document: their names, and their JSON.
    members: Vec<(String, Vec<u8>)>,
}

/// A condition on a column that is no scope column of the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column} is no scope column of {table}{}", among(.known))]
pub struct NoScopeColumn {
    /// The column's name.
    pub column: String,
    /// The table, as displayed.
    pub table: String,
    /// The scope columns there are.
    pub known: Vec<String>,
}

fn among(known: &[String]) -> String {
    match known {
        [] => ", which has none".into(),
        [only] => format!("; there is {only}"),
        several => format!("; there are {}", several.join(", ")),
    }
}

impl View {
    /// What is seen of a table under conditions. A value that is none of the column's type is no
    /// row's; NULL is nobody's.
    pub fn of(table: &Table, conditions: &Conditions) -> Result<Self, NoScopeColumn> {
        let mut wanted: Vec<Option<Vec<u8>>> = vec![None; table.scope.len()];
        let mut possible = true;
        for condition in conditions.iter() {
            let place = table.scope.iter().position(|column| column.name == condition.column);
            let found = place.and_then(|p| Some((table.scope.get(p)?, wanted.get_mut(p)?)));
            let Some((column, wanted)) = found else {
                return Err(NoScopeColumn {
                    column: condition.column.clone(),
                    table: table.name.to_string(),
                    known: table.scope.iter().map(|column| column.name.clone()).collect(),
                });
            };
            let mut json = Vec::new();
            possible &= kind::write_text(column.form, &condition.value, &mut json).is_ok();
            possible &= wanted.as_ref().is_none_or(|other| *other == json);
            *wanted = Some(json);
        }
        if !possible {
            return Ok(Self::Nothing);
        }
        let named = table.scope.iter().zip(wanted).enumerate();
        let given: Vec<(usize, (String, Vec<u8>))> = named
            .filter_map(|(place, (column, json))| Some((place, (column.name.clone(), json?))))
            .collect();
        if given.is_empty() {
            return Ok(Self::All);
        }
        let columns = Combination::of(given.iter().map(|(place, _)| *place));
        let members: Vec<(String, Vec<u8>)> = given.into_iter().map(|(_, member)| member).collect();
        let values = ScopeValues::of(members.iter().map(|(_, json)| json.as_slice()));
        Ok(Self::Scope(Arc::new(Seen { columns, values, members })))
    }

    /// Whether every row is seen.
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// Whether a row is seen, by its document.
    pub fn shows(&self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::Scope(seen) => row.has_members(&seen.members),
            Self::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Form, Kind};
    use crate::table::{Column, Rows, TableName, TableOid, Tracking};

    fn table() -> Table {
        let column = |name: &str, kind| Column {
            name: name.into(),
            type_oid: 0,
            type_name: String::new(),
            form: Some(Form::Scalar(kind)),
        };
        Table {
            oid: TableOid(1),
            name: TableName::new("public", "orders"),
            key_columns: vec!["id".into()],
            tracking: Tracking::Ids,
            rows: Rows::Off,
            scope: vec![column("owner_id", Kind::Integer), column("land", Kind::String)],
        }
    }

    fn view(conditions: &[(&str, &str)]) -> View {
        View::of(&table(), &conditions.iter().copied().collect()).unwrap()
    }

    fn shows(view: &View, row: &str) -> bool {
        view.shows(&Row::new(row.as_bytes()))
    }

    #[test]
    fn a_row_is_seen_when_every_condition_holds() {
        let both = view(&[("land", "fr\""), ("owner_id", "05")]);
        assert!(shows(&both, r#"{"id":1,"owner_id":5,"land":"fr\""}"#));
        assert!(shows(&both, r#"{"land":"fr\u0022","owner_id":5}"#));
        assert!(!shows(&both, r#"{"id":1,"owner_id":5,"land":"fr"}"#));
        assert!(!shows(&both, r#"{"id":1,"owner_id":50,"land":"fr\""}"#));
        assert!(!shows(&both, r#"{"id":1,"owner_id":null,"land":"fr\""}"#));
        assert!(!shows(&both, r#"{"id":1,"land":"fr\""}"#));
        assert!(!shows(&both, r#"{"x":{"owner_id":5},"owner_id":"5","land":"fr\""}"#));
        let View::Scope(seen) = both else { panic!("one scope") };
        assert_eq!(format!("{:?}", seen.values), r#"[5,"fr\""]"#);
        assert!(view(&[]).is_all() && shows(&view(&[]), "{}"));
    }

    #[test]
    fn what_no_row_can_fulfil_shows_nothing() {
        for conditions in
            [[("owner_id", "5"), ("owner_id", "6")], [("owner_id", "x"), ("land", "fr")]]
        {
            let view = view(&conditions);
            assert_eq!(view, View::Nothing);
            assert!(!shows(&view, r#"{"owner_id":5,"land":"fr"}"#));
        }
        // The same value twice is no contradiction.
        assert_ne!(view(&[("owner_id", "5"), ("owner_id", "05")]), View::Nothing);
    }

    #[test]
    fn a_condition_on_another_column_names_those_there_are() {
        let conditions = Conditions::from_iter([("id", "1")]);
        let refused = View::of(&table(), &conditions).unwrap_err().to_string();
        assert_eq!(refused, "id is no scope column of orders; there are owner_id, land");
    }
}
