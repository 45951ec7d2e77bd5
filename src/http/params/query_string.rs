//! A strict reader of query strings: a serde deserializer for structs of parameters.
//!
//! The same struct derives `Deserialize` and `IntoParams`, so what is parsed is what the OpenAPI
//! document says. Each parameter may be given once (but [`WHERE`], whose lists are joined), and an
//! unknown one is an error that names the nearest known one.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::value::CowStrDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::http::response::problem::{Problem, shown};

/// The parameter that may be given several times.
const WHERE: &str = "where";

/// Names less similar than this are no spelling mistakes (Jaro-Winkler, 0 to 1).
const SIMILARITY_MIN: f64 = 0.75;

/// Reads a query string. No allocation where nothing needs decoding: most polls.
pub(super) fn from_query<'de, T: Deserialize<'de>>(query: &'de str) -> Result<T, Problem> {
    let parameters = Parameters { query, rest: query, value: None, has_where: false };
    T::deserialize(parameters).map_err(|error| Problem::invalid(error.0))
}

/// Reads a parameter of a type that has its own notation.
pub(super) fn from_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, Problem>,
) -> Result<T, D::Error> {
    struct TextVisitor<T>(fn(&str) -> Result<T, Problem>);

    impl<T> Visitor<'_> for TextVisitor<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(|problem| E::custom(problem.detail()))
        }
    }

    deserializer.deserialize_str(TextVisitor(parse))
}

/// What is wrong with a query string, as a sentence.
#[derive(Debug)]
struct QueryError(String);

impl fmt::Display for QueryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for QueryError {}

impl de::Error for QueryError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        let similarity = |known: &&str| strsim::jaro_winkler(name, known);
        let nearest = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
        let name = shown(name);
        Self(match nearest.filter(|nearest| similarity(nearest) >= SIMILARITY_MIN) {
            Some(nearest) => {
                format!("there is no parameter `{name}` here; the nearest is `{nearest}`")
            }
            None => format!(
                "there is no parameter `{name}` here: leave `{name}` out; the parameters are {}",
                quoted(known)
            ),
        })
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self(format!("`{name}` is given twice: give it once"))
    }

    fn missing_field(name: &'static str) -> Self {
        Self(format!("`{name}` is missing"))
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The parameters of a query string, read one after the other.
struct Parameters<'de> {
    query: &'de str,
    /// What was not read yet.
    rest: &'de str,
    /// The parameter whose name was read last, with its encoded value.
    value: Option<(Cow<'de, str>, &'de str)>,
    has_where: bool,
}

impl<'de> Deserializer<'de> for Parameters<'de> {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl<'de> MapAccess<'de> for Parameters<'de> {
    type Error = QueryError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, QueryError> {
        while !self.rest.is_empty() {
            let (pair, rest) = self.rest.split_once('&').unwrap_or((self.rest, ""));
            self.rest = rest;
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            // All lists of `where` were read with the first.
            if pair.is_empty() || (name == WHERE && std::mem::replace(&mut self.has_where, true)) {
                continue;
            }
            self.value = Some((name.clone(), value));
            return seed.deserialize(CowStrDeserializer::new(name)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, QueryError> {
        let (name, value) = self.value.take().unwrap_or_default();
        let text = if name == WHERE { joined(self.query)? } else { decode(value)? };
        seed.deserialize(ParameterValue { name, text })
    }
}

/// The values of every `where`, with `,` between.
fn joined(query: &str) -> Result<Cow<'_, str>, QueryError> {
    let mut all: Option<Cow<'_, str>> = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(name)? != WHERE {
            continue;
        }
        let value = decode(value)?;
        all = Some(match all {
            None => value,
            Some(before) => Cow::Owned(format!("{before},{value}")),
        });
    }
    Ok(all.unwrap_or_default())
}

/// The decoded value of a parameter.
struct ParameterValue<'de> {
    name: Cow<'de, str>,
    text: Cow<'de, str>,
}

impl<'de> Deserializer<'de> for ParameterValue<'de> {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        match self.text {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        match &*self.text {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(QueryError(format!("`{}` must be `true` or `false`", self.name))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        if !variants.contains(&&*self.text) {
            return Err(QueryError(format!(
                "`{}` must be one of {}, or left out",
                self.name,
                quoted(variants)
            )));
        }
        visitor.visit_enum(CowStrDeserializer::new(self.text))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Undoes the encoding of forms: `+` and percent signs.
fn decode(text: &str) -> Result<Cow<'_, str>, QueryError> {
    let not_utf8 = |_| QueryError("the query string is not UTF-8 once percent-decoded".to_owned());
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map_err(not_utf8)?;
        return Ok(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(text).decode_utf8().map_err(not_utf8)
}
