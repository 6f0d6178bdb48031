//! Whole files with mistakes: all of them are found, each at its place, none of them twice.

use std::fmt::Write as _;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{Diagnostics, load, load_text};

/// One line for each mistake: its place, the text there, what is said, label and help.
fn listed(diagnostics: &Diagnostics) -> String {
    let mut out = String::new();
    for mistake in &diagnostics.0 {
        if let Some(span) = &mistake.span {
            let (line, column) = span.line_column();
            let text = span.file.text[span.start..span.end].lines().next().unwrap_or_default();
            let text: String = text.chars().take(40).collect();
            let _ = write!(out, "{line}:{column} [{text}] ");
        }
        let _ = write!(out, "{}", mistake.message);
        if let Some(label) = &mistake.label {
            let _ = write!(out, " | {label}");
        }
        if let Some(help) = &mistake.help {
            let _ = write!(out, " | help: {help}");
        }
        out.push('\n');
    }
    out
}

fn check_mistakes(path: &str, text: &str, expected: Expect) {
    match load_text(PathBuf::from(path), text.to_owned()) {
        Ok(_) => panic!("no mistakes were found"),
        Err(diagnostics) => expected.assert_eq(&listed(&diagnostics)),
    }
}

#[test]
fn all_mistakes_of_a_toml_file_come_at_once() {
    let text = r#"
name = "bad name"
nmae = "x"
[connectors.file]
connector.class = "FileStreamSource"
nested = [["a"]]
[sources.flights]
topic = "flights/2013"
fromat = "csv"
format = { type = "csv", header = "yes", nul = "NA" }
event_time = "origin"
watermark = { delay = "1 fortnight", late = "keep" }
on_error = "ignore"
[sources.flights.columns]
origin = "txt"
dep_delay = "double"
dest = "text"
time_hour = "timestamptz"
kafka_offset = { type = "int", from = "offset" }
where = { type = "text", from = "headers" }
[sources.other]
format = "xml"
[tables.airlines]
columns = { carrier = "text", name = "text" }
[[queries]]
name = "one"
from = "flihgts"
steps = [{ filter = "a >" }, { fitler = "a" }]
[[queries]]
name = "two"
from = "flights"
steps = [
  { filter = "dep_dely > 0 and dest = 5 and lower(orign) = 'a' and dep_delay" },
  { map = { a = "dep_delay + ", b = "upper(dest)", origin = "origin", delay = "dep_delay" } },
  { window = { tumble = "1 hour", time = "time_hour", ofset = "1s" }, group_by = ["origin"], aggregate = { n = "count(*)" } },
]
sink = { topic = "two", kye = "origin", partitions = 0 }
[[queries]]
sql = "SELECT * FROM other"
from = "other"
[settings]
commit_interval = 100
"#;
    check_mistakes(
        "bad.toml",
        text,
        expect![[r#"
            2:8 ["bad name"] 'bad name' cannot be the name of a pipeline: ' ' is not allowed | help: letters, digits, '.', '_' and '-' make a name
            3:1 [nmae] unknown key 'nmae' in the file | not a key here | help: did you mean 'name'?
            6:10 [[["a"]]] property 'nested' is a list of more than plain values
            8:9 ["flights/2013"] 'flights/2013' cannot be the name of a topic: '/' is not allowed | help: letters, digits, '.', '_' and '-' make a name
            9:1 [fromat] unknown key 'fromat' in source 'flights' | not a key here | help: did you mean 'format'?
            10:35 ["yes"] 'header' of 'format' of source 'flights' must be true or false, not a string | not true or false
            10:42 [nul] unknown key 'nul' in format 'csv' | not a key here | help: did you mean 'null'?
            12:23 ["1 fortnight"] 'delay' of 'watermark' of source 'flights': 'fortnight' is no unit of time; there are ms, s, min, h and days | not a duration
            12:45 ["keep"] late rows cannot be treated as 'keep' | help: "drop" leaves them out and counts them, "update" corrects their window, { topic = "name" } puts them aside
            13:12 ["ignore"] 'on_error' cannot be 'ignore' | help: "fail", "skip" or { dead_letter = "topic" }
            15:11 [txt] there is no type 'txt' | not a type | help: did you mean 'text'?
            19:1 [kafka_offset] column 'kafka_offset' holds the record's offset, whose type is bigint, not int
            20:1 [where] column 'where' holds the record's headers, whose type is map<text, bytea>, not text
            22:10 ["xml"] unknown format 'xml' | help: there is 'avro', 'avro-confluent', 'csv', 'debezium-json', 'json', 'protobuf', 'protobuf-confluent' and 'raw'
            23:9 [airlines] table 'airlines' needs 'key' | no 'key' in it
            27:8 ["flihgts"] there is no source 'flihgts' | no such source | help: did you mean 'flights'?
            28:25 ["] expected an expression, but the text ends here | not understood from here
            28:32 [fitler] unknown key 'fitler' in step 2 | not a key here | help: did you mean 'filter'?
            33:15 [dep_dely] there is no column 'dep_dely' here | no such column | help: did you mean 'dep_delay'?
            33:51 [orign] there is no column 'orign' here | no such column | help: did you mean 'origin'?
            34:30 ["] expected an expression, but the text ends here | not understood from here
            35:42 ["time_hour"] there is no column 'time_hour' here | no such column | help: there is 'a', 'b', 'delay' and 'origin'
            35:55 [ofset] unknown key 'ofset' in 'window' of step 3 | not a key here | help: did you mean 'offset'?
            37:25 [kye] unknown key 'kye' in 'sink' of query 'two' | not a key here | help: did you mean 'key'?
            37:54 [0] 'partitions' of 'sink' of query 'two' must be from 1 to 10000, not 0
            38:1 [[[queries]]] the query has both 'sql' and 'from' | help: from = "source" with steps = […], or sql = "SELECT …"
            42:19 [100] 'commit_interval' of 'settings' of the file must be a duration such as "90s" or "1 hour", not a whole number | not a duration such as "90s" or "1 hour"
        "#]],
    );
}

#[test]
fn a_key_of_connect_that_begins_another_one_is_to_be_quoted() {
    let text = "[connectors.file]\ntopic = \"t\"\ntopic.creation.default.partitions = 2\n";
    let expected = expect![[r#"
        3:1 [topic] cannot extend value of type string with a dotted key | not TOML from here | help: write all of the key in quotes: "topic.creation.default.partitions" = …
    "#]];
    check_mistakes("a.toml", text, expected);
    let text = "[connectors.file]\nvalue.converter = \"J\"\nvalue.converter.schemas.enable = false";
    let expected = expect![[r#"
        3:7 [converter] cannot extend value of type string with a dotted key | not TOML from here | help: write all of the key in quotes: "value.converter.schemas.enable" = …
    "#]];
    check_mistakes("a.toml", text, expected);
    let (whole, half) = ("file = 'a'", "transforms = 'a'\ntransforms.a.type = 'b'");
    let more = "transforms.a.field = 'c'";
    let text = format!("[connectors.one]\n{whole}\n[connectors.two]\n{half}\n{more}");
    let file = crate::pipeline::SourceFile { path: "a.toml".into(), text };
    let mut diagnostics = Vec::new();
    let draft = super::toml_file::read(&std::sync::Arc::new(file), &mut diagnostics);
    let names: Vec<_> = draft.connectors.iter().map(|connector| &connector.name).collect();
    assert_eq!(names, ["one"], "{diagnostics:?}");
}

#[test]
fn all_mistakes_of_toml_queries_come_at_once() {
    let text = r#"
[sources.flights]
event_time = "time_hour"
columns = { origin = "text", dest = "text", dep_delay = "double", time_hour = "timestamptz", other_time = "timestamptz" }
[[queries]]
name = "expressions"
from = "flights"
steps = [
  { filter = "dep_dely > 0 and dest = 5 and lower(orign) = 'a'" },
  { filter = """
dep_delay +
   uper(dest) > 3""" },
  { map = { a = "dest + 1", origin = "origin", "b" = "lower(\"dst\") || '\t' || lower(dest, 1)" } },
  { filter = "origin" },
  { filter = "dep_delay > 0 or a > 1" },
]
[[queries]]
name = "windows"
from = "flights"
steps = [
  { window = { tumble = "1 hour", time = "other_time" }, group_by = ["origin"], aggregate = { n = "count(*)" } },
]
[[queries]]
name = "aggregates"
from = "flights"
steps = [
  { group_by = ["origin"], aggregate = { n = "cont(*)" } },
]
[[queries]]
name = "again"
sql = "SELECT DISTINCT origin FROM flights UNION SELECT dest FROM flihgts ORDER BY 1 LIMIT 5"
sink = "windows"
[[queries]]
name = "keys"
from = "flights"
sink = { key = ["orign"], format = "raw" }
"#;
    check_mistakes(
        "bad.toml",
        text,
        expect![[r#"
            9:15 [dep_dely] there is no column 'dep_dely' here | no such column | help: did you mean 'dep_delay'?
            9:51 [orign] there is no column 'orign' here | no such column | help: did you mean 'origin'?
            12:4 [uper] there is no function 'uper' | no such function | help: did you mean 'upper'?
            13:18 [dest + 1] text and bigint do not fit together | help: CAST one of them
            13:61 [\"dst\"] there is no column 'dst' here | no such column | help: did you mean 'dest'?
            13:81 [lower(dest, 1)] function 'lower' expects 1 arguments but received 2
            14:15 [origin] a condition is true or false, and this is text | not a condition
            15:15 [dep_delay] there is no column 'dep_delay' here | no such column | help: there is 'a', 'b' and 'origin'
            21:14 [{ tumble = "1 hour", time = "other_time"] the window goes by 'other_time', and the event time of 'flights' is 'time_hour' | help: window by 'time_hour', or declare 'other_time' as event time
            27:47 [cont] there is no function 'cont' | no such function | help: did you mean 'count'?
            31:67 [flihgts] there is no source or view 'flihgts' | no such source | help: did you mean 'flights'?
            31:84 [1] ORDER BY cannot run as a stream: there is no end at which rows could be sorted | help: leave it out, and sort where the results are read
            32:8 ["windows"] a second query writes topic 'windows' | help: read several sources in one query by UNION ALL, or write another topic
            36:17 ["orign"] the query gives no column 'orign' | no such column | help: did you mean 'origin'?
        "#]],
    );
}

#[test]
fn all_mistakes_of_a_sql_file_come_at_once() {
    let text = r#"
SET 'comit.interval' = '1s';
SET commit.interval = 'soon';
CREATE TABLE flights (
  origin TXT,
  dest TEXT METADATA FROM 'headers',
  dep_delay DOUBLE PRECISON,
  time_hour TIMESTAMPTZ NOT NULL,
  ts TIMESTAMP(3) METADATA FROM 'timestamp' VIRTUAL,
  WATERMARK FOR time_hour AS time_hour + INTERVAL '1' DAY,
  PRIMARY KEY (nothing) NOT ENFORCED
) WITH (fromat = 'csv', 'csv.header' = 'yes', format = 'xml', topic = 'a b');
CREATE TABLE good (origin TEXT, dest TEXT, dep_delay DOUBLE, at TIMESTAMPTZ, WATERMARK FOR at AS at - INTERVAL '1' DAY)
  WITH (format = 'json', print = true);
CREATE TABLE out (origin TEXT, n INT) WITH (key = 'origin');
CREATE TABLE out2 WITH (topic = 'out');
CREATE STREAM x;
CREATE VEIW x AS SELECT 1;
CREATE VIEW late AS SELECT origin, delay FROM good WHERE dep_delay > 10;
INSERT INTO out SELECT origin, count(*) FROM TUMBLE(good, at, INTERVAL '1' HOUR) GROUP BY window_start, orign EMIT CHANGES;
INSERT INTO out SELECT origin, n, origin FROM late;
INSERT INTO out SELECT origin, count(*) AS n FROM TUMBLE(good, att, INTERVAL '1' MONTH) GROUP BY window_start, origin;
INSERT INTO otu SELECT * FROM good;
INSERT INTO out2 SELECT origin, sum(dep_delay) OVER (PARTITION BY origin) AS n, now() FROM good a JOIN good b ON a.origin = b.origin;
SELECT 1;
INSERT INTO out2 SELECT origin FROM good WHERE EXISTS (SELECT 1) AND (origin = 'a'
"#;
    check_mistakes(
        "bad.sql",
        text,
        expect![[r#"
            2:5 ['comit.interval'] there is no setting 'comit.interval' | help: did you mean 'commit.interval'?
            3:23 ['soon'] 'commit.interval': a duration is a number and a unit, such as '90s', '1 hour' or '500ms'
            5:10 [TXT] there is no type 'txt' | not a type | help: did you mean 'text'?
            7:20 [PRECISON] expected a comma between columns, found 'PRECISON'
            10:30 [time_hour] a watermark is the column less a constant, not 'time_hour + INTERVAL '1' DAY' | help: such as WATERMARK FOR time_hour AS time_hour - INTERVAL '5' SECOND
            12:9 [fromat] unknown option 'fromat' of table 'flights' | not an option here | help: did you mean 'format'?
            12:56 ['xml'] unknown format 'xml' | help: there is 'avro', 'avro-confluent', 'csv', 'debezium-json', 'json', 'protobuf', 'protobuf-confluent' and 'raw'
            12:71 ['a b'] 'a b' cannot be the name of a topic: ' ' is not allowed | help: letters, digits, '.', '_' and '-' make a name
            14:26 [print] no query writes table 'good' | help: 'print' is for tables that a query writes
            16:33 ['out'] a second query writes topic 'out' | help: read several sources in one query by UNION ALL, or write another topic
            17:8 [STREAM] there is no CREATE STREAM | help: write CREATE TABLE; without a PRIMARY KEY it is a stream, and columns of the record's key are METADATA FROM 'key'
            18:8 [VEIW] there is no statement 'CREATE VEIW' | help: did you mean 'CREATE VIEW'?
            19:36 [delay] there is no column 'delay' here | no such column | help: there is 'at', 'dep_delay', 'dest' and 'origin'
            20:105 [orign] there is no column 'orign' here | no such column | help: did you mean 'origin'?
            21:13 [out] a second query writes topic 'out' | help: read several sources in one query by UNION ALL, or write another topic
            22:13 [out] a second query writes topic 'out' | help: read several sources in one query by UNION ALL, or write another topic
            22:64 [att] there is no column 'att' here | no such column | help: did you mean 'at'?
            22:78 ['1'] the size of a window must have a fixed length, and months differ in theirs; use days | help: such as INTERVAL '1' HOUR
            23:13 [otu] there is no table 'otu' to write | help: did you mean 'out'?
            24:25 [origin] there are several columns 'origin' here | help: put the name of the table and a point before it
            24:37 [dep_delay] there are several columns 'dep_delay' here | help: put the name of the table and a point before it
            24:67 [origin] there are several columns 'origin' here | help: put the name of the table and a point before it
            24:81 [now] now cannot be used in a stream: an answer must not depend on when it is computed | help: use the event time of the rows
            25:1 [SELECT] this query writes nowhere | help: write INSERT INTO table before it, and declare that table
            26:83 [] expected ), but the text ends here | not understood from here
        "#]],
    );
}

#[test]
fn sinks_are_checked_against_their_queries() {
    let source = "CREATE TABLE t (a INT, b TEXT, at TIMESTAMPTZ, WATERMARK FOR at AS at);\n";
    let check = |rest: &str, expected: Expect| {
        check_mistakes("sinks.sql", &format!("{source}{rest}"), expected);
    };
    check(
        "CREATE TABLE o (b TEXT, a INT); INSERT INTO o SELECT a, b FROM t;",
        expect![[r#"
            2:17 [b] the query gives 'a' where 'o' declares 'b' | help: columns are taken in order: give both the same
            2:25 [a] the query gives 'b' where 'o' declares 'a' | help: columns are taken in order: give both the same
        "#]],
    );
    check(
        "CREATE TABLE o (x TEXT); INSERT INTO o SELECT a FROM t;",
        expect![[r#"
            2:17 [x] column 'x' of 'o' is text, and the query gives int | help: CAST it in the query, or declare that type
        "#]],
    );
    check(
        "CREATE TABLE o WITH (timestamp = 'a', key = 'c'); INSERT INTO o SELECT a FROM t;",
        expect![[r#"
            2:34 ['a'] the record's timestamp cannot be 'a', which is int
            2:45 ['c'] the query gives no column 'c' | no such column | help: there is 'a'
        "#]],
    );
    check(
        "CREATE TABLE o WITH (format = 'raw'); INSERT INTO o SELECT a, b FROM t;",
        expect![[r#"
        2:14 [o] topic 'o': a raw value is one column, and the query has 2
    "#]],
    );
    check(
        "CREATE TABLE o WITH (topic = 't'); INSERT INTO o SELECT a FROM t;",
        expect![[r#"
        2:36 [INSERT INTO o SELECT a FROM t] query 'o' reads what depends on its own topic 't' | help: a stream cannot feed itself: write another topic
    "#]],
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let paths = [
        directory.path().join("none.toml"),
        directory.path().to_path_buf(),
        write("latin.toml", b"name = \"a\"\n# \xe9"),
        write("large.sql", &vec![b' '; 2_000_000]),
        write("pipeline.yaml", b""),
    ];
    let shown = listed(&load(&paths).unwrap_err());
    let shown = shown.replace(&directory.path().display().to_string(), "DIR");
    expect![[r#"
        cannot read DIR/none.toml: there is no such file
        cannot read DIR: it is a directory
        cannot read DIR/latin.toml: line 2 is not UTF-8 | help: save it as UTF-8
        cannot read DIR/large.sql: it is larger than 1048576 bytes | help: a pipeline file holds sources, queries and connectors, not data
        DIR/pipeline.yaml is not a pipeline file | help: its name ends in .toml or .sql
    "#]].assert_eq(&shown);
}

#[test]
fn what_runs_together_must_differ() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[connectors.c]\nfile = \"x\"\n[sources.t]\ncolumns = { a = \"int\" }\n\
                [[queries]]\nname = \"q\"\nfrom = \"t\"\n";
    let paths = ["a.toml", "b.toml"].map(|name| directory.path().join(name));
    std::fs::write(&paths[0], format!("name = \"p\"\n{text}")).unwrap();
    std::fs::write(&paths[1], format!("name = \"p\"\n{text}")).unwrap();
    let shown = listed(&load(&paths).unwrap_err());
    let shown = shown.replace(&directory.path().display().to_string(), "DIR");
    expect![[r#"
        DIR/a.toml and DIR/b.toml are both called 'p' | help: state is found by this name: set name = "…" in one of them
        2:13 [c] a second connector 'c' | help: the first is at DIR/a.toml:2:13
        6:1 [[[queries]]] a second query that writes topic 'q' | help: the first is at DIR/a.toml:6:1
    "#]].assert_eq(&shown);
}

#[test]
fn queries_come_after_those_whose_topics_they_read() {
    let text = r#"
sources.a.columns = { x = "int" }
sources.b.columns = { x = "int" }
[[queries]]
name = "c"
from = "b"
[[queries]]
name = "b"
from = "a"
"#;
    let (pipeline, _) = load_text(PathBuf::from("order.toml"), text.to_owned()).unwrap();
    let names: Vec<&str> = pipeline.queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    let circle = text.replace("name = \"c\"", "name = \"a\"");
    check_mistakes(
        "circle.toml",
        &circle,
        expect![[r#"
        4:1 [[[queries]]] query 'a' reads what depends on its own topic 'a' | help: a stream cannot feed itself: write another topic
    "#]],
    );
}

#[test]
fn nesting_and_length_are_bounded() {
    let query = |condition: &str| {
        let text = format!(
            "sources.t.columns = {{ a = \"int\" }}\n[[queries]]\nfrom = \"t\"\n\
             steps = [{{ filter = '{condition}' }}]\n"
        );
        load_text(PathBuf::from("deep.toml"), text).map(|_| ())
    };
    let sum = |terms: usize| format!("{} > 1", vec!["a"; terms].join(" + "));
    assert!(query(&sum(90)).is_ok());
    let queries = format!("{}a{} > 1", "(SELECT ".repeat(30), ")".repeat(30));
    let long = ["(".repeat(100_000), "NOT ".repeat(60_000)];
    let [parentheses, negations] = long;
    let listed = [sum(200), sum(4_000), sum(100_000), parentheses, negations, queries]
        .map(|condition| listed(&query(&condition).unwrap_err()));
    expect![[r#"
        4:22 [a + a + a + a + a + a + a + a + a + a + ] an expression is nested more than 100 deep | help: compute parts of it in a query or step before

        4:22 [a + a + a + a + a + a + a + a + a + a + ] an expression is nested more than 100 deep | help: compute parts of it in a query or step before

        4:20022 [a] more than 10000 words and signs in one statement | help: split it into several, by views or steps

        4:10022 [(] more than 10000 words and signs in one statement | help: split it into several, by views or steps

        4:40022 [NOT] more than 10000 words and signs in one statement | help: split it into several, by views or steps

        4:86 [(] queries are nested more than 8 deep | help: name the inner ones: WITH name AS (SELECT …)
    "#]]
        .assert_eq(&listed.map(|text| text.chars().take(150).collect::<String>()).join("\n"));
}

fn any_pipeline() -> impl Strategy<Value = (PathBuf, String)> {
    let originals = [
        ("p.toml", include_str!("../../../pipelines/flight-delays.toml")),
        ("p.sql", include_str!("../../../pipelines/flight-delays.sql")),
    ];
    let edit = (any::<prop::sample::Index>(), 0usize..12, "[ -~\n]{0,6}");
    (prop::sample::select(originals.to_vec()), prop::collection::vec(edit, 1..6)).prop_map(
        |((path, text), edits)| {
            let mut text = text.to_owned();
            for (at, length, new) in edits {
                let start = text.floor_char_boundary(at.index(text.len() + 1));
                let end = text.floor_char_boundary((start + length).min(text.len()));
                text.replace_range(start..end, &new);
            }
            (PathBuf::from(path), text)
        },
    )
}

/// Words that make queries now and then.
const WORDS: [&str; 60] = [
    "SELECT",
    "FROM",
    "t",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "a",
    "b",
    "at",
    "(",
    ")",
    ",",
    "*",
    "+",
    "=",
    "<",
    "AND",
    "NOT",
    "NULL",
    "1",
    "'x'",
    "1.5",
    "count(*)",
    "sum(a)",
    "avg(b)",
    "lower(b)",
    "TUMBLE(t, at, INTERVAL '1' HOUR)",
    "window_start",
    "window_end",
    "AS",
    "x",
    "UNION ALL",
    "CASE WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST(a AS",
    "TEXT)",
    "IN",
    "BETWEEN",
    "IS NULL",
    "OVER ()",
    "ARRAY[",
    "]",
    "[1]",
    "INTERVAL '1 day'",
    "DISTINCT",
    "ORDER BY",
    "LIMIT 1",
    "v",
    "WITH x AS (",
    "FILTER (WHERE",
    "percentile_cont(0.9) WITHIN GROUP (ORDER BY a)",
    "date_trunc('hour', at)",
    "::INT",
    "||",
    "tumble(INTERVAL '1' HOUR)",
    "JOIN t ON",
    "'2013-01-01'",
    "-9223372036854775808",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn edited_pipelines_never_panic((path, text) in any_pipeline()) {
        if let Err(diagnostics) = load_text(path, text) {
            prop_assert!(diagnostics.has_errors());
            for mistake in &diagnostics.0 {
                prop_assert!(!mistake.message.contains("a bug"), "{mistake:?}");
                if let Some(span) = &mistake.span {
                    prop_assert!(span.file.text.get(span.start..span.end).is_some(), "{mistake:?}");
                }
            }
        }
    }

    #[test]
    fn any_text_never_panics(text in any::<String>(), sql in any::<bool>()) {
        let path = if sql { "any.sql" } else { "any.toml" };
        let _ = load_text(PathBuf::from(path), text);
    }

    #[test]
    fn any_words_never_panic(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 1..30),
    ) {
        let text = format!(
            "CREATE TABLE t (a INT, b TEXT, at TIMESTAMPTZ, WATERMARK FOR at AS at);
             CREATE VIEW v AS SELECT a, at FROM t; CREATE TABLE o;
             INSERT INTO o SELECT {}",
            words.join(" ")
        );
        if let Err(diagnostics) = load_text(PathBuf::from("words.sql"), text) {
            let bug = diagnostics.0.iter().find(|mistake| mistake.message.contains("a bug"));
            prop_assert!(bug.is_none(), "{bug:?}");
        }
    }
}

/// The environment that tests run in has `CARGO_MANIFEST_DIR` and no `MILLSTREAM_NOT_SET`.
#[test]
fn values_may_come_from_the_environment_and_files_from_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    write(
        "common.toml",
        "[sources.trips]\ntopic = \"trips-${MILLSTREAM_NOT_SET:-today}\"\n\
         columns = { id = \"int\" }\n\
         [connectors.files]\nhome = \"${CARGO_MANIFEST_DIR}/x\"\n\
         \"connector.class\" = \"FileSource\"\n",
    );
    // Numbers and truth values too, which a file cannot write without quotes.
    let main = "include = [\"common.toml\"]\n[settings]\ntasks = \"${MILLSTREAM_NOT_SET:-3}\"\n\
                [[queries]]\nname = \"o\"\nfrom = \"trips\"\n\
                sink = { topic = \"o\", print = \"${MILLSTREAM_NOT_SET:-true}\" }\n";
    let (pipelines, _) = load(&[write("main.toml", main)]).unwrap();
    assert_eq!(pipelines[0].sources[0].topic, "trips-today");
    assert_eq!(pipelines[0].settings.tasks, 3);
    assert!(pipelines[0].queries[0].sink.print);
    let home = &pipelines[0].connectors[0].properties["home"];
    assert_eq!(*home, format!("{}/x", env!("CARGO_MANIFEST_DIR")));
    let sql = write(
        "main.sql",
        "CREATE TABLE t (id INT) WITH (topic = 'trips-${MILLSTREAM_NOT_SET:-sql}');
         CREATE TABLE o; INSERT INTO o SELECT id FROM t;",
    );
    assert_eq!(load(&[sql]).unwrap().0[0].sources[0].topic, "trips-sql");

    write("broken.toml", "[sources.trips]\ncolumns = { id = \"imt\" }\n[[queries]]\n");
    let bad = "include = [\"common.toml\", \"broken.toml\", \"none.toml\"]\n\
               settings.tasks = \"${CARGO_MANIFEST_DIR}\"\n\
               settings.standby_replicas = \"${MILLSTREAM_NOT_SET:-99}\"\n\
               [connectors.c]\npassword = \"${MILLSTREAM_NOT_SET}\"\nuser = \"${1}\"\n";
    let mistakes = load(&[write("bad.toml", bad)]).unwrap_err();
    let said = mistakes.0.iter().map(|mistake| {
        let span = mistake.span.as_ref().unwrap();
        let file = span.file.path.file_name().unwrap().to_str().unwrap();
        let message = mistake.message.replace(directory.path().to_str().unwrap(), "");
        format!("{file} [{}] {message}", &span.file.text[span.start..span.end])
    });
    expect![[r#"
        bad.toml ["none.toml"] cannot read /none.toml: there is no such file
        bad.toml ["${CARGO_MANIFEST_DIR}"] 'tasks' of 'settings' of the file must be a whole number, not what its variable holds
        bad.toml ["${MILLSTREAM_NOT_SET:-99}"] 'standby_replicas' of 'settings' of the file must be from 0 to 8
        bad.toml ["${MILLSTREAM_NOT_SET}"] the environment variable 'MILLSTREAM_NOT_SET' is not set
        bad.toml ["${1}"] '1' is no name of an environment variable
        broken.toml [trips] a second source or table 'trips'
        broken.toml [imt] there is no type 'imt'
        broken.toml [queries] unknown key 'queries' in an included file"#]]
    .assert_eq(&said.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_statement_set_is_its_inserts() {
    let declared = "CREATE TABLE t (a INT); CREATE TABLE x; CREATE TABLE y;\n";
    let names = |statements: &str| {
        let text = format!("{declared}{statements}");
        let (pipeline, _) = load_text(PathBuf::from("set.sql"), text).unwrap();
        pipeline.queries.iter().map(|query| query.name.clone()).collect::<Vec<_>>()
    };
    for statements in [
        "EXECUTE STATEMENT SET BEGIN INSERT INTO x SELECT a FROM t; \
         INSERT INTO y SELECT a + 1 AS b FROM t; END;",
        "BEGIN STATEMENT SET; INSERT INTO x SELECT a FROM t; INSERT INTO y SELECT a FROM t; END",
        "execute statement set\nbegin\n insert into x SELECT a FROM t;\nend;\n\
         EXECUTE INSERT INTO y SELECT CASE WHEN a > 0 THEN a END AS b FROM t;",
    ] {
        assert_eq!(names(statements), ["x", "y"], "{statements}");
    }
    check_mistakes(
        "set.sql",
        &format!(
            "{declared}END;
             BEGIN STATEMENT SET; CREATE TABLE z; INSERT INTO x SELECT b FROM t;
             EXECUTE STATEMENT SET BEGIN INSERT INTO y SELECT a FROM t;"
        ),
        expect![[r#"
            2:1 [END] no statement set ends here: none has begun | help: such as EXECUTE STATEMENT SET BEGIN INSERT …; INSERT …; END;
            3:35 [CREATE] a statement set holds INSERT statements alone | help: move this before it, or end it before this: END;
            3:48 [z] nothing reads or writes table 'z', which has no columns | help: write it by INSERT INTO, or leave it out
            3:72 [b] there is no column 'b' here | no such column | help: there is 'a'
            4:14 [EXECUTE] a statement set begins within another | help: end that first: END;
            4:14 [EXECUTE] this statement set is never ended | help: END; after its last statement and a semicolon
        "#]],
    );
}

#[test]
fn inserts_may_list_their_columns() {
    let declared = "CREATE TABLE t (a INT, b TEXT); CREATE TABLE o (x BIGINT, y TEXT, z DOUBLE);
                    CREATE TABLE p;\n";
    let plan = |insert: &str| {
        let text = format!("{declared}{insert}; INSERT INTO p SELECT a FROM t");
        let (pipeline, _) = load_text(PathBuf::from("list.sql"), text).unwrap();
        let plan = &pipeline.queries[0].plan;
        let names: Vec<String> =
            plan.schema().fields().iter().map(|field| field.to_string()).collect();
        format!("{}\n{}", names.join(", "), plan.display_indent())
    };
    expect![[r#"
        Field { "x": nullable Int64 }, Field { "y": nullable Utf8 }, Field { "z": nullable Float64 }
        Projection: CAST(t.a AS Int64) AS x, t.b AS y, Float64(NULL) AS z
          TableScan: t projection=[a, b]"#]]
    .assert_eq(&plan("INSERT INTO o (y, x) SELECT b, a FROM t"));
    let whole = plan("INSERT INTO o SELECT a, b, 1.5 FROM t");
    assert_eq!(whole, plan("INSERT INTO o (SELECT a, b, 1.5 FROM t)"));
    assert_eq!(whole, plan("INSERT INTO o (x, y, z) (SELECT a, b, 1.5 FROM t)"));
    for (insert, expected) in [
        (
            "INSERT INTO o (y, w) SELECT b, a FROM t;",
            expect![[r#"
            3:19 [w] 'o' has no column 'w' to write | no such column | help: there is 'x', 'y' and 'z'
        "#]],
        ),
        (
            "INSERT INTO o (y, y) SELECT b, b FROM t;",
            expect![[r#"
            3:19 [y] column 'y' is listed twice | the second time
        "#]],
        ),
        (
            "INSERT INTO o (y, x) SELECT b FROM t;",
            expect![[r#"
            3:16 [y] the query gives 1 columns, and the list names 2
        "#]],
        ),
        (
            "INSERT INTO o (y, x SELECT b FROM t;",
            expect![[r#"
            3:15 [(] this parenthesis is never closed
        "#]],
        ),
        (
            "INSERT INTO o (y) SELECT a FROM t;",
            expect![[r#"
                1:59 [y] column 'y' of 'o' is text, and the query gives int | help: CAST it in the query, or declare that type
            "#]],
        ),
    ] {
        let text = format!("{declared}{insert} INSERT INTO p SELECT a FROM t");
        check_mistakes("list.sql", &text, expected);
    }
}
