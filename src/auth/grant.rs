//! Grants: what tokens may read, with conditions that each token's claims fill in.

use serde_json::{Map, Value};

use super::access::{Access, Granted};
use super::rejected::TokenRejected;
use crate::scope::ScopeConditions;

/// The claims of a JWT.
pub(super) type Claims = Map<String, Value>;

/// What a group of tokens may read: configured, and completed by each token's claims.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The tables that the tokens may read.
    pub tables: GrantedTables,
    /// The claim that restricts a token to some of these tables; `None` for no restriction.
    pub tables_claim: Option<String>,
    /// The conditions on their rows.
    pub rows: Vec<RowRule>,
}

/// The tables of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantedTables {
    /// Every published table.
    All,
    /// Only these tables.
    Named(Vec<String>),
}

/// No table, so that a missing setting grants nothing.
impl Default for GrantedTables {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

/// A restriction of a table to the rows with a certain value in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRule {
    /// The table, as spelled in the grant.
    pub table: String,
    /// A scope column of that table.
    pub column: String,
    /// The value that the column must have.
    pub value: RuleValue,
}

/// The value of a restriction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleValue {
    /// This text, in PostgreSQL's input syntax.
    Text(String),
    /// The value of the token's claim of this name.
    Claim(String),
}

impl Grant {
    /// The access of a token with these claims. The token is rejected if it lacks a claim that the grant
    /// refers to.
    pub fn access(&self, claims: &Claims) -> Result<Access, TokenRejected> {
        let claimed = self.tables_claim.as_deref().map(|claim| names(claims, claim)).transpose()?;
        let tables: Vec<String> = match (&self.tables, claimed) {
            (GrantedTables::All, None) => return Ok(Access::Everything),
            (GrantedTables::All, Some(claimed)) => claimed,
            (GrantedTables::Named(tables), None) => tables.clone(),
            (GrantedTables::Named(tables), Some(claimed)) => {
                let is_claimed =
                    |table: &&String| claimed.iter().any(|name| is_same_table(name, table));
                tables.iter().filter(is_claimed).cloned().collect()
            }
        };
        // Evaluates all rules, so that a missing claim rejects the token for any table.
        let rules = self.rows.iter().map(|rule| Ok((&rule.table, rule.evaluate(claims)?)));
        let rules = rules.collect::<Result<Vec<_>, TokenRejected>>()?;
        let granted = tables.into_iter().map(|table| {
            let rows = rules.iter().filter(|(ruled, _)| is_same_table(ruled, &table));
            let rows = rows.map(|(_, (column, value))| (column.clone(), value.clone())).collect();
            Granted { table, rows }
        });
        Ok(Access::Tables(granted.collect()))
    }
}

impl RowRule {
    fn evaluate(&self, claims: &Claims) -> Result<(String, String), TokenRejected> {
        let value = match &self.value {
            RuleValue::Text(text) => text.clone(),
            RuleValue::Claim(claim) => match claims.get(claim) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Bool(boolean)) => boolean.to_string(),
                _ => {
                    return Err(TokenRejected::because(format!(
                        "claim {claim} is not a single value"
                    )));
                }
            },
        };
        Ok((self.column.clone(), value))
    }
}

fn names(claims: &Claims, claim: &str) -> Result<Vec<String>, TokenRejected> {
    let names = claims.get(claim).and_then(Value::as_array);
    let names = names.map(|names| names.iter().map(|name| name.as_str().map(str::to_owned)));
    let names = names.and_then(Iterator::collect);
    names.ok_or_else(|| {
        TokenRejected::because(format!("claim {claim} is not a list of table names"))
    })
}

/// Whether two spellings name the same table: `public.items` is `items`. Other spellings of one table count
/// as different tables, which can only reduce access.
pub fn is_same_table(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.strip_prefix("public.").unwrap_or(name).to_owned();
    plain(one) == plain(other)
}

impl Granted {
    /// A table with all rows.
    pub fn whole(table: impl Into<String>) -> Self {
        Self { table: table.into(), rows: ScopeConditions::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: &Value) -> Claims {
        value.as_object().unwrap().clone()
    }

    fn grant(tables: &[&str], claim: Option<&str>) -> Grant {
        let tables = GrantedTables::Named(tables.iter().map(|&table| table.to_owned()).collect());
        Grant { tables, tables_claim: claim.map(str::to_owned), rows: Vec::new() }
    }

    /// `items[owner_id:5] users`
    fn shown(access: Result<Access, TokenRejected>) -> String {
        match access {
            Err(rejected) => format!("rejected: {rejected}"),
            Ok(Access::Everything) => "everything".to_owned(),
            Ok(Access::Tables(tables)) => {
                let one = |granted: &Granted| {
                    if granted.rows.is_empty() {
                        granted.table.clone()
                    } else {
                        format!("{}[{}]", granted.table, granted.rows)
                    }
                };
                tables.iter().map(one).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn the_default_grants_nothing() {
        let none = Claims::new();
        assert_eq!(shown(Grant::default().access(&none)), "");
        assert_eq!(shown(grant(&["items", "users"], None).access(&none)), "items users");
        let all = Grant { tables: GrantedTables::All, ..Grant::default() };
        assert_eq!(shown(all.access(&none)), "everything");
    }

    #[test]
    fn a_claim_restricts_the_grant_and_never_extends_it() {
        let grant = grant(&["public.items", "users"], Some("tables"));
        let access = |value: Value| shown(grant.access(&claims(&json!({ "tables": value }))));
        assert_eq!(access(json!(["items", "secrets"])), "public.items");
        assert_eq!(access(json!(["public.users"])), "users");
        assert_eq!(access(json!([])), "");
        assert_eq!(access(json!(["*"])), "");
        for wrong in [json!("items"), json!(null), json!([1]), json!({})] {
            assert!(access(wrong).starts_with("rejected: claim tables"));
        }
        assert!(shown(grant.access(&Claims::new())).starts_with("rejected"));
        let all = Grant {
            tables: GrantedTables::All,
            tables_claim: Some("t".into()),
            ..Grant::default()
        };
        assert_eq!(shown(all.access(&claims(&json!({"t": ["a", "b.c"]})))), "a b.c");
    }

    #[test]
    fn conditions_take_their_values_from_claims() {
        let rule = |table: &str, column: &str, value| RowRule {
            table: table.into(),
            column: column.into(),
            value,
        };
        let mut grant = grant(&["items", "public.users", "notes"], None);
        grant.rows = vec![
            rule("public.items", "owner_id", RuleValue::Claim("sub".into())),
            rule("items", "country", RuleValue::Text("fr".into())),
            rule("users", "id", RuleValue::Claim("sub".into())),
        ];
        let access = |value: Value| shown(grant.access(&claims(&json!({ "sub": value }))));
        let all = "items[country:fr,owner_id:5] public.users[id:5] notes";
        assert_eq!(access(json!("5")), all);
        assert_eq!(access(json!(5)), all);
        assert!(access(json!(true)).contains("id:true"));
        for missing in [json!(null), json!([5]), json!({"a": 5})] {
            assert_eq!(access(missing), "rejected: claim sub is not a single value");
        }
        assert!(shown(grant.access(&Claims::new())).starts_with("rejected"));
    }
}
