//! What people get to read about their properties.

use std::time::Duration;

use broker::client::{ReadFrom, WithoutOffset};
use broker::record::Compression;
use expect_test::{Expect, expect};

use super::*;
use crate::plugin::{ConnectorKind, plugins};

fn properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

fn check(text: &str) -> Result<ConnectorConfig, Vec<ConfigProblem>> {
    validate("flights-file", &properties(text), Path::new("/base"))
}

fn problems(text: &str, expected: Expect) {
    let mut shown = String::new();
    for problem in check(text).expect_err("there are mistakes") {
        shown += &format!("{} = {:?}: {}\n", problem.key, problem.value, problem.message);
        shown += &problem.help.map_or(String::new(), |help| format!("    {help}\n"));
    }
    expected.assert_eq(&shown);
}

#[test]
fn what_a_task_would_only_find_out_later_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("own.crt"), "").unwrap();
    let text = "connector.class=postgres-source
        database.hostname=h
        database.user=u
        database.password=p
        database.dbname=d
        topic.prefix=t
        database.sslcert=own.crt
        database.sslrootcert=none.crt
        table.include.list=public.a
        table.exclude.list=public.b";
    let properties: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let problems = validate("c", &properties, dir.path()).unwrap_err();
    let told: Vec<String> = problems.iter().map(ConfigProblem::in_words).collect();
    let told = told.join("\n").replace(dir.path().to_str().unwrap(), "DIR");
    expect_test::expect![[r#"
        `table.include.list` and `table.exclude.list` are both there; take one of them
        `database.sslrootcert`: DIR/none.crt: No such file or directory (os error 2); name a file that this worker can read"#]]
    .assert_eq(&told);
}

#[test]
fn a_class_of_the_same_name_from_elsewhere_leads_to_ours() {
    let text = "connector.class=io.confluent.connect.http.HttpSinkConnector\ntopics=t";
    let told = check(text).unwrap_err()[0].in_words();
    expect!["there is no connector class 'io.confluent.connect.http.HttpSinkConnector'; `connector.class = http-sink` may do what it does, by keys of its own: `millstream connect plugins http-sink` shows them"]
        .assert_eq(&told);
}

/// `connect-console-source.properties` and `connect-console-sink.properties` as Kafka ships them.
#[test]
fn by_kafkas_names_no_file_is_standard_input_or_output() {
    let properties = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let source = [
        ("name", "local-console-source"),
        ("connector.class", "org.apache.kafka.connect.file.FileStreamSourceConnector"),
        ("tasks.max", "1"),
        ("topic", "connect-test"),
    ];
    let sink = [
        ("name", "local-console-sink"),
        ("connector.class", "org.apache.kafka.connect.file.FileStreamSinkConnector"),
        ("tasks.max", "1"),
        ("topics", "connect-test"),
    ];
    for pairs in [source, sink] {
        let config = validate(pairs[0].1, &properties(&pairs), Path::new("/")).unwrap();
        assert_eq!(config.text("file"), "-");
    }
    let own = properties(&[("connector.class", "file-source"), ("topic", "t")]);
    let problems = validate("c", &own, Path::new("/")).unwrap_err();
    assert!(problems[0].message.starts_with("`file` is missing"), "{problems:?}");
}

#[test]
fn connects_own_example_files_work_as_they_are() {
    let source = "
        name=flights-file
        connector.class=FileStreamSource
        tasks.max=1
        file=test.txt
        topic=connect-test";
    let config = check(source).unwrap();
    assert_eq!(config.plugin().name, "file-source");
    assert_eq!(config.path("file"), Path::new("/base/test.txt"));
    assert_eq!(config.text("file"), "test.txt");
    assert_eq!(config.integer("line.bytes.max"), 1_000_000);
    assert_eq!(config.warning(), None);
    let sink = "
        connector.class=org.apache.kafka.connect.file.FileStreamSinkConnector
        file=/tmp/out
        topics=b, a,b";
    let config = check(sink).unwrap();
    assert_eq!(config.plugin().kind(), ConnectorKind::Sink);
    assert_eq!(config.topics().to_string(), "b, a");
    assert_eq!(config.path("file"), Path::new("/tmp/out"));
}

#[test]
fn files_of_columns_are_whole_and_made_of_fields() {
    let sink = |more: &str| format!("connector.class=file-sink\ntopics=t\n{more}");
    let config = check(&sink("directory=d\nformat=parquet")).unwrap();
    assert_eq!(config.text("compression"), "snappy");
    let wrong = "file=a.parquet\nformat=parquet\nvalue.converter=String";
    problems(
        &sink(wrong),
        expect![[r#"
        format = Some("parquet"): `format = parquet` is for files that are complete one day: Parquet cannot be appended to
            name a `directory` instead of a `file`
        value.converter = Some("String"): String gives no fields, of which Parquet's columns are made
            name org.apache.kafka.connect.json.JsonConverter (for JSON without schemas with `value.converter.schemas.enable = false`), or make a field by the transform HoistField$Value
    "#]],
    );
    let hoisted = "directory=d\nformat=parquet\nvalue.converter=String\ntransforms=h\n\
                   transforms.h.type=HoistField$Value\ntransforms.h.field=line";
    check(&sink(hoisted)).unwrap();
    problems(
        &sink("directory=d\nformat=json\ncompression=lz4"),
        expect![[r#"
        compression = Some("lz4"): `compression = lz4` is for `format = parquet`
            files of lines are compressed by `gzip` or `zstd`
    "#]],
    );
}

#[test]
fn keys_without_a_meaning_here_are_named_in_one_warning() {
    let config = check(
        "connector.class=file-source
         file=f
         topic=t
         admin.override.x=true
         errors.tolerance=ALL
         producer.override.linger.ms=5",
    )
    .unwrap();
    assert_eq!(config.text("errors.tolerance"), "all");
    expect![[r#"
        Some(
            "connector 'flights-file': keys 'admin.override.x', 'producer.override.linger.ms' have no meaning here",
        )
    "#]]
    .assert_debug_eq(&config.warning());
}

/// A sink whose worker was killed kept its partitions for 45 s, and no setting said otherwise.
#[test]
fn what_is_said_of_clients_counts_with_the_workers_behind_it() {
    let worker = properties(
        "consumer.session.timeout.ms=8000
         consumer.auto.offset.reset=latest
         consumer.group.id=g
         consumer.isolation.level=dirty
         producer.compression.type=zstd",
    );
    let sink = properties(
        "connector.class=file-sink
         topics=t
         file=f
         consumer.override.auto.offset.reset=earliest
         consumer.override.max.poll.records=10",
    );
    let config = validate_with("c", &sink, Path::new("."), &worker).unwrap();
    let options = config.reading().options(vec!["t".to_owned()], Duration::from_secs(45));
    let ReadFrom::Group(group) = options.from else { panic!("it reads as a group") };
    assert_eq!((&*group.group, group.session_timeout), ("connect-c", Duration::from_secs(8)));
    assert_eq!(group.without_offset, WithoutOffset::Earliest);
    let ignored = "connector 'c': key 'consumer.override.max.poll.records' has no meaning here";
    assert_eq!(config.warning().unwrap(), ignored);
    let source = properties("connector.class=file-source\ntopic=t\nfile=f");
    let config = validate_with("c", &source, Path::new("."), &worker).unwrap();
    assert_eq!((config.writing().compression, config.warning()), (Compression::Zstd, None));
    let wrong: Vec<String> =
        validate_worker(&worker, Path::new(".")).iter().map(ConfigProblem::in_words).collect();
    expect![[r#"
        [
            "`consumer.isolation.level` must be `read_committed` or `read_uncommitted`, not 'dirty'; for example `consumer.isolation.level = read_uncommitted`",
        ]
    "#]]
    .assert_debug_eq(&wrong);
}

#[test]
fn every_mistake_is_reported_at_once() {
    problems(
        "connector.class=file-source
         name=other
         file=data/
         topcs=flights
         topic=flüge
         tasks.max=0
         batch.size=many
         errors.tolerance=al
         transforms=a
         colour=red",
        expect![[r#"
            name = Some("other"): the connector is called 'flights-file' but `name` says 'other'
                leave `name` out, or make both the same
            tasks.max = Some("0"): `tasks.max` must be at least 1, not 0
                for example `tasks.max = 1`
            errors.tolerance = Some("al"): `errors.tolerance` must be `none` or `all`, not 'al'
                did you mean `all`?
            topic = Some("flüge"): `topic`: topic name 'flüge' contains 'ü'
                topic names consist of letters, digits, `.`, `_` and `-`
            batch.size = Some("many"): `batch.size` must be a whole number, not 'many'
                for example `batch.size = 2000`
            transforms.a.type = None: `transforms.a.type` is missing: it says what kind of transform this is
                for example `transforms.a.type = org.apache.kafka.connect.transforms.Cast`
            colour = Some("red"): `file-source` has no key `colour`
                `millstream connect plugins file-source` tells all
            topcs = Some("flights"): `file-source` has no key `topcs`
                did you mean `topic`?
        "#]],
    );
}

#[test]
fn what_is_missing_is_said_with_an_example() {
    problems(
        "connector.class=file-sink
         topic=t",
        expect![[r#"
            file = None: `file` is missing: the file to append to
                for example `file = out/delays.jsonl`, `file = -` for standard output, or `directory = out` for many files
            topics = None: `topics` is missing: the topics to read
                for example `topics = orders, users`, or `topics.regex = orders-.*`
            topic = Some("t"): `file-sink` has no key `topic`
                did you mean `topics`?
        "#]],
    );
    problems(
        "file=x",
        expect![[r#"
            connector.class = None: `connector.class` is missing: it says what kind of connector this is
                for example `file-source`; `millstream connect plugins` shows all
        "#]],
    );
    problems(
        "class=file-source
         file=x",
        expect![[r#"
            connector.class = None: `connector.class` is missing: it says what kind of connector this is
                `class` is there: call it `connector.class = file-source`
        "#]],
    );
    problems(
        "connector.class=FileStreamSorce",
        expect![[r#"
            connector.class = Some("FileStreamSorce"): there is no connector class 'FileStreamSorce'
                did you mean `FileStreamSource`?
        "#]],
    );
    problems(
        "connector.class=io.debezium.connector.mysql.MySqlConnector",
        expect![[r#"
            connector.class = Some("io.debezium.connector.mysql.MySqlConnector"): there is no connector class 'io.debezium.connector.mysql.MySqlConnector'
                `process-source` with a program of yours, or Debezium in a Kafka Connect that writes to this broker; `millstream connect plugins` shows all
        "#]],
    );
    problems(
        "connector.class=io.confluent.connect.s3.S3SinkConnector",
        expect![[r#"
            connector.class = Some("io.confluent.connect.s3.S3SinkConnector"): there is no connector class 'io.confluent.connect.s3.S3SinkConnector'
                `file-sink` writes directories of JSON lines, CSV or Parquet, to be copied there; `millstream connect plugins` shows all
        "#]],
    );
}

#[test]
fn names_of_an_earlier_debezium_lead_to_todays() {
    let text = "connector.class=postgres-source\ndatabase.hostname=h\ndatabase.user=u\n\
                database.dbname=d\ntopic.prefix=p\ntable.whitelist=public.t";
    let told = check(text).unwrap_err()[0].in_words();
    expect!["`postgres-source` has no key `table.whitelist`; since Debezium 2 it is called `table.include.list`"].assert_eq(&told);
    let text = format!("{FILE}transforms=f\ntransforms.f.type=io.debezium.transforms.Filter");
    let told = check(&text).unwrap_err()[0].in_words();
    expect!["`transforms.f.type`: Debezium's Filter, which runs scripts, is not part of this version; write its condition as SQL in the transform `Sql`"].assert_eq(&told);
}

const FILE: &str = "connector.class=file-source\nfile=f\ntopic=t\n";

#[test]
fn a_converter_that_is_unknown_or_told_nonsense_is_refused() {
    problems(
        &format!(
            "{FILE}key.converter=org.apache.kafka.connect.json.JsonConvertor
             value.converter=JsonConverter
             value.converter.schema.enable=false
             value.converter.decimal.format=DECIMAL
             header.converter=io.confluent.connect.avro.AvroConverter"
        ),
        expect![[r#"
            key.converter = Some("org.apache.kafka.connect.json.JsonConvertor"): there is no converter class 'org.apache.kafka.connect.json.JsonConvertor'
                did you mean `JsonConverter`?
            value.converter.decimal.format = Some("DECIMAL"): `value.converter.decimal.format` must be `BASE64` or `NUMERIC`, not 'DECIMAL'
                for example `value.converter.decimal.format = NUMERIC`
            value.converter.schema.enable = Some("false"): JsonConverter has no key `schema.enable`
                did you mean `value.converter.schemas.enable`?
            header.converter = Some("io.confluent.connect.avro.AvroConverter"): there is no converter class 'io.confluent.connect.avro.AvroConverter'
                there are `StringConverter`, `ByteArrayConverter`, `JsonConverter`, `AnyJsonConverter`, `BooleanConverter`, `ShortConverter`, `IntegerConverter`, `LongConverter`, `FloatConverter`, `DoubleConverter`, `SimpleHeaderConverter`
        "#]],
    );
}

#[test]
fn a_connectors_converter_stands_for_itself_and_the_workers_else() {
    let worker = properties(
        "key.converter=org.apache.kafka.connect.json.JsonConverter
         key.converter.schemas.enable=false
         value.converter=org.apache.kafka.connect.json.JsonConverter
         value.converter.schemas.enable=false",
    );
    let own = properties(&format!("{FILE}value.converter=JsonConverter"));
    let config = validate_with("flights-file", &own, Path::new("/base"), &worker).unwrap();
    let written = |converter: &crate::convert::Converter| {
        let mut out = Vec::new();
        converter.clone().write(&crate::data::SchemaAndValue::text("a"), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(&config.converters().key), "\"a\"");
    assert_eq!(written(&config.converters().value), r#"{"schema":null,"payload":"a"}"#);
    // What other converters know does no harm.
    let text =
        format!("{FILE}value.converter=StringConverter\nvalue.converter.schemas.enable=true");
    expect!["connector 'flights-file': key 'value.converter.schemas.enable' has no meaning here"]
        .assert_eq(&check(&text).unwrap().warning().unwrap());
}

#[test]
fn a_name_is_needed_and_must_be_clean() {
    let properties = properties("connector.class=file-source\nfile=f\ntopic=t");
    for name in ["", "  ", " a", "a\nb"] {
        let problems = validate(name, &properties, Path::new(".")).unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, "name"), "{name:?}");
    }
}

#[test]
fn every_declared_key_is_sound() {
    for plugin in plugins() {
        let mut names: Vec<_> = plugin.keys().map(|key| key.name).collect();
        for key in plugin.keys() {
            key.parse(key.example).unwrap_or_else(|problem| panic!("example: {problem:?}"));
            if let Presence::Default(text) = key.presence {
                key.parse(text).unwrap_or_else(|problem| panic!("default: {problem:?}"));
            }
            assert!(!key.doc.ends_with('.'), "{}", key.name);
        }
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}

/// Nearly every real file had a key that was refused.
#[test]
fn real_files_of_debezium_and_of_the_jdbc_sinks_work_as_they_are() {
    let warning = |text: &str| {
        let lines = text.lines().filter_map(|line| line.trim().split_once('='));
        let properties: BTreeMap<String, String> =
            lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let config = validate("c", &properties, Path::new("/")).unwrap();
        config.warning().unwrap_or_default()
    };
    let confluent = warning(
        "connector.class=io.confluent.connect.jdbc.JdbcSinkConnector
        connection.url=jdbc:postgresql://db:5432/shop
        topics=orders
        dialect.name=PostgreSqlDatabaseDialect
        db.timezone=UTC
        quote.sql.identifiers=always
        table.types=TABLE
        max.retries=10
        retry.backoff.ms=3000
        pk.mode=record_key
        insert.mode=upsert",
    );
    expect![[r#"connector 'c': keys 'max.retries', 'retry.backoff.ms', 'table.types' have no meaning here"#]]
        .assert_eq(&confluent);
    let debezium = warning(
        "connector.class=io.debezium.connector.jdbc.JdbcSinkConnector
        connection.url=jdbc:postgresql://db:5432/shop
        connection.username=u
        connection.pool.min_size=5
        connection.pool.timeout=1800
        topics=orders
        use.time.zone=UTC
        use.reduction.buffer=true
        flush.max.retries=5
        flush.retry.delay.ms=1000
        quote.identifiers=false
        truncate.enabled=false
        field.exclude.list=orders:secret
        column.naming.strategy=io.debezium.connector.jdbc.naming.DefaultColumnNamingStrategy
        hibernate.connection.isolation=2
        dialect.postgres.postgis.schema=public",
    );
    expect![[r#"connector 'c': keys 'connection.pool.min_size', 'connection.pool.timeout', 'dialect.postgres.postgis.schema', 'flush.max.retries', 'flush.retry.delay.ms', 'hibernate.connection.isolation', 'quote.identifiers', 'use.reduction.buffer' have no meaning here"#]]
        .assert_eq(&debezium);
    let source = warning(
        "connector.class=io.debezium.connector.postgresql.PostgresConnector
        database.hostname=h\ndatabase.dbname=d\ndatabase.user=u\ntopic.prefix=p
        topic.delimiter=.
        topic.naming.strategy=io.debezium.schema.SchemaTopicNamingStrategy
        schema.name.adjustment.mode=none
        event.processing.failure.handling.mode=fail
        snapshot.query.mode=select_all
        skip.messages.without.change=false
        converters=
        notification.enabled.channels=
        database.initial.statements=
        slot.stream.params=
        flush.lsn.source=true
        lsn.flush.mode=connector
        slot.failover=false
        lsn.flush.timeout.ms=30000
        internal.slot.seek.to.known.offset.on.start=true",
    );
    expect![[r#"connector 'c': keys 'internal.slot.seek.to.known.offset.on.start', 'lsn.flush.timeout.ms' have no meaning here"#]]
        .assert_eq(&source);
}
