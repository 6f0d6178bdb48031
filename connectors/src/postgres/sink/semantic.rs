//! What Debezium's types stand for, told by the names of their schemas.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::data::civil::Civil;
use crate::data::{Decimal, Map, Schema, Type, Value};
use crate::postgres::types::time::{DAY_US, INFINITY_US, MINUS_INFINITY_US, instant_us};

const VARIABLE_DECIMAL: &str = "io.debezium.data.VariableScaleDecimal";
const BITS: &str = "io.debezium.data.Bits";
const POINT: &str = "io.debezium.data.geometry.Point";

/// The type of a column for values of such a schema, where its name tells.
pub fn column_type(schema: &Schema) -> Option<String> {
    let plain = match schema.name()?.as_str() {
        "io.debezium.time.Date" => "date",
        "io.debezium.time.Timestamp"
        | "io.debezium.time.MicroTimestamp"
        | "io.debezium.time.NanoTimestamp" => "timestamp",
        "io.debezium.time.ZonedTimestamp" => "timestamptz",
        "io.debezium.time.Time" | "io.debezium.time.MicroTime" | "io.debezium.time.NanoTime" => {
            "time"
        }
        "io.debezium.time.ZonedTime" => "timetz",
        "io.debezium.time.MicroDuration" | "io.debezium.time.Interval" => "interval",
        "io.debezium.data.Json" => "jsonb",
        "io.debezium.data.Uuid" => "uuid",
        "io.debezium.data.Xml" => "xml",
        BITS => {
            return Some(match length(schema) {
                Some(length) => format!("bit({length})"),
                None => "bit varying".to_owned(),
            });
        }
        _ if is_number(schema) => "numeric",
        POINT if schema.type_() == Type::Struct => "point",
        _ => return None,
    };
    Some(plain.to_owned())
}

/// Whether it is a number with a scale of its own.
pub fn is_number(schema: &Schema) -> bool {
    schema.type_() == Type::Struct && schema.name().is_some_and(|name| name == VARIABLE_DECIMAL)
}

/// How many bits there are; none is said of a type without a bound.
fn length(schema: &Schema) -> Option<usize> {
    let length = schema.parameter("length")?.parse().ok()?;
    (length != i32::MAX as usize).then_some(length)
}

/// The text that such a column has for a value, where it is another than the value's own.
pub fn text(value: &Value, schema: Option<&Schema>, column_type: &str) -> Option<String> {
    let bare = column_type.split(['(', '[']).next().unwrap_or_default();
    let of_bits = matches!(bare, "bit" | "bit varying");
    let number = match value {
        Value::Int32(number) => i64::from(*number),
        Value::Int64(number) => *number,
        Value::Date(days) => return Some(date(i64::from(*days))),
        Value::Timestamp(ms) => return Some(timestamp_ms(*ms)),
        Value::Boolean(bit) if of_bits => return Some(if *bit { "1" } else { "0" }.to_owned()),
        Value::Bytes(bytes) if of_bits && schema?.name()? == BITS => {
            return Some(bits(bytes, length(schema?)));
        }
        Value::String(text) if schema?.name()? == "io.debezium.time.ZonedTimestamp" => {
            return instant(text);
        }
        Value::Struct(fields) if is_number(fields.schema()) => {
            return decimal(fields.get("scale")?, fields.get("value")?);
        }
        Value::Struct(fields) if bare == "point" => {
            return point(fields.get("x")?, fields.get("y")?);
        }
        // The same without their schemas.
        Value::Map(map) if bare == "numeric" && map.len() == 2 => {
            return decimal(in_map(map, "scale")?, in_map(map, "value")?);
        }
        Value::Map(map) if bare == "point" => {
            return point(in_map(map, "x")?, in_map(map, "y")?);
        }
        _ => return None,
    };
    Some(match schema?.name()?.as_str() {
        "io.debezium.time.Date" => date(number),
        "io.debezium.time.Timestamp" => timestamp_ms(number),
        "io.debezium.time.MicroTimestamp" => timestamp(number),
        "io.debezium.time.NanoTimestamp" => match number {
            i64::MAX => "infinity".to_owned(),
            i64::MIN => "-infinity".to_owned(),
            number => timestamp(number.div_euclid(1000)),
        },
        "io.debezium.time.Time" => time(number.checked_mul(1000)?),
        "io.debezium.time.MicroTime" => time(number),
        "io.debezium.time.NanoTime" => time(number.div_euclid(1000)),
        "io.debezium.time.MicroDuration" => format!("{number} microseconds"),
        _ => return None,
    })
}

fn in_map<'a>(map: &'a Map, name: &str) -> Option<&'a Value> {
    map.get(&Value::string(name))
}

/// Days since 1970; the source has the first and the last day for the infinities.
fn date(days: i64) -> String {
    const LAST: i64 = i32::MAX as i64;
    const FIRST: i64 = i32::MIN as i64;
    match days {
        LAST => "infinity".to_owned(),
        FIRST => "-infinity".to_owned(),
        days => {
            let (day, era) = day(days);
            format!("{day}{era}")
        }
    }
}

/// `0044-03-15` and ` BC`
fn day(days: i64) -> (String, &'static str) {
    let date = Civil::at(days * 86_400_000);
    let (year, era) = match date.year {
        year if year > 0 => (year, ""),
        year => (1 - year, " BC"),
    };
    (format!("{year:04}-{:02}-{:02}", date.month, date.day), era)
}

fn timestamp_ms(ms: i64) -> String {
    const INFINITY_MS: i64 = INFINITY_US.div_euclid(1000);
    const MINUS_INFINITY_MS: i64 = MINUS_INFINITY_US.div_euclid(1000);
    match ms {
        INFINITY_MS => "infinity".to_owned(),
        MINUS_INFINITY_MS => "-infinity".to_owned(),
        ms => timestamp(ms.saturating_mul(1000)),
    }
}

fn timestamp(us: i64) -> String {
    match us {
        INFINITY_US => return "infinity".to_owned(),
        MINUS_INFINITY_US => return "-infinity".to_owned(),
        _ => {}
    }
    let (day, era) = day(us.div_euclid(DAY_US));
    let of_day = time(us.rem_euclid(DAY_US));
    format!("{day} {of_day}{era}")
}

fn time(us: i64) -> String {
    let (seconds, us) = (us / 1_000_000, us % 1_000_000);
    format!("{:02}:{:02}:{:02}.{us:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Java writes years of more than four digits, and those before Christ, as PostgreSQL reads none.
fn instant(text: &str) -> Option<String> {
    if !text.starts_with(['+', '-']) || text == "-infinity" {
        return None;
    }
    let written = timestamp(instant_us(text)?);
    Some(match written.strip_suffix(" BC") {
        Some(written) => format!("{written}+00 BC"),
        None => format!("{written}+00"),
    })
}

/// The lowest bit of the first byte is the last one.
fn bits(bytes: &[u8], length: Option<usize>) -> String {
    let is_set = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let used = || (0..bytes.len() * 8).rev().find(|at| is_set(*at)).map_or(0, |last| last + 1);
    let width = length.unwrap_or_else(used);
    (0..width).rev().map(|at| if is_set(at) { '1' } else { '0' }).collect()
}

fn decimal(scale: &Value, unscaled: &Value) -> Option<String> {
    /// No column has more digits behind the point.
    const SCALE_MAX: i64 = 16_383;
    let scale = match scale {
        Value::Int32(scale) => i64::from(*scale),
        Value::Int64(scale) => *scale,
        _ => return None,
    };
    let scale = i32::try_from(scale).ok().filter(|_| scale.abs() <= SCALE_MAX)?;
    let decimal = match unscaled {
        Value::Bytes(bytes) => Decimal::from_bytes(bytes, scale),
        Value::String(text) => Decimal::from_bytes(&STANDARD.decode(text.as_bytes()).ok()?, scale),
        _ => return None,
    };
    Some(decimal.to_plain_string())
}

fn point(x: &Value, y: &Value) -> Option<String> {
    let number = |value: &Value| match value {
        Value::Float64(number) => Some(number.to_string()),
        Value::Float32(number) => Some(number.to_string()),
        Value::Int32(number) => Some(number.to_string()),
        Value::Int64(number) => Some(number.to_string()),
        _ => None,
    };
    Some(format!("({},{})", number(x)?, number(y)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SchemaBuilder, Struct};
    use crate::postgres::types::{Decimals, Kind, TimePrecision};
    use crate::postgres::types::{Reader, TypeCatalog, TypeOptions};

    const TYPES: [(u32, &str); 6] = [
        (1700, "numeric"),
        (1082, "date"),
        (1114, "timestamp"),
        (1184, "timestamptz"),
        (1562, "varbit"),
        (600, "point"),
    ];

    fn round(type_name: &str, modifier: i32, options: &TypeOptions, text: &str) -> String {
        let types = TypeCatalog::of(TYPES.map(|(id, name)| (id, name, Kind::Base)));
        let id = TYPES.iter().find(|(_, name)| *name == type_name).unwrap().0;
        let reader = Reader::new(&types, id, modifier, 0, options).unwrap();
        let value = reader.read(&text.to_owned().into()).unwrap();
        let column = match type_name {
            "varbit" => "bit varying",
            other => other,
        };
        let own = |value: &Value| value.as_str().map(str::to_owned);
        super::text(&value, Some(reader.schema()), column).or_else(|| own(&value)).unwrap()
    }

    /// An infinite date was out of range, and a number without a scale was bytes in base64.
    #[test]
    fn what_the_source_reads_the_sink_writes() {
        let times = [
            TimePrecision::Adaptive,
            TimePrecision::Connect,
            TimePrecision::Microseconds,
            TimePrecision::Nanoseconds,
        ];
        for time in times {
            let precise = Decimals::Precise;
            let options = TypeOptions { time, decimals: precise, ..TypeOptions::default() };
            for (type_name, text) in [
                ("numeric", "-123.45"),
                ("numeric", "79228162514264337593543950336000.5"),
                ("date", "infinity"),
                ("date", "-infinity"),
                ("date", "2024-02-29"),
                ("date", "0044-03-15 BC"),
                ("timestamp", "infinity"),
                ("timestamp", "-infinity"),
                ("timestamptz", "infinity"),
                ("timestamptz", "-infinity"),
                ("varbit", "10110"),
                ("varbit", ""),
                ("point", "(1.5,-2)"),
            ] {
                assert_eq!(round(type_name, -1, &options, text), text, "{type_name} {time:?}");
            }
            assert_eq!(round("varbit", 11, &options, "00000010110"), "00000010110");
            assert_eq!(
                round("timestamptz", -1, &options, "0044-03-15 01:02:03+00 BC"),
                "0044-03-15 01:02:03.000000+00 BC"
            );
            assert_eq!(
                round("timestamptz", -1, &options, "12024-03-15 01:02:03+00"),
                "12024-03-15 01:02:03.000000+00"
            );
        }
    }

    #[test]
    fn columns_are_of_the_type_that_the_source_had() {
        let bits = |length: i32| {
            let builder = SchemaBuilder::of(Type::Bytes).name(BITS);
            builder.parameter("length", length.to_string()).build()
        };
        assert_eq!(column_type(&bits(5)).as_deref(), Some("bit(5)"));
        assert_eq!(column_type(&bits(i32::MAX)).as_deref(), Some("bit varying"));
        let fields = |name: &str| SchemaBuilder::structure().name(name).build();
        assert_eq!(column_type(&fields(VARIABLE_DECIMAL)).as_deref(), Some("numeric"));
        assert_eq!(column_type(&fields(POINT)).as_deref(), Some("point"));
    }

    #[test]
    fn what_came_without_a_schema_is_understood_by_its_column() {
        let map = |pairs: &[(&str, Value)]| {
            let pairs = pairs.iter().map(|(name, value)| (Value::string(*name), value.clone()));
            Value::map(pairs.collect())
        };
        let number = map(&[("scale", Value::Int64(1)), ("value", Value::string("AP8="))]);
        assert_eq!(text(&number, None, "numeric").as_deref(), Some("25.5"));
        assert_eq!(text(&number, None, "jsonb"), None);
        let at = map(&[("x", Value::Float64(1.0)), ("y", Value::Int64(2))]);
        assert_eq!(text(&at, None, "point").as_deref(), Some("(1,2)"));
        assert_eq!(text(&Value::Boolean(true), None, "bit").as_deref(), Some("1"));
        let strange = Struct::new(&SchemaBuilder::structure().name(VARIABLE_DECIMAL).build());
        assert_eq!(text(&Value::structure(strange), None, "numeric"), None);
        let huge = map(&[("scale", Value::Int64(1 << 40)), ("value", Value::string("AP8="))]);
        assert_eq!(text(&huge, None, "numeric"), None);
    }
}
