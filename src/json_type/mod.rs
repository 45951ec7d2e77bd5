//! The JSON representation of a type's values, and the facts of the catalog that decide it.
//!
//! `render`, which knows the types' text output, implements them; tables and caches store them.

mod text;

use serde::{Deserialize, Serialize};

pub use text::{AN_INTEGER, write_text};

/// The class of a type: `pg_type.typtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeClass {
    /// `b`: a base type, or an array.
    Base,
    /// `c`: a composite type (a row).
    Composite,
    /// `d`: a domain. Callers resolve it to its base type first.
    Domain,
    /// `e`: an enum.
    Enum,
    /// `p`: a pseudo-type.
    Pseudo,
    /// `r`: a range.
    Range,
    /// `m`: a multirange.
    Multirange,
}

impl TypeClass {
    /// The class of a letter of `pg_type.typtype`; `None` for an unknown one.
    pub fn from_typtype(letter: char) -> Option<Self> {
        match letter {
            'b' => Some(Self::Base),
            'c' => Some(Self::Composite),
            'd' => Some(Self::Domain),
            'e' => Some(Self::Enum),
            'p' => Some(Self::Pseudo),
            'r' => Some(Self::Range),
            'm' => Some(Self::Multirange),
            _ => None,
        }
    }
}

/// The catalog's description of a type; a domain is resolved to its base type first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeFacts {
    /// `pg_type.oid`.
    pub oid: u32,
    /// `pg_type.typtype`.
    pub class: TypeClass,
    /// Whether a function casts it to `json` (`pg_cast` with `castmethod = 'f'`). Irrelevant for a built-in
    /// type; `true` is the safe value if unknown.
    pub has_json_cast: bool,
    /// The delimiter of its values in the text of an array (`pg_type.typdelim`).
    pub delimiter: u8,
    /// The type of its elements, again resolved to its base type, if it is a true array: one whose `typelem`
    /// is not 0 and whose `typsubscript` is `array_subscript_handler`.
    pub element: Option<Box<TypeFacts>>,
}

/// How the values of a type become JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JsonType {
    /// `smallint`, `integer`, `bigint`: a number.
    Integer,
    /// `real`, `double precision`, `numeric`: a number, or a string for infinities and NaN.
    Number,
    /// `boolean`.
    Boolean,
    /// `json`: the value itself, without white space.
    Json,
    /// `jsonb`: the value itself.
    Jsonb,
    /// `timestamp without time zone`: a string in ISO 8601, with `T`.
    Timestamp,
    /// `timestamp with time zone`: a string in ISO 8601, with `T` and `+00:00`.
    Timestamptz,
    /// `date`: a string in ISO 8601.
    Date,
    /// Any other type that can be rendered: its text, as a string.
    String,
}

/// How the values of a column become JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JsonShape {
    /// One value.
    Scalar(JsonType),
    /// An array of such values, of any dimensions.
    Array {
        /// The representation of its elements.
        element: JsonType,
        /// The delimiter between them in the text (`pg_type.typdelim`).
        delimiter: u8,
    },
}
