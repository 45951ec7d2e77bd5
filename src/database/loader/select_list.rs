//! The expressions selected from a table, and the conversion of a result row to key and document.

use crate::json_text::write_string;
use crate::json_type::{JsonShape, JsonType};
use crate::key::Key;
use crate::render::{self, Unrenderable};
use crate::row::Row;
use crate::table::{Column, RowCachePlan, quoted};

use super::text_values::TextValues;

/// The place where values are rendered as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonSource {
    /// In this process, from the values' texts, where the type's rendering is known: much cheaper, and
    /// byte for byte the rendering of the change stream's values.
    Local,
    /// In the database, with `to_jsonb`, whose result is correct by definition. For rows with a value
    /// that Highwater does not render.
    Database,
}

/// The selected expressions: the document's members in order, then the key columns that are not among
/// them in text form.
pub(super) struct SelectList {
    members: Vec<SelectColumn>,
    key: Vec<SelectKeyColumn>,
    selected: Vec<String>,
    /// Reused buffer for rendering, so that a document allocates only its own bytes.
    json: Vec<u8>,
}

struct SelectColumn {
    /// The bytes before the value: comma, name, colon.
    prefix: Vec<u8>,
    /// The rendering of the value's text; `None` if it is JSON already.
    form: Option<JsonShape>,
}

struct SelectKeyColumn {
    /// The index among the selected values.
    index: usize,
    form: Option<JsonShape>,
}

impl SelectList {
    pub(super) fn new(plan: &RowCachePlan, rendering: JsonSource) -> Self {
        let mut selected = Vec::new();
        let mut members = Vec::new();
        for (index, column) in plan.columns.iter().enumerate() {
            let form = column.form.filter(|_| rendering == JsonSource::Local);
            selected.push(match form {
                Some(_) => quoted(&column.name),
                None => format!("pg_catalog.to_jsonb({})", quoted(&column.name)),
            });
            members.push(SelectColumn { prefix: prefix(index, &column.name), form });
        }
        let mut list = Self { members, key: Vec::new(), selected, json: Vec::new() };
        for column in &plan.key {
            let index = list.index_of(column);
            list.key.push(SelectKeyColumn { index, form: column.form });
        }
        list
    }

    /// The index of the column's text among the selected values; appends it if missing.
    fn index_of(&mut self, column: &Column) -> usize {
        let expression = quoted(&column.name);
        if let Some(index) = self.selected.iter().position(|selected| *selected == expression) {
            return index;
        }
        self.selected.push(expression);
        self.selected.len() - 1
    }

    pub(super) fn selected(&self) -> &[String] {
        &self.selected
    }

    /// The indexes of the key's columns among the selected values.
    pub(super) fn key_indexes(&self) -> impl Iterator<Item = usize> {
        self.key.iter().map(|column| column.index)
    }

    /// The key whose columns are consecutive values from `start` on.
    pub(super) fn key_at(&mut self, row: &TextValues, start: usize) -> Result<Key, Unrenderable> {
        self.key(|in_key, _| row.value(start + in_key))
    }

    /// The key of the row whose selected values begin at `start`.
    pub(super) fn key_of(&mut self, row: &TextValues, start: usize) -> Result<Key, Unrenderable> {
        self.key(|_, index| row.value(start + index))
    }

    /// The key. `text` returns a column's text, given its index in the key and its index among the
    /// selected values.
    fn key<'a>(
        &mut self,
        text: impl Fn(usize, usize) -> Option<&'a [u8]>,
    ) -> Result<Key, Unrenderable> {
        if let [SelectKeyColumn { form: Some(JsonShape::Scalar(JsonType::Integer)), index }] =
            self.key[..]
        {
            return text(0, index).ok_or(Unrenderable).and_then(render::integer).map(Key::integer);
        }
        self.json.clear();
        let several = self.key.len() > 1;
        for (in_key, column) in self.key.iter().enumerate() {
            if several {
                self.json.push(if in_key == 0 { b'[' } else { b',' });
            }
            let form = column.form.ok_or(Unrenderable)?;
            let text = text(in_key, column.index).ok_or(Unrenderable)?;
            form.write_json(text, &mut self.json)?;
        }
        if several {
            self.json.push(b']');
        }
        Ok(Key::json(&self.json))
    }

    /// The document of the row whose selected values begin at `start`.
    pub(super) fn row_of(&mut self, row: &TextValues, start: usize) -> Result<Row, Unrenderable> {
        self.json.clear();
        self.json.push(b'{');
        for (index, member) in self.members.iter().enumerate() {
            self.json.extend_from_slice(&member.prefix);
            match (row.value(start + index), member.form) {
                (None, _) => self.json.extend_from_slice(b"null"),
                (Some(json), None) => self.json.extend_from_slice(json),
                (Some(text), Some(form)) => form.write_json(text, &mut self.json)?,
            }
        }
        self.json.push(b'}');
        Ok(Row::new(&self.json))
    }
}

fn prefix(index: usize, name: &str) -> Vec<u8> {
    let mut prefix = if index == 0 { Vec::new() } else { vec![b','] };
    write_string(name, &mut prefix);
    prefix.push(b':');
    prefix
}
