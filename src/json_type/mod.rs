//! How the values of a type become JSON: the names of the ways, and the facts of the catalog that
//! decide among them.
//!
//! `render` (which knows the texts) writes by them; whoever reads rows carries them along.

mod text;

use serde::{Deserialize, Serialize};

pub use text::{AN_INTEGER, write_text};

/// What kind of type a type is: `pg_type.typtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeClass {
    /// `b`: a base type, or an array.
    Base,
    /// `c`: a composite type (a row).
    Composite,
    /// `d`: a domain. Callers look through it first, at the type beneath all domains.
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
    /// The class a letter of `pg_type.typtype` stands for; `None` for one this release doesn't know.
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

/// What the catalog says of a type. A domain is replaced by the type beneath all domains first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeFacts {
    /// Its OID.
    pub oid: u32,
    /// Its class.
    pub class: TypeClass,
    /// Whether a function casts it to `json` (`pg_cast` with `castmethod = 'f'`). Of no importance
    /// for a built-in type; where it isn't known, `true` is the safe answer.
    pub has_json_cast: bool,
    /// What stands between its values in the text of an array of them (`pg_type.typdelim`).
    pub delimiter: u8,
    /// Its elements' type, again beneath all domains, if it is a true array: one whose `typelem` is
    /// not 0 and whose `typsubscript` is `array_subscript_handler`.
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
    /// Everything else that can be rendered: its text, as a string.
    String,
}

/// How the values of a column become JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JsonShape {
    /// One value.
    Scalar(JsonType),
    /// An array of such values, of any dimensions.
    Array {
        /// Its elements.
        element: JsonType,
        /// What stands between them in the text (`pg_type.typdelim`).
        delimiter: u8,
    },
}
