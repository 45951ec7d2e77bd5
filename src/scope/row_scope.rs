//! Conditions, as a table understands them.

use std::sync::Arc;

use super::{ScopeColumnSet, ScopeConditions, ScopeValues};
use crate::json_type;
use crate::row::Row;
use crate::table::Table;

/// Which rows of a table are seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RowScope {
    /// All of them.
    #[default]
    AllRows,
    /// Those of one scope.
    Scope(Arc<ScopeMatch>),
    /// None: no row can fulfil the conditions.
    Nothing,
}

/// One scope of a table's rows.
#[derive(Debug, PartialEq, Eq)]
pub struct ScopeMatch {
    /// The columns that have to have a value.
    pub columns: ScopeColumnSet,
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

impl RowScope {
    /// What is seen of a table under conditions. A value that is none of the column's type is no
    /// row's; NULL is nobody's.
    pub fn of(table: &Table, conditions: &ScopeConditions) -> Result<Self, NoScopeColumn> {
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
            possible &= json_type::write_text(column.form, &condition.value, &mut json).is_ok();
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
            return Ok(Self::AllRows);
        }
        let columns = ScopeColumnSet::of(given.iter().map(|(place, _)| *place));
        let members: Vec<(String, Vec<u8>)> = given.into_iter().map(|(_, member)| member).collect();
        let values = ScopeValues::of(members.iter().map(|(_, json)| json.as_slice()));
        Ok(Self::Scope(Arc::new(ScopeMatch { columns, values, members })))
    }

    /// Whether every row is seen.
    pub fn is_all(&self) -> bool {
        *self == Self::AllRows
    }

    /// Whether a row is seen, by its document.
    pub fn matches(&self, row: &Row) -> bool {
        match self {
            Self::AllRows => true,
            Self::Scope(seen) => row.has_members(&seen.members),
            Self::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_type::{JsonShape, JsonType};
    use crate::table::{Column, RowCaching, TableName, TableOid, Tracking};

    fn table() -> Table {
        let column = |name: &str, kind| Column {
            name: name.into(),
            type_oid: 0,
            type_name: String::new(),
            form: Some(JsonShape::Scalar(kind)),
        };
        Table {
            oid: TableOid(1),
            name: TableName::new("public", "orders"),
            key_columns: vec!["id".into()],
            tracking: Tracking::Ids,
            rows: RowCaching::Disabled,
            scope: vec![column("owner_id", JsonType::Integer), column("land", JsonType::String)],
        }
    }

    fn view(conditions: &[(&str, &str)]) -> RowScope {
        RowScope::of(&table(), &conditions.iter().copied().collect()).unwrap()
    }

    fn shows(view: &RowScope, row: &str) -> bool {
        view.matches(&Row::new(row.as_bytes()))
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
        let RowScope::Scope(seen) = both else { panic!("one scope") };
        assert_eq!(format!("{:?}", seen.values), r#"[5,"fr\""]"#);
        assert!(view(&[]).is_all() && shows(&view(&[]), "{}"));
    }

    #[test]
    fn what_no_row_can_fulfil_shows_nothing() {
        for conditions in
            [[("owner_id", "5"), ("owner_id", "6")], [("owner_id", "x"), ("land", "fr")]]
        {
            let view = view(&conditions);
            assert_eq!(view, RowScope::Nothing);
            assert!(!shows(&view, r#"{"owner_id":5,"land":"fr"}"#));
        }
        // The same value twice is no contradiction.
        assert_ne!(view(&[("owner_id", "5"), ("owner_id", "05")]), RowScope::Nothing);
    }

    #[test]
    fn a_condition_on_another_column_names_those_there_are() {
        let conditions = ScopeConditions::from_iter([("id", "1")]);
        let refused = RowScope::of(&table(), &conditions).unwrap_err().to_string();
        assert_eq!(refused, "id is no scope column of orders; there are owner_id, land");
    }
}
