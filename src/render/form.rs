//! The JSON representation of a type, decided from its description in the catalog.
//!
//! Source: PostgreSQL, `src/backend/utils/adt/jsonb.c` (`jsonb_categorize_type`; from 17 on
//! `jsonfuncs.c`, `json_categorize_type`). It resolves domains first, has special representations for
//! some built-in types, true arrays and rows, and uses a cast to `json` by a function if a type that is not
//! built in has one. Any other value is its text, quoted. Elements of an array are treated likewise.

use super::builtin;
use crate::json_type::{JsonShape, JsonType, TypeClass, TypeFacts};

/// The first OID of user-defined objects (`FirstNormalObjectId` in `src/include/access/transam.h`).
const FIRST_USER_OID: u32 = 16_384;

impl JsonShape {
    /// The representation of a type's values; `None` if they can't be rendered from their text with certainty.
    ///
    /// The latter are rows and arrays of them, types with a cast to `json`, arrays whose elements are domains
    /// over arrays, and the few built-in types that `builtin` omits.
    pub fn of(facts: &TypeFacts) -> Option<Self> {
        let Some(element) = &facts.element else {
            return scalar_kind(facts).map(Self::Scalar);
        };
        // These are true arrays whose text output is not that of an array.
        if builtin::is_vector(facts.oid) || element.element.is_some() {
            return None;
        }
        let delimiter = element.delimiter;
        scalar_kind(element).map(|element| Self::Array { element, delimiter })
    }
}

/// The representation of a type that is not an array.
fn scalar_kind(facts: &TypeFacts) -> Option<JsonType> {
    match facts.class {
        TypeClass::Composite | TypeClass::Domain | TypeClass::Pseudo => None,
        _ if facts.oid < FIRST_USER_OID => builtin::kind(facts.oid),
        TypeClass::Base | TypeClass::Enum | TypeClass::Range | TypeClass::Multirange => {
            (!facts.has_json_cast).then_some(JsonType::String)
        }
    }
}
