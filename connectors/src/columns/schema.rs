//! Columns of records that have a schema: Connect's own types, and Debezium's of dates and times
//! where a type of Arrow's says exactly the same.

use arrow::datatypes::TimeUnit;

use super::{Column, Columns, Kind};
use crate::data::schema::Logical;
use crate::data::{Schema, Type};

/// The digits of a decimal of which no more is known: what every reader of Parquet takes.
const PRECISION: u8 = 38;
/// Under which Debezium says how many digits a decimal has.
const PRECISION_PARAMETER: &str = "connect.decimal.precision";

impl Columns {
    /// The columns of a struct; an error says why it has none.
    pub fn of_schema(schema: &Schema) -> Result<Columns, String> {
        if schema.fields().is_empty() {
            return Err(format!("{schema:?} has no fields to make columns of"));
        }
        let column = |field: &crate::data::Field| {
            let column = Column::of_schema(&field.schema);
            let column = column.map_err(|reason| format!("field '{}': {reason}", field.name))?;
            Ok((field.name.clone(), column))
        };
        Ok(Columns(schema.fields().iter().map(column).collect::<Result<_, String>>()?))
    }
}

impl Column {
    pub(super) fn of_schema(schema: &Schema) -> Result<Column, String> {
        Ok(Column::new(Kind::of_schema(schema)?, schema.is_optional()))
    }
}

impl Kind {
    fn of_schema(schema: &Schema) -> Result<Kind, String> {
        let part = |part: Option<&Schema>| {
            let column = Column::of_schema(part.expect("its type has one"))?;
            Ok::<_, String>(Box::new(column))
        };
        if let Some(kind) = debezium(schema) {
            return Ok(kind);
        }
        Ok(match (schema.logical(), schema.type_()) {
            (Some(Logical::Decimal), _) => decimal(schema)?,
            (Some(Logical::Date), _) => Kind::Date,
            (Some(Logical::Time), _) => Kind::Time(TimeUnit::Millisecond),
            (Some(Logical::Timestamp), _) => {
                Kind::Timestamp { unit: TimeUnit::Millisecond, utc: true }
            }
            (None, Type::Int8) => Kind::Int8,
            (None, Type::Int16) => Kind::Int16,
            (None, Type::Int32) => Kind::Int32,
            (None, Type::Int64) => Kind::Int64 { wide: true },
            (None, Type::Float32) => Kind::Float32,
            (None, Type::Float64) => Kind::Float64,
            (None, Type::Boolean) => Kind::Boolean,
            (None, Type::String) => Kind::Text,
            (None, Type::Bytes) => Kind::Bytes,
            (None, Type::Array) => Kind::List(part(schema.value_schema())?),
            (None, Type::Map) => {
                let mut key = part(schema.key_schema())?;
                // Parquet's maps have no key that is null.
                key.nullable = false;
                Kind::Map(key, part(schema.value_schema())?)
            }
            // A group of no columns cannot be: it is its JSON.
            (None, Type::Struct) if schema.fields().is_empty() => Kind::Text,
            (None, Type::Struct) => Kind::Struct(Columns::of_schema(schema)?),
        })
    }
}

/// Text, where there are more digits than Parquet's readers agree on.
fn decimal(schema: &Schema) -> Result<Kind, String> {
    let scale = schema.scale().map_err(|error| error.to_string())?;
    let precision = match schema.parameter(PRECISION_PARAMETER) {
        Some(text) => text.parse().unwrap_or(u32::from(PRECISION)),
        None => u32::from(PRECISION),
    };
    // Zeros before the point are written out.
    let precision = precision.saturating_add(scale.min(0).unsigned_abs());
    let scale = scale.max(0);
    let fits = (1..=u32::from(PRECISION)).contains(&precision) && scale as u32 <= precision;
    Ok(match fits {
        true => Kind::Decimal { precision: precision as u8, scale: scale as i8 },
        false if scale <= i32::from(PRECISION) && precision <= u32::from(PRECISION) => {
            Kind::Decimal { precision: PRECISION, scale: scale as i8 }
        }
        false => Kind::Text,
    })
}

/// Timestamps without a zone are so here too; what is counted in µs of a day stays so.
fn debezium(schema: &Schema) -> Option<Kind> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond};
    let local = |unit| Kind::Timestamp { unit, utc: false };
    let name = schema.name()?.strip_prefix("io.debezium.time.")?;
    Some(match (name, schema.type_()) {
        ("Date", Type::Int32) => Kind::Date,
        ("Time", Type::Int32) => Kind::Time(Millisecond),
        ("MicroTime", Type::Int64) => Kind::Time(Microsecond),
        ("NanoTime", Type::Int64) => Kind::Time(Nanosecond),
        ("Timestamp", Type::Int64) => local(Millisecond),
        ("MicroTimestamp", Type::Int64) => local(Microsecond),
        ("NanoTimestamp", Type::Int64) => local(Nanosecond),
        ("ZonedTimestamp", Type::String) => Kind::Instant,
        _ => return None,
    })
}
