//! What a user may choose about values; the names are Debezium's.

/// `decimal.handling.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decimals {
    /// Connect's Decimal, or Debezium's VariableScaleDecimal where the type has no scale.
    Precise,
    /// All digits, as text.
    String,
    Double,
}

/// `time.precision.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimePrecision {
    /// In ms where the type has at most three digits, in µs otherwise.
    Adaptive,
    /// As adaptive, but times of day always in µs.
    AdaptiveTimeMicroseconds,
    /// Connect's own types, in ms.
    Connect,
    Microseconds,
    Nanoseconds,
}

/// `interval.handling.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intervals {
    /// In µs, a month being a twelfth of 365.25 days.
    Numeric,
    /// `P1Y2M3DT4H5M6.7S`
    String,
}

/// `hstore.handling.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hstore {
    Json,
    Map,
}

/// `binary.handling.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Bytes,
    Base64,
    Base64UrlSafe,
    Hex,
}

/// What becomes of types that have no mapping (`include.unknown.datatypes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They pass as text: where nothing is said.
    Text,
    /// They pass as bytes, as Debezium has them for `true`.
    Bytes,
    /// They are left out, as Debezium does for `false`.
    LeftOut,
}

/// All choices about values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeOptions {
    pub decimals: Decimals,
    pub time: TimePrecision,
    pub intervals: Intervals,
    pub hstore: Hstore,
    pub binary: Binary,
    pub unknown: Unknown,
    pub money_fraction_digits: i32,
}

impl Default for TypeOptions {
    /// Debezium's.
    fn default() -> TypeOptions {
        TypeOptions {
            decimals: Decimals::Precise,
            time: TimePrecision::Adaptive,
            intervals: Intervals::Numeric,
            hstore: Hstore::Json,
            binary: Binary::Bytes,
            unknown: Unknown::Text,
            money_fraction_digits: 2,
        }
    }
}
