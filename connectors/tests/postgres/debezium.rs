//! The same database followed by Debezium and by us: the same events.
//!
//! Ignored unless asked for, as Debezium takes some fetching: `connectors/tests/debezium/fetch.sh`
//! does that and says how to go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::client::Client;
use connectors::Worker;
use serde_json::Value;

use crate::server::Postgres;
use crate::support::{connector, options, process_within, read};
use crate::{Record, failure};

const TABLES: &str = include_str!("types.sql");
const ROWS: &str = include_str!("rows.sql");

/// Columns of the table of all types that Debezium leaves out, or gets wrong: arrays of arrays
/// come as Java's names of objects, arrays of enumerations and bits as null, dates that are
/// infinite or before Christ in the calendar of the driver, and names are lost in the stream.
const UNLIKE: &[&str] = &[
    "a_enum",
    "a_bit",
    "a_int4_2d",
    "a_text_2d",
    "a_money",
    "a_interval",
    "a_point",
    "a_varbit",
    "a_xml",
    "a_composite",
    "a_domain",
    "c_date",
    "c_name",
];

/// Java compiles its program and starts, on whatever else the machine does.
const DEBEZIUM_PATIENCE: Duration = Duration::from_secs(300);

/// By Debezium's class we have Debezium's slot, which is its own here.
const OURS: &str = "slot.name=millstream\npublication.name=millstream";

/// What is done to both.
const CHANGES: &[&str] = &[
    "insert into small values (1, 'a'), (2, 'b'), (3, null)",
    "begin; update small set note = 'x' where id = 1; update small set id = 9 where id = 2; commit",
    "delete from small where id = 3",
    "alter table small replica identity full; update small set note = 'y'; delete from small where id = 9",
    "alter table small add column more int default 5; insert into small values (4, 'z')",
    "alter table small alter column note set not null; alter table small replica identity default; \
     update small set id = 5 where id = 4; delete from small where id = 5",
    "insert into large values (1, 1, repeat('x', 9000)); update large set n = 2",
    "alter table large replica identity full; update large set n = 3; delete from large",
    "insert into keyless values (1, 'a'); delete from keyless",
    "begin; insert into pair values (1, 'a', 1.5); rollback",
    "insert into pair values (1, 'a', 1.5); update pair set a = 2; update pair set c = 2; delete from pair",
    "truncate small, pair",
    "select pg_logical_emit_message(true, 'note', 'content')",
    "delete from types",
];

struct Debezium {
    child: Child,
    output: PathBuf,
    stop: PathBuf,
}

impl Debezium {
    fn start(server: &Postgres, directory: &Path, more: &str) -> Debezium {
        let jars = std::env::var("MILLSTREAM_DEBEZIUM_DIR");
        let jars = jars.expect("connectors/tests/debezium/fetch.sh says what to set");
        let classpath = fs::read_to_string(Path::new(&jars).join("classpath")).unwrap();
        let (properties, output) = (directory.join("debezium"), directory.join("output"));
        let stop = directory.join("stop");
        let lines = server.properties(&format!(
            "name=debezium
             offset.storage=org.apache.kafka.connect.storage.FileOffsetBackingStore
             offset.storage.file.filename={}
             database.password=none
             plugin.name=pgoutput
             slot.name=debezium
             publication.name=debezium
             skipped.operations=none
             publication.autocreate.mode=filtered
             {more}",
            directory.join("offsets").display()
        ));
        let host = format!("database.hostname={}", server.directory().display());
        fs::write(&properties, lines.replace(&host, "database.hostname=127.0.0.1")).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/debezium/Run.java");
        let mut java = Command::new("setpriv");
        java.args(["--pdeathsig", "KILL", "--", "java", "-Xmx512m", "-cp", classpath.trim()]);
        java.arg(source).args([&properties, &output, &stop]);
        let quiet = java.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Debezium { child: quiet.spawn().expect("Java"), output, stop }
    }

    fn records(&mut self) -> Vec<(String, Record)> {
        assert_eq!(self.child.try_wait().unwrap(), None, "Debezium has ended");
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().map(|line| {
            let mut parts = line.split('\t');
            let mut next = || parts.next().unwrap().to_owned();
            let (topic, key, value) = (next(), next(), next());
            let some = |text: String| (text != "null").then_some(text);
            (topic, (some(key), some(value)))
        });
        lines.collect()
    }

    fn stop(mut self) {
        fs::write(&self.stop, "").unwrap();
        self.child.wait().unwrap();
    }
}

/// Without what differs by nature: our version, the time of writing, and where snapshots were
/// taken. Hstores are JSON in another order, and some columns are not to be compared.
fn alike(text: &str) -> Value {
    let mut event: Value = serde_json::from_str(text).unwrap();
    let payload = &mut event["payload"];
    if payload.get("op").is_some() {
        let snapshot = payload["op"] == "r";
        let lone = payload["op"] == "m";
        for time in ["ts_ms", "ts_us", "ts_ns"] {
            payload.as_object_mut().unwrap().remove(time);
        }
        let source = payload["source"].as_object_mut().unwrap();
        source.remove("version");
        // It has the end of the last transaction that it was sent; empty ones do not come here.
        source.remove("sequence");
        if snapshot || lone {
            for field in ["ts_ms", "ts_us", "ts_ns", "lsn", "txId", "snapshot"] {
                source.remove(field);
            }
        }
        for image in ["before", "after"] {
            if let Some(row) = payload[image].as_object_mut() {
                row.retain(|name, _| !UNLIKE.contains(&name.as_str()));
                for hstore in ["c_hstore"] {
                    if let Some(Value::String(text)) = row.get(hstore) {
                        let parsed = serde_json::from_str(text).unwrap();
                        row.insert(hstore.to_owned(), parsed);
                    }
                }
            }
        }
    }
    if let Some(fields) = event["schema"]["fields"].as_array_mut() {
        for image in fields {
            if let Some(columns) = image.get_mut("fields").and_then(Value::as_array_mut) {
                columns.retain(|column| {
                    column["field"].as_str().is_none_or(|name| !UNLIKE.contains(&name))
                });
            }
        }
    }
    event
}

fn by_topic(records: Vec<(String, Record)>) -> BTreeMap<String, Vec<(Value, Value)>> {
    let mut topics: BTreeMap<String, Vec<(Value, Value)>> = BTreeMap::new();
    for (topic, (key, value)) in records {
        let key = key.map_or(Value::Null, |key| serde_json::from_str(&key).unwrap());
        let value = value.map_or(Value::Null, |value| alike(&value));
        // Tombstones without a key tell nobody anything: we leave them out.
        if key.is_null() && value.is_null() {
            continue;
        }
        topics.entry(topic).or_default().push((key, value));
    }
    topics
}

#[test]
#[ignore = "needs Debezium: connectors/tests/debezium/fetch.sh"]
fn debezium_and_we_tell_the_same() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let mut debezium = None;
    process_within(DEBEZIUM_PATIENCE * 2, directory.path(), async |client| {
        server.sql(TABLES).await;
        server
            .sql(
                "create table large (id int primary key, n int, big text); \
                 alter table large alter big set storage external; \
                 create table keyless (a int, b text); alter table keyless replica identity full; \
                 create table pair (a int not null, b text not null, c numeric(5, 2) not null, \
                 d timestamptz not null default now(), primary key (b, a))",
            )
            .await;
        server.sql(ROWS).await;
        let json = "org.apache.kafka.connect.json.JsonConverter";
        let ours = server.properties(&format!(
            "key.converter={json}\nvalue.converter={json}\ninclude.unknown.datatypes=false
             skipped.operations=none\n{OURS}"
        ));
        let config = connector(directory.path(), "ours", &ours);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let debezium = debezium.insert(Debezium::start(&server, directory.path(), ""));
        crate::at_least(&*client, &worker, "pg.public.types", 5).await;
        let since = Instant::now();
        let wait_for = async |debezium: &mut Debezium, count: usize| {
            while debezium.records().len() < count && since.elapsed() < DEBEZIUM_PATIENCE {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        wait_for(debezium, 5).await;
        // It streams from a moment after its snapshot on.
        let streams = "select active from pg_replication_slots where slot_name = 'debezium'";
        while server.sql(streams).await.single() != Some("t") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for change in CHANGES {
            server.sql(change).await;
            // Both look tables up when they meet them, and should find them as they are.
            let mut seen = (debezium.records().len(), Instant::now());
            while seen.1.elapsed() < Duration::from_millis(600) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let now = debezium.records().len();
                if now != seen.0 {
                    seen = (now, Instant::now());
                }
            }
        }
        server.sql(ROWS).await;
        server.sql("insert into small values (99, 'last')").await;
        let ours = loop {
            let mut all = Vec::new();
            for table in ["types", "small", "large", "keyless", "pair"] {
                let topic = format!("pg.public.{table}");
                if client.topic(&topic).await.unwrap().is_some() {
                    let records = read(&*client, &topic, 0).await;
                    all.extend(records.into_iter().map(|record| (topic.clone(), record)));
                }
            }
            if client.topic("pg.message").await.unwrap().is_some() {
                let records = read(&*client, "pg.message", 0).await;
                all.extend(records.into_iter().map(|record| ("pg.message".to_owned(), record)));
            }
            let last = |(_, (key, _)): &(String, Record)| {
                key.as_ref().is_some_and(|key| key.contains("\"payload\":{\"id\":99}"))
            };
            if all.iter().any(last) {
                break all;
            }
            assert_eq!(failure(&worker), None);
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        // And one tombstone more.
        wait_for(debezium, ours.len() + 1).await;
        let theirs = by_topic(debezium.records());
        let ours = by_topic(ours);
        for (topic, theirs) in &theirs {
            let ours = ours.get(topic).unwrap_or_else(|| panic!("{topic} is missing"));
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                assert_eq!(differences("", &theirs.0, &ours.0), "", "{topic} {index}: key");
                assert_eq!(differences("", &theirs.1, &ours.1), "", "{topic} {index}: value");
            }
            assert_eq!(theirs.len(), ours.len(), "{topic}");
        }
        assert_eq!(theirs.len(), ours.len());
        worker.shutdown().await.unwrap();
    });
    debezium.unwrap().stop();
}

/// What Debezium and we tell of a table that is read again, without what differs by nature.
fn of_table(records: Vec<(String, Record)>) -> Vec<(Value, Value)> {
    let mut of_table = by_topic(records).remove("pg.public.small").unwrap_or_default();
    for (_, event) in &mut of_table {
        let source = event["payload"]["source"].as_object_mut().unwrap();
        // Removed from rows that were read; which those are is to be compared here.
        source.remove("xmin");
    }
    of_table
}

/// Both follow the database, and have come to its changes.
async fn both_stream(
    client: &Arc<dyn Client>,
    server: &Postgres,
    directory: &Path,
    asked: &str,
) -> (Worker, Debezium) {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let ours = format!("key.converter={json}\nvalue.converter={json}\n{asked}\n{OURS}");
    let config = connector(directory, "ours", &server.properties(&ours));
    let worker = Worker::start(client.clone(), vec![config], options(false));
    let debezium = Debezium::start(server, directory, asked);
    for slot in ["debezium", "millstream"] {
        let streams = format!("select active from pg_replication_slots where slot_name = '{slot}'");
        while server.sql(&streams).await.single() != Some("t") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    (worker, debezium)
}

#[test]
#[ignore = "needs Debezium: connectors/tests/debezium/fetch.sh"]
fn debezium_and_we_read_a_table_again_alike() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let mut debezium = None;
    process_within(DEBEZIUM_PATIENCE * 2, directory.path(), async |client| {
        server
            .sql(
                "create table signals (id varchar(64) primary key, type varchar(32) not null, \
                 data varchar(2048)); create table small (id int primary key, note text); \
                 insert into small select i, 'n' || i from generate_series(1, 30) i",
            )
            .await;
        let asked = "snapshot.mode=no_data\nsignal.data.collection=public.signals
             incremental.snapshot.chunk.size=10";
        let (worker, started) = both_stream(&client, &server, directory.path(), asked).await;
        let debezium = debezium.insert(started);
        server.sql("update small set note = 'x' where id = 5").await;
        server
            .sql(
                "insert into signals values ('1', 'execute-snapshot', \
                 '{\"data-collections\": [\"public.small\"], \"type\": \"incremental\", \
                 \"additional-conditions\": [{\"data-collection\": \"public.small\", \
                 \"filter\": \"id <> 7\"}]}')",
            )
            .await;
        let since = Instant::now();
        let ours = crate::at_least(&*client, &worker, "pg.public.small", 30).await;
        let name = || "pg.public.small".to_owned();
        let ours = of_table(ours.into_iter().map(|record| (name(), record)).collect());
        let theirs = loop {
            let theirs = of_table(debezium.records());
            if theirs.len() >= 30 || since.elapsed() > DEBEZIUM_PATIENCE {
                break theirs;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(theirs.len(), ours.len());
        for (index, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
            assert_eq!(differences("", &theirs.0, &ours.0), "", "{index}: key");
            assert_eq!(differences("", &theirs.1, &ours.1), "", "{index}: value");
        }
        let marks = |records: Vec<(String, Record)>| -> Vec<String> {
            let values = records
                .into_iter()
                .filter_map(|(topic, (_, value))| (topic == "pg.public.small").then_some(value?));
            let marks = values.map(|value| {
                let event: Value = serde_json::from_str(&value).unwrap();
                event["payload"]["source"]["snapshot"].as_str().unwrap_or("null").to_owned()
            });
            marks.collect()
        };
        let ours = crate::at_least(&*client, &worker, "pg.public.small", 30).await;
        let ours = ours.into_iter().map(|record| (name(), record)).collect();
        assert_eq!(marks(debezium.records()), marks(ours));
        worker.shutdown().await.unwrap();
    });
    debezium.unwrap().stop();
}

/// What was told in the topic of notifications: schemas, kinds, and what they say; ids only where
/// they are those of signals.
fn notifications(records: &[(String, Record)]) -> Vec<(Value, Value)> {
    let notes = records.iter().filter(|(topic, _)| topic == "notes");
    let read = notes.map(|(_, (key, value))| {
        let [mut key, mut value]: [Value; 2] =
            [key, value].map(|text| serde_json::from_str(text.as_ref().unwrap()).unwrap());
        assert_eq!(key["payload"]["id"], value["payload"]["id"]);
        if value["payload"]["aggregate_type"] == "Initial Snapshot" {
            key["payload"]["id"] = Value::Null;
        }
        let of_note = value["payload"].as_object_mut().unwrap();
        of_note.retain(|name, _| name != "id" && name != "timestamp");
        (key, value)
    });
    read.collect()
}

#[test]
#[ignore = "needs Debezium: connectors/tests/debezium/fetch.sh"]
fn debezium_and_we_read_tables_in_one_go_and_tell_of_it_alike() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let mut debezium = None;
    process_within(DEBEZIUM_PATIENCE * 2, directory.path(), async |client| {
        server
            .sql(
                "create table signals (id varchar(64) primary key, type varchar(32) not null, \
                 data varchar(2048)); create table small (id int primary key, note text); \
                 insert into small select i, 'n' || i from generate_series(1, 5) i; \
                 create table other (id int primary key, n int); \
                 insert into other values (1, 2), (3, 4); create table bare (id int primary key)",
            )
            .await;
        let asked = "snapshot.mode=no_data\nsignal.data.collection=public.signals
             incremental.snapshot.chunk.size=2\nnotification.enabled.channels=sink,log
             notification.sink.topic.name=notes";
        let (worker, started) = both_stream(&client, &server, directory.path(), asked).await;
        let debezium = debezium.insert(started);
        // It knows a table once it has changed.
        server.sql("update small set note = 'x' where id = 5; insert into bare values (1)").await;
        server.sql("delete from bare").await;
        let since = Instant::now();
        let both = async |debezium: &mut Debezium, signal: &str, count: usize| {
            server.sql(&format!("insert into signals values {signal}")).await;
            let ours = crate::at_least(&*client, &worker, "notes", count).await;
            let ours: Vec<_> =
                ours.into_iter().map(|record| ("notes".to_owned(), record)).collect();
            let theirs = loop {
                let theirs = debezium.records();
                let told = notifications(&theirs).len();
                if told >= count || since.elapsed() > DEBEZIUM_PATIENCE {
                    break theirs;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            let (ours, theirs) = (notifications(&ours), notifications(&theirs));
            for (index, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
                assert_eq!(differences("", &theirs.0, &ours.0), "", "{index}: key");
                assert_eq!(differences("", &theirs.1, &ours.1), "", "{index}: value");
            }
            assert_eq!(theirs.len(), ours.len());
        };
        let blocking = "('1', 'execute-snapshot', '{\"type\": \"blocking\", \
            \"data-collections\": [\"public.other\", \"public.small\"], \
            \"additional-conditions\": [{\"data-collection\": \"public.small\", \
            \"filter\": \"SELECT * FROM public.small WHERE id <> 3 ORDER BY id\"}]}')";
        both(debezium, blocking, 1 + 1 + 4 + 1).await;
        let incremental = "('2', 'execute-snapshot', '{\"type\": \"incremental\", \
            \"data-collections\": [\"public.bare\", \"public.small\"]}')";
        both(debezium, incremental, 7 + 1 + 1 + 3 + 1 + 1).await;
        for topic in ["pg.public.other", "pg.public.small"] {
            let ours = crate::at_least(&*client, &worker, topic, 2).await;
            let read = |records: Vec<Record>| -> Vec<(Value, Value)> {
                let events = records.into_iter().filter_map(|(key, value)| {
                    let mark: Value = serde_json::from_str(value.as_ref()?).unwrap();
                    let mark = mark["payload"]["source"]["snapshot"].clone();
                    Some((mark, serde_json::from_str(key.as_ref()?).unwrap()))
                });
                events.collect()
            };
            let theirs = debezium.records().into_iter().filter(|(name, _)| name == topic);
            let theirs = read(theirs.map(|(_, record)| record).collect());
            assert_eq!(theirs, read(ours), "{topic}");
        }
        worker.shutdown().await.unwrap();
    });
    debezium.unwrap().stop();
}

/// Where two values differ, and how.
fn differences(at: &str, theirs: &Value, ours: &Value) -> String {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            let differ = names.into_iter().map(|name| {
                let of = |object: &serde_json::Map<String, Value>| {
                    object.get(name).cloned().unwrap_or_else(|| Value::from("(missing)"))
                };
                differences(&format!("{at}/{name}"), &of(a), &of(b))
            });
            differ.collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.map(|(i, (a, b))| differences(&format!("{at}/{i}"), a, b)).collect()
        }
        _ if theirs == ours => String::new(),
        _ => format!("{at}: Debezium {theirs}, ours {ours}\n"),
    }
}
