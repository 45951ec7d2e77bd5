//! How the values of a column become JSON, from what the catalog says of its type.

use crate::json_type::{JsonShape, TypeClass, TypeFacts};

/// A type, as `sql/catalog_tables.sql` describes it.
#[derive(Debug, serde::Deserialize)]
pub(super) struct TypeRow {
    /// Its OID beneath all domains.
    pub(super) base: u32,
    /// `pg_type.typtype` of that.
    class: char,
    /// What stands between such values in an array.
    delimiter: char,
    /// Whether it is an array.
    is_array: bool,
    /// Whether `to_jsonb` would use a cast of the user's own.
    has_json_cast: bool,
}

impl TypeRow {
    /// Whether it is an enum: its values have one text each.
    pub(super) fn is_enum(&self) -> bool {
        self.class == 'e'
    }

    fn facts(&self) -> Option<TypeFacts> {
        Some(TypeFacts {
            oid: self.base,
            class: TypeClass::from_typtype(self.class)?,
            has_json_cast: self.has_json_cast,
            delimiter: u8::try_from(self.delimiter).ok()?,
            element: None,
        })
    }
}

/// The form of such values, or of arrays of `element`; `None`: only the database can tell.
pub(super) fn of(value: &TypeRow, element: Option<&TypeRow>) -> Option<JsonShape> {
    let mut facts = value.facts()?;
    if value.is_array {
        // A domain over arrays may be an element, too.
        let element = element.filter(|element| !element.is_array)?;
        facts.element = Some(Box::new(element.facts()?));
    }
    JsonShape::of(&facts)
}
