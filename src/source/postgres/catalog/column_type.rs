//! How the values of a column become JSON, from the catalog's description of its type.

use serde::Deserialize;

use crate::json_type::{JsonShape, TypeClass, TypeFacts};

/// A type as `sql/catalog_tables.sql` describes it.
#[derive(Debug, Deserialize)]
pub(super) struct TypeRow {
    /// OID of the type beneath all domains.
    pub(super) base: u32,
    /// `pg_type.typtype` of that type.
    class: char,
    /// Delimiter of such values in an array's text.
    delimiter: char,
    is_array: bool,
    /// Whether `to_jsonb` would use a user-defined cast.
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

/// The JSON shape of such values, or of arrays of `element`; `None` if only the database can render
/// them.
pub(super) fn json_shape(value: &TypeRow, element: Option<&TypeRow>) -> Option<JsonShape> {
    let mut facts = value.facts()?;
    if value.is_array {
        // A domain over arrays may be an element, too.
        let element = element.filter(|element| !element.is_array)?;
        facts.element = Some(Box::new(element.facts()?));
    }
    JsonShape::of(&facts)
}
