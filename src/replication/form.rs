//! How the values of a column become JSON, from what the catalog says of its type.

use crate::kind::{Form, Kind, TypeClass};
use crate::render::Unrenderable;

/// A type, as `sql/catalog_tables.sql` describes it.
#[derive(Debug, serde::Deserialize)]
pub(super) struct TypeFacts {
    /// Its OID beneath all domains.
    pub(super) base: u32,
    /// `pg_type.typtype` of that.
    class: char,
    /// Whether `to_jsonb` would use a cast of the user's own.
    has_json_cast: bool,
}

/// The form of such values, or of arrays of `element`; `None`: only the database can tell.
pub(super) fn of(value: &TypeFacts, element: Option<&TypeFacts>) -> Option<Form> {
    if value.has_json_cast || element.is_some() {
        return None;
    }
    let class = TypeClass::from_typtype(value.class)?;
    Kind::of(value.base, class).map(Form::Scalar)
}

/// Appends the JSON of a value, given its text output; leaves `out` as it was when it can't.
pub(super) fn write_json(form: Form, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    match form {
        Form::Scalar(kind) => kind.write_json(text, out),
        Form::Array { .. } => Err(Unrenderable),
    }
}
