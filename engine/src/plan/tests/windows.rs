//! Windows as people write them: all spellings of one give one plan.

use super::*;

const TRIPS: &str = "
CREATE TABLE trips (
  id BIGINT, city TEXT, km DOUBLE, at TIMESTAMP(3), WATERMARK FOR at AS at
) WITH (topic = 'trips');
CREATE TABLE o;
";

fn planned(sql: &str) -> String {
    match load_text(PathBuf::from("o.sql"), format!("{TRIPS}INSERT INTO o {sql};")) {
        Ok((pipeline, _)) => pipeline.queries[0].plan.display_indent().to_string(),
        Err(mistakes) => {
            let said = mistakes.0.iter().map(|mistake| {
                let span = mistake.span.as_ref().map(|of| &of.file.text[of.start..of.end]);
                format!("[{}] {}", span.unwrap_or_default(), mistake.message)
            });
            said.collect::<Vec<_>>().join("\n")
        }
    }
}

fn from_steps(steps: &str) -> String {
    let text = format!(
        "[sources.trips]\ncolumns = {{ id = \"bigint\", city = \"text\", km = \"double\",
         at = \"timestamp(3)\" }}\nevent_time = \"at\"\n[[queries]]\nname = \"o\"\nfrom = \"trips\"
         steps = [{steps}]\n"
    );
    match load_text(PathBuf::from("o.toml"), text.replace(",\n", ", ")) {
        Ok((pipeline, _)) => pipeline.queries[0].plan.display_indent().to_string(),
        Err(mistakes) => {
            let said = mistakes.0.iter().map(|mistake| mistake.message.clone());
            said.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn all_spellings_of_a_hop_are_one() {
    let plan = planned(
        "SELECT window_start, window_end, city, count(*) AS n
         FROM HOP(trips, at, INTERVAL '10' MINUTE, INTERVAL '1' HOUR)
         GROUP BY window_start, window_end, city",
    );
    expect![[r#"
        Projection: window_start, window_end, trips.city, count(Int64(1)) AS count(*) AS n
          Aggregate: groupBy=[[window_start, window_end, trips.city]], aggr=[[count(Int64(1))]]
            Projection: trips.city, window_start, hop_end(window_start, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_end
              Unnest: lists[window_start|depth=1] structs[]
                Projection: trips.city, hop_starts(trips.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 600000000000 }"), IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_start
                  TableScan: trips projection=[city, at]"#]].assert_eq(&plan);
    for spelling in [
        "SELECT window_start, window_end, city, count(*) AS n
         FROM TABLE(HOP(TABLE trips, DESCRIPTOR(at), INTERVAL '10' MINUTES, INTERVAL '1' HOUR))
         GROUP BY window_start, window_end, city",
        "SELECT window_start, window_end, city, count(*) AS n
         FROM HOP(DATA => TABLE trips, TIMECOL => DESCRIPTOR(at), SIZE => INTERVAL '1' HOUR,
                  SLIDE => INTERVAL '10' MINUTE)
         GROUP BY window_start, window_end, city",
        "SELECT hop_start(at, INTERVAL '10' MINUTE, INTERVAL '1' HOUR),
                hop_end(at, INTERVAL '10' MINUTE, INTERVAL '1' HOUR), city, count(*) AS n
         FROM trips GROUP BY hop(at, INTERVAL '10' MINUTE, INTERVAL '1' HOUR), city",
        "SELECT window_start, window_end, city, count(*) AS n
         FROM trips GROUP BY hop(INTERVAL '10' MINUTE, INTERVAL '1' HOUR), city",
    ] {
        assert_eq!(planned(spelling), plan, "{spelling}");
    }
    let steps = from_steps(
        r#"{ window = { hop = "1 hour", slide = "10 minutes" }, group_by = ["city"],
             aggregate = { n = "count(*)" } }"#,
    );
    assert_eq!(steps, plan);
}

#[test]
fn all_spellings_of_a_cumulation_are_one() {
    let plan = planned(
        "SELECT window_start, window_end, count(*) AS n
         FROM CUMULATE(trips, at, INTERVAL '1' HOUR, INTERVAL '1' DAY)
         GROUP BY window_start, window_end",
    );
    expect![[r#"
        Projection: window_start, window_end, count(Int64(1)) AS count(*) AS n
          Aggregate: groupBy=[[window_start, window_end]], aggr=[[count(Int64(1))]]
            Projection: cumulate_start(window_end, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }")) AS window_start, window_end AS window_end
              Unnest: lists[window_end|depth=1] structs[]
                Projection: cumulate_ends(trips.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"), IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }")) AS window_end
                  TableScan: trips projection=[at]"#]].assert_eq(&plan);
    for spelling in [
        "SELECT window_start, window_end, count(*) AS n FROM TABLE(CUMULATE(
           TABLE trips, DESCRIPTOR(at), INTERVAL '1' HOUR, INTERVAL '1' DAY))
         GROUP BY window_start, window_end",
        "SELECT cumulate_start(at), cumulate_end(at), count(*) AS n FROM trips
         GROUP BY cumulate(at, INTERVAL '1' HOUR, INTERVAL '1' DAY)",
    ] {
        assert_eq!(planned(spelling), plan, "{spelling}");
    }
    let steps = from_steps(
        r#"{ window = { cumulate = "1 day", step = "1 hour" }, aggregate = { n = "count(*)" } }"#,
    );
    assert_eq!(steps, plan);
}

#[test]
fn all_spellings_of_a_session_are_one() {
    let plan = planned(
        "SELECT window_start, window_end, city, count(*) AS n
         FROM SESSION(trips PARTITION BY city, at, INTERVAL '5' MINUTE)
         GROUP BY window_start, window_end, city",
    );
    expect![[r#"
        Projection: window_start, window_end, trips.city, count(Int64(1)) AS count(*) AS n
          Aggregate: groupBy=[[window_start, window_end, trips.city]], aggr=[[count(Int64(1))]]
            Projection: trips.city, session_start(trips.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 300000000000 }"), trips.city) AS window_start, session_end(trips.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 300000000000 }"), trips.city) AS window_end
              TableScan: trips projection=[city, at]"#]].assert_eq(&plan);
    for spelling in [
        "SELECT window_start, window_end, city, count(*) AS n FROM TABLE(SESSION(
           TABLE trips PARTITION BY (city), DESCRIPTOR(at), INTERVAL '5' MINUTE))
         GROUP BY window_start, window_end, city",
        "SELECT session_start(at, INTERVAL '5' MINUTE), session_end(at, INTERVAL '5' MINUTE), city,
                count(*) AS n FROM trips GROUP BY session(at, INTERVAL '5' MINUTE), city",
        "SELECT window_start, window_end, city, count(*) AS n FROM trips
         GROUP BY session(INTERVAL '5' MINUTE), 3",
    ] {
        assert_eq!(planned(spelling), plan, "{spelling}");
    }
    let steps = from_steps(
        r#"{ window = { session = "5 minutes" }, group_by = ["city"],
             aggregate = { n = "count(*)" } }"#,
    );
    assert_eq!(steps, plan);
}

#[test]
fn windows_say_what_is_wrong_with_them() {
    let all = [
        "SELECT count(*) FROM HOP(trips, at, INTERVAL '1' HOUR) GROUP BY window_start",
        "SELECT count(*) FROM HOP(trips, at, INTERVAL '1' SECOND, INTERVAL '1' DAY)
         GROUP BY window_start",
        "SELECT count(*) FROM CUMULATE(trips, at, INTERVAL '7' MINUTE, INTERVAL '1' HOUR)
         GROUP BY window_start",
        "SELECT count(*) FROM TUMBLE(trips PARTITION BY city, at, INTERVAL '1' HOUR)
         GROUP BY window_start",
        "SELECT count(*) FROM SESSION(trips, at, INTERVAL '1' HOUR, INTERVAL '2' HOUR)
         GROUP BY window_start",
        "SELECT count(*) FROM SESSION(trips, at, INTERVAL '1' MONTH) GROUP BY window_start",
        "SELECT city, count(*) FROM SESSION(trips, at, INTERVAL '1' HOUR)
         GROUP BY window_start, city",
        "SELECT * FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)",
        "SELECT city, max(window_end) FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)
         GROUP BY window_start, city",
        "SELECT city, count(*) FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)
         WHERE window_end > at GROUP BY window_start, city",
        "SELECT window_start, max(n) FROM (
           SELECT window_start, city, count(*) AS n
           FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)
           GROUP BY window_start, city) GROUP BY window_start",
        "SELECT count(*) FROM TUMBLE((
           SELECT window_start AS w FROM HOP(trips, at, INTERVAL '1' HOUR, INTERVAL '2' HOUR)
           GROUP BY window_start), w, INTERVAL '2' HOUR) GROUP BY window_start",
    ];
    let said: Vec<String> = all.iter().map(|sql| format!("{sql}\n  {}", planned(sql))).collect();
    expect![[r#"
        SELECT count(*) FROM HOP(trips, at, INTERVAL '1' HOUR) GROUP BY window_start
          [HOP] HOP takes a table, its time and a slide and a size
        SELECT count(*) FROM HOP(trips, at, INTERVAL '1' SECOND, INTERVAL '1' DAY)
                 GROUP BY window_start
          ['1'] each row would lie in 86400 windows, and 1000 is the most
        SELECT count(*) FROM CUMULATE(trips, at, INTERVAL '7' MINUTE, INTERVAL '1' HOUR)
                 GROUP BY window_start
          ['7'] the size of CUMULATE must be a multiple of its step
        SELECT count(*) FROM TUMBLE(trips PARTITION BY city, at, INTERVAL '1' HOUR)
                 GROUP BY window_start
          [city] PARTITION BY means nothing to TUMBLE
        SELECT count(*) FROM SESSION(trips, at, INTERVAL '1' HOUR, INTERVAL '2' HOUR)
                 GROUP BY window_start
          ['2'] SESSION does not take 'INTERVAL '2' HOUR' here
        SELECT count(*) FROM SESSION(trips, at, INTERVAL '1' MONTH) GROUP BY window_start
          ['1'] the gap of a window must have a fixed length, and months differ in theirs; use days
        SELECT city, count(*) FROM SESSION(trips, at, INTERVAL '1' HOUR)
                 GROUP BY window_start, city
          [SESSION] sessions are made for one set of keys, and these are grouped by others
        SELECT * FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)
          [SESSION] where a session begins and ends is known only to the aggregate that makes it
        SELECT city, max(window_end) FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)
                 GROUP BY window_start, city
          [SESSION] where a session begins and ends is known only to the aggregate that makes it
        SELECT city, count(*) FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)
                 WHERE window_end > at GROUP BY window_start, city
          [SESSION] where a session begins and ends is known only to the aggregate that makes it
        SELECT window_start, max(n) FROM (
                   SELECT window_start, city, count(*) AS n
                   FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)
                   GROUP BY window_start, city) GROUP BY window_start
          [SESSION] where a session begins and ends is known only to the aggregate that makes it
        SELECT count(*) FROM TUMBLE((
                   SELECT window_start AS w FROM HOP(trips, at, INTERVAL '1' HOUR, INTERVAL '2' HOUR)
                   GROUP BY window_start), w, INTERVAL '2' HOUR) GROUP BY window_start
          [o] a window of windows must hold whole ones: its size and offset are no multiples of theirs"#]].assert_eq(&said.join("\n"));
    let steps = [
        r#"{ window = { hop = "1 hour" }, aggregate = { n = "count(*)" } }"#,
        r#"{ window = { slide = "1 hour" }, aggregate = { n = "count(*)" } }"#,
        r#"{ window = { tumble = "1 hour", hop = "2 hours" }, aggregate = { n = "count(*)" } }"#,
        r#"{ window = { session = "1 hour", offset = "1 s" }, aggregate = { n = "count(*)" } }"#,
    ];
    let said: Vec<String> = steps.iter().map(|step| from_steps(step)).collect();
    expect![[r#"
        the window needs 'slide'
        a window needs 'tumble', 'hop', 'cumulate' or 'session'
        unknown key 'hop' in 'window' of step 1
        a session has no offset
        SESSION does not take 'INTERVAL '1000000000 nanoseconds'' here"#]]
    .assert_eq(&said.join("\n"));
}

/// How late rows are treated, or what is wrong with that, in TOML and in SQL.
fn late(toml: &str, sql: &str) -> String {
    let toml = format!(
        "[sources.trips]\ncolumns = {{ at = \"timestamp(3)\" }}\nevent_time = \"at\"\n\
         watermark = {{ {toml} }}\n[[queries]]\nname = \"o\"\nfrom = \"trips\"\n\
         steps = [{{ window = {{ tumble = \"1 hour\" }}, aggregate = {{ n = \"count(*)\" }} }}]\n"
    );
    let sql = format!(
        "CREATE TABLE trips (at TIMESTAMP(3), WATERMARK FOR at AS at) WITH ({sql}); CREATE TABLE o;
         INSERT INTO o SELECT window_start, window_end, count(*) AS n
         FROM TUMBLE(trips, at, INTERVAL '1' HOUR) GROUP BY window_start, window_end;"
    );
    let of = |path: &str, text: String| match load_text(PathBuf::from(path), text) {
        Ok((pipeline, _)) => {
            let key = &pipeline.queries[0].sink.key;
            format!("{:?}, key {key:?}", pipeline.sources[0].watermark.late)
        }
        Err(mistakes) => {
            let said = mistakes.0.iter().map(|mistake| {
                let span = mistake.span.as_ref().map(|of| &of.file.text[of.start..of.end]);
                format!("[{}] {}", span.unwrap_or_default(), mistake.message)
            });
            said.collect::<Vec<_>>().join("; ")
        }
    };
    format!("{}\n{}", of("late.toml", toml), of("late.sql", sql))
}

#[test]
fn late_rows_are_treated_as_the_file_says() {
    let said = [
        late("late = \"drop\"", "'watermark.late' = 'drop'"),
        late(
            "late = \"update\", lateness = \"1 hour\"",
            "'watermark.late' = 'update', 'watermark.lateness' = '1 hour'",
        ),
        late("late = { topic = \"late-trips\" }", "'late.topic' = 'late-trips'"),
        late("late = \"update\"", "'watermark.late' = 'update'"),
        late("lateness = \"1 hour\"", "'watermark.late' = 'topic'"),
        late(
            "late = { topic = \"a b\" }, lateness = \"1 hour\"",
            "'late.topic' = 'a', 'watermark.lateness' = '1 hour'",
        ),
        late("late = { topc = \"a\" }", "'watermark.late' = 'keep'"),
    ];
    expect![[r#"
        Drop, key []
        Drop, key []
        Update { lateness: 3600s }, key [0, 1]
        Update { lateness: 3600s }, key [0, 1]
        Topic { topic: "late-trips" }, key []
        Topic { topic: "late-trips" }, key []
        ["update"] rows that are late by how much are still to update their window?
        ['update'] late rows cannot be treated as 'update' here
        ["1 hour"] 'lateness' is for late = "update", and rows are not updated here
        ['topic'] late rows cannot be treated as 'topic' here
        ["a b"] 'a b' cannot be the name of a topic: ' ' is not allowed; ["1 hour"] 'lateness' is for late = "update", and rows are not updated here
        ['a'] late rows are either put aside or update their window
        [{ topc = "a" }] 'late' of 'watermark' of source 'trips' needs 'topic'; [topc] unknown key 'topc' in 'late' of 'watermark' of source 'trips'
        ['keep'] late rows cannot be treated as 'keep' here"#]].assert_eq(&said.join("\n"));
}

#[test]
fn sessions_that_are_told_early_are_replaced_by_their_bounds() {
    let text = format!(
        "{TRIPS}INSERT INTO o SELECT window_start, city, count(*) AS n
         FROM SESSION(trips PARTITION BY city, at, INTERVAL '1' HOUR)
         GROUP BY window_start, city EMIT CHANGES;"
    );
    let (pipeline, _) = load_text(PathBuf::from("o.sql"), text).unwrap();
    expect!["[0, 1]"].assert_eq(&format!("{:?}", pipeline.queries[0].sink.key));
}

#[test]
fn a_rollup_is_an_aggregate_over_copies() {
    let plan = planned(
        "SELECT window_start, window_end, city, grouping(city) AS all_cities, sum(km) AS km
         FROM TUMBLE(trips, at, INTERVAL '1' HOUR)
         GROUP BY window_start, window_end, ROLLUP(city)",
    );
    expect![[r#"
        Projection: __grouped_0 AS window_start, __grouped_1 AS window_end, __grouped_2 AS city, CAST(__grouping_id & UInt8(1) AS Int32) AS all_cities, sum(trips.km) AS km
          Aggregate: groupBy=[[__grouped_0, __grouped_1, __grouped_2, __grouping_id]], aggr=[[sum(trips.km)]]
            Projection: trips.km, __grouping_id, window_start AS __grouped_0, window_end AS __grouped_1, CASE WHEN __grouping_id = UInt8(0) THEN trips.city END AS __grouped_2
              Unnest: lists[__grouping_id|depth=1] structs[]
                Projection: trips.city, trips.km, tumble_start(trips.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_start, tumble_end(trips.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_end, List([1, 0]) AS __grouping_id
                  TableScan: trips projection=[city, km, at]"#]].assert_eq(&plan);
}

#[test]
fn functions_over_other_rows_stand_behind_the_filters() {
    let last = "lag(km) OVER (PARTITION BY city ORDER BY at)";
    for (sql, clause) in [
        (format!("SELECT id FROM trips WHERE km > 1 AND km > {last}"), "WHERE"),
        (
            "SELECT city, sum(km) AS km FROM trips GROUP BY city
             HAVING rank() OVER (ORDER BY sum(km)) < 3"
                .to_owned(),
            "HAVING",
        ),
        (format!("SELECT count(*) AS n FROM trips GROUP BY {last}"), "GROUP BY"),
    ] {
        let said = planned(&sql);
        assert!(said.contains(&format!("OVER (…) cannot stand in {clause}")), "{said}");
    }
    let within = format!("SELECT id FROM trips WHERE km > 1 QUALIFY km > {last}");
    assert!(planned(&within).contains("WindowAggr"), "{}", planned(&within));
}
