//! Scope conditions resolved against a table.

use std::sync::Arc;

use super::{ScopeColumnSet, ScopeConditions, ScopeValues};
use crate::json_type;
use crate::row::Row;
use crate::table::Table;

/// The rows of a table that match the conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RowScope {
    /// No condition: every row of the table matches.
    #[default]
    AllRows,
    /// The rows of one scope.
    Scope(Arc<ScopeMatch>),
    /// No row can satisfy the conditions.
    Nothing,
}

/// One scope of a table: values of some of its scope columns.
#[derive(Debug, PartialEq, Eq)]
pub struct ScopeMatch {
    /// The columns with a condition.
    pub columns: ScopeColumnSet,
    /// Their required values.
    pub values: ScopeValues,
    /// The same as members of a document: names, and JSON of the values.
    members: Vec<(String, Vec<u8>)>,
}

/// A condition on a column that is not a scope column of the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column} is not a scope column of {table}; {}", valid_columns(.known))]
pub struct NoScopeColumn {
    /// The column's name.
    pub column: String,
    /// The table, as displayed.
    pub table: String,
    /// The table's scope columns.
    pub known: Vec<String>,
}

fn valid_columns(known: &[String]) -> String {
    match known {
        [] => "it has none".into(),
        [only] => format!("valid column: {only}"),
        several => format!("valid columns: {}", several.join(", ")),
    }
}

impl RowScope {
    /// Resolves conditions against a table. A value that does not parse as the column's type matches no row,
    /// and neither does NULL.
    pub fn of(table: &Table, conditions: &ScopeConditions) -> Result<Self, NoScopeColumn> {
        let mut required: Vec<Option<Vec<u8>>> = vec![None; table.scope.len()];
        let mut possible = true;
        for condition in conditions.iter() {
            let index = table.scope.iter().position(|column| column.name == condition.column);
            let found = index.and_then(|i| Some((table.scope.get(i)?, required.get_mut(i)?)));
            let Some((column, required)) = found else {
                return Err(NoScopeColumn {
                    column: condition.column.clone(),
                    table: table.name.to_string(),
                    known: table.scope.iter().map(|column| column.name.clone()).collect(),
                });
            };
            let mut json = Vec::new();
            possible &= json_type::write_text(column.form, &condition.value, &mut json).is_ok();
            possible &= required.as_ref().is_none_or(|other| *other == json);
            *required = Some(json);
        }
        if !possible {
            return Ok(Self::Nothing);
        }
        let named = table.scope.iter().zip(required).enumerate();
        let given: Vec<(usize, (String, Vec<u8>))> = named
            .filter_map(|(index, (column, json))| Some((index, (column.name.clone(), json?))))
            .collect();
        if given.is_empty() {
            return Ok(Self::AllRows);
        }
        let columns = ScopeColumnSet::of(given.iter().map(|(index, _)| *index));
        let members: Vec<(String, Vec<u8>)> = given.into_iter().map(|(_, member)| member).collect();
        let values = ScopeValues::of(members.iter().map(|(_, json)| json.as_slice()));
        Ok(Self::Scope(Arc::new(ScopeMatch { columns, values, members })))
    }

    /// Whether every row matches.
    pub fn is_all(&self) -> bool {
        *self == Self::AllRows
    }

    /// Whether a row matches, by its document.
    pub fn matches(&self, row: &Row) -> bool {
        match self {
            Self::AllRows => true,
            Self::Scope(scope) => row.has_members(&scope.members),
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

    fn scope(conditions: &[(&str, &str)]) -> RowScope {
        RowScope::of(&table(), &conditions.iter().copied().collect()).unwrap()
    }

    fn matches(scope: &RowScope, row: &str) -> bool {
        scope.matches(&Row::new(row.as_bytes()))
    }

    #[test]
    fn a_row_matches_when_every_condition_holds() {
        let both = scope(&[("land", "fr\""), ("owner_id", "05")]);
        assert!(matches(&both, r#"{"id":1,"owner_id":5,"land":"fr\""}"#));
        assert!(matches(&both, r#"{"land":"fr\u0022","owner_id":5}"#));
        assert!(!matches(&both, r#"{"id":1,"owner_id":5,"land":"fr"}"#));
        assert!(!matches(&both, r#"{"id":1,"owner_id":50,"land":"fr\""}"#));
        assert!(!matches(&both, r#"{"id":1,"owner_id":null,"land":"fr\""}"#));
        assert!(!matches(&both, r#"{"id":1,"land":"fr\""}"#));
        assert!(!matches(&both, r#"{"x":{"owner_id":5},"owner_id":"5","land":"fr\""}"#));
        let RowScope::Scope(only) = both else { panic!("one scope") };
        assert_eq!(format!("{:?}", only.values), r#"[5,"fr\""]"#);
        assert!(scope(&[]).is_all() && matches(&scope(&[]), "{}"));
    }

    #[test]
    fn contradictory_or_invalid_conditions_match_nothing() {
        for conditions in
            [[("owner_id", "5"), ("owner_id", "6")], [("owner_id", "x"), ("land", "fr")]]
        {
            let scope = scope(&conditions);
            assert_eq!(scope, RowScope::Nothing);
            assert!(!matches(&scope, r#"{"owner_id":5,"land":"fr"}"#));
        }
        // The same value twice is no contradiction.
        assert_ne!(scope(&[("owner_id", "5"), ("owner_id", "05")]), RowScope::Nothing);
    }

    #[test]
    fn a_condition_on_another_column_lists_the_valid_ones() {
        let conditions = ScopeConditions::from_iter([("id", "1")]);
        let refused = RowScope::of(&table(), &conditions).unwrap_err().to_string();
        assert_eq!(refused, "id is not a scope column of orders; valid columns: owner_id, land");
    }
}
