//! Types of SQL that Rust has none for, and the names of all of them.

/// A type by its name in SQL.
pub trait Sql {
    fn name() -> String;
}

/// Days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

/// Microseconds since midnight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// Microseconds since 1970-01-01 00:00:00 of some zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampTz(pub i64);

/// A number of `P` digits, `S` of them after the point, without that point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const P: u8, const S: u8>(pub i128);

/// Bytes that the function owns; an argument can be `&[u8]` as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytea(pub Vec<u8>);

/// JSON as text: `Json<&str>` or `Json<String>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

macro_rules! names {
    ($($type:ty: $name:literal,)*) => {
        $(impl Sql for $type {
            fn name() -> String {
                $name.to_owned()
            }
        })*
    };
}

names! {
    bool: "boolean",
    i8: "tinyint",
    i16: "smallint",
    i32: "int",
    i64: "bigint",
    u8: "tinyint unsigned",
    u16: "smallint unsigned",
    u32: "int unsigned",
    u64: "bigint unsigned",
    f32: "real",
    f64: "double",
    &str: "varchar",
    String: "varchar",
    &[u8]: "bytea",
    Bytea: "bytea",
    Date: "date",
    Time: "time",
    Timestamp: "timestamp",
    TimestampTz: "timestamptz",
}

impl<const P: u8, const S: u8> Sql for Decimal<P, S> {
    fn name() -> String {
        format!("decimal({P}, {S})")
    }
}

impl<T> Sql for Json<T> {
    fn name() -> String {
        "json".to_owned()
    }
}

impl<T: Sql> Sql for Vec<T> {
    fn name() -> String {
        format!("array<{}>", T::name())
    }
}

impl<T: Sql> Sql for Option<T> {
    fn name() -> String {
        T::name()
    }
}

impl<T: Sql, E> Sql for Result<T, E> {
    fn name() -> String {
        T::name()
    }
}
