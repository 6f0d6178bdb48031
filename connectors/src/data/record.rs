//! One record on its way through a connector.

use broker::ids::Offset;

use super::{Schema, Text, Value};

/// A value with its schema, if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SchemaAndValue {
    /// `None`: the value speaks for itself.
    pub schema: Option<Schema>,
    pub value: Value,
}

/// A name and a value beside a record's own. A name may occur more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: Text,
    pub value: SchemaAndValue,
}

/// A record, from a source or for a sink.
///
/// Where a source goes on after it is not part of it: a task says that for all records of a poll
/// together, by [`SourceRecords::set_offset`](crate::records::SourceRecords::set_offset).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectRecord {
    pub topic: Text,
    /// From a source: where to put it, `None` for the choice by its key. For a sink: whence it is.
    pub partition: Option<i32>,
    pub key: SchemaAndValue,
    /// Null is a tombstone.
    pub value: SchemaAndValue,
    /// In ms since 1970. `None` from a source: the time at which it is written.
    pub timestamp_ms: Option<i64>,
    pub headers: Vec<Header>,
    /// For a sink: where it is in its partition.
    pub kafka_offset: Option<Offset>,
}

impl SchemaAndValue {
    /// Neither schema nor value.
    pub const NULL: SchemaAndValue = SchemaAndValue { schema: None, value: Value::Null };

    pub fn new(schema: &Schema, value: Value) -> SchemaAndValue {
        SchemaAndValue { schema: Some(schema.clone()), value }
    }

    pub fn schemaless(value: Value) -> SchemaAndValue {
        SchemaAndValue { schema: None, value }
    }

    /// A string that speaks for itself.
    pub fn text(text: impl Into<Text>) -> SchemaAndValue {
        SchemaAndValue::schemaless(Value::string(text))
    }
}

impl ConnectRecord {
    /// A record for a topic, with a key and a value and nothing else.
    pub fn new(topic: &Text, key: SchemaAndValue, value: SchemaAndValue) -> ConnectRecord {
        ConnectRecord { topic: topic.clone(), key, value, ..ConnectRecord::default() }
    }

    /// The last header of that name, which is the one that counts.
    pub fn header(&self, name: &str) -> Option<&SchemaAndValue> {
        self.headers.iter().rev().find(|header| header.name == name).map(|header| &header.value)
    }

    /// Adds a header after those there are.
    pub fn add_header(&mut self, name: impl Into<Text>, value: SchemaAndValue) {
        self.headers.push(Header { name: name.into(), value });
    }
}
