use std::sync::Arc;

use arrow::array::{DurationNanosecondArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::formats::json::Indexed;
use crate::formats::json::encode::json_objects;
use crate::formats::testing::{self as arbitrary, Random};

/// `protoc --include_imports --descriptor_set_out=shop.desc shop.proto`.
const SHOP: &[u8] = include_bytes!("fixture/shop.desc");

/// Written by Python's protobuf 7.36: all fields, none, a oneof's number, and its message beside
/// an enum's value that nobody named.
const ORDERS: [&str; 4] = [
    "08011205c39c6ec3af19000000000000294020022a0d01feffffffffffffffff01ac0232016132003a050a0178100142060a01531201434a031201444a00520434373131620b08a0e78a870510959aef3a6a020807722a0a280a016b122332210a0911000000000000f03f0a0208000a031a01740a0b2a090a070a017a120220017a0200ff8001008801099501ffffffffa2010808011080cab5ee01a801ffffffffffffffffff01b5010000003fb80101c101f7ffffffffffffffca010708071203120145d201050a01731003",
    "",
    "08ffffffffffffffffff015809",
    "20096a009a01030a0142",
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

fn orders() -> Vec<Vec<u8>> {
    ORDERS.iter().map(|hex| bytes(hex)).collect()
}

fn format(message: &str) -> Arc<ProtobufFormat> {
    Arc::new(ProtobufFormat::new(SHOP, Some(message), Framing::None, None).unwrap())
}

fn decode(
    format: &Arc<ProtobufFormat>,
    fields: Fields,
    values: &[Vec<u8>],
) -> (RecordBatch, Vec<(usize, String)>) {
    let indexed: Vec<Indexed> = values.iter().map(Vec::as_slice).enumerate().collect();
    let mut failed = Vec::new();
    let mut decoder = ProtobufDecoder::new(Arc::clone(format), fields.clone()).unwrap();
    let columns = decoder.decode(&indexed, &mut failed);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    (batch, failed.into_iter().map(|(at, error)| (at, error.to_string())).collect())
}

fn encode(format: &ProtobufFormat, batch: &RecordBatch) -> Vec<Vec<u8>> {
    let encoder = ProtobufEncoder::new(format, batch.schema().fields()).unwrap();
    let parts = encoder.encode(batch).unwrap();
    (0..batch.num_rows()).map(|row| parts.get(row).unwrap().to_vec()).collect()
}

fn shown(batch: &RecordBatch) -> String {
    let parts = json_objects(batch).unwrap();
    let rows = (0..batch.num_rows()).map(|row| str::from_utf8(parts.get(row).unwrap()).unwrap());
    rows.collect::<Vec<_>>().join("\n")
}

fn check(actual: &str, expected: Expect) {
    expected.assert_eq(actual);
}

#[test]
fn what_others_wrote_is_read_and_written_again() {
    let format = format("shop.Order");
    let fields: Fields = format.columns().unwrap().into();
    let (batch, failed) = decode(&format, fields.clone(), &orders());
    assert_eq!(failed, []);
    // JSON has no maps by numbers.
    let numbers = batch.column_by_name("by_number").unwrap();
    let text = arrow::util::display::array_value_to_string(numbers, 0).unwrap();
    assert_eq!(text, "{7: {street: , city: E}}");
    let others: Vec<usize> =
        (0..fields.len()).filter(|at| fields[*at].name() != "by_number").collect();
    check(
        &shown(&batch.project(&others).unwrap()),
        expect![[r#"
        {"id":1,"customer":"Ünï","total":12.5,"status":"SHIPPED","amounts":[1,-2,300],"tags":["a",""],"counts":{"x":1},"address":{"street":"S","city":"C"},"others":[{"street":"","city":"D"},{"street":"","city":""}],"card":"4711","voucher":null,"bill":null,"at":"2013-01-01T10:00:00.123456789Z","maybe":7,"extra":"{\"k\":[1.0,null,\"t\",{\"z\":true}]}","blob":"AP8=","rank":0,"delta":-5,"crc":4294967295,"took":"PT1.5S","big":18446744073709551615,"ratio":0.5,"open":true,"place":-9,"lines":[{"sku":"s","count":3}]}
        {"id":0,"customer":"","total":0.0,"status":"UNKNOWN","amounts":[],"tags":[],"counts":{},"address":null,"others":[],"card":null,"voucher":null,"bill":null,"at":null,"maybe":null,"extra":null,"blob":"","rank":null,"delta":0,"crc":0,"took":null,"big":0,"ratio":0.0,"open":false,"place":0,"lines":[]}
        {"id":-1,"customer":"","total":0.0,"status":"UNKNOWN","amounts":[],"tags":[],"counts":{},"address":null,"others":[],"card":null,"voucher":9,"bill":null,"at":null,"maybe":null,"extra":null,"blob":"","rank":null,"delta":0,"crc":0,"took":null,"big":0,"ratio":0.0,"open":false,"place":0,"lines":[]}
        {"id":0,"customer":"","total":0.0,"status":"9","amounts":[],"tags":[],"counts":{},"address":null,"others":[],"card":null,"voucher":null,"bill":{"street":"B","city":""},"at":null,"maybe":0,"extra":null,"blob":"","rank":null,"delta":0,"crc":0,"took":null,"big":0,"ratio":0.0,"open":false,"place":0,"lines":[]}"#]],
    );
    let written = encode(&format, &batch);
    // The same fields, in the order of the file rather than of their numbers.
    let lengths: Vec<usize> = written.iter().map(Vec::len).collect();
    assert_eq!(lengths, orders().iter().map(Vec::len).collect::<Vec<_>>());
    let (back, failed) = decode(&format, fields, &written);
    assert_eq!(failed, []);
    assert_eq!(back, batch);
}

#[test]
fn columns_may_be_few_and_of_other_types() {
    let format = format("shop.Order");
    let field = |name: &str, of: DataType| Field::new(name, of, true);
    let fields: Fields = vec![
        field("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
        field("status", DataType::Int32),
        field("id", DataType::Utf8),
        field("took", DataType::Int64),
        field("big", DataType::Decimal128(20, 0)),
    ]
    .into();
    let (batch, failed) = decode(&format, fields, &orders());
    assert_eq!(failed, []);
    check(
        &shown(&batch),
        expect![[r#"
        {"at":"2013-01-01T10:00:00.123","status":2,"id":"1","took":1500000000,"big":18446744073709551615}
        {"at":null,"status":0,"id":"0","took":null,"big":0}
        {"at":null,"status":0,"id":"-1","took":null,"big":0}
        {"at":null,"status":9,"id":"0","took":null,"big":0}"#]],
    );
}

/// Two parts of one message are one; the last of a oneof counts; unknown fields and groups are
/// passed over; items need not be packed.
#[test]
fn messages_are_merged_as_the_specification_says() {
    let format = format("shop.Order");
    let field = |name: &str| {
        let columns = format.columns().unwrap();
        columns.into_iter().find(|field| field.name() == name).unwrap()
    };
    let fields: Fields =
        ["address", "card", "voucher", "bill", "amounts", "id"].map(field).to_vec().into();
    let mut value = vec![0x42, 3, 0x0a, 1, b'S', 0x08, 1, 0x42, 3, 0x12, 1, b'C'];
    value.extend([0x52, 1, b'x', 0x9a, 1, 3, 0x0a, 1, b'B', 0x58, 9]);
    value.extend([0x28, 5, 0x2a, 2, 6, 7, 0x28, 8, 0x08, 2]);
    value.extend([0x83, 0x7d, 0x08, 1, 0x84, 0x7d, 0xa5, 0x7d, 0, 0, 0, 0]);
    let (batch, failed) = decode(&format, fields, &[value]);
    assert_eq!(failed, []);
    check(
        &shown(&batch),
        expect![[
            r#"{"address":{"street":"S","city":"C"},"card":null,"voucher":9,"bill":null,"amounts":[5,6,7,8],"id":2}"#
        ]],
    );
}

#[test]
fn confluents_framing_names_the_message() {
    let nested = ProtobufFormat::new(SHOP, Some("shop.Order.Line"), Framing::Confluent, Some(7));
    let nested = Arc::new(nested.unwrap());
    let fields: Fields = nested.columns().unwrap().into();
    let value = vec![0, 0, 0, 0, 7, 4, 2, 4, 0x0a, 1, b's', 0x10, 3];
    let other = vec![0, 0, 0, 0, 7, 0, 0x0a, 1, b's'];
    let elsewhere = vec![0, 0, 0, 0, 8, 4, 2, 0];
    let (batch, failed) = decode(&nested, fields, &[value.clone(), other, elsewhere, vec![9]]);
    check(&shown(&batch), expect![[r#"{"sku":"s","count":3}"#]]);
    let lines: Vec<String> =
        failed.into_iter().map(|(at, error)| format!("{at}: {error}")).collect();
    check(
        &lines.join("\n"),
        expect![[r#"
            1: it is message [0] of its file, and 'shop.Order.Line' is [1, 2]; the record begins "\0\0\0\0\u{7}\0\n\u{1}s"
            2: it was written with schema 8, not 7; the record begins "\0\0\0\0\u{8}\u{4}\u{2}\0"
            3: Confluent's framing is missing: it begins with byte 9, not with 0; the record begins "\t""#]],
    );
    assert_eq!(encode(&nested, &batch), [value]);
}

#[test]
fn mistakes_are_named() {
    let new = |message| ProtobufFormat::new(SHOP, message, Framing::None, None);
    let mut errors = vec![
        new(Some("shop.Ordr")).unwrap_err().to_string(),
        new(None).unwrap_err().to_string(),
        ProtobufFormat::new(b"syntax", None, Framing::None, None).unwrap_err().to_string(),
        ProtobufFormat::new(b"", None, Framing::None, None).unwrap_err().to_string(),
    ];
    let format = format("shop.Order");
    for (name, of) in [
        ("idd", DataType::Int64),
        ("amounts", DataType::Int32),
        ("address", DataType::Utf8),
        ("id", DataType::Struct(Fields::empty())),
    ] {
        let fields: Fields = vec![Field::new(name, of, true)].into();
        let decoder = ProtobufDecoder::new(Arc::clone(&format), fields);
        errors.push(decoder.err().unwrap().to_string());
    }
    let fields: Fields = format.columns().unwrap().into();
    let (_, failed) = decode(
        &format,
        fields,
        &[vec![0x0a], vec![0x08], vec![0x0b], vec![0x12, 1, 0xff], vec![0x0a, 1, 1], vec![0]],
    );
    errors.extend(failed.into_iter().map(|(_, error)| error));
    check(
        &errors.join("\n"),
        expect![[r#"
            the descriptor set has no message 'shop.Ordr'
            the descriptor set has 2 messages: name one by 'message'
            not a descriptor set: it ends in the middle of a field
            not a descriptor set: there is no message in it
            the message has no field 'idd'
            column 'amounts' is int, and the message has a repeated field or a map there
            column 'address' is text, and the message has a message there
            column 'id' is row<>, and the message has a single value there
            Protobuf: the record is broken (a number does not end), not a whole message; it begins "\n"
            Protobuf: the record is broken (a number does not end), not a whole message; it begins "\u{8}"
            Protobuf: the record is broken (a number does not end), not a whole message; it begins "\u{b}"
            Protobuf field 'customer' is broken (a string is not UTF-8), not a whole message; the record begins "\u{12}\u{1}�"
            Protobuf field 'id' is broken (it has another wire type than its field), not a whole message; the record begins "\n\u{1}\u{1}"
            Protobuf: the record is broken (a field's number is out of range), not a whole message; it begins "\0""#]],
    );
}

/// A field in whose maps no value is NULL: none can be in a message.
fn without_null_values(field: &Field) -> Field {
    let below = |fields: &Fields| fields.iter().map(|of| without_null_values(of)).collect();
    let data_type = match field.data_type() {
        DataType::Map(entries, _) => {
            let DataType::Struct(of) = entries.data_type() else { unreachable!() };
            let of: Fields = below(of);
            let of: Fields = of.iter().map(|of| of.as_ref().clone().with_nullable(false)).collect();
            let entries = entries.as_ref().clone().with_data_type(DataType::Struct(of));
            DataType::Map(Arc::new(entries), false)
        }
        DataType::List(item) => DataType::List(Arc::new(without_null_values(item))),
        DataType::Struct(of) => DataType::Struct(below(of)),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

proptest! {
    /// Rows of the message, whatever is in them.
    #[test]
    fn rows_come_back(seed in any::<u64>(), rows in 0..12usize) {
        let random = &mut Random(seed);
        let format = format("shop.Order");
        let own = format.columns().unwrap().into_iter();
        // Of a oneof one field is set; JSON and enums hold no arbitrary text; durations are few.
        let left_out = ["voucher", "bill", "extra", "status", "took", "by_number"];
        let own = own.filter(|field| !left_out.contains(&field.name().as_str()));
        let fields: Fields = own.map(|field| without_null_values(&field)).collect();
        let batch = arbitrary::batch(random, &fields, rows);
        let (back, failed) = decode(&format, fields, &encode(&format, &batch));
        prop_assert_eq!(failed, vec![]);
        prop_assert_eq!(back, batch);
    }

    /// Whatever the bytes are: no panic, whole columns.
    #[test]
    fn anything_leaves_the_columns_whole(
        changes in prop::collection::vec((0..200usize, any::<u8>()), 0..4),
        random in prop::collection::vec(any::<u8>(), 0..60),
        cut in 0..300usize,
    ) {
        let mut changed = bytes(ORDERS[0]);
        let len = changed.len();
        changes.into_iter().for_each(|(at, byte)| changed[at % len] = byte);
        changed.truncate(cut);
        let format = format("shop.Order");
        let fields: Fields = format.columns().unwrap().into();
        let (batch, failed) = decode(&format, fields, &[changed, bytes(ORDERS[2]), random]);
        prop_assert_eq!(batch.num_rows() + failed.len(), 3);
        prop_assert!(failed.iter().all(|(at, _)| *at != 1));
    }

    #[test]
    fn no_descriptor_set_panics(changes in prop::collection::vec((0..4000usize, any::<u8>()), 0..6)) {
        let mut changed = SHOP.to_vec();
        let len = changed.len();
        changes.into_iter().for_each(|(at, byte)| changed[at % len] = byte);
        if let Ok(format) = ProtobufFormat::new(&changed, Some("shop.Order"), Framing::None, None) {
            let _ = format.columns();
        }
    }
}

/// A length below zero had nanoseconds above it, which Protobuf's own libraries refuse.
#[test]
fn seconds_and_nanoseconds_of_a_length_have_one_sign() {
    let format = format("shop.Order");
    let lengths = DurationNanosecondArray::from(vec![-678_592_182_911_062, -1, 0, 1_500_000_000]);
    let of = DataType::Duration(TimeUnit::Nanosecond);
    let fields: Fields = vec![Field::new("took", of, true)].into();
    let schema = Arc::new(Schema::new(fields.clone()));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(lengths)]).unwrap();
    let written = encode(&format, &batch);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The tag, the length; -1 as ten bytes of a number below zero.
    assert_eq!(hex(&written[1]), "a2010b10ffffffffffffffffff01");
    assert_eq!(hex(&written[3]), "a2010808011080cab5ee01");
    let (read, failed) = decode(&format, fields, &written);
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(read, batch);
}
