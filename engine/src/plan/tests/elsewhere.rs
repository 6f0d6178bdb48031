//! Files in the words of others: what is read as it is, and what is said of the rest.

use std::path::PathBuf;

use expect_test::{Expect, expect};

use crate::pipeline::{elsewhere, load_text};
use crate::plan::context::is_function;

const DECLARED: &str =
    "CREATE TABLE o (id BIGINT, name STRING, ts TIMESTAMP(3), tags ARRAY<STRING>,
    j STRING, r ROW<a INT>, p AS PROCTIME(), WATERMARK FOR ts AS ts) WITH ('topic' = 'o');
CREATE TABLE c (id BIGINT PRIMARY KEY NOT ENFORCED, city STRING);
";

/// What is said of a file with these statements after those above.
#[track_caller]
fn check(statements: &str, expected: Expect) {
    let text = format!("{DECLARED}{statements}");
    let said = match load_text(PathBuf::from("t.sql"), text) {
        Ok((_, warnings)) => warnings,
        Err(mistakes) => mistakes.0,
    };
    let said = said.iter().map(|mistake| {
        let span = mistake.span.as_ref().expect("a place");
        let at = &span.file.text[span.start..span.end];
        let help = mistake.help.as_deref().unwrap_or("-");
        format!("[{at}] {} | {help}", mistake.message)
    });
    expected.assert_eq(&said.collect::<Vec<_>>().join("\n"));
}

/// Somebody who writes a name of elsewhere is told ours: none of those is here by now.
#[test]
fn no_function_is_here_that_is_said_to_be_elsewhere() {
    for name in elsewhere::function_names() {
        assert!(!is_function(name), "{name} is there");
    }
}

#[test]
fn clauses_of_ksqldb_say_what_is_written_here() {
    check(
        "CREATE TABLE x AS SELECT name, COUNT(*) AS n FROM o
             WINDOW TUMBLING (SIZE 1 HOUR) GROUP BY name EMIT CHANGES;
         CREATE TABLE y AS SELECT o.id FROM o JOIN c WITHIN 1 HOUR ON o.id = c.id;
         CREATE TABLE y2 AS SELECT x.id FROM o AS x JOIN c AS y WITHIN 1 HOUR ON x.id = y.id;
         CREATE TABLE z AS SELECT id FROM o PARTITION BY id EMIT CHANGES;
         CREATE STREAM s AS SELECT id FROM o;
         CREATE TABLE t (id BIGINT KEY, n INT) WITH (kafka_topic = 't', VALUE_FORMAT = 'JSON');",
        expect![[r#"
            [(] expected AS, found '(' | FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY window_start, window_end, …; HOP(…) and SESSION(…) too
            [1] expected the end, found '1' | how near in time rows must be stands in ON: … AND a.ts BETWEEN b.ts - INTERVAL '1' HOUR AND b.ts + INTERVAL '1' HOUR
            [WITHIN] expected the end, found 'WITHIN' | how near in time rows must be stands in ON: … AND a.ts BETWEEN b.ts - INTERVAL '1' HOUR AND b.ts + INTERVAL '1' HOUR
            [BY] expected (, found 'BY' | the key of what is written is of its table: CREATE TABLE o … WITH ('key' = 'id')
            [STREAM] there is no CREATE STREAM | write CREATE TABLE; without a PRIMARY KEY it is a stream, and columns of the record's key are METADATA FROM 'key'
            [KEY] this is how ksqlDB says where a column is | write METADATA FROM 'key', or METADATA FROM 'headers'
            ['t'] 'kafka_topic' is an option of ksqlDB | 'topic' = 'orders'
            ['JSON'] 'VALUE_FORMAT' is an option of ksqlDB | 'format' = 'json', 'csv', 'avro-confluent', 'protobuf-confluent' or 'raw'"#]],
    );
}

#[test]
fn functions_and_columns_of_elsewhere_say_what_is_written_here() {
    check(
        "CREATE TABLE x AS SELECT ROWTIME, COLLECT_LIST(name) AS l, TOPK(id, 3) AS k,
             LATEST_BY_OFFSET(name) AS n, EXPLODE(tags) AS t, UCASE(name) AS u FROM o;
         CREATE TABLE y AS SELECT r->a AS a, CURRENT_WATERMARK(ts) AS w FROM o;",
        expect![[r#"
            [ROWTIME] there is no column 'ROWTIME' here | declare it: rowtime TIMESTAMP(3) METADATA FROM 'timestamp'
            [COLLECT_LIST] there is no function 'collect_list' | here it is ARRAY_AGG(x)
            [TOPK] there is no function 'topk' | here it is ROW_NUMBER() OVER (PARTITION BY key ORDER BY x DESC) AS n … WHERE n <= 3
            [LATEST_BY_OFFSET] there is no function 'latest_by_offset' | here it is LAST_VALUE(x ORDER BY time)
            [EXPLODE] there is no function 'explode' | here it is FROM t CROSS JOIN UNNEST(t.list) AS u (item)
            [a] there is no column 'a' here | there is 'id', 'j', 'name', 'r', 'tags' and 'ts'
            [CURRENT_WATERMARK] there is no function 'current_watermark' | here it is 'watermark.late' of the table: what becomes of late rows"#]],
    );
}

#[test]
fn tables_that_others_are_like_or_that_queries_make() {
    check(
        "CREATE TABLE x (a INT) PARTITIONED BY (a) WITH ('topic' = 'x');
         CREATE TABLE y (WATERMARK FOR ts AS ts) WITH ('topic' = 'y') LIKE o;
         CREATE TABLE z (id BIGINT, note STRING) LIKE o (INCLUDING OPTIONS EXCLUDING WATERMARKS);
         CREATE TABLE u AS SELECT o.id, c.id FROM o JOIN c ON o.id = c.id;
         CREATE TABLE t LIKE u;
         CREATE TABLE v LIKE unknown;
         CREATE TABLE w LIKE o (INCLUDING EVERYTHING);
         CREATE TABLE d1 AS SELECT id FROM d2;
         CREATE TABLE d2 AS SELECT id FROM d1;
         CREATE TABLE e AS SELECT x FROM o;
         CREATE TABLE f AS SELECT p, id FROM o;
         CREATE TABLE g AS SELECT nothing FROM e JOIN f ON e.x = f.x;
         CREATE TABLE h (n INT, PRIMARY KEY (n) NOT ENFORCED) AS SELECT id, name FROM o;",
        expect![[r#"
            [PARTITIONED] a topic is partitioned by the key of its records | leave this out; of a table that a query writes 'key' = 'a, b' in WITH, or its PRIMARY KEY, says what the key is, and 'partitions' = '6' how many there are
            [o] both tables have a watermark | LIKE o (EXCLUDING WATERMARKS) leaves that out
            [id] column 'id' is declared twice | -
            [u] two columns that are written are called 'id' | give each a name of its own: … AS other_id
            [u] the columns of 'u' are those of its query | declare the columns here; or make this one by a query as well: AS SELECT …
            [unknown] no table 'unknown' is declared before this one | there is 'c', 'o', 'u', 'y' and 'z'
            [EVERYTHING] expected ALL, CONSTRAINTS, GENERATED, METADATA, OPTIONS, WATERMARKS, found 'EVERYTHING' | -
            [d1] the columns of 'd1' depend on what is read from it | declare its columns and their types
            [x] there is no column 'x' here | there is 'id', 'j', 'name', 'r', 'tags' and 'ts'
            [p] 'p' is the time of processing | it is for FOR SYSTEM_TIME AS OF alone: an answer must not depend on when it is computed; use the event time of the rows
            [h] the query gives 2 columns, and 'h' declares 1 | -"#]],
    );
}
