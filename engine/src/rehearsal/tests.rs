//! Pipelines with cases of their own: what people would write, and what they expect.

use expect_test::expect;

use super::{Topology, rehearse};
use crate::pipeline::load_text;

/// Runs the cases of a pipeline file.
#[track_caller]
fn check(text: &str) {
    let loaded = load_text("p.toml".into(), text.to_owned());
    let (pipeline, _) = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert!(!pipeline.cases.is_empty());
    for case in &pipeline.cases {
        let outcome = rehearse(&pipeline, case);
        assert!(outcome.mismatches.is_empty(), "{}: {outcome:#?}", case.name);
    }
}

/// A stream of change events counted rows that were before as rows that were added.
#[test]
fn change_events_without_a_key_take_rows_back() {
    check(
        r#"
        [sources.customers]
        format = "debezium-json"
        columns = { id = "int", name = "text" }

        [[queries]]
        name = "count"
        sql = "SELECT count(*) AS n, max(name) AS last FROM customers"
        sink = { topic = "o" }

        [[tests]]
        name = "one row, changed"
        input.customers = [
            '{"before":null,"after":{"id":1,"name":"a"},"op":"c"}',
            '{"before":{"id":1,"name":"a"},"after":{"id":1,"name":"b"},"op":"u"}',
        ]
        expect.o = [{ n = 1, last = "b" }]

        [[tests]]
        name = "deleted"
        input.customers = [
            '{"before":null,"after":{"id":1,"name":"a"},"op":"c"}',
            '{"before":{"id":1,"name":"a"},"after":null,"op":"d"}',
        ]
        expect.o = [{ n = 0 }]
        "#,
    );
}

/// Late rows corrected a window only where nothing followed it.
#[test]
fn late_rows_correct_what_is_computed_of_their_windows() {
    check(
        r#"
        [sources.ev]
        event_time = "ts"
        watermark = { delay = "0 seconds", late = "update", lateness = "1 hour" }
        columns = { k = "text", ts = "timestamptz" }

        [[queries]]
        name = "totals"
        sql = """
        SELECT k, sum(n) AS total FROM (
            SELECT window_start, window_end, k, count(*) AS n
            FROM TABLE(TUMBLE(TABLE ev, DESCRIPTOR(ts), INTERVAL '10' SECOND))
            GROUP BY window_start, window_end, k)
        GROUP BY k"""
        sink = { topic = "o", key = "k" }

        [[tests]]
        name = "a late row"
        expect.o = [{ k = "a", total = 3 }]
        [[tests.steps]]
        input.ev = [{ k = "a", ts = "2024-01-01T00:00:01Z" }, { k = "a", ts = "2024-01-01T00:00:25Z" }]
        [[tests.steps]]
        input.ev = [{ k = "a", ts = "2024-01-01T00:00:02Z" }]
        expect.o = [{ k = "a", total = 2 }]
        "#,
    );
}

#[test]
fn functions_of_flink_are_known_by_their_names() {
    check(
        r#"
        [sources.ev]
        columns = { id = "int", at = "timestamptz", till = "timestamptz", t = "text", l = "array<row<e int, \"F\" text>>", s = "row<q row<r array<int>>, c int>" }

        [[queries]]
        name = "one"
        sql = """
        SELECT if(id > 1, 'many', 'one') AS words, year(at) AS y, dayofweek(at) AS wd, hour(at) AS h,
            floor(at TO HOUR) AS hour, timestampdiff(MINUTE, at, till) AS minutes,
            unix_timestamp(at) AS u, regexp(t, '^a.*z$') AS az, regexp_extract(t, 'a(b+)', 1) AS bs,
            date_format(at, 'yyyy-MM-dd HH:mm') AS said,
            to_timestamp('2024/02/03 04:05:06', 'yyyy/MM/dd HH:mm:ss') AS read,
            l[2].e, (ev.l)[1]."F", s.q.r[1] AS r, s.c,
            mod(id + 5, 4) AS m, split_index('a,b', ',', 1) AS b, split_index('a,b', ',', 2) AS none,
            locate('b', t) AS place, to_base64(t) AS base, timestampadd(HOUR, -2, at) AS earlier,
            timestampadd(MONTH, id, at) AS later, timestampdiff(YEAR, at, till) AS years,
            cast(at AT TIME ZONE 'Asia/Tokyo' AS TIMESTAMP(3)) AS tokyo
        FROM ev"""
        sink = { topic = "o" }

        [[queries]]
        name = "list"
        sql = "SELECT listagg(t) AS all FROM ev"
        sink = { topic = "list" }

        [[tests]]
        name = "a row"
        input.ev = [{ id = 2, at = "2024-05-06T07:08:09Z", till = "2024-05-06T08:09:08Z", t = "abbz", l = [{ e = 1, F = "x" }, { e = 5 }], s = { q = { r = [7] }, c = 9 } }]
        expect.o = [{ words = "many", y = 2024, wd = 2, h = 7, hour = "2024-05-06T07:00:00Z", minutes = 60, u = 1714979289, az = true, bs = "bb", said = "2024-05-06 07:08", read = "2024-02-03T04:05:06", e = 5, F = "x", r = 7, c = 9, m = 3, b = "b", none = {}, place = 2, base = "YWJieg==", earlier = "2024-05-06T05:08:09Z", later = "2024-07-06T07:08:09Z", years = 0, tokyo = "2024-05-06T16:08:09" }]
        expect.list = [{ all = "abbz" }]
        "#,
    );
}

/// What Flink's documentation says of its functions of JSON, and what aggregates make of rows.
#[test]
fn json_is_asked_for_as_in_flink() {
    check_sql(
        r#"CREATE TABLE ev (j STRING, k STRING, n INT);
        CREATE TABLE o (a STRING, b BOOLEAN, empty STRING, err STRING, num DOUBLE, miss INT,
            text_is INT, q STRING, cond STRING, uncond STRING, qempty STRING, ex BOOLEAN,
            strict BOOLEAN, lax BOOLEAN, scalar STRING, made STRING, whole STRING, less STRING,
            every STRING, some BOOLEAN, only STRING);
        INSERT INTO o SELECT JSON_VALUE(j, '$.a'), JSON_VALUE(j, '$.a' RETURNING BOOLEAN),
            JSON_VALUE(j, 'lax $.b' DEFAULT 'none' ON EMPTY),
            JSON_VALUE(j, 'strict $.b' NULL ON EMPTY DEFAULT k || '!' ON ERROR),
            JSON_VALUE(j, '$.["x.y"][0]' RETURNING DOUBLE),
            JSON_VALUE(j, 'lax $.b' RETURNING INT DEFAULT (1 + n) ON EMPTY DEFAULT -1 ON ERROR),
            JSON_VALUE(j, '$.t' RETURNING INT DEFAULT 7 ON EMPTY DEFAULT 8 ON ERROR),
            JSON_QUERY(j, '$'), JSON_QUERY(j, '$.a' WITH CONDITIONAL ARRAY WRAPPER),
            JSON_QUERY(j, '$["x.y"]' WITH WRAPPER),
            JSON_QUERY(j, 'lax $.b' WITHOUT ARRAY WRAPPER EMPTY OBJECT ON EMPTY EMPTY ARRAY ON ERROR),
            JSON_EXISTS(j, '$.a'), JSON_EXISTS(j, 'strict $.b' TRUE ON ERROR),
            JSON_EXISTS(j, '$.b' UNKNOWN ON ERROR), JSON_QUERY(j, '$.t'),
            JSON_ARRAY(n, CAST(NULL AS INT), 2), JSON_ARRAY(n, CAST(NULL AS INT) NULL ON NULL),
            JSON_OBJECT('a' VALUE CAST(NULL AS INT), 'b' VALUE n ABSENT ON NULL),
            JSON_QUERY(j, 'lax $.c[*].d'), JSON_EXISTS(j, '$.c[*].e'), JSON_VALUE(j, '$.c[*].d')
        FROM ev;
        CREATE TABLE kinds (k STRING, v BOOLEAN, s BOOLEAN, o BOOLEAN, a BOOLEAN, isnt BOOLEAN);
        INSERT INTO kinds SELECT k, j IS JSON AND n = 1, j IS JSON SCALAR, j IS JSON OBJECT,
            j IS JSON ARRAY, j IS NOT JSON VALUE FROM ev;
        CREATE TABLE gathered AS SELECT k, JSON_ARRAYAGG(n) AS l, JSON_ARRAYAGG(n NULL ON NULL) AS ln,
            JSON_OBJECTAGG(KEY k VALUE n) AS fields,
            JSON_OBJECTAGG(KEY CAST(COALESCE(n, 0) AS STRING) VALUE JSON_ARRAY(n, k)) AS by_n,
            JSON_ARRAYAGG(JSON_OBJECT('l' VALUE ARRAY[1, 2], KEY 'k' VALUE k)) AS objects,
            JSON_OBJECT('all' VALUE JSON_ARRAYAGG(n)) AS within,
            JSON_OBJECTAGG(j VALUE n ABSENT ON NULL) FILTER (WHERE n IS NULL) AS none
        FROM ev GROUP BY k;"#,
        r#"
        [[tests]]
        name = "an object"
        input.ev = [{ k = "o", n = 1, j = '{"a": true, "x.y": [0.998], "t": "text", "c": [{"d": 1}, {}, {"d": [2]}]}' }]
        expect.o = [{ a = "true", b = true, empty = "none", err = "o!", num = 0.998, miss = 2, text_is = 8, q = '{"a":true,"x.y":[0.998],"t":"text","c":[{"d":1},{},{"d":[2]}]}', every = "[1,[2]]", some = false, only = {}, cond = "[true]", uncond = "[[0.998]]", qempty = "{}", ex = true, strict = true, lax = {}, scalar = {}, made = "[1,2]", whole = "[1,null]", less = '{"b":1}' }]

        [[tests]]
        name = "no JSON"
        input.ev = [{ k = "n", n = 1, j = "{" }]
        expect.o = [{ err = "n!", miss = 2, text_is = 8, qempty = "{}", strict = true, ex = false }]

        [[tests]]
        name = "kinds"
        input.ev = [
            { k = "s", n = 1, j = '"abc"' }, { k = "o", n = 1, j = "{}" }, { k = "a", n = 1, j = "[1]" },
            { k = "x", n = 1, j = "abc" }, { k = "null", n = 1 }, { k = "2", n = 2, j = "1" },
        ]
        expect.kinds = [
            { k = "s", v = true, s = true, o = false, a = false, isnt = false },
            { k = "o", v = true, s = false, o = true, a = false, isnt = false },
            { k = "a", v = true, s = false, o = false, a = true, isnt = false },
            { k = "x", v = false, s = false, o = false, a = false, isnt = true },
            { k = "null", v = false, s = false, o = false, a = false, isnt = true },
            { k = "2", v = false, s = true, o = false, a = false, isnt = false },
        ]

        [[tests]]
        name = "gathered"
        input.ev = [{ k = "a", n = 1, j = "x" }, { k = "a", j = "y" }, { k = "a", n = 3, j = "x" }]
        expect.gathered = [{ k = "a", l = "[1,3]", ln = "[1,null,3]", fields = '{"a":3}', by_n = '{"1":[1,"a"],"0":["a"],"3":[3,"a"]}', objects = '[{"l":[1,2],"k":"a"},{"l":[1,2],"k":"a"},{"l":[1,2],"k":"a"}]', within = '{"all":[1,3]}', none = "{}" }]
        "#,
    );
}

/// SIMILAR TO searched for a regular expression, an hour without minutes was dropped when a time was
/// read, an empty part of a text was NULL, and a quarter could not be rounded up.
#[test]
fn patterns_and_times_mean_what_they_do_in_flink() {
    check(
        r#"
        [sources.ev]
        columns = { t = "text", at = "timestamp", d = "date" }

        [[queries]]
        name = "one"
        sql = """
        SELECT 'abc' SIMILAR TO 'a' AS part, 'abc' SIMILAR TO '%(b|d)%' AS one, t SIMILAR TO 'a.b' AS dot,
            t SIMILAR TO 'a_b' AS any, t NOT SIMILAR TO '[a-c]{3}' AS kinds,
            'a%' SIMILAR TO 'a!%' ESCAPE '!' AS escaped,
            split_index('a,,b', ',', 1) AS empty, split_index('a', ',', 1) AS none,
            split_index('a', ',', -2) AS before,
            to_timestamp('2020-01-01 10', 'yyyy-MM-dd HH') AS hour, to_timestamp('2020-03', 'yyyy-MM') AS month,
            to_timestamp('2020', 'yyyy') AS year, ceil(at TO QUARTER) AS quarter,
            timestampadd(HOUR, 1, d) AS later, UNIX_TIMESTAMP('1970-01-01 01', 'yyyy-MM-dd HH') AS secs
        FROM ev"""
        sink = { topic = "o" }

        [[queries]]
        name = "all"
        sql = """
        SELECT t, PERCENTILE(id, 0.5) FILTER (WHERE id < 9) AS p, VARIANCE(id) AS v, GROUPING_ID(t) AS g
        FROM (SELECT t, EXTRACT(DAY FROM d) - 20 AS id FROM ev UNION ALL SELECT t, 2 FROM ev) GROUP BY t"""

        [[tests]]
        name = "a row"
        expect.all = [{ t = "axb", p = 5.0, v = 18.0, g = 0 }]
        input.ev = [{ t = "axb", at = "2024-02-03T00:00:00", d = "2020-02-28" }]
        expect.o = [{ part = false, one = true, dot = false, any = true, kinds = true, escaped = true, empty = "", none = {}, before = {}, hour = "2020-01-01T10:00:00", month = "2020-03-01T00:00:00", year = "2020-01-01T00:00:00", quarter = "2024-04-01T00:00:00", later = "2020-02-28T01:00:00", secs = 3600 }]
        "#,
    );
}

#[test]
fn functions_of_texts_that_flink_has() {
    check(
        r#"
        [sources.ev]
        columns = { n = "bigint", t = "text", u = "text" }

        [[queries]]
        name = "one"
        sql = """
        SELECT url_encode(t) AS encoded, url_decode(url_encode(t)) AS decoded,
            parse_url(u, 'HOST') AS host, parse_url(u, 'QUERY', 'q') AS q,
            str_to_map(t)['k'] AS k, str_to_map(t, '[, ]+', ':') AS pairs,
            regexp_extract_all(t, '(\\d)(\\d)') AS tens, regexp_extract_all(t, '\\d+', 0) AS numbers,
            hex(n) AS h, hex(t) AS ht, bin(n) AS b,
            decode(encode(t, 'UTF-8'), 'utf-8') = t AS same, hex(encode('é', 'UTF-8')) AS bytes,
            CAST(t AS VARCHAR(3)) AS cut, TRY_CAST(n AS CHAR(4)) || '|' AS filled
        FROM ev"""
        sink = { topic = "o" }

        [[tests]]
        name = "rows"
        input.ev = [
            { n = 26, t = "k=12, x:34", u = "http://a.org:80/p?q=1#r" },
            { n = -1, t = "", u = "nowhere" },
            { },
        ]
        expect.o = [
            { encoded = "k%3D12%2C+x%3A34", decoded = "k=12, x:34", host = "a.org", q = "1", k = "12", pairs = { "k=12" = {}, x = "34" }, tens = ["1", "3"], numbers = ["12", "34"], h = "1A", ht = "6B3D31322C20783A3334", b = "11010", cut = "k=1", filled = "26  |" },
            { encoded = "", decoded = "", host = {}, q = {}, k = {}, tens = [], numbers = [], h = "FFFFFFFFFFFFFFFF", ht = "", b = "1111111111111111111111111111111111111111111111111111111111111111", cut = "", filled = "-1  |" },
            { encoded = {}, decoded = {}, host = {}, q = {}, k = {}, pairs = {}, tens = {}, numbers = {}, h = {}, ht = {}, b = {}, cut = {}, filled = {} },
        ]
        "#,
    );
}

/// A deletion was of the time that the deleted row has in it, which is when that began to be so:
/// orders of before were told that there was no such currency then.
#[test]
fn change_events_say_when_the_database_committed_them() {
    check(
        r#"
        [sources.orders]
        columns = { id = "int", currency = "text", ts = "timestamp" }
        event_time = "ts"

        [tables.rates]
        format = "debezium-json"
        key = "currency"
        event_time = "at"

        [tables.rates.columns]
        currency = "text"
        rate = "int"
        at = { type = "timestamp", from = "source.timestamp" }
        taken = { type = "timestamptz", from = "ingestion-timestamp" }
        db = { type = "text", from = "source.database" }
        t = { type = "text", from = "source.table" }
        about = { type = "map<text, text>", from = "value.source.properties" }

        [[queries]]
        name = "priced"
        sql = """
        SELECT o.id, r.rate, r.db, r.t, r.taken, r.about['lsn'] AS lsn
        FROM orders AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r ON r.currency = o.currency"""
        sink = { topic = "o" }

        [[tests]]
        name = "a rate that came, changed and went"
        input.rates = [
            '{"before":null,"after":{"currency":"EUR","rate":1},"op":"c","ts_ms":1500,"source":{"ts_ms":1000,"db":"d","table":"rates","lsn":7}}',
            '{"before":{"currency":"EUR","rate":1},"after":{"currency":"EUR","rate":2},"op":"u","ts_ms":2500,"source":{"ts_ms":2000,"db":"d","table":"rates","lsn":null}}',
            '{"before":{"currency":"EUR","rate":2},"after":null,"op":"d","ts_ms":3500,"source":{"ts_ms":3000,"db":"d","table":"rates"}}',
            '{"before":null,"after":{"currency":"USD","rate":5},"op":"c","source":null}',
        ]
        input.orders = [
            { id = 0, currency = "EUR", ts = "1970-01-01T00:00:00.5" },
            { id = 1, currency = "EUR", ts = "1970-01-01T00:00:01.5" },
            { id = 2, currency = "EUR", ts = "1970-01-01T00:00:02.5" },
            { id = 3, currency = "EUR", ts = "1970-01-01T00:00:03.5" },
        ]
        expect.o = [
            { id = 0, rate = {}, db = {}, t = {}, taken = {}, lsn = {} },
            { id = 1, rate = 1, db = "d", t = "rates", taken = "1970-01-01T00:00:01.500Z", lsn = "7" },
            { id = 2, rate = 2, db = "d", t = "rates", taken = "1970-01-01T00:00:02.500Z", lsn = {} },
            { id = 3, rate = {}, db = {}, t = {}, taken = {}, lsn = {} },
        ]
        "#,
    );
}

#[test]
fn what_only_change_events_say_is_asked_of_them_alone() {
    let of = |format: &str, column: &str| {
        told(&format!(
            "CREATE TABLE ev (id BIGINT, {column}) WITH ('format' = '{format}');
             CREATE TABLE o WITH ('format' = 'json');
             INSERT INTO o SELECT id FROM ev;"
        ))
    };
    let column = "at TIMESTAMP(3) METADATA FROM 'value.source.timestamp'";
    expect![[r#"
        Error: column 'at' holds the source.timestamp of a change event, and the source has none | change events are of format 'debezium-json'
    "#]].assert_eq(&of("json", column));
    let column = "at BIGINT METADATA FROM 'value.source.timestamp'";
    expect![[r#"
        Error: column 'at' holds the record's source.timestamp, whose type is timestamp or timestamptz, not bigint | -
        Error: rows of this answer are replaced, and nothing says by which key | give the sink a key: the columns that tell its rows apart
    "#]].assert_eq(&of("debezium-json", column));
}

/// What is told of a file that can be run, and what of one that cannot.
fn told(text: &str) -> String {
    let said = match load_text("p.sql".into(), text.to_owned()) {
        Ok((_, warnings)) => warnings,
        Err(mistakes) => mistakes.0,
    };
    let lines = said.iter().map(|one| {
        format!("{:?}: {} | {}\n", one.severity, one.message, one.help.as_deref().unwrap_or("-"))
    });
    lines.collect()
}

#[test]
fn a_key_that_several_rows_have_is_told_of() {
    let of = |key: &str, select: &str| {
        told(&format!(
            "CREATE TABLE ev (id BIGINT, k STRING, u INT) WITH ('format' = 'json');
             CREATE TABLE o WITH ('format' = 'json', 'key' = '{key}');
             INSERT INTO o {select};"
        ))
    };
    let by_both = "SELECT k, u, count(*) AS n FROM ev GROUP BY k, u";
    expect_test::expect![[r#"
        Warning: several rows of this answer have the same key (k), and only the last one that changed is left of them | rows are told apart by k, u: make these the key
    "#]].assert_eq(&of("k", by_both));
    assert_eq!(of("k,u", by_both), "");
    assert_eq!(of("k,u,n", by_both), "");
    assert_eq!(of("k", "SELECT k, u FROM ev"), "");
}

#[test]
fn what_would_be_ignored_is_refused() {
    let of = |select: &str| {
        told(&format!(
            "CREATE TABLE ev (id BIGINT, k STRING, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts);
             CREATE TABLE ch (id BIGINT, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts) \
             WITH ('format' = 'debezium-json');
             CREATE TABLE kinds (k STRING PRIMARY KEY NOT ENFORCED, since TIMESTAMP_LTZ(3), \
             WATERMARK FOR since AS since);
             CREATE VIEW met AS SELECT ev.k, since FROM ev JOIN kinds ON ev.k = kinds.k;
             CREATE TABLE o; INSERT INTO o {select};"
        ))
    };
    let said = [
        "SELECT k FROM ev TABLESAMPLE SYSTEM (10)",
        "SELECT date_format(ts, 'yyyy-QQ') AS d FROM ev",
        "SELECT id FROM ch",
        "SELECT window_start, count(*) AS n FROM TABLE(TUMBLE(TABLE ch, DESCRIPTOR(ts), \
         INTERVAL '1' MINUTE)) GROUP BY window_start, window_end",
        "SELECT window_start, count(*) AS n FROM TABLE(TUMBLE(TABLE met, DESCRIPTOR(since), \
         INTERVAL '1' MINUTE)) GROUP BY window_start, window_end",
        "SELECT k, count(*) OVER (PARTITION BY k ORDER BY since) AS n FROM met",
    ];
    expect_test::expect![[r#"
        Error: TABLESAMPLE of ev: samples are not taken | filter by something of the rows, such as id % 10 = 0
        Error: 'yyyy-QQ' is no pattern of a time: 'QQ' in it | such as 'yyyy-MM-dd HH:mm:ss' or '%Y-%m-%d %H:%M:%S'
        Error: rows of this answer are replaced, and nothing says by which key | give the sink a key: the columns that tell its rows apart
        Error: a window over rows that are taken back cannot run as a stream: it is not there yet | GROUP BY date_bin(INTERVAL '1 minute', ts) counts them too, as an answer that is updated; events that only insert can be read as JSON: after ROW<…>, op STRING
        Error: the window goes by 'since', a time of the table 'kinds', whose rows stay and change | window by the event time of a stream; GROUP BY date_bin(INTERVAL '1 minute', since) counts rows of a table, as an answer that is updated
        Error: OVER (… ORDER BY …) cannot run as a stream: rows can only be put beside those before them in the order in which they become known, which is that of the event time | write ORDER BY with the event-time column first, ascending; to keep the first rows by anything else, number them with ROW_NUMBER() and filter: WHERE rn <= 10
    "#]].assert_eq(&said.map(of).concat());
}

/// What was kept of windows that are told early was kept for ever.
#[test]
fn what_is_computed_of_windows_is_forgotten_with_them() {
    let forgets = |late: &str, sql: &str| {
        let text = format!(
            "CREATE TABLE ev (k STRING, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts) WITH \
             ('format' = 'json'{late});
             CREATE TABLE customers (k STRING, PRIMARY KEY (k) NOT ENFORCED);
             CREATE VIEW w AS SELECT window_start, window_end, k, count(*) AS n FROM \
             TABLE(TUMBLE(TABLE ev, DESCRIPTOR(ts), INTERVAL '10' SECOND)) \
             GROUP BY window_start, window_end, k;
             CREATE TABLE o; INSERT INTO o {sql};"
        );
        let loaded = load_text("p.sql".into(), text.clone());
        let (pipeline, _) = loaded.unwrap_or_else(|mistakes| panic!("{text}: {mistakes:#?}"));
        let topology = Topology::new(&pipeline.queries[0], &pipeline.sources).unwrap();
        topology.nodes.iter().filter(|node| node.operator.forgets()).count()
    };
    let update = ", 'watermark.late' = 'update', 'watermark.lateness' = '1 hour'";
    let first = "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY window_start, window_end \
                 ORDER BY n DESC) AS rn FROM w) WHERE rn = 1";
    let join = "SELECT a.window_start, a.window_end, a.k, a.n + b.n AS n FROM w AS a JOIN w AS b \
                ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k";
    for (late, emit) in [("", " EMIT CHANGES"), (update, ""), (update, " EMIT CHANGES")] {
        assert_eq!(forgets(late, &format!("{first}{emit}")), 1, "{late} {emit}");
        assert_eq!(forgets(late, &format!("{join}{emit}")), 1, "{late} {emit}");
    }
    // A customer may change long after the window.
    let of_table = "SELECT window_start, window_end, k, n FROM (SELECT w.*, row_number() OVER \
                    (PARTITION BY window_start, window_end ORDER BY n) AS rn FROM customers AS c \
                    JOIN w ON c.k = w.k) WHERE rn = 1 EMIT CHANGES";
    assert_eq!(forgets("", of_table), 0);
}

/// A row that did not come said nothing of why: its record was put aside, or late.
#[test]
fn what_was_left_out_is_told_where_something_is_missing() {
    let text = r#"
        [sources.ev]
        event_time = "ts"
        watermark = { delay = "0 seconds" }
        on_error = { dead_letter = "bad" }
        columns = { n = "int", ts = "timestamptz" }

        [[queries]]
        name = "sums"
        sql = "SELECT window_start, sum(n) AS s FROM TUMBLE(ev, ts, INTERVAL '1' MINUTE) GROUP BY window_start"
        sink = { topic = "o" }

        [[tests]]
        name = "three"
        input.ev = [
            '{"n":1,"ts":"2026-01-01T00:00:10Z"}',
            '{"n":"x","ts":"2026-01-01T00:00:20Z"}',
            '{"n":3,"ts":"2026-01-01T00:05:00Z"}',
            '{"n":4,"ts":"2026-01-01T00:00:30Z"}',
        ]
        expect.o = [{ s = 7 }, { s = 3 }]
        "#;
    let (pipeline, _) = load_text("p.toml".into(), text.to_owned()).unwrap();
    let outcome = rehearse(&pipeline, &pipeline.cases[0]);
    expect![[r#"
        1 row came late, behind the watermark
        a record went to 'bad': topic 'ev', partition 0, offset 1: JSON field 'n' is the text "x", not a whole number of 32 bits; the record begins "{\"n\":\"x\",\"ts\":\"2026-01-01T00:00:20Z\"}""#]]
    .assert_eq(&outcome.mismatches[0].notes.join("\n"));
}

/// AVG of decimals panicked, and with it each restart, where nothing was left of a group.
#[test]
fn an_average_of_decimals_of_which_all_are_taken_back_is_null() {
    check(
        r#"
        [sources.w]
        format = "debezium-json"
        columns = { k = "text", w = "decimal(10, 2)" }

        [[queries]]
        name = "mean"
        sql = "SELECT k, avg(w) AS mean, avg(w) FILTER (WHERE w > 2) AS large, count(*) AS n FROM w GROUP BY k"
        sink = { topic = "o", key = "k" }

        [[tests]]
        name = "one goes"

        [[tests.steps]]
        input.w = [
            '{"before":null,"after":{"k":"a","w":"1.50"},"op":"c"}',
            '{"before":null,"after":{"k":"b","w":"2.50"},"op":"c"}',
            '{"before":null,"after":{"k":"b","w":"3.505"},"op":"c"}',
        ]
        expect.o = [{ k = "a", mean = 1.5, large = {}, n = 1 }, { k = "b", mean = 3.005, large = 3.005, n = 2 }]

        [[tests.steps]]
        input.w = [
            '{"before":{"k":"a","w":"1.50"},"after":{"k":"a","w":null},"op":"u"}',
            '{"before":{"k":"b","w":"2.50"},"after":null,"op":"d"}',
        ]
        expect.o = [{ k = "a", mean = {}, large = {}, n = 1 }, { k = "b", mean = 3.51, large = 3.51, n = 1 }]
        "#,
    );
}

/// Rows of Flink's TopN, and decimals, were not let into the columns that Flink declares for them.
#[test]
fn numbers_fit_the_columns_that_flink_has_for_them() {
    assert_eq!(
        told(
            "CREATE TABLE ev (k STRING, n BIGINT, d DECIMAL(10, 2));
             CREATE TABLE o (k STRING, n BIGINT, price DECIMAL(23, 3), r BIGINT,
               PRIMARY KEY (k, r) NOT ENFORCED);
             INSERT INTO o SELECT k, n, 0.908 * d, r FROM (SELECT k, n, d,
               ROW_NUMBER() OVER (PARTITION BY k ORDER BY n DESC) AS r FROM ev) WHERE r <= 2;"
        ),
        ""
    );
    let hinted = "CREATE TABLE ev (n INT); CREATE TABLE o;
        INSERT INTO o SELECT n FROM ev /*+ OPTIONS('scan.startup.mode' = 'latest-offset') */;";
    assert!(told(hinted).contains("Error: hints are not followed"), "{}", told(hinted));
}

/// Runs the cases that stand beside a pipeline in SQL.
#[track_caller]
fn check_sql(sql: &str, cases: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.sql");
    std::fs::write(&path, sql).unwrap();
    std::fs::write(directory.path().join("p.test.toml"), cases).unwrap();
    let loaded = crate::pipeline::load(&[path]);
    let (pipelines, _) = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert!(!pipelines[0].cases.is_empty());
    for case in &pipelines[0].cases {
        let outcome = rehearse(&pipelines[0], case);
        assert!(outcome.mismatches.is_empty(), "{}: {outcome:#?}", case.name);
    }
}

#[test]
fn tables_made_by_queries_are_read_by_others() {
    check_sql(
        "CREATE TABLE orders (id BIGINT, customer STRING, price DOUBLE, ts TIMESTAMP(3),
             WATERMARK FOR ts AS ts) WITH ('format' = 'json');
         -- Before the one that it reads.
         CREATE VIEW many AS SELECT customer, n FROM per_customer WHERE n > 1;
         CREATE TABLE big (PRIMARY KEY (customer) NOT ENFORCED, twice AS total * 2) AS
             SELECT m.customer, m.n, s.total FROM many m
             JOIN totals s ON s.customer = m.customer;
         CREATE TABLE per_customer (PRIMARY KEY (customer) NOT ENFORCED) WITH ('topic' = 'counts')
             AS SELECT customer, COUNT(*) AS n FROM dear GROUP BY customer EMIT CHANGES;
         CREATE TABLE dear (WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
             WITH ('key' = 'id', 'value.without_key' = 'true')
             AS SELECT id, customer, price, ts FROM orders WHERE price > 10;
         CREATE TABLE totals WITH ('key' = 'customer') AS
             SELECT customer, SUM(price) AS total FROM dear GROUP BY customer;
         CREATE TABLE per_minute AS
             SELECT window_start, COUNT(*) AS n, MIN(id) AS first FROM TABLE(
                 TUMBLE(TABLE dear, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
             GROUP BY window_start, window_end;
         -- Read by nothing but a window.
         CREATE TABLE dearer (WATERMARK FOR ts AS ts) AS
             SELECT id, ts FROM dear WHERE price > 15;
         CREATE TABLE per_hour AS SELECT COUNT(*) AS n FROM TABLE(
                 TUMBLE(DATA => TABLE dearer, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' HOUR))
             GROUP BY window_start, window_end;
         CREATE TABLE seen; INSERT INTO seen SELECT customer, twice FROM big;",
        r#"
        [[tests]]
        name = "chained"
        input.orders = [
            { id = 1, customer = "a", price = 20.0, ts = "2024-01-01T00:00:01Z" },
            { id = 2, customer = "a", price = 5.0, ts = "2024-01-01T00:00:02Z" },
            { id = 3, customer = "b", price = 30.0, ts = "2024-01-01T00:00:03Z" },
            { id = 4, customer = "a", price = 15.0, ts = "2024-01-01T00:01:04Z" },
        ]
        expect.counts = [{ customer = "a", n = 2 }, { customer = "b", n = 1 }]
        expect.per_minute = [
            { window_start = "2024-01-01T00:00:00", n = 2, first = 1 },
            { window_start = "2024-01-01T00:01:00", n = 1, first = 4 },
        ]
        expect.big = [{ customer = "a", n = 2, total = 35.0 }]
        expect.seen = [{ customer = "a", twice = 70.0 }]
        expect.per_hour = [{ n = 2 }]
        "#,
    );
}

/// The columns of a view could not be named, nor could it have a comment. A table that is written
/// without its key in the value was read as if it stood there: its key was NULL. Of rows with one
/// time the one with the smaller columns was the latest. What GROUP BY told had the time of the
/// clock on the wall, so that a join as of event time never found it.
#[test]
fn views_name_their_columns_and_keys_are_read_where_they_are_written() {
    check_sql(
        "CREATE TABLE ev (k STRING, n INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
             WITH ('format' = 'json');
         CREATE TEMPORARY VIEW IF NOT EXISTS vw (a COMMENT 'the key', b, twice) COMMENT 'x' AS
             SELECT k, n, n FROM ev;
         CREATE TABLE named; INSERT INTO named SELECT a, b, twice FROM vw WHERE b > 5;
         CREATE TABLE c (k STRING, n INT, t TIMESTAMP(3) METADATA FROM 'timestamp' VIRTUAL,
             PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json',
             'value.fields-include' = 'EXCEPT_KEY') AS
             SELECT k, MAX(n) AS n FROM ev GROUP BY k;
         CREATE TABLE o; INSERT INTO o SELECT k, n, t FROM c;
         CREATE TABLE given (a INT, b INT, n INT) WITH ('key.fields' = 'a;b',
             'key.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY');
         CREATE TABLE taken; INSERT INTO taken SELECT * FROM given;
         CREATE TABLE latest WITH ('key' = 'k') AS SELECT k, n FROM (
             SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS r FROM ev)
             WHERE r = 1;",
        r#"
        [[tests]]
        name = "all"
        input.ev = [
            { k = "a", n = 2, ts = "2024-01-01T00:00:10Z" },
            { k = "a", n = 9, ts = "2024-01-01T00:00:09Z" },
            { k = "a", n = 5, ts = "2024-01-01T00:00:10Z" },
            { k = "a", n = 4, ts = "2024-01-01T00:00:10Z" },
            { k = "b", n = 3, ts = "2024-01-01T00:00:11Z" },
            { k = "b", n = 7, ts = "2024-01-01T00:00:11Z" },
        ]
        input.given = [{ key = { a = 1, b = 2 }, value = { n = 3, a = 9 } }]
        expect.named = [{ a = "a", b = 9, twice = 9 }, { a = "b", b = 7, twice = 7 }]
        expect.o = [
            { k = "a", n = 9, t = "2024-01-01T00:00:11" },
            { k = "b", n = 7, t = "2024-01-01T00:00:11" },
        ]
        expect.taken = [{ a = 1, b = 2, n = 3 }]
        expect.latest = [{ k = "a", n = 4 }, { k = "b", n = 7 }]
        "#,
    );
}

#[test]
fn a_table_is_like_another_and_joined_as_it_stands() {
    check_sql(
        "CREATE TABLE orders (id BIGINT, city STRING, p AS PROCTIME(), up AS UPPER(city),
             part BIGINT METADATA FROM 'partition')
             WITH ('topic' = 'orders-1', 'format' = 'json', 'watermark.idle_timeout' = '1 s');
         CREATE TABLE others (note STRING) WITH ('topic' = 'orders-2')
             LIKE orders (EXCLUDING METADATA);
         CREATE TABLE cities (city STRING, country STRING, PRIMARY KEY (city) NOT ENFORCED);
         CREATE TABLE both AS
             SELECT o.id, o.up, c.country, o.part, CAST(NULL AS STRING) AS note FROM orders AS o
             LEFT JOIN cities FOR SYSTEM_TIME AS OF o.p AS c ON o.city = c.city
             UNION ALL SELECT o.id, o.up, c.country, CAST(-1 AS BIGINT), o.note FROM others AS o
             JOIN cities FOR SYSTEM_TIME AS OF o.p AS c ON o.city = c.city;",
        r#"
        [[tests]]
        name = "looked up"
        input.cities = [{ city = "x", country = "CH" }]
        input."orders-1" = [{ id = 1, city = "x" }, { id = 2, city = "y" }]
        input.others = [{ id = 3, city = "x", note = "n" }, { id = 4, city = "y" }]
        expect.both = [
            { id = 1, up = "X", country = "CH", part = 0 },
            { id = 2, up = "Y", part = 0 },
            { id = 3, up = "X", country = "CH", part = -1, note = "n" },
        ]
        "#,
    );
}

/// Flink's versioned views were refused: only tables could be joined as of a time.
#[test]
fn a_view_of_the_latest_rows_is_joined_as_of_a_time() {
    let sql = |format: &str| {
        format!(
            "CREATE TABLE history (note STRING, currency STRING, cents BIGINT, ts TIMESTAMP(3),
                 rate AS cents / 100.0, WATERMARK FOR ts AS ts) WITH ('format' = '{format}');
             CREATE TABLE orders (id INT, price DOUBLE, currency STRING, ts TIMESTAMP(3),
                 WATERMARK FOR ts AS ts);
             CREATE VIEW rates AS SELECT currency, rate, ts FROM (
                 SELECT *, ROW_NUMBER() OVER (PARTITION BY currency ORDER BY ts DESC) AS n
                 FROM history) WHERE n = 1;
             CREATE TABLE converted AS SELECT id, price * r.rate AS converted
                 FROM orders AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r
                 ON o.currency = r.currency;
             CREATE TABLE of_rates AS SELECT o.id, rates.rate FROM orders AS o
                 JOIN rates FOR SYSTEM_TIME AS OF o.ts ON o.currency = rates.currency;
             -- By itself it is what it says.
             CREATE TABLE latest WITH ('key' = 'currency') AS SELECT currency, rate FROM rates;"
        )
    };
    let cases = |history: &str| {
        format!(
            r#"
            [[tests]]
            name = "versions"
            input.history = [{history}]
            input.orders = [
                {{ id = 3, price = 2.0, currency = "CHF", ts = "2024-01-01T08:00:00" }},
                {{ id = 1, price = 2.0, currency = "CHF", ts = "2024-01-01T09:30:00" }},
                {{ id = 2, price = 2.0, currency = "CHF", ts = "2024-01-01T10:30:00" }},
                {{ id = 4, price = 2.0, currency = "USD", ts = "2024-01-01T11:00:00" }},
            ]
            expect.converted = [
                {{ id = 1, converted = 2.0 }}, {{ id = 2, converted = 4.0 }}, {{ id = 3, converted = {{}} }},
                {{ id = 4, converted = {{}} }},
            ]
            expect.of_rates = [{{ id = 1, rate = 1.0 }}, {{ id = 2, rate = 2.0 }}]
            expect.latest = [{{ currency = "CHF", rate = 2.0 }}]
            "#
        )
    };
    let rows = r#"{ note = "a", currency = "CHF", cents = 100, ts = "2024-01-01T09:00:00" },
        { note = "b", currency = "CHF", cents = 200, ts = "2024-01-01T10:00:00" }"#;
    check_sql(&sql("json"), &cases(rows));
    let lines = "'a,CHF,100,2024-01-01T09:00:00', 'b,CHF,200,2024-01-01T10:00:00'";
    check_sql(&sql("csv"), &cases(lines));
}
