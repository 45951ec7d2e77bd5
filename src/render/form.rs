//! Which form the values of a type have, decided from what the catalog says of it.
//!
//! Source: PostgreSQL, `src/backend/utils/adt/jsonb.c` (`jsonb_categorize_type`; from 17 on
//! `jsonfuncs.c`, `json_categorize_type`). It looks through domains first, gives a form of its own
//! to some built-in types, to true arrays and to rows, and uses a cast to `json` by a function
//! where a type that is not built in has one. Everything else is its text, quoted. It treats the
//! elements of an array likewise.

use super::builtin;
use crate::json_type::{JsonShape, JsonType, TypeClass, TypeFacts};

/// The first OID that is given to what users make (`FirstNormalObjectId` in
/// `src/include/access/transam.h`).
const FIRST_USER_OID: u32 = 16_384;

impl JsonShape {
    /// The form of the values of a type; `None` when they can't be rendered from their text with
    /// certainty.
    ///
    /// That is so for rows and arrays of them, for types with a cast to `json`, for arrays whose
    /// elements are domains over arrays, and for the few built-in types that `builtin` leaves out.
    pub fn of(facts: &TypeFacts) -> Option<Self> {
        let Some(element) = &facts.element else {
            return scalar_kind(facts).map(Self::Scalar);
        };
        // These are true arrays that don't print like one.
        if builtin::is_vector(facts.oid) || element.element.is_some() {
            return None;
        }
        let delimiter = element.delimiter;
        scalar_kind(element).map(|element| Self::Array { element, delimiter })
    }
}

/// The kind of a type that is not an array.
fn scalar_kind(facts: &TypeFacts) -> Option<JsonType> {
    match facts.class {
        TypeClass::Composite | TypeClass::Domain | TypeClass::Pseudo => None,
        _ if facts.oid < FIRST_USER_OID => builtin::kind(facts.oid),
        TypeClass::Base | TypeClass::Enum | TypeClass::Range | TypeClass::Multirange => {
            (!facts.has_json_cast).then_some(JsonType::String)
        }
    }
}
