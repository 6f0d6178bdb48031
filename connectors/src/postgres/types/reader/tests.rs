use super::*;

const INT4: u32 = 23;
const NUMERIC: u32 = 1700;
const INTERVAL: u32 = 1186;

fn types() -> TypeCatalog {
    TypeCatalog::of([
        (INT4, "int4", Kind::Base),
        (NUMERIC, "numeric", Kind::Base),
        (25, "text", Kind::Base),
        (1007, "_int4", Kind::Array { element: INT4, delimiter: b',' }),
        (600, "point", Kind::Base),
        (603, "box", Kind::Base),
        (50_000, "price", Kind::Domain { base: 50_001, modifier: -1, dimensions: 0 }),
        (
            50_001,
            "money2",
            Kind::Domain { base: NUMERIC, modifier: (10 << 16 | 2) + 4, dimensions: 0 },
        ),
        (50_002, "loop", Kind::Domain { base: 50_002, modifier: -1, dimensions: 0 }),
        (50_003, "mood", Kind::Enum { labels: vec!["a".into(), "b c".into()] }),
        (50_004, "hstore", Kind::Base),
        (INTERVAL, "interval", Kind::Base),
        (50_006, "_interval", Kind::Array { element: INTERVAL, delimiter: b',' }),
        (50_005, "_price", Kind::Array { element: 50_000, delimiter: b',' }),
    ])
}

fn reader(id: u32, modifier: i32, dimensions: i32, options: TypeOptions) -> Reader {
    Reader::new(&types(), id, modifier, dimensions, &options).unwrap().optional()
}

fn read(reader: &Reader, text: &'static str) -> Value {
    let value = reader.read(&Bytes::from_static(text.as_bytes())).unwrap();
    value.check(reader.schema()).unwrap();
    value
}

#[test]
fn domains_are_what_is_beneath_them() {
    let price = reader(50_000, -1, 0, TypeOptions::default());
    assert_eq!(price.schema().scale(), Ok(2));
    assert_eq!(read(&price, "12.3"), Value::Decimal(Arc::new(Decimal::new(1_230, 2))));
    assert_eq!(read(&price, "NaN"), Value::Null);
    // A loop cannot be made in SQL; it would end all the same, as a type without a mapping.
    assert_eq!(read(&reader(50_002, -1, 0, TypeOptions::default()), "x"), Value::string("x"));
    let prices = reader(50_005, -1, 1, TypeOptions::default());
    let expected = Value::array(vec![Value::Decimal(Arc::new(Decimal::new(100, 2)))]);
    assert_eq!(read(&prices, "{1}"), expected);
}

#[test]
fn a_numeric_may_have_a_scale_below_zero() {
    let modifier = (3 << 16 | (-2 & 0x7ff)) + 4;
    let thousands = reader(NUMERIC, modifier, 0, TypeOptions::default());
    assert_eq!(thousands.schema().scale(), Ok(-2));
    assert_eq!(read(&thousands, "1200"), Value::Decimal(Arc::new(Decimal::new(12, -2))));
}

#[test]
fn numerics_are_read_as_the_user_wants_them() {
    let of = |decimals| reader(NUMERIC, -1, 0, TypeOptions { decimals, ..TypeOptions::default() });
    assert_eq!(read(&of(Decimals::String), "-123.4500"), Value::string("-123.4500"));
    assert_eq!(read(&of(Decimals::String), "Infinity"), Value::string("Infinity"));
    assert_eq!(read(&of(Decimals::Double), "-123.4500"), Value::Float64(-123.45));
    let Value::Struct(variable) = read(&of(Decimals::Precise), "-123.4500") else { panic!() };
    let bytes = Value::Bytes(Bytes::from_static(&[0xcf, 0xc7]));
    assert_eq!(variable.values(), [Value::Int32(2), bytes]);
}

#[test]
fn types_without_a_mapping_pass_as_text_unless_the_user_says_otherwise() {
    let of =
        |unknown| Reader::new(&types(), 603, -1, 0, &TypeOptions { unknown, ..Default::default() });
    assert_eq!(read(&of(Unknown::Text).unwrap(), "(1,1),(0,0)"), Value::string("(1,1),(0,0)"));
    let bytes = Value::Bytes(Bytes::from_static(b"x"));
    assert_eq!(read(&of(Unknown::Bytes).unwrap(), "x"), bytes);
    assert!(of(Unknown::LeftOut).is_none());
    // A type that was created after the catalog was read.
    assert_eq!(read(&reader(99_999, -1, 0, TypeOptions::default()), "x"), Value::string("x"));
}

#[test]
fn arrays_are_as_deep_as_they_are_declared() {
    let flat = reader(1007, -1, 0, TypeOptions::default());
    let of = |numbers: &[i32]| Value::array(numbers.iter().copied().map(Value::Int32).collect());
    assert_eq!(read(&flat, "{1,2}"), of(&[1, 2]));
    assert_eq!(read(&flat, "{{1,2},{3,4}}"), of(&[1, 2, 3, 4]));
    let deep = reader(1007, -1, 2, TypeOptions::default());
    assert_eq!(read(&deep, "{{1,2},{3,4}}"), Value::array(vec![of(&[1, 2]), of(&[3, 4])]));
    assert_eq!(read(&deep, "{}"), Value::array(vec![]));
}

#[test]
fn what_is_not_in_the_log_has_a_stand_in_that_fits() {
    let placeholder = Text::from_static("?");
    let mut fitting = 0;
    for id in [INT4, NUMERIC, 25, 1007, 600, 603, 50_000, 50_003, 50_004] {
        for decimals in [Decimals::Precise, Decimals::String, Decimals::Double] {
            let hstore = if decimals == Decimals::String { Hstore::Map } else { Hstore::Json };
            let reader = reader(id, -1, 1, TypeOptions { decimals, hstore, ..Default::default() });
            reader.nothing().check(reader.schema()).unwrap();
            if let Some(value) = reader.placeholder(&placeholder) {
                value.check(reader.schema()).unwrap();
                fitting += 1;
            }
        }
    }
    assert!(fitting >= 8);
}

/// NaN became null, and an interval of ages the longest of all, without a word.
#[test]
fn what_a_schema_cannot_say_is_noticed() {
    let options = TypeOptions::default;
    let string = TypeOptions {
        decimals: Decimals::String,
        intervals: Intervals::String,
        ..TypeOptions::default()
    };
    let precise = TypeOptions { decimals: Decimals::Precise, ..options() };
    let double = TypeOptions { decimals: Decimals::Double, ..options() };
    let lost = |id, dimensions, options: &TypeOptions, text: &'static str| {
        let reader = reader(id, -1, dimensions, options.clone());
        let value = reader.read(&Bytes::from_static(text.as_bytes())).unwrap();
        reader.lost(text.as_bytes(), &value).map(|lost| lost.setting)
    };
    let (decimals, intervals) =
        ("decimal.handling.mode = string", "interval.handling.mode = string");
    for text in ["NaN", "Infinity", "-Infinity"] {
        assert_eq!(lost(NUMERIC, 0, &precise, text), Some(decimals));
        assert_eq!(lost(50_000, 0, &precise, text), Some(decimals));
        assert_eq!(lost(NUMERIC, 0, &double, text), None);
        assert_eq!(lost(NUMERIC, 0, &string, text), None);
    }
    assert_eq!(lost(NUMERIC, 0, &precise, "1.5"), None);
    assert_eq!(lost(50_005, 1, &precise, "{1,NULL}"), None);
    assert_eq!(lost(50_005, 2, &precise, "{{1,NULL},{2,NaN}}"), Some(decimals));
    for text in ["P178000000Y", "P-178000000Y", "P292471Y9M"] {
        assert_eq!(lost(INTERVAL, 0, &options(), text), Some(intervals), "{text}");
        assert_eq!(lost(INTERVAL, 0, &string, text), None);
    }
    assert_eq!(lost(INTERVAL, 0, &options(), "P292000Y"), None);
    assert_eq!(lost(50_006, 1, &options(), "{P1D,P178000000Y}"), Some(intervals));
}
