//! `Sql$Value`, `Sql$Key`: what SQL makes of each record on its way through a connector.
//!
//! ```text
//! record ─► the fields that the SQL names ─► a row ─► RowPlan ─► none: the record is dropped
//!                    └ their types: plan ──────────────┘    └──► its columns: the new key or value
//! ```
//!
//! The columns are the fields of the value, and `_key`, `_value`, `_topic`, `_partition`,
//! `_offset`, `_timestamp` and `_headers`, which `*` leaves out. Fields that pass stay exactly what
//! they were, with their schemas. Records without a schema may each have other fields: one that a
//! record does not have is NULL in it. Those with a schema give one, and a field that it does not
//! have is a mistake.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, TimestampMillisecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
use connectors::columns::{self, Columns};
use connectors::config::{ConfigKey, KeyType, Presence};
use connectors::data::{
    ConnectRecord, DataError, Map, Schema, SchemaAndValue, SchemaBuilder, Struct, Text, Value,
};
use connectors::transforms::{Mistake, Outcome, Side, Transform, TransformPlugin};
use engine::pipeline::{Diagnostic, Diagnostics};
use engine::query::row::{RowPlan, RowQuery};

pub static PLUGIN: TransformPlugin = TransformPlugin {
    package: "millstream.transforms",
    name: "Sql",
    has_sides: true,
    doc: "Replaces a key or a value by what SQL makes of the record, or drops the record",
    keys: &[ConfigKey {
        name: SQL,
        key_type: KeyType::Text,
        presence: Presence::Required,
        doc: "SELECT … FROM record WHERE …: columns are the value's fields, and _key, _value, \
              _topic, _partition, _offset, _timestamp, _headers; a record that WHERE leaves out \
              is dropped, one without a value passes",
        example: "SELECT *, price * quantity AS total FROM record WHERE country = 'CH'",
    }],
    make: |side, settings| {
        let query = RowQuery::read_in(settings.base_dir(), settings.text(SQL));
        let query = query.map_err(|mistakes| Mistake::new(SQL, words(&mistakes)))?;
        Ok(Box::new(Sql::new(side, Arc::new(query))))
    },
};

const SQL: &str = "sql";
/// How many kinds of records are known at a time.
const PLANS_MAX: usize = 256;

/// What there is of a record beside the fields of its value.
const METADATA: [&str; 7] =
    ["_key", "_value", "_topic", "_partition", "_offset", "_timestamp", "_headers"];

/// The transform.
#[derive(Debug)]
struct Sql {
    side: Side,
    query: Arc<RowQuery>,
    /// The columns that are computed with, by name; metadata among them.
    roots: Arc<HashSet<String>>,
    /// By the columns, and those of them that `*` leaves out; or why there is none.
    plans: HashMap<(Fields, Vec<Text>), Result<Planned, DataError>>,
}

/// What becomes of records with certain columns.
#[derive(Debug)]
struct Planned {
    plan: RowPlan,
    /// Of what is computed; fields that pass have the record's own.
    schemas: Vec<Schema>,
    /// The schema of the last new key or value, and those of its fields.
    last: Option<(Vec<Schema>, Schema)>,
}

/// A record as a row.
#[derive(Debug, Default)]
struct Row {
    names: Vec<Text>,
    values: Vec<SchemaAndValue>,
    /// Of those that are computed with.
    columns: Columns,
    /// What `*` leaves out.
    hidden: Vec<Text>,
}

impl Sql {
    fn new(side: Side, query: Arc<RowQuery>) -> Sql {
        let roots = query.paths().filter_map(|path| path.first().cloned()).collect();
        Sql { side, query, roots: Arc::new(roots), plans: HashMap::new() }
    }

    fn row(&self, record: &ConnectRecord) -> Result<Row, DataError> {
        let mut row = Row::default();
        for (name, data) in fields(&record.value) {
            match self.roots.contains(name.as_str()) {
                true => row.add(name, data)?,
                false if self.query.takes_all() => row.pass(name, data),
                false => {}
            }
        }
        for name in METADATA {
            if self.roots.contains(name) && !row.has(name) {
                row.hidden.push(name.into());
                row.add(name.into(), metadata(name, record))?;
            }
        }
        for path in self.query.paths() {
            match row.names.iter().position(|name| *name == path[0].as_str()) {
                Some(at) if row.values[at].schema.is_none() => row.columns.ensure(path),
                None if record.value.schema.is_none() => {
                    row.hidden.push(path[0].as_str().into());
                    row.pass(path[0].as_str().into(), SchemaAndValue::NULL);
                    row.columns.ensure(path);
                }
                _ => {}
            }
        }
        Ok(row)
    }

    fn planned(&mut self, row: &Row) -> Result<&mut Planned, DataError> {
        let columns = row.columns.fields();
        let null = |name: &Text| Arc::new(Field::new(name.as_str(), DataType::Null, true));
        let of = |name: &Text| {
            let known = columns.iter().find(|field| field.name() == name.as_str())?;
            // Those that only pass are not there while it computes.
            Some(Arc::new(known.as_ref().clone().with_nullable(true)))
        };
        let given: Fields = row.names.iter().map(|name| of(name).unwrap_or(null(name))).collect();
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        let query = &self.query;
        let plan = |(given, hidden): &(Fields, Vec<Text>)| {
            let hidden: Vec<&str> = hidden.iter().map(Text::as_str).collect();
            let plan = query.plan(&Arc::new(ArrowSchema::new(given.clone())), &hidden);
            let plan = plan.map_err(|mistakes| DataError(words(&mistakes)))?;
            let types = plan.schema().fields().iter().map(|field| field.data_type());
            let schemas = types.map(columns::schema).collect();
            Ok(Planned { plan, schemas, last: None })
        };
        let planned = self.plans.entry((given, row.hidden.clone())).or_insert_with_key(plan);
        planned.as_mut().map_err(|error| error.clone())
    }

    /// The new key or value; `None` if WHERE leaves the record out.
    fn answer(&mut self, record: &ConnectRecord) -> Result<Option<SchemaAndValue>, DataError> {
        let row = self.row(record)?;
        let planned = self.planned(&row)?;
        let rows = planned.plan.apply(row.batch(&planned.plan)?).map_err(DataError)?;
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        let passed = planned.plan.passed();
        match record.value.schema {
            None => {
                let columns = rows.schema_ref().fields().iter().zip(rows.columns()).zip(passed);
                let values = columns.map(|((field, column), passed)| {
                    let value = match passed {
                        Some(index) => without_schema(row.values[*index].value.clone()),
                        None => columns::plain(column, 0),
                    };
                    (Value::string(field.name().as_str()), value)
                });
                Ok(Some(SchemaAndValue::schemaless(Value::map(values.collect::<Map>()))))
            }
            Some(_) => {
                let (mut schemas, mut values) = (Vec::new(), Vec::new());
                for (at, (column, passed)) in rows.columns().iter().zip(passed).enumerate() {
                    let (schema, value) = match passed.map(|index| row.values[index].clone()) {
                        Some(SchemaAndValue { schema, value }) => (schema, value),
                        None => (None, columns::value(column, 0)),
                    };
                    schemas.push(schema.unwrap_or_else(|| planned.schemas[at].clone()));
                    values.push(value);
                }
                let schema = planned.schema(schemas);
                let value = Value::structure(Struct::with_values(&schema, values));
                Ok(Some(SchemaAndValue { schema: Some(schema), value }))
            }
        }
    }
}

impl Planned {
    /// The struct of fields with these schemas.
    fn schema(&mut self, schemas: Vec<Schema>) -> Schema {
        if let Some((of, schema)) = &self.last
            && *of == schemas
        {
            return schema.clone();
        }
        let names = self.plan.schema().fields().iter().map(|field| field.name().as_str());
        let builder = SchemaBuilder::structure();
        let fields = names.zip(&schemas);
        let schema = fields.fold(builder, |of, (name, schema)| of.field(name, schema.clone()));
        let schema = schema.build();
        self.last = Some((schemas, schema.clone()));
        schema
    }
}

impl Row {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// A column that nothing is computed with.
    fn pass(&mut self, name: Text, data: SchemaAndValue) {
        self.names.push(name);
        self.values.push(data);
    }

    fn add(&mut self, name: Text, data: SchemaAndValue) -> Result<(), DataError> {
        let added = self.columns.add(name.clone(), &data);
        added.map_err(|reason| DataError(format!("field '{name}': {reason}")))?;
        self.pass(name, data);
        Ok(())
    }

    /// The columns that a plan wants; those that only pass are empty.
    fn batch(&self, plan: &RowPlan) -> Result<RecordBatch, DataError> {
        let failed = |error: arrow::error::ArrowError| DataError(error.to_string());
        let one = || RecordBatchOptions::new().with_row_count(Some(1));
        let is_used = |name: &Text| {
            let mut wanted = plan.wanted().iter();
            wanted.any(|index| self.names[*index] == *name && plan.computes_with(*index))
        };
        let (used, unused): (Vec<_>, Vec<_>) =
            self.names.iter().zip(&self.values).partition(|(name, _)| is_used(name));
        let unused: Vec<String> = unused.iter().map(|(name, _)| name.to_string()).collect();
        let columns = self.columns.clone().without(&unused);
        let used =
            used.iter().map(|(name, data)| (Value::String((*name).clone()), data.value.clone()));
        let used = Value::map(used.collect());
        columns.fit(&used, &[]).map_err(DataError)?;
        let schema = Arc::new(ArrowSchema::new(columns.fields()));
        let computed = match columns.is_empty() {
            true => RecordBatch::try_new_with_options(schema, Vec::new(), &one()),
            false => columns::batch(&columns, schema, &[used]),
        };
        let computed = computed.map_err(failed)?;
        let types = self.columns.fields();
        let (mut fields, mut arrays) = (Vec::new(), Vec::<ArrayRef>::new());
        for &index in plan.wanted() {
            let name = self.names[index].as_str();
            let known = types.iter().find(|field| field.name() == name);
            let data_type = known.map_or(&DataType::Null, |field| field.data_type());
            fields.push(Field::new(name, data_type.clone(), true));
            let computed = computed.column_by_name(name).cloned();
            arrays.push(computed.unwrap_or_else(|| new_null_array(data_type, 1)));
        }
        let schema = Arc::new(ArrowSchema::new(fields));
        RecordBatch::try_new_with_options(schema, arrays, &one()).map_err(failed)
    }
}

impl Transform for Sql {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        if record.value.value.is_null() {
            return match self.side {
                Side::Value => Ok(Outcome::Keep),
                Side::Key if self.roots.iter().all(|root| METADATA.contains(&root.as_str())) => {
                    self.replace(record)
                }
                Side::Key => Err(DataError::new(
                    "there is no value to make a key of; a predicate RecordIsTombstone with \
                     negate=true leaves such records alone",
                )),
            };
        }
        self.replace(record)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        let (side, query, roots) = (self.side, self.query.clone(), self.roots.clone());
        Box::new(Sql { side, query, roots, plans: HashMap::new() })
    }
}

impl Sql {
    fn replace(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let Some(answer) = self.answer(record)? else { return Ok(Outcome::Drop) };
        match self.side {
            Side::Key => record.key = answer,
            Side::Value => record.value = answer,
        }
        Ok(Outcome::Keep)
    }
}

/// The fields of a value, if it has any.
fn fields(data: &SchemaAndValue) -> Vec<(Text, SchemaAndValue)> {
    match &data.value {
        Value::Struct(value) => {
            let fields = value.schema().fields().iter().enumerate();
            let of = |index| value.at(index).clone();
            fields
                .map(|(at, of_field)| {
                    (of_field.name.clone(), SchemaAndValue::new(&of_field.schema, of(at)))
                })
                .collect()
        }
        Value::Map(map) => {
            let fields = map.iter().filter_map(|(name, value)| match name {
                Value::String(name) => {
                    Some((name.clone(), SchemaAndValue::schemaless(value.clone())))
                }
                _ => None,
            });
            fields.collect()
        }
        _ => Vec::new(),
    }
}

fn metadata(name: &str, record: &ConnectRecord) -> SchemaAndValue {
    let optional = |schema: Schema, value: Option<Value>| {
        SchemaAndValue::new(&schema, value.unwrap_or_default())
    };
    match name {
        "_key" => record.key.clone(),
        "_value" => record.value.clone(),
        "_topic" => SchemaAndValue::new(&Schema::string(), Value::String(record.topic.clone())),
        "_partition" => optional(Schema::optional_int32(), record.partition.map(Value::Int32)),
        "_offset" => {
            let offset = record.kafka_offset.map(|offset| Value::Int64(offset.0));
            optional(Schema::optional_int64(), offset)
        }
        "_timestamp" => {
            let schema = SchemaBuilder::timestamp().optional().build();
            optional(schema, record.timestamp_ms.map(Value::Timestamp))
        }
        _ => {
            let headers = record.headers.iter();
            let headers = headers
                .map(|header| (Value::String(header.name.clone()), header.value.value.clone()));
            SchemaAndValue::schemaless(Value::map(headers.collect::<Map>()))
        }
    }
}

/// A value for a record without a schema, which would have to say that it is a time.
fn without_schema(value: Value) -> Value {
    match value {
        Value::Timestamp(ms) => {
            let time = TimestampMillisecondArray::from(vec![ms]).with_timezone_utc();
            columns::plain(&time, 0)
        }
        other => other,
    }
}

fn words(Diagnostics(mistakes): &Diagnostics) -> String {
    let word = |one: &Diagnostic| match &one.help {
        Some(help) => format!("{}: {help}", one.message),
        None => one.message.clone(),
    };
    mistakes.iter().map(word).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use connectors::convert::json::{JsonConverter, JsonOptions};
    use expect_test::{Expect, expect};

    use super::*;

    fn sql(side: Side, text: &str) -> Sql {
        Sql::new(side, Arc::new(RowQuery::read(text).unwrap_or_else(|said| panic!("{said:?}"))))
    }

    fn json(schemas: bool) -> JsonConverter {
        JsonConverter::new(JsonOptions { schemas, ..JsonOptions::default() })
    }

    /// What becomes of a value of JSON, and of its key where that is what is made.
    fn check(side: Side, query: &str, schemas: bool, values: &[&str], expected: Expect) {
        let mut transform = sql(side, query);
        let mut json = json(schemas);
        let mut told = String::new();
        for value in values {
            let value = json.read(Some(&value.to_string().into())).unwrap();
            let key = SchemaAndValue::text("k1");
            let mut record = ConnectRecord::new(&"orders".into(), key, value);
            record.timestamp_ms = Some(1_700_000_000_123);
            record.add_header("trace", SchemaAndValue::text("t-7"));
            let line = match transform.apply(&mut record) {
                Ok(Outcome::Drop) => "dropped".to_owned(),
                Err(error) => error.to_string(),
                Ok(Outcome::Keep) => {
                    let made = match side {
                        Side::Key => record.key,
                        Side::Value => record.value,
                    };
                    let mut out = Vec::new();
                    match json.write(&made, &mut out) {
                        Ok(true) => String::from_utf8(out).unwrap(),
                        Ok(false) => "null".to_owned(),
                        Err(error) => panic!("{error}: {made:?}"),
                    }
                }
            };
            told.push_str(&line);
            told.push('\n');
        }
        expected.assert_eq(&told);
    }

    #[test]
    fn fields_of_json_are_columns_and_what_a_record_lacks_is_null() {
        check(
            Side::Value,
            "SELECT * EXCLUDE (secret), price * quantity AS total, _topic AS origin FROM record
             WHERE upper(customer.country) = 'CH' OR customer.country IS NULL",
            false,
            &[
                r#"{"id":1,"price":2.5,"quantity":4,"customer":{"country":"ch"},"secret":"x"}"#,
                r#"{"id":2,"price":3,"quantity":4,"customer":{"country":"de"}}"#,
                r#"{"id":"three","customer":{},"odd":[1,"a",{"b":null}],"n":123456789012345678901234567890}"#,
                r#"{"id":4,"price":3,"quantity":4,"customer":null}"#,
                r#"{"id":5,"price":"3","quantity":4}"#,
                r#"{"id":6,"price":"three","quantity":4}"#,
                "null",
            ],
            expect![[r#"
                {"id":1,"price":2.5,"quantity":4,"customer":{"country":"ch"},"total":10.0,"origin":"orders"}
                dropped
                {"id":"three","customer":{},"odd":[1,"a",{"b":null}],"n":123456789012345678901234567890,"total":null,"origin":"orders"}
                {"id":4,"price":3,"quantity":4,"customer":null,"total":12,"origin":"orders"}
                text and bigint do not fit together: CAST one of them
                text and bigint do not fit together: CAST one of them
                null
            "#]],
        );
    }

    #[test]
    fn nothing_need_be_computed_with() {
        let values = [r#"{"id":1}"#, r#"{"id":"two","x":[]}"#];
        check(
            Side::Value,
            "SELECT * FROM record",
            false,
            &values,
            expect![[r#"
            {"id":1}
            {"id":"two","x":[]}
        "#]],
        );
        let more = "SELECT *, 'shop' AS origin FROM record";
        check(
            Side::Value,
            more,
            false,
            &values,
            expect![[r#"
            {"id":1,"origin":"shop"}
            {"id":"two","x":[],"origin":"shop"}
        "#]],
        );
        check(
            Side::Value,
            "SELECT 1 AS one FROM record",
            false,
            &values,
            expect![[r#"
            {"one":1}
            {"one":1}
        "#]],
        );
    }

    /// A field that is null and one that is not there look alike, but for what `*` takes.
    #[test]
    fn what_a_record_lacks_is_not_taken_whatever_came_before() {
        let select = "SELECT * FROM record WHERE x IS NULL";
        let (with, without) = (r#"{"id":1,"x":null}"#, r#"{"id":2}"#);
        check(
            Side::Value,
            select,
            false,
            &[with, without, with, without],
            expect![[r#"
            {"id":1,"x":null}
            {"id":2}
            {"id":1,"x":null}
            {"id":2}
        "#]],
        );
    }

    #[test]
    fn what_no_column_holds_is_an_error_only_where_it_is_computed_with() {
        let value = r#"{"schema":{"type":"struct","fields":[
            {"field":"at","type":"string","name":"io.debezium.time.ZonedTimestamp","version":1}]},
            "payload":{"at":"some day"}}"#;
        let passed = "SELECT at FROM record";
        check(
            Side::Value,
            passed,
            true,
            &[value],
            expect![[r#"
            {"schema":{"type":"struct","fields":[{"type":"string","optional":false,"name":"io.debezium.time.ZonedTimestamp","version":1,"field":"at"}],"optional":false},"payload":{"at":"some day"}}
        "#]],
        );
        let computed = "SELECT date_trunc('day', at) AS day FROM record";
        check(
            Side::Value,
            computed,
            true,
            &[value],
            expect![[r#"
            field 'at': 'some day' is no point in time in whole microseconds
        "#]],
        );
    }

    #[test]
    fn values_of_all_kinds_come_out_as_json() {
        check(
            Side::Value,
            "SELECT _key AS key, _timestamp AS at, _headers.trace AS trace, _headers.other AS none,
                    _value.a AS a, length('abc') AS n, make_array(1, 2) AS list,
                    named_struct('x', 1, 'y', 'z') AS object, date_trunc('day', _timestamp) AS day,
                    arrow_cast(1.5, 'Decimal128(10, 2)') AS price, 18446744073709551615 AS most,
                    CAST('2024-02-29' AS DATE) AS date, INTERVAL '1' DAY AS wait
             FROM record",
            false,
            &[r#"{"a":[true]}"#],
            expect![[r#"
                {"key":"k1","at":"2023-11-14T22:13:20.123Z","trace":"t-7","none":null,"a":[true],"n":3,"list":[1,2],"object":{"x":1,"y":"z"},"day":"2023-11-14T00:00:00Z","price":1.50,"most":18446744073709551615,"date":"2024-02-29","wait":"1 days"}
            "#]],
        );
    }

    #[test]
    fn schemas_stay_and_what_is_computed_gets_one() {
        let value = r#"{"schema":{"type":"struct","fields":[
            {"field":"id","type":"int64","optional":false},
            {"field":"at","type":"int64","optional":true,"name":"io.debezium.time.MicroTimestamp","version":1},
            {"field":"kind","type":"string","optional":false,"default":"none","name":"shop.Kind"}]},
            "payload":{"id":7,"at":1700000000123456,"kind":"a"}}"#;
        let select = "SELECT *, id + 1 AS next, date_trunc('second', at) AS second FROM record";
        check(
            Side::Value,
            select,
            true,
            &[value],
            expect![[r#"
            {"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"int64","optional":true,"name":"io.debezium.time.MicroTimestamp","version":1,"field":"at"},{"type":"string","optional":false,"name":"shop.Kind","default":"none","field":"kind"},{"type":"int64","optional":true,"field":"next"},{"type":"int64","optional":true,"name":"io.debezium.time.MicroTimestamp","version":1,"field":"second"}],"optional":false},"payload":{"id":7,"at":1700000000123456,"kind":"a","next":8,"second":1700000000000000}}
        "#]],
        );
        let misspelt = "SELECT knd FROM record";
        check(
            Side::Value,
            misspelt,
            true,
            &[value],
            expect![[r#"
            there is no column 'knd' here
        "#]],
        );
    }

    #[test]
    fn keys_are_made_of_values_and_of_keys() {
        let values = [r#"{"id":7}"#, "null"];
        check(
            Side::Key,
            "SELECT id AS order_id FROM record",
            false,
            &values,
            expect![[r#"
            {"order_id":7}
            there is no value to make a key of; a predicate RecordIsTombstone with negate=true leaves such records alone
        "#]],
        );
        check(
            Side::Key,
            "SELECT upper(_key) AS k FROM record",
            false,
            &values,
            expect![[r#"
            {"k":"K1"}
            {"k":"K1"}
        "#]],
        );
    }

    #[test]
    fn what_the_text_has_wrong_is_a_mistake_of_the_setting() {
        let said = |text: &str| match RowQuery::read(text) {
            Ok(query) => panic!("{query:?}"),
            Err(mistakes) => words(&mistakes),
        };
        expect![
            "count looks at several records: what looks at several records is a query of a pipeline"
        ]
        .assert_eq(&said("SELECT count(*) FROM record"));
    }
}
