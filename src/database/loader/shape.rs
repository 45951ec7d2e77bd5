//! What is selected of a table, and how a selected row becomes a key and a document.

use crate::json_text::write_string;
use crate::json_type::{JsonShape, JsonType};
use crate::key::Key;
use crate::render::{self, Unrenderable};
use crate::row::Row;
use crate::table::{Column, RowCachePlan, quoted};

use super::record::TextValues;

/// Who makes JSON of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonSource {
    /// We, from their texts, where their form is known: cheaper by far, and byte for byte what the
    /// change stream's values become.
    Ours,
    /// The database, with `to_jsonb`: what it makes of a value is right by definition. For rows with
    /// a value that we refuse.
    Database,
}

/// The selected values: the document's members in their order, then those columns of the key that
/// are not among them as text.
pub(super) struct SelectList {
    members: Vec<SelectColumn>,
    key: Vec<SelectKeyColumn>,
    selected: Vec<String>,
    /// A document is put together here, so that only its own bytes are allocated for it.
    json: Vec<u8>,
}

struct SelectColumn {
    /// What stands before the value: comma, name, colon.
    prefix: Vec<u8>,
    /// How the value's text becomes JSON; `None`: it is JSON.
    form: Option<JsonShape>,
}

struct SelectKeyColumn {
    /// Among the selected values.
    place: usize,
    form: Option<JsonShape>,
}

impl SelectList {
    pub(super) fn new(held: &RowCachePlan, rendering: JsonSource) -> Self {
        let mut selected = Vec::new();
        let mut members = Vec::new();
        for (place, column) in held.columns.iter().enumerate() {
            let form = column.form.filter(|_| rendering == JsonSource::Ours);
            selected.push(match form {
                Some(_) => quoted(&column.name),
                None => format!("pg_catalog.to_jsonb({})", quoted(&column.name)),
            });
            members.push(SelectColumn { prefix: prefix(place, &column.name), form });
        }
        let mut shape = Self { members, key: Vec::new(), selected, json: Vec::new() };
        for column in &held.key {
            let place = shape.place_of(column);
            shape.key.push(SelectKeyColumn { place, form: column.form });
        }
        shape
    }

    /// Where the column's text is among the selected values, added to them if need be.
    fn place_of(&mut self, column: &Column) -> usize {
        let expression = quoted(&column.name);
        if let Some(place) = self.selected.iter().position(|selected| *selected == expression) {
            return place;
        }
        self.selected.push(expression);
        self.selected.len() - 1
    }

    /// The expressions to select.
    pub(super) fn selected(&self) -> &[String] {
        &self.selected
    }

    /// The places of the key's columns among them.
    pub(super) fn key_places(&self) -> impl Iterator<Item = usize> {
        self.key.iter().map(|column| column.place)
    }

    /// The key whose columns' values stand one after the other from `start` of the record.
    pub(super) fn key_at(
        &mut self,
        record: &TextValues,
        start: usize,
    ) -> Result<Key, Unrenderable> {
        self.key(|index, _| record.value(start + index))
    }

    /// The key of the row whose selected values begin at `start` of the record.
    pub(super) fn key_of(
        &mut self,
        record: &TextValues,
        start: usize,
    ) -> Result<Key, Unrenderable> {
        self.key(|_, place| record.value(start + place))
    }

    /// The key, given the text of each of its columns by index in the key and place among the
    /// selected values.
    fn key<'a>(
        &mut self,
        text: impl Fn(usize, usize) -> Option<&'a [u8]>,
    ) -> Result<Key, Unrenderable> {
        if let [SelectKeyColumn { form: Some(JsonShape::Scalar(JsonType::Integer)), place }] =
            self.key[..]
        {
            return text(0, place).ok_or(Unrenderable).and_then(render::integer).map(Key::integer);
        }
        self.json.clear();
        let several = self.key.len() > 1;
        for (index, column) in self.key.iter().enumerate() {
            if several {
                self.json.push(if index == 0 { b'[' } else { b',' });
            }
            let form = column.form.ok_or(Unrenderable)?;
            let text = text(index, column.place).ok_or(Unrenderable)?;
            form.write_json(text, &mut self.json)?;
        }
        if several {
            self.json.push(b']');
        }
        Ok(Key::json(&self.json))
    }

    /// The document of that row.
    pub(super) fn row_of(
        &mut self,
        record: &TextValues,
        start: usize,
    ) -> Result<Row, Unrenderable> {
        self.json.clear();
        self.json.push(b'{');
        for (place, member) in self.members.iter().enumerate() {
            self.json.extend_from_slice(&member.prefix);
            match (record.value(start + place), member.form) {
                (None, _) => self.json.extend_from_slice(b"null"),
                (Some(json), None) => self.json.extend_from_slice(json),
                (Some(text), Some(form)) => form.write_json(text, &mut self.json)?,
            }
        }
        self.json.push(b'}');
        Ok(Row::new(&self.json))
    }
}

fn prefix(place: usize, name: &str) -> Vec<u8> {
    let mut prefix = if place == 0 { Vec::new() } else { vec![b','] };
    write_string(name, &mut prefix);
    prefix.push(b':');
    prefix
}
