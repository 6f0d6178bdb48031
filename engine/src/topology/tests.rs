use arrow::datatypes::DataType;
use expect_test::{Expect, expect};

use super::*;
use crate::pipeline::Format;
use crate::testing::{events, source, timestamp, topology};

fn sources() -> (Source, Source) {
    (events("a"), source("b", Format::Json, &[("at", timestamp()), ("x", DataType::Utf8)]))
}

async fn check(sql: &str, expected: Expect) {
    let (a, b) = sources();
    let text = match topology(sql, &[&a, &b]).await {
        Ok(topology) => topology.to_string(),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&text);
}

#[tokio::test]
async fn filters_and_projections() {
    check(
        "SELECT upper(key) AS k, n + 1 AS m FROM a WHERE n > 3 AND key IS NOT NULL",
        expect![[r#"
            query q
            input a [key, n]
              filter n@1 > 3 AND key@0 IS NOT NULL
              project k = upper(key@0), m = n@1 + 1
            sink out"#]],
    )
    .await;
}

#[tokio::test]
async fn a_window_aggregate_with_having() {
    check(
        "SELECT tumble_start(ts, INTERVAL '1 hour') AS window_start, key, count(*) AS rows,
                sum(n) FILTER (WHERE n > 0) AS total, count(DISTINCT n) AS numbers
         FROM a WHERE key <> 'x'
         GROUP BY tumble_start(ts, INTERVAL '1 hour'), tumble_end(ts, INTERVAL '1 hour'), key
         HAVING count(*) > 1",
        expect![[r#"
            query q
            input a [ts, key, n]
              filter key@1 != x
            aggregate per window of 3600000 ms, start tumble_start(ts@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 })
              key key = key@1
              count(Int64(1)) = count(1)
              sum(a.n) FILTER (WHERE a.n > Int64(0)) = sum(n@2) where n@2 > 0
              count(DISTINCT a.n) = count(DISTINCT n@2)
              project tumble_start(a.ts,IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"))@0, key@2, count(Int64(1))@3, sum(a.n) FILTER (WHERE a.n > Int64(0))@4, count(DISTINCT a.n)@5
              filter count(Int64(1))@2 > 1
              project window_start = tumble_start(a.ts,IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"))@0, key@1, rows = count(Int64(1))@2, total = sum(a.n) FILTER (WHERE a.n > Int64(0))@3, numbers = count(DISTINCT a.n)@4
            sink out"#]],
    )
    .await;
}

#[tokio::test]
async fn windows_that_overlap_copy_rows() {
    check(
        "SELECT window_start, window_end, key, count(*) AS c
         FROM HOP((SELECT * FROM a), ts, INTERVAL '2 minutes', INTERVAL '5 minutes')
         GROUP BY window_start, window_end, key",
        expect![[r#"
            query q
            input a [ts, key]
              project key@1, window_start = hop_starts(ts@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 120000000000 }, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 300000000000 })
              unnest @1
              project key@0, window_start@1, window_end = hop_end(window_start@1, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 300000000000 })
            aggregate per window of 300000 ms, start window_start@1
              key key = key@0
              count(Int64(1)) = count(1)
              project window_start@0, window_end@1, key@2, c = count(Int64(1))@3
            sink out"#]],
    )
    .await;
    check(
        "SELECT window_start, window_end, count(*) AS c
         FROM CUMULATE((SELECT * FROM a), ts, INTERVAL '1 hour', INTERVAL '1 day')
         GROUP BY window_start, window_end",
        expect![[r#"
            query q
            input a [ts]
              project window_end = cumulate_ends(ts@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }, IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 })
              unnest @0
              project window_start = cumulate_start(window_end@0, IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }), window_end@0
            aggregate per window, end window_end@1
              count(Int64(1)) = count(1)
              project window_start@0, window_end@1, c = count(Int64(1))@2
            sink out"#]],
    )
    .await;
}

#[tokio::test]
async fn a_list_is_taken_apart() {
    check(
        "SELECT key, unnest(range(n)) AS e FROM a WHERE n < 10",
        expect![[r#"
        query q
        input a [key, n]
          filter n@1 < 10
          project key@0, __unnest_placeholder(range(a.n)) = range(n@1)
          unnest @1
          project key@0, e = __unnest_placeholder(range(a.n),depth=1)@1
        sink out"#]],
    )
    .await;
}

#[tokio::test]
async fn a_union_has_an_input_per_branch() {
    check(
        "SELECT tumble_start(t, INTERVAL '10 seconds') AS w, k, count(*) AS c
         FROM (SELECT ts AS t, key AS k FROM a UNION ALL SELECT at, x FROM b WHERE x <> '')
         GROUP BY 1, 2",
        expect![[r#"
            query q
            input a [ts, key]
              project t = ts@0, k = key@1
            input b [at, x]
              filter x@1 != 
              project t = at@0, k = x@1
            aggregate per window of 10000 ms, start tumble_start(t@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 10000000000 })
              key k = k@1
              count(Int64(1)) = count(1)
              project w = tumble_start(t,IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 10000000000 }"))@0, k@1, c = count(Int64(1))@2
            sink out"#]],
    )
    .await;
}

#[tokio::test]
async fn what_never_ends_is_refused() {
    let mut refusals = String::new();
    for sql in [
        "SELECT n FROM a ORDER BY n",
        "SELECT n FROM a LIMIT 3",
        "SELECT DISTINCT ON (key) key, n FROM a",
        "SELECT key, n FROM a QUALIFY row_number() OVER (PARTITION BY key) = 1",
        "SELECT a.n FROM a JOIN b ON a.key = b.x",
        "SELECT row_number() OVER (PARTITION BY key ORDER BY n) FROM a",
    ] {
        let (a, b) = sources();
        let error = topology(sql, &[&a, &b]).await.unwrap_err().to_string();
        refusals.push_str(error.strip_prefix("query 'q': ").unwrap());
        refusals.push('\n');
    }
    expect![[r#"
        ORDER BY cannot run as a stream: a stream has no end at which it could be sorted; leave it out: the rows of a window are written together, sorted by their group
        LIMIT cannot run as a stream: a stream has no end at which its first rows are all there are; leave it out
        DISTINCT ON without an order cannot run as a stream: which row of each key is the first is not said; add ORDER BY with the key, and then what decides, such as the event time
        a rank without an order cannot run as a stream: which rows are the first is not said; add ORDER BY to OVER (…)
        rows of two streams that may meet at any time would have to be kept for ever; say how near in time they are, such as AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1 hour', by the event time of both; or how long they are kept, by the state.ttl of the query; or join windows, by equal window_start and window_end; or declare one of them as a table
        OVER (… ORDER BY …) cannot run as a stream: rows can only be put beside those before them in the order in which they become known, which is that of the event time; write ORDER BY with the event-time column first, ascending; to keep the first rows by anything else, number them with ROW_NUMBER() and filter: WHERE rn <= 10
    "#]].assert_eq(&refusals);
}

/// The first rows of windows by another time were final when the watermark passed that: others that
/// came later were left out.
#[tokio::test]
async fn first_rows_of_windows_go_by_the_event_time() {
    let best = |table: &str, time: &str, seconds: u8| {
        format!(
            "SELECT key, n, ts, later, window_time AS wt FROM (SELECT *, row_number() OVER (
               PARTITION BY window_start, window_end ORDER BY n) AS place
             FROM TUMBLE({table}, {time}, INTERVAL '{seconds} seconds')) WHERE place <= 2"
        )
    };
    let columns = [("ts", timestamp()), ("later", timestamp()), ("key", DataType::Utf8)];
    let columns = [&columns[..], &[("n", DataType::Int64)]].concat();
    let events = source("a", Format::Json, &columns);
    let said = async |sql: &str| match topology(sql, &[&events]).await {
        Ok(_) => "runs".to_owned(),
        Err(error) => error.to_string(),
    };
    let all = "(SELECT * FROM a)";
    assert_eq!(said(&best(all, "ts", 5)).await, "runs");
    let by_later = said(&best(all, "later", 5)).await;
    assert!(by_later.contains("goes by 'later', and the event time of 'a' is 'ts'"), "{by_later}");
    // What comes out of a window comes at its end: by that it may go on, and by nothing before.
    let of = format!("({})", best(all, "ts", 5));
    let then = |time: &str| {
        format!(
            "SELECT key, row_number() OVER (PARTITION BY window_start, window_end ORDER BY n) AS p
             FROM TUMBLE({of}, {time}, INTERVAL '10 seconds') QUALIFY p <= 2"
        )
    };
    assert_eq!(said(&then("wt")).await, "runs");
    let by_row = said(&then("ts")).await;
    assert!(by_row.contains("'ts', which is not the event time of a source"), "{by_row}");
    let over = format!("SELECT lag(n) OVER (PARTITION BY key ORDER BY ts) FROM {of}");
    assert!(said(&over).await.contains("OVER (… ORDER BY …) cannot run as a stream"));
}

#[tokio::test]
async fn the_fingerprint_leaves_out_what_follows_the_state() {
    let events = events("a");
    let base = "SELECT tumble_start(ts, INTERVAL '1 hour') w, key, count(*) c FROM a";
    let of = async |tail: &str| {
        topology(&format!("{base} {tail}"), &[&events]).await.unwrap().nodes[0].fingerprint.clone()
    };
    let plain = of("GROUP BY 1, 2").await;
    assert_eq!(of("GROUP BY 1, 2 HAVING count(*) > 2").await, plain);
    assert_ne!(of("WHERE n > 1 GROUP BY 1, 2").await, plain);
}

#[tokio::test]
async fn a_join_with_a_table_reads_it_whole() {
    let (events, mut names) = (
        events("a"),
        source(
            "names",
            Format::Json,
            &[("id", DataType::Utf8), ("label", DataType::Utf8), ("rank", DataType::Int64)],
        ),
    );
    names.kind = SourceKind::Table { key: vec![0] };
    let sql = "SELECT tumble_start(ts, INTERVAL '1 hour') AS w, label, count(*) AS c
               FROM a LEFT JOIN names ON upper(key) = id AND n > rank AND label <> 'x'
               GROUP BY 1, 2";
    let topology = topology(sql, &[&events, &names]).await.unwrap();
    expect![[r#"
        query q
        input a [ts, key, n]
          outer join table names by upper(key@1) where n@2 > rank@5
          project ts@0, label@4
        table names [id, label, rank] key id, found by id@0
          filter label@1 != x
        aggregate per window of 3600000 ms, start tumble_start(ts@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 })
          key label = label@1
          count(Int64(1)) = count(1)
          project w = tumble_start(a.ts,IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"))@0, label@1, c = count(Int64(1))@2
        sink out"#]].assert_eq(&topology.to_string());
}

#[tokio::test]
async fn the_first_rows_of_each_key() {
    check(
        "SELECT key, n, rn FROM (
           SELECT *, row_number() OVER (PARTITION BY key ORDER BY n DESC) AS rn FROM a
         ) WHERE rn <= 3 AND rn <> 2",
        expect![[r#"
            query q
            input a [key, n]
            top 3 by row_number, numbered
              key key@0
              order n@1 DESC
              keeps key, n
              filter row_number() PARTITION BY [a.key] ORDER BY [a.n DESC NULLS FIRST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW@2 != 2
              project key@0, n@1, rn = row_number() PARTITION BY [a.key] ORDER BY [a.n DESC NULLS FIRST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW@2
            sink out, updating"#]],
    )
    .await;
    check(
        "SELECT key, c FROM (SELECT key, count(*) AS c FROM a GROUP BY key)
         QUALIFY rank() OVER (ORDER BY c DESC) = 1",
        expect![[r#"
            query q
            input a [key]
            aggregate
              key key = key@0
              count(Int64(1)) = count(1)
              project key@0, c = count(Int64(1))@1
            top 1 by rank of all rows
              order c@1 DESC
              keeps key, c
              project key@0, c@1
            sink out, updating"#]],
    )
    .await;
    check(
        "SELECT DISTINCT ON (key) key, n FROM a WHERE n > 1 ORDER BY key, n, ts DESC",
        expect![[r#"
            query q
            input a [ts, key, n]
              filter n@2 > 1
            top 1 by row_number
              key key@1
              order n@2 ASC NULLS LAST, ts@0 DESC
              keeps ts, key, n
              project key@1, n@2
            sink out, updating"#]],
    )
    .await;
}

#[tokio::test]
async fn the_first_rows_of_each_window() {
    check(
        "SELECT ws, key, c FROM (
           SELECT tumble_start(ts, INTERVAL '1 hour') AS ws,
                  tumble_end(ts, INTERVAL '1 hour') AS we, key, count(*) AS c
           FROM a GROUP BY 1, 2, 3
         ) QUALIFY row_number() OVER (PARTITION BY ws, we ORDER BY c DESC, key) < 3",
        expect![[r#"
            query q
            input a [ts, key]
            aggregate per window of 3600000 ms, start tumble_start(ts@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 })
              key key = key@1
              count(Int64(1)) = count(1)
              project ws = tumble_start(a.ts,IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"))@0, we = tumble_end(a.ts,IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"))@1, key@2, c = count(Int64(1))@3
            top 2 by row_number
              key ws@0
              key we@1
              order c@3 DESC, key@2 ASC NULLS LAST
              keeps ws, we, key, c
              per window of 3600000 ms, end we@1
              project ws@0, key@2, c@3, row_number() PARTITION BY [ws, we] ORDER BY [c DESC NULLS FIRST, a.key ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW = NULL
              project ws@0, key@1, c@2
            sink out"#]],
    )
    .await;
}

fn tables() -> [Source; 2] {
    ["l", "r"].map(|name| {
        let columns = [("id", DataType::Int64), ("key", DataType::Utf8), ("n", DataType::Int64)];
        Source { kind: SourceKind::Table { key: vec![0] }, ..source(name, Format::Json, &columns) }
    })
}

#[tokio::test]
async fn joins_of_streams_are_bounded_in_time() {
    check(
        "SELECT a.key, b.x, a.n FROM a FULL JOIN b ON a.key = b.x AND n > 3
         AND a.ts BETWEEN b.at - INTERVAL '5 seconds' AND b.at + INTERVAL '1 minute'",
        expect![[r#"
            query q
            input a [ts, key, n]
            with
            input b [at, x]
            full join by key@1 = x@1 where n@2 > 3 AND ts@0 >= at@3 - IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 5000000000 } AND ts@0 <= at@3 + IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 60000000000 }
              at@0 - ts@0 from -60000 to 5000 ms, rows kept for 5000 and 60000 ms
              project key@1, x@4, n@2
            sink out"#]],
    )
    .await;
    check(
        "SELECT x.key, x.c FROM
         (SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key, count(*) AS c FROM a GROUP BY 1, 2)
         AS x LEFT SEMI JOIN b ON x.w = tumble_start(b.at, INTERVAL '10 seconds')",
        expect![[r#"
            query q
            input a [ts, key]
            aggregate per window of 10000 ms, start tumble_start(ts@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 10000000000 })
              key key = key@1
              count(Int64(1)) = count(1)
              project w = tumble_start(a.ts,IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 10000000000 }"))@0, key@1, c = count(Int64(1))@2
            with
            input b [at]
            semi join by w@0 = tumble_start(at@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 10000000000 })
              tumble_start(at@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 10000000000 }) - w@0 from 0 to 0 ms, rows kept for 9999 and 9999 ms, by time
              project key@1, c@2
            sink out"#]],
    )
    .await;
}

#[tokio::test]
async fn joins_of_tables_keep_both_whole() {
    let [l, r] = tables();
    let sql = "SELECT l.id, r.key FROM l LEFT JOIN r ON l.n = r.id AND l.key < r.key WHERE l.n > 1";
    let topology = topology(sql, &[&l, &r]).await.unwrap();
    expect![[r#"
        query q
        input by key l [id, key, n, id]
        latest row by id
          filter n@2 > 1
        with
        input by key r [id, key, id]
        latest row by id
          filter id@0 > 1
        updating left join by n@2 = id@0 where key@1 < key@4
          project id@0, key@4
        sink out, updating"#]]
    .assert_eq(&topology.to_string());
}

#[tokio::test]
async fn a_table_as_it_was_goes_through_its_filter_afterwards() {
    let (a, [_, r]) = (events("a"), tables());
    let sql = "SELECT a.n, upper(r.key) AS k FROM a JOIN r ON a.n = r.id AND a.key = r.key
               AND system_time_as_of(a.ts, r.id) WHERE r.n > 3";
    let topology = topology(sql, &[&a, &r]).await.unwrap();
    expect![[r#"
        query q
        input a [ts, key, n]
        with
        input by key r [id, key, n, id]
        join by n@2 = id@0 where key@1 = key@4 as of event time
          filter n@2 > 3
          project id@0, key@1
          project n@2, k = upper(key@4)
        sink out"#]]
    .assert_eq(&topology.to_string());
}

#[tokio::test]
async fn rows_beside_rows() {
    check(
        "SELECT ts, lag(n) OVER (PARTITION BY key ORDER BY ts) AS before,
                rank() OVER (PARTITION BY key ORDER BY ts) AS r,
                max(n) FILTER (WHERE n > 0) OVER (PARTITION BY key ORDER BY ts RANGE BETWEEN
                INTERVAL '5' SECOND PRECEDING AND CURRENT ROW) AS most
         FROM a",
        expect![[r#"
            query q
            input a [ts, key, n]
            over
              key key@1
              order ts@0 ASC NULLS LAST
              keeps ts, key, n
              lag(a.n) PARTITION BY [a.key] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW = n@2 -1 rows on
              rank() PARTITION BY [a.key] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW = rank()
              max(a.n) FILTER (WHERE a.n > Int64(0)) PARTITION BY [a.key] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 5 SECOND PRECEDING AND CURRENT ROW = max(n@2) where n@2 > 0 from -5000000000 to 0 ns
              project ts@0, before = lag(a.n) PARTITION BY [a.key] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW@3, r = rank() PARTITION BY [a.key] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW@4, most = max(a.n) FILTER (WHERE a.n > Int64(0)) PARTITION BY [a.key] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 5 SECOND PRECEDING AND CURRENT ROW@5
            sink out"#]],
    )
    .await;
    check(
        "SELECT key, n FROM a QUALIFY row_number() OVER (PARTITION BY key ORDER BY ts) = 1",
        expect![[r#"
            query q
            input a [ts, key, n]
            over
              key key@1
              order ts@0 ASC NULLS LAST
              keeps ts, key, n
              row_number = row_number()
              row_number up to 1
              filter row_number@3 <= 1
              project key@1, n@2, row_number() PARTITION BY [a.key] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW = NULL
              project key@0, n@1
            sink out"#]],
    )
    .await;
}

#[tokio::test]
async fn rows_of_groups_are_combined_before_they_meet() {
    let (a, _) = sources();
    let sql = "SELECT w, max(c) AS most FROM (
                 SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key, count(*) AS c FROM a
                 WHERE n > 0 GROUP BY 1, 2
               ) GROUP BY w";
    let parts = split(topology(sql, &[&a]).await.unwrap(), "p-q", 2);
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    expect![[r#"
        query q
        input a [ts, key, n]
          filter n@2 > 0
          project ts@0, key@1
        exchange p-q-0of2-repartition by key@1, combined before, 2 tasks, writer 0

        query q
        exchange p-q-0of2-repartition by key@1, combined before, 2 tasks
        aggregate per window of 10000 ms, start tumble_start(ts@0, IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 10000000000 })
          key key = key@1
          count(Int64(1)) = count(1)
          project w = tumble_start(a.ts,IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 10000000000 }"))@0, c = count(Int64(1))@2
        exchange p-q-1of2-repartition by w@0, combined before, 2 tasks, writer 0

        query q
        exchange p-q-1of2-repartition by w@0, combined before, 2 tasks
        aggregate per window of 10000 ms, start w@0
          max(c) = max(c@1)
          project w@0, most = max(c)@1
        sink out"#]].assert_eq(&parts.join("\n\n"));
}
