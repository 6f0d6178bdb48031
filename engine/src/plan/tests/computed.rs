//! Columns of sources that are computed of those beside them.

use std::path::PathBuf;

use expect_test::{Expect, expect};

use crate::pipeline::{ColumnFrom, Diagnostics, EventTime, Pipeline, load_text};

fn loaded(name: &str, text: &str) -> Result<Pipeline, Diagnostics> {
    load_text(PathBuf::from(name), text.to_owned()).map(|(pipeline, _)| pipeline)
}

/// The columns of its first source, and where they come from.
fn columns(pipeline: &Pipeline) -> String {
    let source = &pipeline.sources[0];
    let columns = source.columns.iter().zip(source.schema.fields());
    let columns = columns.map(|(column, field)| {
        let from = match &column.from {
            ColumnFrom::Computed(expr) => expr.to_string(),
            other => format!("{other:?}"),
        };
        format!("{} {}: {from}", column.name, field.data_type())
    });
    columns.collect::<Vec<_>>().join("\n")
}

fn check_mistakes(columns: &str, expected: Expect) {
    let text =
        format!("CREATE TABLE t ({columns});\nCREATE TABLE o; INSERT INTO o SELECT a FROM t;");
    let mistakes = loaded("computed.sql", &text).unwrap_err();
    let said = mistakes.0.iter().map(|mistake| {
        let span = mistake.span.as_ref().expect("a place");
        let at = &span.file.text[span.start..span.end];
        let help = mistake.help.as_deref().unwrap_or("-");
        format!("[{at}] {} | {help}", mistake.message)
    });
    expected.assert_eq(&said.collect::<Vec<_>>().join("\n"));
}

#[test]
fn columns_are_computed_of_the_record_and_of_those_before() {
    // As Flink has it: also of columns further down, of metadata and of fields of structs.
    let sql = "CREATE TABLE orders (
       gross AS net * 1.2 COMMENT 'with tax',
       net DECIMAL(10, 2) NOT NULL COMMENT 'as sold',
       ms BIGINT,
       who ROW<name TEXT, age INT>,
       part INT METADATA FROM 'partition' VIRTUAL,
       name AS upper(who.name),
       twice AS gross + gross,
       shard AS part % 2,
       ts AS to_timestamp_millis(ms),
       WATERMARK FOR ts AS ts - INTERVAL '5' SECOND,
       CONSTRAINT pk PRIMARY KEY (net) NOT ENFORCED
     ) COMMENT 'all of them' WITH (format = 'json');
     CREATE TABLE o; INSERT INTO o SELECT net, twice, ts FROM orders;";
    let pipeline = loaded("computed.sql", sql).unwrap();
    expect![[r#"
        gross Float64: CAST(net AS Float64) * Float64(1.2)
        net Decimal128(10, 2): Value
        ms Int64: Value
        who Struct("name": Utf8, "age": Int32): Value
        part Int32: Partition
        name Utf8: upper(get_field(who, Utf8("name")))
        twice Float64: CAST(net AS Float64) * Float64(1.2) + CAST(net AS Float64) * Float64(1.2)
        shard Int64: CAST(part AS Int64) % Int64(2)
        ts Timestamp(ms): to_timestamp_millis(ms)"#]]
    .assert_eq(&columns(&pipeline));
    assert_eq!(pipeline.sources[0].event_time, EventTime::Column(8));
    expect!["TableScan: orders projection=[net, twice, ts]"]
        .assert_eq(&pipeline.queries[0].plan.display_indent().to_string());
}

#[test]
fn both_forms_compute_alike() {
    let sql = "CREATE TABLE t (a BIGINT, b AS a * 2 + 1, ts AS to_timestamp_seconds(a),
         WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (format = 'json');
       CREATE TABLE o; INSERT INTO o SELECT b FROM t;";
    let toml = r#"
[sources.t]
columns = { a = "bigint", b = { as = "a * 2 + 1" }, ts = { as = "to_timestamp_seconds(a)" } }
event_time = "ts"
[[queries]]
name = "o"
from = "t"
steps = [{ map = { b = "b" } }]
"#;
    let (sql, toml) = (loaded("t.sql", sql).unwrap(), loaded("t.toml", toml).unwrap());
    assert_eq!(sql.sources[0].columns, toml.sources[0].columns);
    assert_eq!(sql.sources[0].schema, toml.sources[0].schema);
    assert_eq!(sql.sources[0].event_time, toml.sources[0].event_time);
}

#[test]
fn what_cannot_be_computed_of_a_row_is_refused() {
    for (columns, expected) in [
        ("a INT, b AS a +", expect!["[)] expected an expression, but the text ends here | -"]),
        ("a INT, b AS aa + 1", expect!["[aa] there is no column 'aa' here | there is 'a'"]),
        (
            "a INT, b AS c + 1, c AS a + 1",
            expect![
                "[c] column 'c' is computed itself, further down | take columns of the record, or columns computed before"
            ],
        ),
        (
            "a INT, b AS b + 1",
            expect![
                "[b] column 'b' cannot be computed of itself | take columns of the record, or columns computed before"
            ],
        ),
        (
            "a INT, b AS sum(a)",
            expect![
                "[sum(a)] an aggregate is not computed of one row, as a column must be | compute it in a query over this table"
            ],
        ),
        (
            "a INT, b AS row_number() OVER (ORDER BY a)",
            expect![
                "[row_number] what stands beside other rows is not computed of one row, as a column must be | compute it in a query over this table"
            ],
        ),
        (
            "a INT, b AS (SELECT max(a) FROM t)",
            expect![
                "[SELECT max(a) FROM t] a column is computed of its row, not by a query | join what it needs in a query over this table"
            ],
        ),
        (
            "a INT, b AS a IN (SELECT a FROM t)",
            expect![
                "[SELECT a FROM t] a column is computed of its row, not by a query | join what it needs in a query over this table"
            ],
        ),
        (
            "a INT, b AS now()",
            expect![
                "[now] now cannot be used in a stream: an answer must not depend on when it is computed | use the event time of the rows"
            ],
        ),
        (
            "a INT, p AS PROCTIME(), b AS p",
            expect!["[p] there is no column 'p' here | there is 'a'"],
        ),
        (
            "a INT, b AS random()",
            expect![
                "[random] this gives another value each time, and a column must stay what it was | compute it in a query over this table"
            ],
        ),
        (
            "a INT, b AS NULL",
            expect![
                "[NULL] nothing says the type of column 'b': it is always NULL | such as CAST(NULL AS TEXT)"
            ],
        ),
        (
            "a INT, b AS a * 2, PRIMARY KEY (b) NOT ENFORCED",
            expect![[r#"
            [b] the key 'b' is computed, and records have none | name columns that records hold as the key
            [o] rows of this answer are replaced, and nothing says by which key | give the sink a key: the columns that tell its rows apart"#]],
        ),
        (
            "a INT, b AS a * 2, WATERMARK FOR b AS b",
            expect![
                "[b] the event time must be a timestamp, and 'b' is Int64 | give the column the type timestamp or timestamptz"
            ],
        ),
        (
            "a INT, a AS a * 2",
            expect![[r#"
            [a] column 'a' is declared twice | -
            [o] two columns are called 'a' | give one of them another name with AS"#]],
        ),
        // One mistake is told once: what follows from it is not.
        (
            "a INTT, b AS a * 2, c AS b + 1, d AS x + c",
            expect!["[INTT] there is no type 'intt' | did you mean 'int'?"],
        ),
        (
            "a INT, b AS x + 1, WATERMARK FOR b AS b",
            expect!["[x] there is no column 'x' here | there is 'a'"],
        ),
        (
            "b AS a * 2",
            expect![[r#"
            [a] there is no column 'a' here | -
            [a] there is no column 'a' here | there is 'b'"#]],
        ),
    ] {
        check_mistakes(columns, expected);
    }
}

#[test]
fn mistakes_of_a_computed_column_in_toml_stand_at_their_places() {
    let toml = r#"
[sources.t.columns]
a = "bigint"
b = { as = "a * x" }
c = { as = "a", type = "int" }
d = { as = "a", from = "key" }
e = { as = "a +" }
[[queries]]
name = "o"
from = "t"
steps = [{ map = { a = "a" } }]
"#;
    let mistakes = loaded("t.toml", toml).unwrap_err();
    let said = mistakes.0.iter().map(|mistake| {
        let span = mistake.span.as_ref().expect("a place");
        format!(
            "{} [{}] {}",
            span.line_column().0,
            &span.file.text[span.start..span.end],
            mistake.message
        )
    });
    expect![[r#"
        4 [x] there is no column 'x' here
        5 ["int"] column 'c' is computed: it has no 'type'
        6 ["key"] column 'd' is computed: it has no 'from'
        7 ["] expected an expression, but the text ends here"#]]
    .assert_eq(&said.collect::<Vec<_>>().join("\n"));
}

#[test]
fn queries_do_not_write_computed_columns() {
    let sql = "CREATE TABLE t (a BIGINT);
       CREATE TABLE o (a BIGINT, b AS a * 2);
       CREATE TABLE p;
       INSERT INTO o SELECT a FROM t;
       INSERT INTO p SELECT b FROM o;";
    let pipeline = loaded("computed.sql", sql).unwrap();
    let plans = pipeline.queries.iter().map(|query| query.plan.display_indent().to_string());
    expect![[r#"
        TableScan: t projection=[a]

        TableScan: o projection=[b]"#]]
    .assert_eq(&plans.collect::<Vec<_>>().join("\n\n"));
}

#[test]
fn flinks_points_in_time_can_be_the_event_time() {
    let sql = "CREATE TABLE t (ms BIGINT, s INT, text STRING,
         a AS TO_TIMESTAMP_LTZ(ms, 3), b AS TO_TIMESTAMP_LTZ(s, 0), c AS TO_TIMESTAMP_LTZ(text),
         WATERMARK FOR a AS a - INTERVAL '1' SECOND);
       CREATE TABLE o; INSERT INTO o SELECT a, b, c FROM t;";
    let pipeline = loaded("times.sql", sql).unwrap();
    assert_eq!(pipeline.sources[0].event_time, EventTime::Column(3));
    let types = pipeline.queries[0].plan.schema().fields().iter();
    let types: Vec<String> = types.map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, [r#"Timestamp(ms, "+00:00")"#; 3]);
}
