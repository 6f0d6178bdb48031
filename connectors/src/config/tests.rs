//! What people get to read about their properties.

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
    assert_eq!(config.list("topics"), ["b", "a"]);
    assert_eq!(config.path("file"), Path::new("/tmp/out"));
}

#[test]
fn keys_without_a_meaning_here_are_named_in_one_warning() {
    let config = check(
        "connector.class=file-source
         file=f
         topic=t
         errors.log.enable=true
         errors.tolerance=ALL
         producer.override.linger.ms=5",
    )
    .unwrap();
    assert_eq!(config.text("errors.tolerance"), "all");
    expect![[r#"
        Some(
            "connector 'flights-file': keys 'errors.log.enable', 'producer.override.linger.ms' have no meaning here",
        )
    "#]]
    .assert_debug_eq(&config.warning());
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
            file = Some("data/"): `file` is a directory: 'data/'
                name one file in it
            topic = Some("flüge"): `topic`: topic name 'flüge' contains 'ü'
                topic names consist of letters, digits, `.`, `_` and `-`
            batch.size = Some("many"): `batch.size` must be a whole number, not 'many'
                for example `batch.size = 2000`
            colour = Some("red"): `file-source` has no key `colour`
                it knows `name`, `connector.class`, `tasks.max`, `errors.tolerance`, `key.converter`, `value.converter`, `topic.creation.default.partitions`, `file`, `topic`, `batch.size`, `line.bytes.max`, `poll.interval.ms`
            topcs = Some("flights"): `file-source` has no key `topcs`
                did you mean `topic`?
            transforms = Some("a"): `transforms`: single message transforms are not part of this version
                take the key out
        "#]],
    );
}

#[test]
fn what_is_missing_is_said_with_an_example() {
    problems(
        "connector.class=file-sink
         topic=t",
        expect![[r#"
            topics = None: `topics` is missing: the topics to read, separated by commas
                for example `topics = delays-by-hour`
            file = None: `file` is missing: the file to append to; it and its directories are created if they do not exist
                for example `file = out/delays.jsonl`
            topic = Some("t"): `file-sink` has no key `topic`
                did you mean `topics`?
        "#]],
    );
    problems(
        "file=x",
        expect![[r#"
            connector.class = None: `connector.class` is missing: it says what kind of connector this is
                there are `file-source` and `file-sink`
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
                there are `file-source` and `file-sink`
        "#]],
    );
}

#[test]
fn a_converter_that_would_change_the_data_is_refused() {
    problems(
        "connector.class=file-source
         file=f
         topic=t
         value.converter=org.apache.kafka.connect.json.JsonConverter",
        expect![[r#"
            value.converter = Some("org.apache.kafka.connect.json.JsonConverter"): `value.converter` must be `org.apache.kafka.connect.storage.StringConverter` or `org.apache.kafka.connect.converters.ByteArrayConverter`, not 'org.apache.kafka.connect.json.JsonConverter'
                for example `value.converter = org.apache.kafka.connect.storage.StringConverter`
        "#]],
    );
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
