//! Scopes: conditions that select the rows of a table that a caller may see, or requests.

mod row_scope;
mod values;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

pub use row_scope::{NoScopeColumn, RowScope, ScopeMatch};
pub use values::{SCOPE_COLUMNS_MAX, ScopeColumnSet, ScopeValues};

/// Equality conditions on a table's scope columns. A row matches if all of them hold; without conditions every
/// row matches.
///
/// Values are input texts for PostgreSQL, whose type only the table knows. Two values for one column are two
/// conditions: unless they are equal as values of the column's type, no row matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeConditions(Option<Arc<BTreeSet<ScopeCondition>>>);

/// A column and the value it must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeCondition {
    /// The column's name, as stored.
    pub column: String,
    /// The value's text.
    pub value: String,
}

impl ScopeConditions {
    /// Whether there are no conditions: every row matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The conditions, ordered by column name.
    pub fn iter(&self) -> impl Iterator<Item = &ScopeCondition> {
        self.0.iter().flat_map(|all| all.iter())
    }

    /// The conjunction of these conditions and `others`.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        match (self.is_empty(), others.is_empty()) {
            (_, true) => self.clone(),
            (true, _) => others.clone(),
            _ => self.iter().chain(others.iter()).cloned().collect(),
        }
    }
}

impl FromIterator<ScopeCondition> for ScopeConditions {
    fn from_iter<I: IntoIterator<Item = ScopeCondition>>(all: I) -> Self {
        let all: BTreeSet<ScopeCondition> = all.into_iter().collect();
        Self((!all.is_empty()).then(|| Arc::new(all)))
    }
}

impl<C: Into<String>, V: Into<String>> FromIterator<(C, V)> for ScopeConditions {
    fn from_iter<I: IntoIterator<Item = (C, V)>>(all: I) -> Self {
        let one =
            |(column, value): (C, V)| ScopeCondition { column: column.into(), value: value.into() };
        all.into_iter().map(one).collect()
    }
}

impl fmt::Display for ScopeConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}:{}", condition.column, condition.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_equal_in_any_order() {
        let a = ScopeConditions::from_iter([("owner_id", "5"), ("country", "fr")]);
        let b =
            ScopeConditions::from_iter([("country", "fr"), ("owner_id", "5"), ("country", "fr")]);
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "country:fr,owner_id:5");
        let none = ScopeConditions::from_iter(Vec::<(String, String)>::new());
        assert!(none.is_empty() && none == ScopeConditions::default());
    }

    #[test]
    fn the_conjunction_has_the_conditions_of_both() {
        let five = ScopeConditions::from_iter([("owner_id", "5")]);
        let none = ScopeConditions::default();
        assert_eq!((none.and(&five), five.and(&none)), (five.clone(), five.clone()));
        let six = five.and(&ScopeConditions::from_iter([("owner_id", "6")]));
        assert_eq!(six.to_string(), "owner_id:5,owner_id:6");
    }
}
