//! A table as its events show it: the schemas of key, row and envelope, and how rows are read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use thiserror::Error;
use tracing::warn;

use super::catalog::{ColumnInfo, TableInfo};
use super::config::PostgresConfig;
use super::events::EventSchemas;
use super::pgoutput::{Field, Relation, ReplicaIdentity, Row};
use super::relation;
use super::types::{BadValue, Lost, Mask, Reader, TypeCatalog};
use crate::convert::json::write::{Writer, write_string};
use crate::data::{DataError, Schema, SchemaAndValue, SchemaBuilder, Struct, Text, Value};

/// Everything about one table that its events need.
#[derive(Clone, Debug)]
pub struct Table {
    pub info: TableInfo,
    /// Whether it is among those chosen: a publication may have others too.
    pub chosen: bool,
    pub schema_name: Text,
    pub table_name: Text,
    /// `schema.table`
    pub collection_name: Text,
    pub topic: Text,
    /// What the stream last said of it, or what stands for that in a snapshot.
    columns: Vec<Column>,
    /// The fields of a row, by column.
    fields: Vec<usize>,
    key: Option<Key>,
    row_schema: Schema,
    pub envelope_schema: Schema,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// `"name":`
    json_name: Vec<u8>,
    /// `None`: the column is left out.
    reader: Option<Reader>,
    placeholder: Option<Value>,
    /// Whether null may stand in its field.
    optional: bool,
    /// Whether an old row that is a key alone has it.
    in_identity: bool,
    /// Whether it was said that its schema cannot say all of its values.
    mentioned: Arc<AtomicBool>,
}

impl Column {
    fn reader(&self) -> &Reader {
        self.reader.as_ref().expect("fields have readers")
    }
}

enum Cell<'a> {
    Text(&'a Bytes),
    Value(Value),
}

#[derive(Clone, Debug)]
struct Key {
    schema: Schema,
    columns: Vec<usize>,
}

/// A row that cannot be an event.
#[derive(Debug, Error)]
#[error("table {table}, column '{column}': {problem}")]
pub struct RowError {
    pub table: String,
    pub column: String,
    pub problem: RowProblem,
}

#[derive(Debug, Error)]
pub enum RowProblem {
    #[error("{0}")]
    Value(#[from] BadValue),
    #[error("null where the catalog says that there is none")]
    Null,
    #[error(
        "a value that no decimal is, such as NaN, in a column that may not be null; \
         `decimal.handling.mode = string` can tell it"
    )]
    NotANumber,
    #[error("a row of {found} columns in a table of {expected}")]
    Columns { found: usize, expected: usize },
}

/// Why a row cannot be written as JSON.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error(transparent)]
    Row(#[from] RowError),
    #[error(transparent)]
    Data(#[from] DataError),
}

/// How to take values that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// All columns are there, save large ones that were not changed.
    Whole,
    /// Only the key is there; nothing is known of the others.
    KeyOnly,
}

impl Table {
    /// From the catalog alone, for a snapshot.
    pub fn from_catalog(
        info: &TableInfo,
        types: &TypeCatalog,
        config: &PostgresConfig,
        schemas: &EventSchemas,
    ) -> Table {
        Table::build(info.clone(), &HashMap::new(), types, config, schemas)
    }

    /// From what the stream says, with what the catalog adds to it. The catalog may be ahead of
    /// the stream: columns and keys count as they are in the stream, and `last` is what was known
    /// of the table before.
    pub fn from_stream(
        relation: &Relation,
        catalog: Option<&TableInfo>,
        last: Option<&Table>,
        types: &TypeCatalog,
        config: &PostgresConfig,
        schemas: &EventSchemas,
    ) -> Table {
        let info = relation::table_info(relation, catalog, last.map(|table| &table.info));
        let identity = relation.columns.iter();
        let identity = identity.map(|column| (column.name.as_str(), column.identity)).collect();
        Table::build(info, &identity, types, config, schemas)
    }

    fn build(
        info: TableInfo,
        identity: &HashMap<&str, bool>,
        types: &TypeCatalog,
        config: &PostgresConfig,
        schemas: &EventSchemas,
    ) -> Table {
        let key_names = key_names(&info, config);
        let placeholder = &config.events.placeholder;
        let mut columns = Vec::with_capacity(info.columns.len());
        let mut fields = Vec::new();
        for (index, column) in info.columns.iter().enumerate() {
            let path = format!("{}.{}", info.name, column.name);
            let taken =
                key_names.contains(&column.name) || config.columns.takes(&info.schema, &path);
            let reader = taken.then(|| reader(&info, column, types, config)).flatten();
            if reader.is_some() {
                fields.push(index);
            }
            let mut json_name = Vec::new();
            write_string(&column.name, &mut json_name);
            json_name.push(b':');
            columns.push(Column {
                name: column.name.clone(),
                json_name,
                placeholder: reader.as_ref().and_then(|reader| reader.placeholder(placeholder)),
                optional: reader.as_ref().is_none_or(|reader| reader.schema().is_optional()),
                in_identity: identity.get(column.name.as_str()).copied().unwrap_or(false),
                mentioned: Arc::default(),
                reader,
            });
        }
        let full_name = format!("{}.{}.{}", config.prefix, info.schema, info.name);
        let field = |index: &usize| {
            let column: &Column = &columns[*index];
            (Text::from(column.name.as_str()), column.reader().schema().clone())
        };
        let row_schema = structure(fields.iter().map(field))
            .name(format!("{full_name}.Value"))
            .optional()
            .build();
        let key_columns = key_names.iter();
        let key_columns: Vec<usize> = key_columns
            .filter_map(|name| fields.iter().copied().find(|at| columns[*at].name == *name))
            .collect();
        let key = (!key_columns.is_empty()).then(|| Key {
            schema: structure(key_columns.iter().map(field))
                .name(format!("{full_name}.Key"))
                .build(),
            columns: key_columns,
        });
        Table {
            chosen: config.tables.takes(&info.schema, &info.name),
            schema_name: Text::from(info.schema.as_str()),
            table_name: Text::from(info.name.as_str()),
            collection_name: Text::from(info.full_name()),
            topic: Text::from(topic_name(&full_name)),
            envelope_schema: schemas.envelope(&row_schema, format!("{full_name}.Envelope")),
            info,
            columns,
            fields,
            key,
            row_schema,
        }
    }

    /// The SQL names of all columns, for a snapshot.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.info.columns.iter().map(|column| column.name.as_str())
    }

    /// Reads a row. Large values that were not changed are taken from `old` where it has them.
    pub fn row(&self, row: &Row, old: Option<&Row>, image: Image) -> Result<Value, RowError> {
        self.check_width(row)?;
        let mut values = Vec::with_capacity(self.fields.len());
        for index in &self.fields {
            let column = &self.columns[*index];
            values.push(match self.cell(*index, row, old, image)? {
                Cell::Text(text) => self.read(column, column.reader(), text)?,
                Cell::Value(value) => value,
            });
        }
        Ok(Value::structure(Struct::with_values(&self.row_schema, values)))
    }

    /// Writes a row as the JSON that a converter makes of what [`row`](Table::row) reads.
    pub(crate) fn write_row(
        &self,
        row: &Row,
        old: Option<&Row>,
        image: Image,
        writer: &Writer,
        out: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        self.check_width(row)?;
        self.write_fields(&self.fields, row, old, image, writer, out)
    }

    /// The same of the key alone, where the table [has one](Table::key_schema).
    pub(crate) fn write_key(
        &self,
        row: &Row,
        old: Option<&Row>,
        image: Image,
        writer: &Writer,
        out: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        self.check_width(row)?;
        let columns = self.key.as_ref().map_or(&[][..], |key| &key.columns);
        self.write_fields(columns, row, old, image, writer, out)
    }

    fn write_fields(
        &self,
        fields: &[usize],
        row: &Row,
        old: Option<&Row>,
        image: Image,
        writer: &Writer,
        out: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        out.push(b'{');
        for (nth, index) in fields.iter().enumerate() {
            let column = &self.columns[*index];
            if nth > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&column.json_name);
            let reader = column.reader();
            let value = match self.cell(*index, row, old, image)? {
                Cell::Text(text) if reader.write_json(text, writer, out) => continue,
                Cell::Text(text) => self.read(column, reader, text)?,
                Cell::Value(value) => value,
            };
            writer.value(Some(reader.schema()), &value, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn check_width(&self, row: &Row) -> Result<(), RowError> {
        let (found, expected) = (row.0.len(), self.columns.len());
        match found == expected {
            true => Ok(()),
            false => Err(self.failed("*", RowProblem::Columns { found, expected })),
        }
    }

    /// What stands in a column: the text to read, or the value in place of one.
    fn cell<'a>(
        &self,
        index: usize,
        row: &'a Row,
        old: Option<&'a Row>,
        image: Image,
    ) -> Result<Cell<'a>, RowError> {
        let column = &self.columns[index];
        let reader = column.reader();
        let unknown = || match (column.optional, reader.schema().default()) {
            (true, _) => Value::Null,
            (false, Some(default)) => default.clone(),
            (false, None) => reader.nothing(),
        };
        Ok(match (&row.0[index], old.and_then(|old| old.0.get(index))) {
            (Field::Text(text), _) | (Field::Unchanged, Some(Field::Text(text))) => {
                Cell::Text(text)
            }
            (Field::Unchanged, _) => {
                Cell::Value(column.placeholder.clone().unwrap_or_else(unknown))
            }
            (Field::Null, _) if column.optional => {
                Cell::Value(reader.masked_null().unwrap_or(Value::Null))
            }
            (Field::Null, _) if image == Image::KeyOnly && !column.in_identity => {
                Cell::Value(unknown())
            }
            (Field::Null, _) => return Err(self.failed(&column.name, RowProblem::Null)),
        })
    }

    fn read(&self, column: &Column, reader: &Reader, text: &Bytes) -> Result<Value, RowError> {
        let value = reader.read(text);
        let value = value.map_err(|bad| self.failed(&column.name, RowProblem::Value(bad)))?;
        if let Some(lost) = reader.lost(text, &value) {
            if value.is_null() && !column.optional {
                return Err(self.failed(&column.name, RowProblem::NotANumber));
            }
            self.mention(column, lost);
        }
        Ok(value)
    }

    /// Says, once for each column, that a value is not told as it is.
    fn mention(&self, column: &Column, lost: Lost) {
        if column.mentioned.swap(true, Ordering::Relaxed) {
            return;
        }
        let Lost { what, becomes, setting } = lost;
        warn!(
            "table {}, column '{}': {what} comes as {becomes}; `{setting}` tells such values as \
             they are. This is said once",
            self.info.full_name(),
            column.name
        );
    }

    /// Whether a null that the catalog excludes may be let in after all: the catalog can be
    /// ahead of the stream. The same table with that column as one that may be null.
    pub fn loosened(
        &self,
        error: &RowError,
        types: &TypeCatalog,
        config: &PostgresConfig,
        schemas: &EventSchemas,
    ) -> Option<Table> {
        if !matches!(error.problem, RowProblem::Null) {
            return None;
        }
        let mut info = self.info.clone();
        let column = info.columns.iter_mut().find(|column| column.name == error.column)?;
        column.not_null = false;
        column.key_position = None;
        let identity = self.columns.iter();
        let identity = identity.map(|column| (column.name.as_str(), column.in_identity)).collect();
        Some(Table::build(info, &identity, types, config, schemas))
    }

    /// The key of a row that was read by [`row`](Table::row); neither schema nor value where the
    /// table has none.
    pub fn key(&self, row: &Value) -> SchemaAndValue {
        let (Some(key), Value::Struct(row)) = (&self.key, row) else {
            return SchemaAndValue::NULL;
        };
        let at = |column: &usize| {
            let field = self.fields.iter().position(|field| field == column);
            row.values()[field.expect("keys are made of fields")].clone()
        };
        let values = key.columns.iter().map(at).collect();
        SchemaAndValue::new(&key.schema, Value::structure(Struct::with_values(&key.schema, values)))
    }

    /// The key's schema, where the table has a key.
    pub fn key_schema(&self) -> Option<&Schema> {
        self.key.as_ref().map(|key| &key.schema)
    }

    /// Whether two rows are sure to have the same key: its texts are the same.
    pub fn same_key(&self, one: &Row, other: &Row) -> bool {
        let columns = self.key.as_ref().map_or(&[][..], |key| &key.columns);
        columns.iter().all(|at| match (one.0.get(*at), other.0.get(*at)) {
            (Some(Field::Text(one)), Some(Field::Text(other))) => one == other,
            _ => false,
        })
    }

    fn failed(&self, column: &str, problem: RowProblem) -> RowError {
        RowError { table: self.info.full_name(), column: column.to_owned(), problem }
    }
}

fn structure(fields: impl Iterator<Item = (Text, Schema)>) -> SchemaBuilder {
    fields.fold(SchemaBuilder::structure(), |builder, (name, schema)| builder.field(name, schema))
}

/// How a column's values are read; nothing where its type is left out.
fn reader(
    info: &TableInfo,
    column: &ColumnInfo,
    types: &TypeCatalog,
    config: &PostgresConfig,
) -> Option<Reader> {
    let (id, modifier) = (column.type_id, column.type_modifier);
    let reader = Reader::new(types, id, modifier, column.dimensions, &config.types)?;
    let reader = match mask(info, column, types, config) {
        Some(mask) => reader.masked(mask),
        None => reader,
    };
    Some(fitted(reader, column, config))
}

/// How a column's texts are to be hidden, if they are.
fn mask(
    info: &TableInfo,
    column: &ColumnInfo,
    types: &TypeCatalog,
    config: &PostgresConfig,
) -> Option<Mask> {
    let name = format!("{}.{}", info.full_name(), column.name);
    let mask = config
        .masks
        .iter()
        .find(|(patterns, _)| patterns.iter().any(|pattern| pattern.is_match(&name)));
    let (_, mask) = mask?;
    let (id, modifier, _) = types.beneath(column.type_id, column.type_modifier, column.dimensions);
    let type_name = types.get(id).map_or("", |found| &found.name);
    match type_name {
        "text" | "name" | "citext" => mask.clone().fitted(None),
        // The modifier counts its own four bytes.
        "varchar" | "bpchar" => mask.clone().fitted(usize::try_from(modifier - 4).ok()),
        _ => {
            warn!(
                "column '{name}' is of type '{type_name}': only texts are masked and cut. To hide \
                 it, name it in `column.exclude.list`"
            );
            None
        }
    }
}

/// The reader with what the column adds: whether it may be null, and its default.
fn fitted(reader: Reader, column: &ColumnInfo, config: &PostgresConfig) -> Reader {
    let required = column.not_null || column.key_position.is_some();
    let default = column.default.as_deref().and_then(|default| match literal(default) {
        Some(text) => reader.read(&text).ok(),
        // Computed by a function: what Debezium has for it, where it is never seen.
        None if required && default.contains('(') => Some(reader.nothing()),
        None => None,
    });
    // A converter writes the default where null is: a column that may be null would seem to hold
    // it. Debezium does that; so do we where its defaults are asked for.
    let default = default.filter(|value| {
        (required || config.debezium)
            && !matches!(value, Value::Null | Value::Struct(_) | Value::Array(_) | Value::Map(_))
    });
    let reader = if required { reader } else { reader.optional() };
    match default {
        Some(default) => reader.with_default(default),
        None => reader,
    }
}

/// The text of a default that is a plain value: `42`, `true` or `'it''s'::text`.
fn literal(expression: &str) -> Option<Bytes> {
    if let Some(rest) = expression.strip_prefix('\'') {
        let mut text = String::new();
        let mut chars = rest.chars();
        loop {
            match chars.next()? {
                '\'' if chars.as_str().starts_with('\'') => text.extend(chars.next()),
                '\'' => break,
                other => text.push(other),
            }
        }
        let cast = chars.as_str();
        let plain = cast.is_empty() || (cast.starts_with("::") && !cast.contains(['\'', '|', '+']));
        return plain.then(|| Bytes::from(text));
    }
    match expression {
        "true" => return Some(Bytes::from_static(b"t")),
        "false" => return Some(Bytes::from_static(b"f")),
        _ => {}
    }
    let number = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let number = number.unwrap_or(expression);
    number.parse::<f64>().ok().map(|_| Bytes::copy_from_slice(number.as_bytes()))
}

/// The columns that make the key: as the user says, by the primary key, or by the index that
/// identifies rows.
fn key_names(info: &TableInfo, config: &PostgresConfig) -> Vec<String> {
    let full_name = info.full_name();
    let chosen = config.key_columns.iter().find(|(pattern, _)| pattern.is_match(&full_name));
    if let Some((_, columns)) = chosen {
        return columns.clone();
    }
    let mut keys = info.key();
    if keys.is_empty() && info.identity == ReplicaIdentity::Index {
        let indexed = info.columns.iter().filter(|column| column.in_identity_index);
        keys = indexed.map(|column| column.name.as_str()).collect();
    }
    keys.into_iter().map(str::to_owned).collect()
}

/// A topic's name may have fewer characters than a table's.
pub fn topic_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_that_are_plain_values_are_read() {
        let read = |expression| literal(expression).map(|text| text.to_vec());
        assert_eq!(read("42").as_deref(), Some(&b"42"[..]));
        assert_eq!(read("'-5'::integer").as_deref(), Some(&b"-5"[..]));
        assert_eq!(read("'it''s'::character varying").as_deref(), Some(&b"it's"[..]));
        assert_eq!(read("true").as_deref(), Some(&b"t"[..]));
        for expression in ["now()", "nextval('a_seq'::regclass)", "('a'::text || 'b'::text)", "'a"]
        {
            assert_eq!(read(expression), None, "{expression}");
        }
        assert_eq!(topic_name("p.public.a b€c"), "p.public.a_b_c");
    }
}
