//! What a record asks for: a row that is to be there, or to be gone.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::config::{KeyMode, SinkConfig};
use crate::data::{ConnectRecord, Schema, SchemaAndValue, Text, Value};

/// A value for a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub column: Text,
    pub value: Value,
    pub schema: Option<Schema>,
    /// Whether it is part of the primary key.
    pub in_key: bool,
    /// Nothing is known of it: what is there stays. So is a large value that an update has not
    /// changed, which the log does not hold.
    pub unavailable: bool,
}

/// What one record asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Vec<Cell>),
    /// The row of that key.
    Delete(Vec<Cell>),
    /// All rows go.
    Truncate,
    /// Nothing, on purpose.
    Nothing,
}

/// What stands for large values that were not changed, in all forms that it comes in.
#[derive(Clone, Debug, Default)]
pub struct Unavailable(Vec<Text>);

impl Unavailable {
    pub fn new(placeholder: &str) -> Unavailable {
        if placeholder.is_empty() {
            return Unavailable::default();
        }
        let hex: String = placeholder.bytes().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            placeholder.to_owned(),
            STANDARD.encode(placeholder),
            URL_SAFE.encode(placeholder),
            hex,
        ];
        Unavailable(forms.into_iter().map(Text::from).collect())
    }

    fn is(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.0.contains(text),
            Value::Bytes(bytes) => self.0.first().is_some_and(|plain| plain.as_bytes() == bytes),
            Value::Array(items) => matches!(&items[..], [item] if self.is(item)),
            Value::Map(map) => map.len() == 1 && map.keys().all(|key| self.is(key)),
            _ => false,
        }
    }
}

/// An error says why the record cannot be written.
pub fn of_record(record: &ConnectRecord, config: &SinkConfig) -> Result<Change, String> {
    let value = unwrapped(&record.value);
    if value.value.is_null() {
        // Of which table it is, nothing says; the deletion before it has said that it is one.
        return match config.names_tables_by_source() {
            true => Ok(Change::Nothing),
            false => delete(record, config, None),
        };
    }
    if let Some(operation) = operation(&value) {
        let before = part(&value, "before");
        return match operation.as_str() {
            "c" | "r" | "u" => match part(&value, "after") {
                Some(after) if !after.value.is_null() => put(record, config, &after),
                _ => Err(format!("a change event `{operation}` without an `after`")),
            },
            "d" => delete(record, config, before),
            "t" if config.truncate => Ok(Change::Truncate),
            _ => Ok(Change::Nothing),
        };
    }
    put(record, config, &value)
}

/// JSON that brings its schema along, read as JSON that does not.
fn unwrapped(value: &SchemaAndValue) -> SchemaAndValue {
    if value.schema.is_none()
        && let Value::Map(map) = &value.value
        && map.len() == 2
        && map.contains_key(&Value::string("schema"))
        && let Some(payload) = map.get(&Value::string("payload"))
    {
        return SchemaAndValue::schemaless(payload.clone());
    }
    value.clone()
}

/// The operation of a change event of Debezium's, if it is one.
fn operation(value: &SchemaAndValue) -> Option<String> {
    let Some(SchemaAndValue { value: Value::String(operation), .. }) = part(value, "op") else {
        return None;
    };
    let is_event = part(value, "before").is_some() || part(value, "after").is_some();
    (is_event && operation.len() == 1).then(|| operation.to_string())
}

/// A field with its schema.
pub(super) fn part(of: &SchemaAndValue, name: &str) -> Option<SchemaAndValue> {
    match &of.value {
        Value::Struct(value) => {
            let field = value.schema().field(name)?;
            Some(SchemaAndValue::new(&field.schema, value.get(name)?.clone()))
        }
        Value::Map(map) => Some(SchemaAndValue::schemaless(map.get(&Value::string(name))?.clone())),
        _ => None,
    }
}

/// All fields as cells.
fn cells(of: &SchemaAndValue) -> Option<Vec<Cell>> {
    let cell = |column: Text, value: Value, schema: Option<Schema>| Cell {
        column,
        value,
        schema,
        in_key: false,
        unavailable: false,
    };
    match &of.value {
        Value::Struct(row) => {
            let fields = row.schema().fields().iter();
            let cells = fields.map(|field| {
                // A null is a null: where a default is to stand for it, the converter has put it.
                let value = row.get_without_default(&field.name).cloned().unwrap_or_default();
                cell(field.name.clone(), value, Some(field.schema.clone()))
            });
            Some(cells.collect())
        }
        Value::Map(map) => {
            let cells = map.iter().map(|(name, value)| match name {
                Value::String(name) => Some(cell(name.clone(), value.clone(), None)),
                _ => None,
            });
            cells.collect()
        }
        _ => None,
    }
}

fn put(
    record: &ConnectRecord,
    config: &SinkConfig,
    row: &SchemaAndValue,
) -> Result<Change, String> {
    let mut all = cells(row)
        .ok_or_else(|| format!("a row needs fields, and this is {}", row.value.kind()))?;
    if !config.fields.is_empty() {
        let wanted = |cell: &Cell| {
            let name = cell.column.as_str();
            config.fields.iter().chain(&config.key_fields).any(|field| field == name)
        };
        all.retain(wanted);
    }
    all.retain(|cell| config.takes(&record.topic, &cell.column));
    for cell in &mut all {
        cell.unavailable = config.unavailable.is(&cell.value);
    }
    for key in key(record, config, Some(row))? {
        match all.iter_mut().find(|cell| cell.column == key.column) {
            Some(cell) => *cell = key,
            None => all.push(key),
        }
    }
    if all.is_empty() {
        return Err("a row without columns".to_owned());
    }
    Ok(Change::Put(all))
}

fn delete(
    record: &ConnectRecord,
    config: &SinkConfig,
    before: Option<SchemaAndValue>,
) -> Result<Change, String> {
    if !config.delete {
        return Ok(Change::Nothing);
    }
    let key = key(record, config, before.as_ref())?;
    Ok(Change::Delete(key))
}

/// The cells of the primary key.
fn key(
    record: &ConnectRecord,
    config: &SinkConfig,
    row: Option<&SchemaAndValue>,
) -> Result<Vec<Cell>, String> {
    let mut cells = match config.key_mode {
        KeyMode::None => Vec::new(),
        KeyMode::Kafka => kafka(record, config),
        KeyMode::RecordKey => of_key(&unwrapped(&record.key), &config.key_fields)?,
        KeyMode::RecordValue => {
            let all = row.and_then(cells).unwrap_or_default();
            chosen(all, &config.key_fields, "the value")?
        }
    };
    for cell in &mut cells {
        if cell.value.is_null() {
            return Err(format!("field '{}' of the primary key is null", cell.column));
        }
        cell.in_key = true;
    }
    Ok(cells)
}

fn kafka(record: &ConnectRecord, config: &SinkConfig) -> Vec<Cell> {
    let names = ["__connect_topic", "__connect_partition", "__connect_offset"];
    let values = [
        (Value::String(record.topic.clone()), Schema::string()),
        (Value::Int32(record.partition.unwrap_or(0)), Schema::int32()),
        (Value::Int64(record.kafka_offset.map_or(0, |offset| offset.0)), Schema::int64()),
    ];
    let cells = names.iter().enumerate().zip(values).map(|((index, name), (value, schema))| {
        let column = config.key_fields.get(index).map_or(*name, String::as_str);
        Cell {
            column: Text::from(column),
            value,
            schema: Some(schema),
            in_key: true,
            unavailable: false,
        }
    });
    cells.collect()
}

fn of_key(key: &SchemaAndValue, fields: &[String]) -> Result<Vec<Cell>, String> {
    match (cells(key), fields) {
        (Some(all), []) => Ok(all),
        (Some(all), fields) => chosen(all, fields, "the key"),
        (None, _) if key.value.is_null() => {
            Err("the record has no key, which `pk.mode = record_key` needs".to_owned())
        }
        (None, [column]) => Ok(vec![Cell {
            column: Text::from(column.as_str()),
            value: key.value.clone(),
            schema: key.schema.clone(),
            in_key: true,
            unavailable: false,
        }]),
        (None, _) => {
            let kind = key.value.kind();
            Err(format!("the key is {kind}: `pk.fields` must name the one column that it goes to"))
        }
    }
}

fn chosen(all: Vec<Cell>, fields: &[String], what: &str) -> Result<Vec<Cell>, String> {
    let found = fields.iter().map(|field| {
        let cell = all.iter().find(|cell| cell.column.as_str() == field);
        cell.cloned().ok_or_else(|| format!("{what} has no field '{field}' of `pk.fields`"))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Map;

    #[test]
    fn what_stands_for_a_value_is_told_from_values() {
        let unavailable = Unavailable::new("?un");
        let text = |text: &str| Value::string(text);
        for value in [
            text("?un"),
            text("P3Vu"),
            text("3f756e"),
            Value::Bytes(bytes::Bytes::from_static(b"?un")),
            Value::array(vec![text("?un")]),
            Value::map(Map::from([(text("?un"), text("?un"))])),
        ] {
            assert!(unavailable.is(&value), "{value:?}");
        }
        let two = Value::array(vec![text("?un"), text("?un")]);
        for value in [text("?"), two, Value::array(Vec::new()), Value::Int32(1), Value::Null] {
            assert!(!unavailable.is(&value), "{value:?}");
        }
        assert!(!Unavailable::new("").is(&text("")));
    }
}
