//! The same stream by way of values and by the short way: the same bytes.

use std::collections::BTreeMap;

use broker::record::ProducerStamp;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::chain::Chain;
use crate::config::validate;
use crate::errors::ErrorPolicy;
use crate::postgres::catalog::{ColumnInfo, TableInfo};
use crate::postgres::changes::{Changes, Position, Step};
use crate::postgres::config::PostgresConfig;
use crate::postgres::incremental::watch::Watch;
use crate::postgres::lsn::Lsn;
use crate::postgres::pgoutput::tests::encode;
use crate::postgres::pgoutput::{Begin, Commit, Field, Message, OldRow, ReplicaIdentity};
use crate::postgres::types::{Kind, TypeCatalog};
use crate::records::SourceRecords;
use crate::task::Topic;

const RELATION: u32 = 7;
const NOW_US: i64 = 1_767_322_800_123_456;

/// Columns, each with texts that its type has, and some at its edges.
const COLUMNS: [(&str, u32, i32, &[&str]); 12] = [
    ("id", 20, -1, &["0", "-1", "9223372036854775807", "123456789012345678"]),
    ("small", 21, -1, &["0", "-32768", "9999", "32767"]),
    ("a \"b\"\n", 25, -1, &["", "x", "a\"b\\c\n\u{1}", "é€😀", "plain text"]),
    ("flag", 16, -1, &["t", "f"]),
    ("price", 1700, (12 << 16 | 2) + 4, &["0.00", "-0.01", "12345678.90", "NaN", "5"]),
    ("long", 1700, (50 << 16 | 3) + 4, &["0.000", "99999999999999999999999999999999999999.999"]),
    ("any", 1700, -1, &["1.50", "NaN", "-123456789012345678901234567890.5"]),
    ("at", 1184, -1, &["2026-01-02 03:04:05.678+00", "infinity"]),
    ("ts", 1114, -1, &["2026-01-02 03:04:05.678", "-infinity"]),
    ("real", 701, -1, &["1.5", "NaN", "-Infinity", "1e300"]),
    ("bytes", 17, -1, &["\\x00ff", "\\x"]),
    ("list", 1009, -1, &["{a,NULL,\"b c\"}", "{}"]),
];

fn types() -> TypeCatalog {
    let base = |(id, name)| (id, name, Kind::Base);
    let named = [(20, "int8"), (21, "int2"), (25, "text"), (16, "bool"), (1700, "numeric")];
    let more = [(1184, "timestamptz"), (1114, "timestamp"), (701, "float8"), (17, "bytea")];
    let list = (1009, "_text", Kind::Array { element: 25, delimiter: b',' });
    TypeCatalog::of(named.into_iter().chain(more).map(base).chain([list]))
}

/// What is drawn at random: of the settings, of the columns, and of what happens.
#[derive(Clone, Debug)]
struct Case {
    settings: Vec<(&'static str, &'static str)>,
    keyed: bool,
    required: Vec<bool>,
    changes: Vec<Change>,
    skip: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Insert(Row),
    Update(Option<OldRow>, Row),
    Delete(OldRow),
}

fn row() -> impl Strategy<Value = Row> {
    let field = |texts: &'static [&'static str]| {
        prop_oneof![
            6 => prop::sample::select(texts).prop_map(|text| Field::Text(text.into())),
            1 => Just(Field::Null),
            1 => Just(Field::Unchanged),
        ]
    };
    let fields: Vec<_> = COLUMNS.iter().map(|(_, _, _, texts)| field(texts)).collect();
    fields.prop_map(Row)
}

fn change() -> impl Strategy<Value = Change> {
    let old = || (row(), any::<bool>()).prop_map(|(row, key_only)| OldRow { row, key_only });
    prop_oneof![
        row().prop_map(Change::Insert),
        (prop::option::of(old()), row(), any::<bool>()).prop_map(|(mut old, new, same_key)| {
            if let Some(old) = old.as_mut().filter(|_| same_key) {
                old.row.0[0] = new.0[0].clone();
            }
            Change::Update(old, new)
        }),
        old().prop_map(Change::Delete),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let setting = |key: &'static str, words: &'static [&'static str]| {
        prop::sample::select(words).prop_map(move |word| (key, word))
    };
    let flag: &[&str] = &["true", "false"];
    let settings = vec![
        setting("key.converter.schemas.enable", flag),
        setting("value.converter.schemas.enable", flag),
        setting("value.converter.decimal.format", &["BASE64", "NUMERIC"]),
        setting("value.converter.replace.null.with.default", flag),
        setting("tombstones.on.delete", flag),
        setting("provide.transaction.metadata", flag),
        setting("decimal.handling.mode", &["precise", "string", "double"]),
        setting("skipped.operations", &["none", "t", "d", "u"]),
        setting("errors.tolerance", &["all"]),
    ];
    let required = prop::collection::vec(prop::bool::weighted(0.2), COLUMNS.len());
    let changes = prop::collection::vec(change(), 1..6);
    (settings, any::<bool>(), required, changes, 0..3_u64).prop_map(
        |(settings, keyed, required, changes, skip)| Case {
            settings,
            keyed,
            required,
            changes,
            skip,
        },
    )
}

impl Case {
    fn table(&self, config: &PostgresConfig, schemas: &EventSchemas) -> Table {
        let column = |(nth, (name, type_id, modifier, _)): (usize, &(&str, u32, i32, _))| {
            let is_key = self.keyed && nth == 0;
            ColumnInfo {
                name: (*name).to_owned(),
                type_id: *type_id,
                type_modifier: *modifier,
                dimensions: 1,
                not_null: self.required[nth] || is_key,
                default: (nth == 2).then(|| "'a default'::text".to_owned()),
                key_position: is_key.then_some(0),
                in_identity_index: false,
            }
        };
        let info = TableInfo {
            id: RELATION,
            schema: "public".to_owned(),
            name: "t \"x\"".to_owned(),
            identity: ReplicaIdentity::Full,
            partitioned: false,
            is_partition: false,
            key_deferred: false,
            columns: COLUMNS.iter().enumerate().map(column).collect(),
        };
        Table::from_catalog(&info, &types(), config, schemas)
    }

    /// The records, each with its topic's partition; and where the stream could not go on. Beside
    /// them, how many records were made of values.
    fn run(&self, short: bool) -> ((Vec<String>, Option<String>), usize) {
        let mut properties: BTreeMap<String, String> = [
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
            ("database.hostname", "h"),
            ("database.dbname", "d \"b\""),
            ("database.user", "u"),
            ("topic.prefix", "p"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for (key, value) in &self.settings {
            properties.insert((*key).to_owned(), (*value).to_owned());
        }
        let connector = validate("c", &properties, std::path::Path::new("/")).unwrap();
        let config = PostgresConfig::new(&connector).unwrap();
        let schemas = EventSchemas::new(&config.prefix, &config.target.database);
        let mut out = SourceRecords::new(Chain::new(&connector), ErrorPolicy::new(&connector, 0));
        let mut json = JsonEvents::new(schemas.clone());
        let commit_lsn = Lsn(5_000);
        let partly = (self.skip > 0).then_some((commit_lsn, self.skip));
        let last_commit_end = (self.skip != 1).then_some(Lsn(40));
        let position = Position { done: Lsn(40), last_commit_end, partly, ..Position::default() };
        let (events, watch) = (config.events.clone(), Watch::new(None));
        let mut changes = Changes::new(schemas.clone(), events, position, watch);
        changes.define(RELATION, self.table(&config, &schemas));
        let (mut failed, mut made) = (None, 0);
        for (nth, message) in self.messages(commit_lsn).iter().enumerate() {
            let lsn = Lsn(1_000 + nth as u64 * 77);
            let mut records = Vec::new();
            let way = short.then_some(Json { events: &mut json, out: &mut out });
            let mut events = Events { records: &mut records, json: way };
            match changes.take(lsn, &encode(message), NOW_US, &mut events) {
                Ok(Step::Done) => {}
                Ok(other) => failed = Some(format!("{other:?}")),
                Err(error) => failed = Some(error.to_string()),
            }
            made += records.len();
            records.into_iter().for_each(|record| out.append_record(record));
            if failed.is_some() {
                break;
            }
        }
        let topics = out.topics_to_find().into_iter();
        out.found(topics.map(|name| Topic { name: (&*name).into(), partitions: 3 }).collect());
        ((shown(&mut out), failed), made)
    }

    fn messages(&self, commit_lsn: Lsn) -> Vec<Message> {
        let commit_time_us = 1_767_322_800_000_001;
        let mut messages = vec![Message::Begin(Begin { commit_lsn, commit_time_us, xid: 99 })];
        messages.extend(self.changes.iter().cloned().map(|change| match change {
            Change::Insert(new) => Message::Insert { relation: RELATION, new },
            Change::Update(old, new) => Message::Update { relation: RELATION, old, new },
            Change::Delete(old) => Message::Delete { relation: RELATION, old },
        }));
        let end_lsn = Lsn(5_100);
        messages.push(Message::Commit(Commit { commit_lsn, end_lsn, commit_time_us }));
        messages
    }
}

fn shown(out: &mut SourceRecords) -> Vec<String> {
    let mut shown = vec![format!("{:?} {:?}", out.take_counts(), out.take_failure().is_some())];
    for (to, batch) in out.take_all() {
        for record in batch.build(ProducerStamp::NONE).records().unwrap().iter() {
            let record = record.unwrap();
            let text = |bytes: Option<&[u8]>| {
                bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
            };
            let headers: Vec<String> = record
                .headers()
                .map(|header| format!("{}={:?}", header.key, text(header.value)))
                .collect();
            let (key, value) = (text(record.key), text(record.value));
            shown.push(format!("{to} {headers:?} {key:?} {value:?}"));
        }
    }
    shown
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_short_way_writes_the_same_bytes(case in case()) {
        prop_assert_eq!(case.run(false).0, case.run(true).0);
    }
}

#[test]
fn plain_changes_take_the_short_way() {
    let text = |text: &'static str| Field::Text(Bytes::from_static(text.as_bytes()));
    let row = Row(COLUMNS.iter().map(|(_, _, _, texts)| text(texts[0])).collect());
    let case = Case {
        settings: vec![("decimal.handling.mode", "precise")],
        keyed: true,
        required: vec![false; COLUMNS.len()],
        changes: vec![Change::Insert(row.clone()), Change::Update(None, row)],
        skip: 0,
    };
    let ((shown, failed), made) = case.run(true);
    assert_eq!((shown.len(), failed, made), (3, None, 0));
    assert_eq!(case.run(false).1, 2);
    assert!(shown[1].contains("{\\\"id\\\":0}"), "{}", shown[1]);
}
