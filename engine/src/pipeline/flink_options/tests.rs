use std::fmt::Write as _;
use std::time::Duration;

use expect_test::{Expect, expect};

use crate::pipeline::{Diagnostics, Format, OnError, Start, load_text};

/// What is said of a table: `option: message (help)`.
fn said(diagnostics: &Diagnostics) -> String {
    let mut out = String::new();
    for said in &diagnostics.0 {
        let span = said.span.as_ref().map(|span| &span.file.text[span.start..span.end]);
        let text = span.unwrap_or_default().lines().next().unwrap_or_default();
        let help = said.help.as_deref().unwrap_or_default();
        let _ = writeln!(out, "{:?} [{text}] {} ({help})", said.severity, said.message);
    }
    out
}

fn read(options: &str) -> Result<(crate::pipeline::Pipeline, String), String> {
    let text = format!(
        "CREATE TABLE bids (auction BIGINT, price BIGINT, ts TIMESTAMP(3),
           WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ({options});
         CREATE TABLE o; INSERT INTO o SELECT auction, price FROM bids;"
    );
    match load_text("flink.sql".into(), text) {
        Ok((pipeline, warnings)) => Ok((pipeline, said(&Diagnostics(warnings)))),
        Err(mistakes) => Err(said(&mistakes)),
    }
}

#[test]
fn a_table_of_flinks_is_read_as_it_was_written() {
    let (pipeline, warnings) = read(
        "'connector' = 'kafka', 'topic' = 'bid', 'properties.bootstrap.servers' = 'k:9092',
         'properties.group.id' = 'g', 'scan.startup.mode' = 'timestamp',
         'scan.startup.timestamp-millis' = '1767225600000',
         'scan.watermark.idle-timeout' = '1 min', 'value.format' = 'csv',
         'value.csv.field-delimiter' = ';', 'value.csv.ignore-parse-errors' = 'true',
         'value.csv.null-literal' = 'n/a', 'value.fields-include' = 'ALL'",
    )
    .unwrap();
    let source = &pipeline.sources[0];
    assert_eq!(source.topic, "bid");
    assert_eq!(source.start, Start::Time(1_767_225_600_000));
    assert_eq!(source.on_error, OnError::Skip);
    assert_eq!(source.watermark.idle_timeout, Duration::from_secs(60));
    assert_eq!(source.watermark.delay, Duration::from_secs(5));
    let Format::Csv(csv) = &source.format else { panic!("{:?}", source.format) };
    assert_eq!((csv.delimiter, csv.null.as_deref()), (b';', Some("n/a")));
    expect![[r#"
        Warning ['properties.bootstrap.servers'] 'properties.bootstrap.servers' of table 'bids' means nothing here (which cluster it is says --bootstrap-server HOST:PORT)
        Warning ['properties.group.id'] 'properties.group.id' of table 'bids' means nothing here (queries have groups that are named after them)
    "#]]
    .assert_eq(&warnings);
}

#[test]
fn where_reading_begins_is_said_in_flinks_ways() {
    for (options, start) in [
        ("'scan.startup.mode' = 'earliest-offset'", Start::Earliest),
        ("'scan.startup.mode' = 'latest-offset'", Start::Latest),
        ("'scan.startup.mode' = 'group-offsets'", Start::Earliest),
        (
            "'scan.startup.mode' = 'group-offsets', 'properties.auto.offset.reset' = 'latest'",
            Start::Latest,
        ),
        ("'start' = 'latest'", Start::Latest),
        ("'start' = '1970-01-01T00:00:01Z'", Start::Time(1000)),
    ] {
        let (pipeline, warnings) = read(options).unwrap();
        assert_eq!((pipeline.sources[0].start, &*warnings), (start, ""), "{options}");
    }
}

#[test]
fn what_cannot_be_had_is_refused_with_what_to_do() {
    let refused = |options: &str, expected: Expect| expected.assert_eq(&read(options).unwrap_err());
    refused(
        "'connector' = 'jdbc', 'topic-pattern' = 'a.*', 'scan.startup.mode' = 'specific-offsets',
         'scan.bounded.mode' = 'latest-offset', 'json.fail-on-missing-field' = 'true',
         'avro-confluent.url' = 'http://r:8081'",
        expect![[r#"
            Error ['jdbc'] a table cannot be of 'jdbc' (tables are topics; CREATE CONNECTOR fills and empties those, such as with files, PostgreSQL or HTTP (millstream connect plugins))
            Error ['a.*'] a table is of one topic (declare one for each, and read them by UNION ALL)
            Error ['specific-offsets'] there is no beginning 'specific-offsets' ('earliest-offset', 'latest-offset', 'timestamp' or 'group-offsets'; or 'start' = 'earliest', 'latest' or a time)
            Error ['latest-offset'] how far a table is read is not said in the file (millstream run --until-end reads what is there, and ends)
            Error ['true'] a field that is missing is NULL here (declare the column NOT NULL: a record without it is bad then, as on_error says)
            Error ['http://r:8081'] schemas of a registry are read from files here ('avro.registry' = 'directory with a file ID.avsc per schema')
        "#]],
    );
    refused(
        "'connector' = 'upsert-kafka'",
        expect![[r#"
            Error ['upsert-kafka'] 'upsert-kafka' is of tables with a key (declare its PRIMARY KEY (…) NOT ENFORCED)
        "#]],
    );
    refused(
        "'start' = 'soon'",
        expect![[r#"
            Error ['soon'] 'soon' is nowhere to begin ('earliest', 'latest', or a time such as '2026-01-01T00:00:00Z': the first record with that timestamp or a later one)
        "#]],
    );
}

#[test]
fn settings_of_flinks_are_understood_or_warned_of() {
    let read = |settings: &str| {
        let text = format!(
            "{settings}; CREATE TABLE i (a INT); CREATE TABLE o;
                            INSERT INTO o SELECT a FROM i;"
        );
        match load_text("flink.sql".into(), text) {
            Ok((pipeline, warnings)) => Ok((pipeline.settings, said(&Diagnostics(warnings)))),
            Err(mistakes) => Err(said(&mistakes)),
        }
    };
    let (settings, warnings) = read(
        "SET 'parallelism.default' = '4'; SET 'table.exec.state.ttl' = '3600000';
         SET 'execution.checkpointing.interval' = '10s'; SET 'table.exec.mini-batch.enabled' = 'true';
         SET 'execution.runtime-mode' = 'streaming'",
    )
    .unwrap();
    assert_eq!(settings.tasks, 4);
    assert_eq!(settings.state_ttl, Some(Duration::from_secs(3600)));
    expect![[r#"
        Warning ['execution.checkpointing.interval'] 'execution.checkpointing.interval' means nothing here (what is written is committed each SET 'commit.interval' = '100ms')
        Warning ['table.exec.mini-batch.enabled'] 'table.exec.mini-batch.enabled' means nothing here (it is one of Flink's settings)
        Warning ['execution.runtime-mode'] 'execution.runtime-mode' means nothing here (it is one of Flink's settings)
    "#]]
    .assert_eq(&warnings);
    expect![[r#"
        Error ['Asia/Tokyo'] times without a zone are in UTC here (say the zone where it counts: ts AT TIME ZONE 'Europe/Zurich')
    "#]]
    .assert_eq(&read("SET 'table.local-time-zone' = 'Asia/Tokyo'").unwrap_err());
}
