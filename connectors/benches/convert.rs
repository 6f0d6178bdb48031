//! How many records a second go through converters and transforms, on one core.
//!
//! `cargo bench -p millstream-connectors --bench convert`

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use connectors::convert::json::{JsonConverter, JsonOptions};
use connectors::data::{Decimal, Schema, SchemaAndValue, SchemaBuilder, Struct, Value};

const ROUNDS: u32 = 300_000;

/// A change of a table with ten columns, as a database source tells it.
fn change() -> (Schema, Box<dyn Fn(i64) -> Value>) {
    let row = SchemaBuilder::structure()
        .name("shop.public.orders.Value")
        .field("id", Schema::int64())
        .field("customer", Schema::int64())
        .field("state", Schema::string())
        .field("total", SchemaBuilder::decimal(2).optional().build())
        .field("created_at", SchemaBuilder::timestamp().build())
        .field("note", Schema::optional_string())
        .field("paid", Schema::boolean())
        .field("weight", Schema::optional_float64())
        .field("items", Schema::int32())
        .field("region", Schema::string())
        .optional()
        .build();
    let source = SchemaBuilder::structure()
        .name("source")
        .field("table", Schema::string())
        .field("lsn", Schema::int64())
        .field("ts_ms", Schema::int64())
        .build();
    let envelope = SchemaBuilder::structure()
        .name("shop.public.orders.Envelope")
        .field("before", row.clone())
        .field("after", row.clone())
        .field("source", source.clone())
        .field("op", Schema::string())
        .field("ts_ms", Schema::optional_int64())
        .build();
    let schema = envelope.clone();
    let (state, region) = (Value::string("shipped"), Value::string("eu-central"));
    let note = Value::string("leave it at the \"door\"");
    let (table, op) = (Value::string("orders"), Value::string("u"));
    let make = move |number: i64| {
        let after = Struct::with_values(
            &row,
            vec![
                Value::Int64(number),
                Value::Int64(number / 7),
                state.clone(),
                Value::Decimal(Arc::new(Decimal::new(number * 13 % 100_000, 2))),
                Value::Timestamp(1_700_000_000_000 + number),
                note.clone(),
                Value::Boolean(true),
                Value::Float64(number as f64 / 8.0),
                Value::Int32(3),
                region.clone(),
            ],
        );
        let at = vec![table.clone(), Value::Int64(number), Value::Int64(number)];
        let values = vec![
            Value::Null,
            Value::structure(after),
            Value::structure(Struct::with_values(&source, at)),
            op.clone(),
            Value::Int64(number),
        ];
        Value::structure(Struct::with_values(&envelope, values))
    };
    (schema, Box::new(make))
}

fn measure(what: &str, mut once: impl FnMut(i64) -> usize) {
    let (began, mut bytes) = (Instant::now(), 0);
    for number in 0..ROUNDS {
        bytes += once(i64::from(number));
    }
    let seconds = began.elapsed().as_secs_f64();
    let (rate, size) = (f64::from(ROUNDS) / seconds, bytes as f64 / f64::from(ROUNDS));
    println!("{what:<42} {rate:>12.0} records/s   {size:>6.0} bytes each");
}

fn main() {
    let (schema, make) = change();
    for schemas in [false, true] {
        let options = JsonOptions { schemas, ..JsonOptions::default() };
        let mut converter = JsonConverter::new(options);
        let mut out = Vec::new();
        let how = if schemas { "with schemas" } else { "without schemas" };
        measure(&format!("build and write JSON {how}"), |number| {
            out.clear();
            let data = SchemaAndValue::new(&schema, make(number));
            converter.write(&data, &mut out).expect("it fits its schema");
            out.len()
        });
        let text = Bytes::from(out.clone());
        measure(&format!("read JSON {how}"), |_| {
            converter.read(Some(&text)).expect("it was written so");
            text.len()
        });
    }
}
