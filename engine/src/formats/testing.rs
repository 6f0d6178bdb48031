//! Random types and rows for the property tests of formats: all from one seed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalMonthDayNano, IntervalUnit, Schema, TimeUnit,
};

use super::builders::ColumnBuilder;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize].clone()
    }

    pub fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        (0..self.below(len_max + 1)).map(|_| self.next() as u8).collect()
    }
}

/// What a format can carry there and back.
pub struct Types {
    pub scalars: Vec<DataType>,
    /// Whether items of lists and values of maps may be NULL.
    pub null_items: bool,
    /// Whether a list or a map may be NULL itself.
    pub null_lists: bool,
}

pub fn all_scalars() -> Vec<DataType> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let utc = || Some(Arc::from("+00:00"));
    vec![
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(10, 2),
        DataType::Decimal128(38, 10),
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Binary,
        DataType::FixedSizeBinary(5),
        DataType::Date32,
        DataType::Time32(Millisecond),
        DataType::Time64(Microsecond),
        DataType::Timestamp(Second, utc()),
        DataType::Timestamp(Millisecond, None),
        DataType::Timestamp(Microsecond, utc()),
        DataType::Timestamp(Nanosecond, utc()),
    ]
}

fn data_type(random: &mut Random, types: &Types, depth: u64) -> DataType {
    let item = |random: &mut Random, name: &str| -> FieldRef {
        let nullable = types.null_items && random.below(2) == 0;
        Arc::new(Field::new(name, data_type(random, types, depth + 1), nullable))
    };
    match random.below(10) {
        7 if depth < 2 => DataType::List(item(random, "item")),
        8 if depth < 2 => {
            let key = Arc::new(Field::new("key", DataType::Utf8, false));
            let entries = Fields::from(vec![key, item(random, "value")]);
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
        }
        9 if depth < 2 => DataType::Struct(fields(random, types, depth + 1)),
        _ => random.pick(&types.scalars),
    }
}

pub fn fields(random: &mut Random, types: &Types, depth: u64) -> Fields {
    let count = 1 + random.below(5);
    let field = |at| {
        let data_type = data_type(random, types, depth);
        let is_list = matches!(data_type, DataType::List(_) | DataType::Map(..));
        let nullable = random.below(3) > 0 && (types.null_lists || !is_list);
        Field::new(format!("f{at}"), data_type, nullable)
    };
    (0..count).map(field).collect::<Vec<_>>().into()
}

pub fn batch(random: &mut Random, fields: &Fields, rows: usize) -> RecordBatch {
    let mut builder = ColumnBuilder::rows(fields.clone(), "test").unwrap();
    for _ in 0..rows {
        fill_struct(random, &mut builder);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), builder.finish_columns()).unwrap()
}

fn fill_struct(random: &mut Random, column: &mut ColumnBuilder) {
    let of = column.as_struct().unwrap();
    of.columns.iter_mut().for_each(|below| fill(random, below));
    column.end_struct().unwrap();
}

fn fill(random: &mut Random, column: &mut ColumnBuilder) {
    if column.is_nullable() && random.below(4) == 0 {
        return column.null().unwrap();
    }
    match column.data_type().clone() {
        DataType::List(_) => {
            let items = column.items().unwrap();
            (0..random.below(4)).for_each(|_| fill(random, items));
            column.end_list().unwrap();
        }
        DataType::Map(..) => {
            let (keys, values) = column.entries().unwrap();
            for at in 0..random.below(4) {
                keys.text(&format!("{at}{}", text(random))).unwrap();
                fill(random, values);
            }
            column.end_map().unwrap();
        }
        DataType::Struct(_) => fill_struct(random, column),
        scalar => fill_scalar(random, column, &scalar),
    }
}

/// Small, the extremes, and anything.
fn whole(random: &mut Random, least: i64, most: i64) -> i64 {
    match random.below(6) {
        0 => least,
        1 => most,
        2 => 0i64.clamp(least, most),
        3 => (random.below(200) as i64 - 100).clamp(least, most),
        _ => {
            let width = (i128::from(most) - i128::from(least) + 1) as u128;
            (i128::from(least) + (u128::from(random.next()) % width) as i128) as i64
        }
    }
}

fn text(random: &mut Random) -> String {
    const PARTS: [&str; 12] =
        ["a", "Z", "\"", "\\", "\n", "\u{1}", "ü", "漢", "😀", " ", ",", "plain words here"];
    (0..random.below(6)).map(|_| random.pick(&PARTS)).collect()
}

fn fill_scalar(random: &mut Random, column: &mut ColumnBuilder, data_type: &DataType) {
    let done = match data_type {
        DataType::Boolean => column.boolean(random.below(2) == 0),
        DataType::Int8 => column.integer(whole(random, i8::MIN.into(), i8::MAX.into())),
        DataType::Int16 => column.integer(whole(random, i16::MIN.into(), i16::MAX.into())),
        DataType::Int32 => column.integer(whole(random, i32::MIN.into(), i32::MAX.into())),
        DataType::UInt8 => column.integer(whole(random, 0, u8::MAX.into())),
        DataType::UInt16 => column.integer(whole(random, 0, u16::MAX.into())),
        DataType::UInt32 => column.integer(whole(random, 0, u32::MAX.into())),
        DataType::UInt64 => column.unsigned(random.next() >> random.below(64)),
        DataType::Int64 => column.integer(whole(random, i64::MIN, i64::MAX)),
        DataType::Float32 => {
            let any = f32::from_bits(random.next() as u32);
            column.float(f64::from(if any.is_finite() { any } else { -0.5 }))
        }
        DataType::Float64 => {
            let any = f64::from_bits(random.next());
            column.float(if any.is_finite() { any } else { 1e-300 })
        }
        DataType::Decimal128(precision, scale) => {
            let most = 10i128.pow(u32::from(*precision)) - 1;
            let any = (i128::from(random.next() as i64) << 60) ^ i128::from(random.next());
            let value = match random.below(4) {
                0 => most,
                1 => -most,
                2 => 0,
                _ => any % most,
            };
            column.decimal(value, *scale)
        }
        DataType::Utf8 | DataType::LargeUtf8 => column.text(&text(random)),
        DataType::Binary => column.bytes(&random.bytes(9)),
        DataType::FixedSizeBinary(width) => {
            let bytes: Vec<u8> = (0..*width).map(|_| random.next() as u8).collect();
            column.bytes(&bytes)
        }
        // Years 1 to 9999.
        DataType::Date32 => column.integer(whole(random, -719_162, 2_932_896)),
        DataType::Time32(_) => column.integer(whole(random, 0, 86_399_999)),
        DataType::Time64(_) => column.integer(whole(random, 0, 86_399_999_999)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            column.integer(whole(random, i64::MIN + 1_000_000_000, i64::MAX))
        }
        DataType::Timestamp(unit, _) => {
            let second = match unit {
                TimeUnit::Second => 1,
                TimeUnit::Millisecond => 1_000,
                _ => 1_000_000,
            };
            column.integer(whole(random, -62_135_596_800 * second, 253_402_300_799 * second))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let part = |random: &mut Random| whole(random, 0, i32::MAX.into()) as i32;
            let (months, days) = (part(random), part(random));
            let ms = whole(random, 0, u32::MAX.into());
            column.interval(IntervalMonthDayNano::new(months, days, ms * 1_000_000))
        }
        other => panic!("no values of type {other}"),
    };
    done.unwrap();
}
