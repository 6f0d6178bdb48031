//! One column's mapping: the schema of its field, and how each of its texts becomes a value.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::BadValue;
use super::catalog::{Kind, TypeCatalog};
use super::mask::Mask;
use super::nested::{self, Item};
use super::number;
use super::options::{Binary, Decimals, Hstore, Intervals, TimePrecision, TypeOptions, Unknown};
use super::time::{self, Interval};
use crate::convert::json::DecimalFormat;
use crate::convert::json::write::{Writer, write_base64, write_string};
use crate::data::{Decimal, Map, Schema, SchemaBuilder, Struct, Text, Type, Value};

/// How the values of a column are read.
#[derive(Clone, Debug)]
pub struct Reader {
    form: Form,
    schema: Schema,
    mask: Option<Mask>,
}

#[derive(Clone, Debug)]
enum Form {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Text,
    /// A type without a mapping, as bytes.
    TextAsBytes(Binary),
    Decimal {
        scale: i32,
    },
    VariableDecimal,
    Money {
        decimals: Decimals,
        digits: i32,
    },
    Binary(Binary),
    Date {
        connect: bool,
    },
    Time(Clock),
    TimeWithZone,
    Timestamp(Clock),
    TimestampWithZone {
        digits: usize,
    },
    Interval(Intervals),
    Bit,
    Bits,
    Point,
    Hstore(Hstore),
    Array {
        item: Box<Reader>,
        delimiter: u8,
        depth: usize,
    },
}

/// Values that a schema cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub what: &'static str,
    pub becomes: &'static str,
    pub setting: &'static str,
}

impl Lost {
    const NOT_A_NUMBER: Lost = Lost {
        what: "NaN or an infinity",
        becomes: "null",
        setting: "decimal.handling.mode = string",
    };
    const TOO_LONG: Lost = Lost {
        what: "an interval of more µs than 64 bits hold",
        becomes: "the longest that they do",
        setting: "interval.handling.mode = string",
    };
    const TOO_FAR: Lost = Lost {
        what: "a time further from 1970 than 64 bits of ns reach",
        becomes: "the furthest that they do",
        setting: "time.precision.mode = microseconds",
    };
}

/// In which unit a time is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Millis,
    Micros,
    Nanos,
    /// In ms, as a type of Connect's own.
    Connect,
}

/// What a `numeric` without a modifier holds.
const VARIABLE_DECIMAL: &str = "io.debezium.data.VariableScaleDecimal";
/// The length of a type that has none, as Debezium says it.
const NO_LENGTH: i32 = i32::MAX;
const DIGITS_MAX: i32 = 6;

impl Reader {
    /// The mapping of a type, or nothing where the user wants such types left out.
    pub fn new(
        types: &TypeCatalog,
        id: u32,
        modifier: i32,
        dimensions: i32,
        options: &TypeOptions,
    ) -> Option<Reader> {
        let (id, modifier, dimensions) = types.beneath(id, modifier, dimensions);
        let found = types.get(id);
        let (form, builder) = match found.map(|found| &found.kind) {
            Some(Kind::Array { element, delimiter }) => {
                let item = Reader::new(types, *element, modifier, 0, options)?.optional();
                let depth = usize::try_from(dimensions).unwrap_or(1).clamp(1, nested::DEPTH_MAX);
                let mut builder = SchemaBuilder::array(item.schema().clone());
                for _ in 1..depth {
                    builder = SchemaBuilder::array(builder.optional().build());
                }
                let delimiter = *delimiter;
                (Form::Array { item: Box::new(item), delimiter, depth }, builder)
            }
            Some(Kind::Enum { labels }) => {
                let allowed = TypeCatalog::allowed(labels);
                let builder = named(Type::String, "io.debezium.data.Enum");
                (Form::Text, builder.parameter("allowed", allowed))
            }
            found_kind => {
                let name = found.map_or("", |found| found.name.as_str());
                match base(name, modifier, options) {
                    Some(known) if found_kind.is_some() => known,
                    _ => unknown(options)?,
                }
            }
        };
        Some(Reader { form, schema: builder.build(), mask: None })
    }

    /// The field's schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The same for a field whose value may be missing.
    pub fn optional(mut self) -> Reader {
        self.schema = self.schema.to_builder().optional().build();
        self
    }

    /// The same for texts that are not to be seen as they are.
    pub fn masked(mut self, mask: Mask) -> Reader {
        self.schema = mask.noted(self.schema.to_builder()).build();
        self.mask = Some(mask);
        self
    }

    /// What stands where there is no text, if that is not to be seen either.
    pub fn masked_null(&self) -> Option<Value> {
        self.mask.as_ref()?.of_nothing()
    }

    /// The same for a field that has this value where none is given.
    pub fn with_default(mut self, default: Value) -> Reader {
        self.schema = self.schema.to_builder().default(default).build();
        self
    }

    /// Reads a value. Null comes out only for what the schema cannot say, such as NaN where
    /// numbers are to be precise.
    pub fn read(&self, text: &Bytes) -> Result<Value, BadValue> {
        Ok(match &self.form {
            Form::Boolean => match &text[..] {
                b"t" => Value::Boolean(true),
                b"f" => Value::Boolean(false),
                _ => return Err(BadValue::new(text, "is no boolean")),
            },
            Form::Int16 => Value::Int16(number::parse(text, "is no smallint")?),
            Form::Int32 => Value::Int32(number::parse(text, "is no integer")?),
            Form::Int64 => Value::Int64(number::parse(text, "is no bigint")?),
            Form::Float32 => Value::Float32(number::parse(text, "is no real")?),
            Form::Float64 => Value::Float64(number::parse(text, "is no double precision")?),
            Form::Text => {
                let shared = Text::from_utf8(text.clone());
                let shared = shared.map_err(|_| BadValue::new(text, "is not UTF-8"))?;
                match &self.mask {
                    Some(mask) => mask.of_text(shared),
                    None => Value::String(shared),
                }
            }
            Form::TextAsBytes(mode) => number::shown(text.to_vec(), *mode),
            Form::Decimal { scale } => match number::decimal(text)? {
                Some(decimal) => {
                    let fitted = decimal.rescaled(*scale);
                    let bad = || BadValue::new(text, "has more digits than its type allows");
                    Value::Decimal(Arc::new(fitted.ok_or_else(bad)?))
                }
                None => Value::Null,
            },
            Form::VariableDecimal => match number::decimal(text)? {
                Some(decimal) => {
                    let Decimal { unscaled, scale } = number::stripped(decimal);
                    let bytes = Bytes::from(unscaled.to_signed_bytes_be());
                    self.structure(vec![Value::Int32(scale), Value::Bytes(bytes)])
                }
                None => Value::Null,
            },
            Form::Money { decimals, digits } => money(number::money(text)?, *decimals, *digits),
            Form::Binary(mode) => number::binary(text, *mode)?,
            Form::Date { connect: true } => Value::Date(time::date(text)?),
            Form::Date { connect: false } => Value::Int32(time::date(text)?),
            Form::Time(clock) => time_of_day(time::time(text)?, *clock),
            Form::TimeWithZone => Value::string(time::time_with_zone(text)?),
            Form::Timestamp(clock) => timestamp(time::timestamp(text)?, *clock),
            Form::TimestampWithZone { digits } => {
                Value::string(time::timestamp_with_zone(text, *digits)?)
            }
            Form::Interval(mode) => {
                let interval = Interval::parse(text)?;
                match mode {
                    Intervals::Numeric => Value::Int64(interval.micros()),
                    Intervals::String => Value::string(interval.to_iso()),
                }
            }
            Form::Bit => match &text[..] {
                b"0" => Value::Boolean(false),
                b"1" => Value::Boolean(true),
                _ => return Err(BadValue::new(text, "is no bit")),
            },
            Form::Bits => Value::Bytes(number::bits(text)?),
            Form::Point => self.point(text)?,
            Form::Hstore(mode) => hstore(text, *mode)?,
            Form::Array { item, delimiter, depth } => {
                item.array(nested::array(text, *delimiter, *depth)?)?
            }
        })
    }

    /// What a value that was read does not say of its text, and the setting under which it would.
    pub fn lost(&self, text: &[u8], value: &Value) -> Option<Lost> {
        match (&self.form, value) {
            (Form::Decimal { .. } | Form::VariableDecimal, Value::Null) => Some(Lost::NOT_A_NUMBER),
            // As many µs as there can be: no shorter interval has them.
            (Form::Interval(Intervals::Numeric), Value::Int64(i64::MAX | i64::MIN)) => {
                Some(Lost::TOO_LONG)
            }
            (Form::Timestamp(Clock::Nanos), Value::Int64(i64::MAX | i64::MIN)) => {
                Some(Lost::TOO_FAR).filter(|_| !text.ends_with(b"infinity"))
            }
            (Form::Array { item, .. }, value) => item.lost_in(text, value),
            _ => None,
        }
    }

    /// The same of items: among them, a null may be one.
    fn lost_in(&self, text: &[u8], value: &Value) -> Option<Lost> {
        match (&self.form, value) {
            (Form::Decimal { .. } | Form::VariableDecimal, _) => {
                let named = |name: &[u8]| memchr::memmem::find(text, name).is_some();
                (named(b"NaN") || named(b"Infinity")).then_some(Lost::NOT_A_NUMBER)
            }
            (_, Value::Array(items)) => items.iter().find_map(|item| self.lost_in(text, item)),
            (_, value) => self.lost(text, value),
        }
    }

    /// Appends a value as the JSON that `writer` makes of what [`read`](Reader::read) reads, where
    /// there is a way that needs no value for it. `false`: nothing was written.
    pub(crate) fn write_json(&self, text: &[u8], writer: &Writer, out: &mut Vec<u8>) -> bool {
        let of_digits = |digits_max: usize, out: &mut Vec<u8>| {
            let plain = number::is_plain_integer(text, digits_max);
            if plain {
                out.extend_from_slice(text);
            }
            plain
        };
        match &self.form {
            Form::Boolean if text == b"t" => out.extend_from_slice(b"true"),
            Form::Boolean if text == b"f" => out.extend_from_slice(b"false"),
            // As many digits as fit for sure.
            Form::Int16 => return of_digits(4, out),
            Form::Int32 => return of_digits(9, out),
            Form::Int64 => return of_digits(18, out),
            Form::Text if self.mask.is_none() => match std::str::from_utf8(text) {
                Ok(text) => write_string(text, out),
                Err(_) => return false,
            },
            Form::Decimal { scale } if writer.decimals == DecimalFormat::Base64 => {
                let Some(unscaled) = number::small_decimal(text, *scale) else { return false };
                write_base64(number::shortest(&unscaled.to_be_bytes()), out);
            }
            _ => return false,
        }
        true
    }

    fn array(&self, items: Vec<Item>) -> Result<Value, BadValue> {
        let values = items.into_iter().map(|item| match item {
            Item::Null => Ok(Value::Null),
            Item::Text(text) => self.read(&text),
            Item::Array(items) => self.array(items),
        });
        Ok(Value::array(values.collect::<Result<_, _>>()?))
    }

    fn structure(&self, values: Vec<Value>) -> Value {
        Value::structure(Struct::with_values(&self.schema, values))
    }

    /// `(1.5,-2)`, with the same in the well-known binary form.
    fn point(&self, text: &[u8]) -> Result<Value, BadValue> {
        let bad = || BadValue::new(text, "is no point");
        let inner = text.strip_prefix(b"(").and_then(|text| text.strip_suffix(b")"));
        let inner = inner.ok_or_else(bad)?;
        let comma = memchr::memchr(b',', inner).ok_or_else(bad)?;
        let x: f64 = number::parse(&inner[..comma], "is no coordinate")?;
        let y: f64 = number::parse(&inner[comma + 1..], "is no coordinate")?;
        let mut wkb = BytesMut::with_capacity(21);
        wkb.put_u8(1);
        wkb.put_u32_le(1);
        wkb.put_f64_le(x);
        wkb.put_f64_le(y);
        let wkb = Value::Bytes(wkb.freeze());
        Ok(self.structure(vec![Value::Float64(x), Value::Float64(y), wkb, Value::Null]))
    }

    /// What stands for a value that is not in the log: the placeholder where the type can hold
    /// it, otherwise nothing.
    pub fn placeholder(&self, placeholder: &Text) -> Option<Value> {
        if let Some(hidden) = self.masked_null() {
            return Some(hidden);
        }
        let text = Value::String(placeholder.clone());
        match &self.form {
            Form::Array { item, depth: 1, .. } => {
                item.placeholder(placeholder).map(|item| Value::array(vec![item]))
            }
            Form::Hstore(Hstore::Map) => Some(Value::map(Map::from([(text.clone(), text)]))),
            Form::Binary(Binary::Bytes) | Form::TextAsBytes(Binary::Bytes) => {
                Some(Value::Bytes(placeholder.clone().into_bytes()))
            }
            Form::Binary(mode) | Form::TextAsBytes(mode) => {
                Some(number::shown(placeholder.as_bytes().to_vec(), *mode))
            }
            _ => (self.schema.type_() == Type::String).then_some(text),
        }
    }

    /// What stands in a field that must be there and of which nothing is known: the columns of
    /// an old row that are not part of the key.
    pub fn nothing(&self) -> Value {
        match self.schema.type_() {
            Type::Boolean => Value::Boolean(false),
            Type::Int8 => Value::Int8(0),
            Type::Int16 => Value::Int16(0),
            Type::Int32 => match &self.form {
                Form::Date { connect: true } => Value::Date(0),
                Form::Time(Clock::Connect) => Value::Time(0),
                _ => Value::Int32(0),
            },
            Type::Int64 => match &self.form {
                Form::Timestamp(Clock::Connect) => Value::Timestamp(0),
                _ => Value::Int64(0),
            },
            Type::Float32 => Value::Float32(0.0),
            Type::Float64 => Value::Float64(0.0),
            Type::String => match &self.form {
                Form::TimestampWithZone { digits } => {
                    let zeros = &".000000"[..if *digits == 0 { 0 } else { digits + 1 }];
                    Value::string(format!("1970-01-01T00:00:00{zeros}Z"))
                }
                Form::TimeWithZone => Value::string("00:00:00Z"),
                Form::Hstore(_) => Value::string("{}"),
                _ => Value::string(""),
            },
            Type::Bytes => match &self.form {
                Form::Decimal { scale } | Form::Money { digits: scale, .. } => {
                    Value::Decimal(Arc::new(Decimal::new(0, *scale)))
                }
                _ => Value::Bytes(Bytes::new()),
            },
            Type::Array => Value::array(Vec::new()),
            Type::Map => Value::map(Map::new()),
            Type::Struct => {
                let fields = self.schema.fields().iter().map(|field| match field.schema.type_() {
                    _ if field.schema.is_optional() => Value::Null,
                    Type::Int32 => Value::Int32(0),
                    Type::Float64 => Value::Float64(0.0),
                    _ => Value::Bytes(Bytes::from_static(&[0])),
                });
                self.structure(fields.collect())
            }
        }
    }
}

fn named(type_: Type, name: &'static str) -> SchemaBuilder {
    SchemaBuilder::of(type_).name(Text::from_static(name)).version(1)
}

fn unknown(options: &TypeOptions) -> Option<(Form, SchemaBuilder)> {
    match options.unknown {
        Unknown::Text => Some((Form::Text, SchemaBuilder::of(Type::String))),
        Unknown::Bytes => {
            Some((Form::TextAsBytes(options.binary), SchemaBuilder::of(shown_as(options.binary))))
        }
        Unknown::LeftOut => None,
    }
}

fn shown_as(mode: Binary) -> Type {
    if mode == Binary::Bytes { Type::Bytes } else { Type::String }
}

/// The types that have a mapping of their own, by name: extensions get their numbers anew in
/// each database.
fn base(name: &str, modifier: i32, options: &TypeOptions) -> Option<(Form, SchemaBuilder)> {
    let plain = |form, type_| (form, SchemaBuilder::of(type_));
    let text = |name| (Form::Text, named(Type::String, name));
    Some(match name {
        "bool" => plain(Form::Boolean, Type::Boolean),
        "int2" => plain(Form::Int16, Type::Int16),
        "int4" => plain(Form::Int32, Type::Int32),
        "int8" | "oid" => plain(Form::Int64, Type::Int64),
        "float4" => plain(Form::Float32, Type::Float32),
        "float8" => plain(Form::Float64, Type::Float64),
        "text" | "varchar" | "bpchar" | "name" | "char" | "citext" | "inet" | "cidr"
        | "macaddr" | "macaddr8" | "int4range" | "int8range" | "numrange" | "tsrange"
        | "tstzrange" | "daterange" | "isbn" => plain(Form::Text, Type::String),
        "json" | "jsonb" => text("io.debezium.data.Json"),
        "uuid" => text("io.debezium.data.Uuid"),
        "xml" => text("io.debezium.data.Xml"),
        "tsvector" => text("io.debezium.data.Tsvector"),
        "ltree" => text("io.debezium.data.Ltree"),
        "numeric" => numeric(modifier, options.decimals),
        "money" => {
            let (decimals, digits) = (options.decimals, options.money_fraction_digits);
            let builder = match decimals {
                Decimals::Precise => SchemaBuilder::decimal(digits),
                Decimals::String => SchemaBuilder::of(Type::String),
                Decimals::Double => SchemaBuilder::of(Type::Float64),
            };
            (Form::Money { decimals, digits }, builder)
        }
        "bytea" => plain(Form::Binary(options.binary), shown_as(options.binary)),
        "date" if options.time == TimePrecision::Connect => {
            (Form::Date { connect: true }, SchemaBuilder::date())
        }
        "date" => (Form::Date { connect: false }, named(Type::Int32, "io.debezium.time.Date")),
        "time" => time_schema(modifier, options.time),
        "timetz" => (Form::TimeWithZone, named(Type::String, "io.debezium.time.ZonedTime")),
        "timestamp" => timestamp_schema(modifier, options.time),
        "timestamptz" => {
            let digits = digits(modifier) as usize;
            let builder = named(Type::String, "io.debezium.time.ZonedTimestamp");
            (Form::TimestampWithZone { digits }, builder)
        }
        "interval" => {
            let builder = match options.intervals {
                Intervals::Numeric => named(Type::Int64, "io.debezium.time.MicroDuration"),
                Intervals::String => named(Type::String, "io.debezium.time.Interval"),
            };
            (Form::Interval(options.intervals), builder)
        }
        "bit" | "varbit" if modifier == 1 => plain(Form::Bit, Type::Boolean),
        "bit" | "varbit" => {
            let length = if modifier > 0 { modifier } else { NO_LENGTH };
            let builder = named(Type::Bytes, "io.debezium.data.Bits");
            (Form::Bits, builder.parameter("length", length.to_string()))
        }
        "point" => (Form::Point, point_schema()),
        "hstore" => match options.hstore {
            Hstore::Json => {
                (Form::Hstore(Hstore::Json), named(Type::String, "io.debezium.data.Json"))
            }
            Hstore::Map => {
                let builder = SchemaBuilder::map(Schema::string(), Schema::optional_string());
                (Form::Hstore(Hstore::Map), builder)
            }
        },
        _ => return None,
    })
}

/// A numeric's modifier is its precision and, in eleven bits, its scale, after four.
fn numeric(modifier: i32, decimals: Decimals) -> (Form, SchemaBuilder) {
    match decimals {
        Decimals::String => (Form::Text, SchemaBuilder::of(Type::String)),
        Decimals::Double => (Form::Float64, SchemaBuilder::of(Type::Float64)),
        Decimals::Precise if modifier < 4 => {
            let builder = SchemaBuilder::structure()
                .name(Text::from_static(VARIABLE_DECIMAL))
                .version(1)
                .doc(Text::from_static("Variable scaled decimal"))
                .field("scale", Schema::int32())
                .field("value", Schema::bytes());
            (Form::VariableDecimal, builder)
        }
        Decimals::Precise => {
            let (precision, scale) = ((modifier - 4) >> 16, (modifier - 4) & 0x7ff);
            let scale = if scale >= 1 << 10 { scale - (1 << 11) } else { scale };
            let builder = SchemaBuilder::decimal(scale)
                .parameter("connect.decimal.precision", precision.to_string());
            (Form::Decimal { scale }, builder)
        }
    }
}

fn digits(modifier: i32) -> i32 {
    if (0..=DIGITS_MAX).contains(&modifier) { modifier } else { DIGITS_MAX }
}

fn time_schema(modifier: i32, precision: TimePrecision) -> (Form, SchemaBuilder) {
    let clock = match precision {
        TimePrecision::Adaptive if digits(modifier) <= 3 => Clock::Millis,
        TimePrecision::Connect => Clock::Connect,
        TimePrecision::Nanoseconds => Clock::Nanos,
        _ => Clock::Micros,
    };
    let builder = match clock {
        Clock::Millis => named(Type::Int32, "io.debezium.time.Time"),
        Clock::Micros => named(Type::Int64, "io.debezium.time.MicroTime"),
        Clock::Nanos => named(Type::Int64, "io.debezium.time.NanoTime"),
        Clock::Connect => SchemaBuilder::time(),
    };
    (Form::Time(clock), builder)
}

fn timestamp_schema(modifier: i32, precision: TimePrecision) -> (Form, SchemaBuilder) {
    let clock = match precision {
        TimePrecision::Adaptive | TimePrecision::AdaptiveTimeMicroseconds
            if digits(modifier) <= 3 =>
        {
            Clock::Millis
        }
        TimePrecision::Connect => Clock::Connect,
        TimePrecision::Nanoseconds => Clock::Nanos,
        _ => Clock::Micros,
    };
    let builder = match clock {
        Clock::Millis => named(Type::Int64, "io.debezium.time.Timestamp"),
        Clock::Micros => named(Type::Int64, "io.debezium.time.MicroTimestamp"),
        Clock::Nanos => named(Type::Int64, "io.debezium.time.NanoTimestamp"),
        Clock::Connect => SchemaBuilder::timestamp(),
    };
    (Form::Timestamp(clock), builder)
}

fn point_schema() -> SchemaBuilder {
    SchemaBuilder::structure()
        .name(Text::from_static("io.debezium.data.geometry.Point"))
        .version(1)
        .doc(Text::from_static("Geometry (POINT)"))
        .field("x", Schema::float64())
        .field("y", Schema::float64())
        .field("wkb", Schema::optional_bytes())
        .field("srid", Schema::optional_int32())
}

fn time_of_day(micros: i64, clock: Clock) -> Value {
    match clock {
        Clock::Millis => Value::Int32((micros / 1_000) as i32),
        Clock::Micros => Value::Int64(micros),
        Clock::Nanos => Value::Int64(micros * 1_000),
        Clock::Connect => Value::Time((micros / 1_000) as i32),
    }
}

fn timestamp(micros: i64, clock: Clock) -> Value {
    match clock {
        Clock::Millis => Value::Int64(micros.div_euclid(1_000)),
        Clock::Micros => Value::Int64(micros),
        Clock::Nanos => Value::Int64(micros.saturating_mul(1_000)),
        Clock::Connect => Value::Timestamp(micros.div_euclid(1_000)),
    }
}

fn money(unscaled: i64, decimals: Decimals, digits: i32) -> Value {
    let decimal = Decimal::new(unscaled, digits);
    match decimals {
        Decimals::Precise => Value::Decimal(Arc::new(decimal)),
        Decimals::String => Value::string(decimal.to_plain_string()),
        Decimals::Double => Value::Float64(decimal.to_f64()),
    }
}

fn hstore(text: &Bytes, mode: Hstore) -> Result<Value, BadValue> {
    let pairs = nested::hstore(text)?;
    let string =
        |bytes: Bytes| Text::from_utf8(bytes).map_err(|_| BadValue::new(text, "is not UTF-8"));
    if mode == Hstore::Map {
        let mut map = Map::with_capacity(pairs.len());
        for (key, value) in pairs {
            let value = value.map(string).transpose()?.map_or(Value::Null, Value::String);
            map.insert(Value::String(string(key)?), value);
        }
        return Ok(Value::map(map));
    }
    let mut json = serde_json::Map::new();
    for (key, value) in pairs {
        let value = value.map(string).transpose()?;
        json.insert(string(key)?.to_string(), value.map(|value| value.to_string()).into());
    }
    Ok(Value::string(serde_json::Value::Object(json).to_string()))
}

#[cfg(test)]
mod tests;
