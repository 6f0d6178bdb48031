//! Golden plans.

use std::path::PathBuf;

use expect_test::{Expect, expect};

use crate::pipeline::{Emit, EventTime, Pipeline, load, load_text};

mod computed;
mod elsewhere;
mod state_ttl;
mod unnest;
mod user_functions;
mod windows;

fn repository_file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn load_one(path: &str) -> Pipeline {
    let (mut pipelines, warnings) = load(&[repository_file(path)]).expect("no mistakes");
    assert_eq!(warnings, []);
    pipelines.remove(0)
}

#[test]
fn flight_delays_lowers_to_one_aggregate_over_a_narrow_scan() {
    let pipeline = load_one("pipelines/flight-delays.toml");
    let expected: Expect = expect![[r#"
        Projection: window_start, window_end, flights.origin, count(Int64(1)) AS count(*) AS flights, count(Int64(1)) FILTER (WHERE flights.dep_time IS NULL) AS count(*) FILTER (WHERE flights.dep_time IS NULL) AS cancelled, avg(flights.dep_delay) AS mean_delay, max(flights.dep_delay) AS max_delay, percentile_cont(Float64(0.9)) WITHIN GROUP [flights.dep_delay ASC NULLS LAST] AS p90_delay
          Aggregate: groupBy=[[window_start, window_end, flights.origin]], aggr=[[count(Int64(1)), count(Int64(1)) FILTER (WHERE flights.dep_time IS NULL), avg(flights.dep_delay), max(flights.dep_delay), percentile_cont(flights.dep_delay, Float64(0.9)) ORDER BY [flights.dep_delay ASC NULLS LAST]]]
            Projection: flights.dep_time, flights.dep_delay, flights.origin, tumble_start(flights.time_hour, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_start, tumble_end(flights.time_hour, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_end
              TableScan: flights projection=[dep_time, dep_delay, origin, time_hour]"#]];
    expected.assert_eq(&pipeline.queries[0].plan.display_indent().to_string());
}

#[test]
fn both_forms_of_flight_delays_are_the_same() {
    let toml = load_one("pipelines/flight-delays.toml");
    let sql = load_one("pipelines/flight-delays.sql");
    let plans = |pipeline: &Pipeline| {
        let queries = pipeline.queries.iter();
        queries.map(|query| query.plan.display_indent_schema().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(plans(&toml), plans(&sql));
    assert_eq!(toml.queries[0].sink, sql.queries[0].sink);
    assert_eq!(toml.queries[0].emit, sql.queries[0].emit);
    assert_eq!(toml.queries[0].name, sql.queries[0].name);
    assert_eq!(toml.name, sql.name);
    let properties = |pipeline: &Pipeline| {
        let connectors = pipeline.connectors.iter();
        let mut all: Vec<_> = connectors.map(|c| (c.name.clone(), c.properties.clone())).collect();
        all.sort();
        all
    };
    assert_eq!(properties(&toml), properties(&sql));
    let (of_toml, of_sql) = (&toml.sources[0], &sql.sources[0]);
    assert_eq!(of_toml.schema, of_sql.schema);
    assert_eq!(of_toml.format, of_sql.format);
    assert_eq!(of_toml.event_time, of_sql.event_time);
    assert_eq!(of_toml.watermark, of_sql.watermark);
}

/// What the queries below read.
const SOURCES: &str = "
CREATE TABLE trips (
  id BIGINT, city TEXT, km DOUBLE, at TIMESTAMP(3), ts TIMESTAMPTZ METADATA FROM 'timestamp',
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
);
CREATE TABLE rides (id INT, \"cityName\" TEXT, km REAL, ts TIMESTAMPTZ METADATA FROM 'timestamp');
";

/// The plan of `query`, or what is wrong with it.
fn plan_of(query: &str) -> String {
    let text = format!("{SOURCES}\nCREATE TABLE o; INSERT INTO o {query};");
    match load_text(PathBuf::from("plans.sql"), text) {
        Ok((pipeline, _)) => {
            let query = &pipeline.queries[0];
            let emit = match query.emit {
                Emit::Final => "",
                Emit::Changes => "\n(changes)",
            };
            format!("{}{emit}", query.plan.display_indent())
        }
        Err(diagnostics) => {
            let messages = diagnostics.0.iter().map(|mistake| {
                let span = mistake.span.as_ref().expect("a place");
                format!("[{}] {}", &span.file.text[span.start..span.end], mistake.message)
            });
            messages.collect::<Vec<_>>().join("\n")
        }
    }
}

fn check(query: &str, expected: Expect) {
    expected.assert_eq(&plan_of(query));
}

#[test]
fn rows_pass_one_by_one() {
    check(
        "SELECT id, upper(city) AS city FROM trips WHERE km > 3 AND city IS NOT NULL",
        expect![[r#"
            Projection: trips.id, upper(trips.city) AS city
              Filter: trips.km > Float64(3) AND trips.city IS NOT NULL
                TableScan: trips projection=[id, city, km]"#]],
    );
    check(
        "SELECT * FROM (SELECT id + 1 AS next, km FROM trips) AS t WHERE t.next > 10",
        expect![[r#"
            SubqueryAlias: t
              Projection: trips.id + Int64(1) AS next, trips.km
                Filter: trips.id + Int64(1) > Int64(10)
                  TableScan: trips projection=[id, km]"#]],
    );
    check(
        "SELECT * FROM trips WHERE false",
        expect![[r#"
        Filter: Boolean(false)
          TableScan: trips projection=[id, city, km, at, ts]"#]],
    );
}

#[test]
fn windows_in_every_spelling() {
    let plans = [
        "SELECT window_start, window_end, city, sum(km) AS km
         FROM TUMBLE(trips, at, INTERVAL '1 hour') GROUP BY window_start, window_end, city",
        "SELECT window_start, window_end, city, sum(km) AS km
         FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '1' HOUR))
         GROUP BY window_start, window_end, city",
        "SELECT window_start, window_end, city, sum(km) AS km
         FROM TABLE(TUMBLE(DATA => TABLE trips, TIMECOL => DESCRIPTOR(at), SIZE => INTERVAL '60' MINUTE))
         GROUP BY window_start, window_end, city",
        "SELECT tumble_start(at, INTERVAL '1' HOUR) AS window_start,
                tumble_end(at, INTERVAL '1' HOUR) AS window_end, city, sum(km) AS km
         FROM trips GROUP BY tumble(at, INTERVAL '1' HOUR), city",
        "SELECT window_start, window_end, city, sum(km) AS km
         FROM trips GROUP BY tumble(INTERVAL '1' HOUR), city",
    ]
    .map(plan_of);
    for plan in &plans {
        assert_eq!(*plan, plans[0]);
    }
    expect![[r#"
        Projection: window_start, window_end, trips.city, sum(trips.km) AS km
          Aggregate: groupBy=[[window_start, window_end, trips.city]], aggr=[[sum(trips.km)]]
            Projection: trips.city, trips.km, tumble_start(trips.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_start, tumble_end(trips.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_end
              TableScan: trips projection=[city, km, at]"#]].assert_eq(&plans[0]);
    check(
        "SELECT w.window_end AS until, count(*) FROM TUMBLE(rides, ts, INTERVAL '1' DAY, INTERVAL '6' HOUR) AS w
         WHERE w.km > 1 GROUP BY w.window_start, w.window_end HAVING count(DISTINCT \"cityName\") > 2",
        expect![[r#"
            Projection: w.window_end AS until, count(Int64(1)) AS count(*)
              Filter: count(DISTINCT w.cityName) > Int64(2)
                Projection: w.window_end, count(Int64(1)), count(DISTINCT w.cityName)
                  Aggregate: groupBy=[[w.window_start, w.window_end]], aggr=[[count(Int64(1)), count(DISTINCT w.cityName)]]
                    SubqueryAlias: w
                      Projection: rides.cityName, tumble_start(rides.ts, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }"), IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 21600000000000 }")) AS window_start, tumble_end(rides.ts, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }"), IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 21600000000000 }")) AS window_end
                        Filter: rides.km > Float32(1)
                          TableScan: rides projection=[cityName, km, ts]"#]],
    );
}

#[test]
fn several_sources_and_named_parts() {
    check(
        "WITH all_of_them AS (
           SELECT city, km, ts FROM trips UNION ALL SELECT \"cityName\", km, ts FROM rides
         )
         SELECT city, km FROM all_of_them WHERE km > 1",
        expect![[r#"
            SubqueryAlias: all_of_them
              Union
                Filter: trips.km > Float64(1)
                  TableScan: trips projection=[city, km]
                Projection: rides.cityName AS city, CAST(rides.km AS Float64) AS km
                  Filter: CAST(rides.km AS Float64) > Float64(1)
                    TableScan: rides projection=[cityName, km]"#]],
    );
    check(
        "SELECT window_start, city, avg(km) AS mean FROM TUMBLE(
           (SELECT city, km, ts FROM rides_of_cities WHERE km > 1), ts, INTERVAL '1' HOUR)
         GROUP BY window_start, city;
         CREATE VIEW rides_of_cities AS SELECT \"cityName\" AS city, km, ts FROM rides",
        expect![[r#"
            Projection: window_start, rides_of_cities.city, avg(rides_of_cities.km) AS mean
              Aggregate: groupBy=[[window_start, rides_of_cities.city]], aggr=[[avg(CAST(rides_of_cities.km AS Float64))]]
                Projection: rides_of_cities.city, rides_of_cities.km, tumble_start(rides_of_cities.ts, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_start
                  SubqueryAlias: rides_of_cities
                    Projection: rides.cityName AS city, rides.km, rides.ts
                      Filter: rides.km > Float32(1)
                        TableScan: rides projection=[cityName, km, ts]"#]],
    );
}

#[test]
fn windows_go_by_the_event_time() {
    check(
        "SELECT window_start, count(*) FROM TUMBLE(trips, ts, INTERVAL '1' HOUR) GROUP BY window_start",
        expect!["[TUMBLE] the window goes by 'ts', and the event time of 'trips' is 'at'"],
    );
    check(
        "SELECT window_start, count(*) FROM TUMBLE(
           (SELECT at + INTERVAL '1' HOUR AS later FROM trips), later, INTERVAL '1' HOUR)
         GROUP BY window_start",
        expect![
            "[TUMBLE] the window's time 'at + INTERVAL '1 hour'' is computed; a window takes the event-time column as it is"
        ],
    );
    check(
        "SELECT window_start, count(*) FROM TUMBLE(trips, km, INTERVAL '1' HOUR) GROUP BY window_start",
        expect!["[km] the time of a window must be a timestamp, and this is double"],
    );
    check(
        "SELECT w.window_start, count(*) FROM TUMBLE(
           (SELECT window_start AS inner_start FROM TUMBLE(trips, at, INTERVAL '1' HOUR)
            GROUP BY window_start), inner_start, INTERVAL '90' MINUTE) w
         GROUP BY w.window_start",
        expect![
            "[o] a window of windows must hold whole ones: its size and offset are no multiples of theirs"
        ],
    );
}

#[test]
fn what_is_selected_must_be_grouped() {
    check(
        "SELECT window_start, city, count(*) FROM TUMBLE(trips, at, INTERVAL '1' HOUR) GROUP BY window_start",
        expect![
            "[city] 'trips.city' must appear in GROUP BY clause because it's not an aggregate expression"
        ],
    );
    check(
        "SELECT city AS x, km AS x FROM trips",
        expect!["[x] two columns that are selected are called 'x'"],
    );
    check(
        "SELECT Id, CITY FROM trips",
        expect![[r#"
        [Id] there is no column 'Id' here
        [CITY] there is no column 'CITY' here"#]],
    );
}

#[test]
fn steps_are_the_same_as_their_queries() {
    let text = r#"
[sources.trips]
event_time = "at"
columns = { id = "bigint", city = "text", km = "double", at = "timestamp(3)" }
[[queries]]
name = "o"
from = "trips"
steps = [
  { filter = "km > 3" },
  { add = { m = "km * 1000" } },
  { sql = "SELECT upper(city) AS city, m, at FROM input" },
  { window = { tumble = "1h", offset = "15 min" }, group_by = ["city", "m > 5000 AS far"], aggregate = { n = "count(*)" }, having = "count(*) > 1" },
  { map = { city = "city", n = "n" } },
]
"#;
    let (pipeline, _) = load_text(PathBuf::from("steps.toml"), text.to_owned()).unwrap();
    expect![[r#"
        Projection: city, count(Int64(1)) AS n
          Filter: count(Int64(1)) > Int64(1)
            Projection: city, count(Int64(1))
              Aggregate: groupBy=[[window_start, window_end, city, input.m > Float64(5000) AS input.m > Int64(5000)]], aggr=[[count(Int64(1))]]
                Projection: upper(input.city) AS city, input.m, tumble_start(input.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"), IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 900000000000 }")) AS window_start, tumble_end(input.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"), IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 900000000000 }")) AS window_end
                  SubqueryAlias: input
                    Projection: trips.city, trips.at, trips.km * Float64(1000) AS m
                      Filter: trips.km > Float64(3)
                        TableScan: trips projection=[city, km, at]"#]].assert_eq(&pipeline.queries[0].plan.display_indent().to_string());
}

#[test]
fn a_declared_sink_takes_columns_in_order_and_widens_them() {
    let text = format!(
        "{SOURCES}\nCREATE TABLE o (number BIGINT, \"where\" TEXT); INSERT INTO o SELECT id, \"cityName\" FROM rides;"
    );
    let (pipeline, _) = load_text(PathBuf::from("declared.sql"), text).unwrap();
    expect![[r#"
        Projection: CAST(rides.id AS Int64) AS number, rides.cityName AS where
          TableScan: rides projection=[id, cityName]"#]]
    .assert_eq(&pipeline.queries[0].plan.display_indent().to_string());
}

#[test]
fn a_comparison_that_never_holds_is_worth_a_warning() {
    let text =
        format!("{SOURCES}\nCREATE TABLE o; INSERT INTO o SELECT id FROM rides WHERE km = NULL;");
    let (_, warnings) = load_text(PathBuf::from("warning.sql"), text).unwrap();
    expect![[r#"
        [
            (
                "comparison with NULL using `=` always evaluates to NULL",
                Some(
                    "use `IS NULL` to check for NULL values",
                ),
            ),
        ]
    "#]]
    .assert_debug_eq(
        &warnings.iter().map(|warning| (&warning.message, &warning.help)).collect::<Vec<_>>(),
    );
}

/// The first key that is no number may come after months.
#[test]
fn text_that_is_compared_with_numbers_is_worth_a_warning() {
    let of = |condition: &str| {
        let text = format!(
            "{SOURCES}\nCREATE TABLE o; INSERT INTO o SELECT id FROM rides WHERE {condition};"
        );
        let (_, warnings) = load_text(PathBuf::from("warning.sql"), text).unwrap();
        warnings.into_iter().map(|said| said.message).collect::<Vec<_>>()
    };
    for quiet in
        ["id = 1", "id = '1'", "\"cityName\" = 'Bern'", "CAST(\"cityName\" AS BIGINT) = id"]
    {
        assert_eq!(of(quiet), [""; 0], "{quiet}");
    }
    expect![[r#"
        [
            "'rides.cityName' is text and 'rides.id' is not: the text is read as one, and a row where it is none fails",
        ]
    "#]].assert_debug_eq(&of("\"cityName\" = id"));
    let view = format!(
        "{SOURCES}\nCREATE VIEW v AS SELECT id FROM rides WHERE \"cityName\" = id;
         CREATE TABLE o; INSERT INTO o SELECT id FROM v;"
    );
    let (_, warnings) = load_text(PathBuf::from("warning.sql"), view).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn flinks_names_of_times_and_its_computed_columns() {
    let text = "CREATE TABLE a (k TEXT, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts)
                  WITH (topic = 'a', format = 'json');
                CREATE TABLE o; INSERT INTO o SELECT k, ts FROM a;";
    let (pipeline, _) = load_text(PathBuf::from("times.sql"), text.to_owned()).unwrap();
    expect![[r#"Timestamp(ms, "+00:00")"#]]
        .assert_eq(&pipeline.sources[0].schema.field(1).data_type().to_string());
    let computed = text.replace("ts TIMESTAMP_LTZ(3)", "e BIGINT, ts AS to_timestamp_millis(e)");
    let (pipeline, _) = load_text(PathBuf::from("times.sql"), computed).unwrap();
    assert_eq!(pipeline.sources[0].event_time, EventTime::Column(2));
    expect![[r#"Timestamp(ms)"#]]
        .assert_eq(&pipeline.sources[0].schema.field(2).data_type().to_string());
}

const WITH_TABLE: &str = "
[sources.flights]
columns = { carrier = \"text\", number = \"int\", at = \"timestamptz\" }
event_time = \"at\"
[tables.airlines]
key = \"carrier\"
columns = { carrier = \"text\", name = \"text\" }
";

fn joined(query: &str) -> Result<String, Vec<String>> {
    let text = format!("{WITH_TABLE}{query}");
    match load_text(PathBuf::from("joins.toml"), text) {
        Ok((pipeline, _)) => Ok(pipeline.queries[0].plan.display_indent().to_string()),
        Err(mistakes) => {
            let at = |mistake: &crate::pipeline::Diagnostic| {
                let span = mistake.span.as_ref().unwrap();
                format!("{} [{}]", mistake.message, &span.file.text[span.start..span.end])
            };
            Err(mistakes.0.iter().map(at).collect())
        }
    }
}

#[test]
fn a_join_step_is_the_sql_that_one_would_write() {
    let step = joined(
        r#"
[[queries]]
name = "o"
from = "flights"
steps = [
  { join = "airlines", on = "carrier = airlines.carrier" },
  { filter = "name <> ''" },
]"#,
    );
    expect![[r#"
        Projection: input.carrier, input.number, input.at, airlines.name
          Inner Join: input.carrier = airlines.carrier
            SubqueryAlias: input
              TableScan: flights projection=[carrier, number, at]
            Filter: airlines.name != Utf8("")
              TableScan: airlines projection=[carrier, name]"#]]
    .assert_eq(&step.unwrap());
    let sql = joined(
        r#"
[[queries]]
name = "o"
sql = """SELECT input.carrier, number, at, name FROM flights AS input
         JOIN airlines ON input.carrier = airlines.carrier WHERE name <> ''"""
"#,
    );
    let step = joined(
        r#"
[[queries]]
name = "o"
from = "flights"
steps = [
  { join = "airlines", on = "carrier = airlines.carrier", columns = { name = "airlines.name" } },
  { filter = "name <> ''" },
]"#,
    );
    assert_eq!(step.unwrap().replace("airlines.name AS name", "airlines.name"), sql.unwrap());
}

#[test]
fn comma_joins_find_their_equality() {
    let plan = joined(
        r#"
[[queries]]
name = "o"
sql = "SELECT number, name FROM flights AS f, airlines AS a WHERE f.carrier = a.carrier"
"#,
    );
    expect![[r#"
        Projection: f.number, a.name
          Inner Join: f.carrier = a.carrier
            SubqueryAlias: f
              TableScan: flights projection=[carrier, number]
            SubqueryAlias: a
              TableScan: airlines projection=[carrier, name]"#]]
    .assert_eq(&plan.unwrap());
}

#[test]
fn joins_that_would_keep_rows_for_ever_are_refused() {
    let of = |sql: &str| {
        joined(&format!("[[queries]]\nname = \"o\"\nsql = \"{sql}\"\n")).unwrap_err().join("\n")
    };
    let all = [
        "SELECT name FROM airlines UNION ALL SELECT carrier FROM flights",
        "SELECT f.number FROM flights AS f JOIN flights AS g ON f.number = g.number",
        "SELECT a.name FROM airlines AS a JOIN airlines AS b ON a.name = b.name",
        "SELECT f.number FROM flights AS f JOIN flights AS g ON f.number = g.number AND f.at < g.at",
        "SELECT f.number FROM flights AS f LEFT JOIN (SELECT carrier, count(*) AS c FROM flights \
         GROUP BY carrier) AS g ON f.carrier = g.carrier",
        "SELECT number FROM flights WHERE carrier IN (SELECT carrier FROM flights WHERE number = '1')",
        "SELECT number FROM flights WHERE carrier NOT IN (SELECT carrier FROM airlines WHERE name = number)",
        "SELECT number, (SELECT max(number) FROM flights) AS most FROM flights",
        "SELECT number FROM flights FOR SYSTEM_TIME AS OF at",
        "SELECT f.number FROM flights AS f JOIN airlines FOR SYSTEM_TIME AS OF f.at USING (carrier)",
        "SELECT f.number FROM flights AS f JOIN airlines FOR SYSTEM_TIME AS OF f.at AS a \
         ON f.number = a.name",
        "SELECT f.number FROM flights AS f JOIN airlines FOR SYSTEM_TIME AS OF now() AS a \
         ON f.carrier = a.carrier",
        "SELECT f.number FROM flights AS f RIGHT JOIN airlines FOR SYSTEM_TIME AS OF f.at AS a \
         ON f.carrier = a.carrier",
        "SELECT number FROM flights RIGHT JOIN airlines USING (carrier)",
        "SELECT number FROM flights FULL JOIN airlines USING (carrier)",
        "SELECT number FROM flights JOIN airline ON airline.carrier = number",
        "SELECT number FROM flights AS f JOIN airlines AS a ON a.carier = f.carrier",
        "SELECT carrier FROM flights AS f JOIN airlines AS a ON a.carrier = f.carrier",
    ];
    let said: Vec<String> = all.iter().map(|sql| format!("{sql}\n  {}", of(sql))).collect();
    expect![[r#"
        SELECT name FROM airlines UNION ALL SELECT carrier FROM flights
          rows of this answer are replaced, and nothing says by which key ["o"]
        SELECT f.number FROM flights AS f JOIN flights AS g ON f.number = g.number
          rows of two streams that may meet at any time would have to be kept for ever [flights AS g]
        SELECT a.name FROM airlines AS a JOIN airlines AS b ON a.name = b.name
          rows of this answer are replaced, and nothing says by which key ["o"]
        SELECT f.number FROM flights AS f JOIN flights AS g ON f.number = g.number AND f.at < g.at
          rows of two streams that may meet at any time would have to be kept for ever [flights AS g]
        SELECT f.number FROM flights AS f LEFT JOIN (SELECT carrier, count(*) AS c FROM flights GROUP BY carrier) AS g ON f.carrier = g.carrier
          a stream cannot be joined with an answer that keeps changing: its rows would have to be kept for ever [SELECT carrier, count(*) AS c FROM flights GROUP BY carrier) AS g]
        SELECT number FROM flights WHERE carrier IN (SELECT carrier FROM flights WHERE number = '1')
          rows of two streams that may meet at any time would have to be kept for ever [SELECT carrier FROM flights WHERE number = '1']
        SELECT number FROM flights WHERE carrier NOT IN (SELECT carrier FROM airlines WHERE name = number)
          NOT IN (SELECT …) cannot depend on the row it is asked for where columns may be NULL: one NULL among the others would make it unknown [SELECT carrier FROM airlines WHERE name = number]
        SELECT number, (SELECT max(number) FROM flights) AS most FROM flights
          a stream cannot be joined with an answer that keeps changing: its rows would have to be kept for ever [SELECT max(number) FROM flights]
        SELECT number FROM flights FOR SYSTEM_TIME AS OF at
          FOR SYSTEM_TIME AS OF goes with the join of a stream with a table [at]
        SELECT f.number FROM flights AS f JOIN airlines FOR SYSTEM_TIME AS OF f.at USING (carrier)
          FOR SYSTEM_TIME AS OF goes with the join of a stream with a table [f.at]
        SELECT f.number FROM flights AS f JOIN airlines FOR SYSTEM_TIME AS OF f.at AS a ON f.number = a.name
          a table as it was is found by its whole key [airlines FOR SYSTEM_TIME AS OF f.at AS a]
        SELECT f.number FROM flights AS f JOIN airlines FOR SYSTEM_TIME AS OF now() AS a ON f.carrier = a.carrier
          expected the end, found '(' [(]
        SELECT f.number FROM flights AS f RIGHT JOIN airlines FOR SYSTEM_TIME AS OF f.at AS a ON f.carrier = a.carrier
          a join with a table as it was keeps rows of the stream only [airlines FOR SYSTEM_TIME AS OF f.at AS a]
        SELECT number FROM flights RIGHT JOIN airlines USING (carrier)
          rows of a table that nothing meets can never come out: there is no end at which that is known [airlines]
        SELECT number FROM flights FULL JOIN airlines USING (carrier)
          rows of a table that nothing meets can never come out: there is no end at which that is known [airlines]
        SELECT number FROM flights JOIN airline ON airline.carrier = number
          there is no source or view 'airline' [airline]
        SELECT number FROM flights AS f JOIN airlines AS a ON a.carier = f.carrier
          there is no column 'a.carier' here [a.carier]
        SELECT carrier FROM flights AS f JOIN airlines AS a ON a.carrier = f.carrier
          there are several columns 'carrier' here [carrier]"#]].assert_eq(&said.join("\n"));
}

#[test]
fn a_join_step_tells_its_mistakes() {
    let said = joined(
        r#"
[[queries]]
name = "o"
from = "flights"
steps = [
  { join = "airline", on = "carrier = airlines.carrier" },
  { join = "airlines" },
  { join = "airlines", on = "carrier = airlines.carrier", type = "outer" },
  { join = "airlines", on = "carrier = ", columns = { name = "airlines.name" } },
]"#,
    );
    expect![[r#"
        there is no source or view 'airline' ["airline"]
        step 2 needs 'on' [{ join = "airlines" }]
        'outer' is no type of join ["outer"]
        expected an expression, but the text ends here ["]"#]]
    .assert_eq(&said.unwrap_err().join("\n"));
}

#[test]
fn a_step_sees_a_table_as_it_was_as_sql_does() {
    let step = joined(
        r#"
[[queries]]
name = "o"
from = "flights"
steps = [{ join = "airlines", on = "carrier = airlines.carrier", as_of = "at", type = "left" }]
"#,
    );
    let sql = joined(
        r#"
[[queries]]
name = "o"
sql = """SELECT input.*, airlines.name FROM flights AS input
         LEFT JOIN airlines FOR SYSTEM_TIME AS OF input.at ON (input.carrier = airlines.carrier)"""
"#,
    );
    assert_eq!(step, sql);
    expect![[r#"
        Projection: input.carrier, input.number, input.at, airlines.name
          Left Join: input.carrier = airlines.carrier Filter: system_time_as_of(input.at, airlines.carrier)
            SubqueryAlias: input
              TableScan: flights projection=[carrier, number, at]
            TableScan: airlines projection=[carrier, name]"#]].assert_eq(&sql.unwrap());
}

#[test]
fn subqueries_and_set_operations_are_joins() {
    let of = |sql: &str| joined(&format!("[[queries]]\nname = \"o\"\nsql = \"{sql}\"\n"));
    let all = [
        "SELECT number FROM flights WHERE carrier IN (SELECT carrier FROM airlines WHERE name > 'A')",
        "SELECT f.number FROM flights AS f WHERE NOT EXISTS \
         (SELECT 1 FROM airlines AS a WHERE a.carrier = f.carrier)",
        "SELECT carrier FROM airlines EXCEPT SELECT carrier FROM flights",
        "SELECT f.number FROM flights AS f, flights AS g WHERE f.carrier = g.carrier \
         AND g.at BETWEEN f.at AND f.at + INTERVAL '1 hour'",
    ];
    let said = all.map(|sql| format!("{sql}\n{}", of(sql).unwrap_or_else(|said| said.join("\n"))));
    expect![[r#"
        SELECT number FROM flights WHERE carrier IN (SELECT carrier FROM airlines WHERE name > 'A')
        Projection: flights.number
          LeftSemi Join: flights.carrier = __correlated_sq_1.carrier
            TableScan: flights projection=[carrier, number]
            SubqueryAlias: __correlated_sq_1
              Projection: airlines.carrier
                Filter: airlines.name > Utf8("A")
                  TableScan: airlines projection=[carrier, name]
        SELECT f.number FROM flights AS f WHERE NOT EXISTS (SELECT 1 FROM airlines AS a WHERE a.carrier = f.carrier)
        Projection: f.number
          LeftAnti Join: f.carrier = __correlated_sq_1.carrier
            SubqueryAlias: f
              TableScan: flights projection=[carrier, number]
            SubqueryAlias: __correlated_sq_1
              SubqueryAlias: a
                TableScan: airlines projection=[carrier]
        SELECT carrier FROM airlines EXCEPT SELECT carrier FROM flights
        LeftAnti Join: airlines.carrier = flights.carrier
          Distinct:
            TableScan: airlines projection=[carrier]
          TableScan: flights projection=[carrier]
        SELECT f.number FROM flights AS f, flights AS g WHERE f.carrier = g.carrier AND g.at BETWEEN f.at AND f.at + INTERVAL '1 hour'
        Projection: f.number
          Inner Join: f.carrier = g.carrier Filter: g.at >= f.at AND g.at <= f.at + IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")
            SubqueryAlias: f
              TableScan: flights projection=[carrier, number, at]
            SubqueryAlias: g
              TableScan: flights projection=[carrier, at]"#]].assert_eq(&said.join("\n"));
}

#[test]
fn weather_delays_joins_two_streams_by_their_event_times() {
    let pipeline = load_one("pipelines/weather-delays.toml");
    expect![[r#"
        Projection: window_start, window_end, input.origin, count(Int64(1)) AS count(*) AS flights, count(visibility) AS measured, avg(input.dep_delay) AS mean_delay, avg(input.dep_delay) FILTER (WHERE visibility < Int64(3)) AS delay_in_fog, avg(input.dep_delay) FILTER (WHERE wind > Int64(25)) AS delay_in_wind
          Aggregate: groupBy=[[window_start, window_end, input.origin]], aggr=[[count(Int64(1)), count(visibility), avg(input.dep_delay), avg(input.dep_delay) FILTER (WHERE visibility < Float64(3)) AS avg(input.dep_delay) FILTER (WHERE visibility < Int64(3)), avg(input.dep_delay) FILTER (WHERE wind > Float64(25)) AS avg(input.dep_delay) FILTER (WHERE wind > Int64(25))]]
            Projection: input.dep_delay, input.origin, weather.visib AS visibility, weather.wind_speed AS wind, tumble_start(input.time_hour, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }")) AS window_start, tumble_end(input.time_hour, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }")) AS window_end
              Left Join: input.origin = weather.origin, input.time_hour = weather.time_hour
                SubqueryAlias: input
                  TableScan: flights projection=[dep_delay, origin, time_hour]
                TableScan: weather projection=[origin, wind_speed, visib, time_hour]"#]]
    .assert_eq(&pipeline.queries[0].plan.display_indent().to_string());
}

const WITH_LISTS: &str = "
[sources.trips]
columns = { id = \"text\", city = \"text\", tags = \"text[]\", at = \"timestamptz\" }
event_time = \"at\"
";

fn stepped(query: &str) -> Result<String, String> {
    let text = format!("{WITH_LISTS}[[queries]]\nname = \"o\"\n{query}\n");
    match load_text(PathBuf::from("steps.toml"), text) {
        Ok((pipeline, _)) => Ok(pipeline.queries[0].plan.display_indent().to_string()),
        Err(mistakes) => {
            let at = |mistake: &crate::pipeline::Diagnostic| {
                let span = mistake.span.as_ref().unwrap();
                format!("{} [{}]", mistake.message, &span.file.text[span.start..span.end])
            };
            Err(mistakes.0.iter().map(at).collect::<Vec<_>>().join("\n"))
        }
    }
}

#[test]
fn steps_about_rows_are_the_sql_that_one_would_write() {
    let over = "OVER (PARTITION BY id, city ORDER BY at";
    for (step, sql) in [
        (
            "{ dedup = [\"id\", \"city\"] }",
            format!("SELECT * FROM trips QUALIFY row_number() {over}) = 1"),
        ),
        (
            "{ dedup = [\"id\", \"city\"], keep = \"last\" }",
            format!("SELECT * FROM trips QUALIFY row_number() {over} DESC) = 1"),
        ),
        (
            "{ dedup = [\"id\", \"city\"], within = \"1 hour\" }",
            format!("SELECT * FROM trips QUALIFY first_within(at, INTERVAL '1 hour') {over})"),
        ),
        (
            "{ dedup = [\"id\", \"city\"], keep = \"last\", within = \"1 hour\" }",
            format!("SELECT * FROM trips QUALIFY last_within(at, INTERVAL '1 hour') {over})"),
        ),
        (
            "{ flat_map = { tag = \"tags\" } }",
            "SELECT *, unnest(tags) AS tag FROM trips".to_owned(),
        ),
        ("{ key_by = \"city\" }", "SELECT * FROM trips".to_owned()),
    ] {
        let by_step = stepped(&format!("from = \"trips\"\nsteps = [{step}]")).unwrap();
        let by_sql = stepped(&format!("sql = \"{sql}\"")).unwrap();
        assert_eq!(by_step, by_sql);
    }
}

#[test]
fn steps_about_rows_tell_their_mistakes() {
    let steps = "from = \"trips\"
steps = [
  { key_by = \"id\" },
  { dedup = [] },
  { dedup = \"id\", keep = \"frist\" },
  { dedup = \"idd\" },
  { flat_map = { tag = \"tags +\" } },
]";
    expect![[r#"
        'key_by' is the last step: it says what the rows are written by [{ key_by = "id" }]
        'dedup' names no column by which rows are alike [{ dedup = [] }]
        'frist' says nothing about which row to keep ["frist"]
        there is no column 'idd' here [idd]
        expected an expression, but the text ends here ["]"#]]
    .assert_eq(&stepped(steps).unwrap_err());
}

#[test]
fn what_no_stream_can_rank_is_refused_with_what_it_can() {
    let queries = [
        "SELECT id FROM trips ORDER BY km DESC LIMIT 3",
        "SELECT window_start, city, sum(km) AS total FROM TUMBLE(trips, at, INTERVAL '1' HOUR)
         GROUP BY window_start, window_end, city ORDER BY total DESC LIMIT 3",
        "SELECT id, row_number() OVER (PARTITION BY city ORDER BY km) AS rn FROM trips",
        "SELECT id, sum(km) OVER (PARTITION BY city) AS s FROM trips",
        "SELECT id, lag(km) OVER (ORDER BY at DESC) AS before FROM trips",
        "SELECT id, ntile(4) OVER (ORDER BY at) AS part FROM trips",
        "SELECT id, median(km) OVER (ORDER BY at) AS middle FROM trips",
        "SELECT id, sum(km) OVER (ORDER BY at ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
         AS s FROM trips",
        "SELECT city, lag(c) OVER (ORDER BY city) FROM (
           SELECT city, count(*) AS c FROM trips GROUP BY city)",
        "SELECT DISTINCT ON (city) city, km FROM trips",
        "SELECT id, row_nunber() OVER (PARTITION BY city ORDER BY at) AS rn FROM trips",
    ];
    let said: Vec<String> = queries
        .iter()
        .map(|query| {
            let text = format!("{SOURCES}\nCREATE TABLE o; INSERT INTO o {query};");
            let mistakes = load_text(PathBuf::from("plans.sql"), text).unwrap_err();
            let lines = mistakes.0.iter().map(|mistake| {
                let span = mistake.span.as_ref().expect("a place");
                let at = &span.file.text[span.start..span.end];
                let help = mistake.help.as_deref().unwrap_or("-");
                format!("[{at}] {}\n  {help}", mistake.message)
            });
            lines.collect::<Vec<_>>().join("\n")
        })
        .collect();
    expect![[r#"
        [km] ORDER BY cannot run as a stream: there is no end at which rows could be sorted
          the first rows so far, replaced whenever they change: SELECT id FROM trips QUALIFY ROW_NUMBER() OVER (ORDER BY km DESC) <= 3
        [total] ORDER BY cannot run as a stream: there is no end at which rows could be sorted
          the first rows of each window: SELECT window_start, city, sum(km) AS total FROM TUMBLE(trips, at, INTERVAL '1' HOUR) GROUP BY window_start, window_end, city QUALIFY ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY total DESC) <= 3
        [row_number] OVER (… ORDER BY …) cannot run as a stream: rows can only be put beside those before them in the order in which they become known, which is that of the event time
          write ORDER BY with the event-time column first, ascending; to keep the first rows by anything else, number them with ROW_NUMBER() and filter: WHERE rn <= 10
        [sum(km)] OVER (…) cannot run as a stream: without ORDER BY it looks at the whole partition, which never ends
          write ORDER BY with the event-time column first, ascending; to keep the first rows by anything else, number them with ROW_NUMBER() and filter: WHERE rn <= 10
        [lag(km)] OVER (… ORDER BY …) cannot run as a stream: rows can only be put beside those before them in the order in which they become known, which is that of the event time
          write ORDER BY with the event-time column first, ascending; to keep the first rows by anything else, number them with ROW_NUMBER() and filter: WHERE rn <= 10
        [ntile(4)] NTILE, PERCENT_RANK or CUME_DIST cannot run as a stream: it needs to know how many rows the whole partition has
          use ROW_NUMBER() or RANK()
        [median(km)] this aggregate from the first row on cannot run as a stream: what it remembers grows with every row
          bound its frame: ROWS BETWEEN 100 PRECEDING AND CURRENT ROW, or RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW
        [sum(km)] a frame up to UNBOUNDED FOLLOWING cannot run as a stream: it would wait for all rows that are still to come
          end it at CURRENT ROW, or at a time: RANGE … AND INTERVAL '1' HOUR FOLLOWING
        [lag(c)] OVER (…) cannot run as a stream: rows that come in are taken back, and those beside them would change with them
          group by a window, whose rows are final, or keep the first rows of each key
        [city] DISTINCT ON without an order cannot run as a stream: which row of each key is the first is not said
          add ORDER BY with the key, and then what decides, such as the event time
        [row_nunber] there is no function 'row_nunber'
          did you mean 'row_number'?"#]].assert_eq(&said.join("\n"));
}

#[test]
fn what_becomes_of_each_element_is_told_from_a_value_in_json() {
    let query = |sql: &str| stepped(&format!("sql = \"{sql}\""));
    for sql in [
        "SELECT id, array_transform(tags, tag -> upper(tag)) AS big FROM trips",
        "SELECT id, array_filter(tags, (tag) -> tag LIKE 'a%' AND tag IS NOT NULL) AS a FROM trips",
        "SELECT id, array_transform(array_filter(tags, t -> t <> city), t -> t || city) AS o
         FROM trips",
        "SELECT city -> 'a' AS a, lower(city -> 'b') AS b FROM trips",
    ] {
        query(&sql.replace('\n', " ")).unwrap_or_else(|mistakes| panic!("{sql}: {mistakes}"));
    }
    let wrong = "SELECT id, array_transform(tags, tag -> uper(tag)) AS big FROM trips";
    expect!["there is no function 'uper' [uper]"].assert_eq(&query(wrong).unwrap_err());
}

#[test]
fn mistakes_of_constants_are_found_where_they_stand() {
    let sqls = [
        "SELECT date_trunc('houre', at) AS x FROM trips",
        "SELECT at AT TIME ZONE 'Mars' AS x FROM trips",
        "SELECT regexp_like(city, '(') AS x FROM trips",
        "SELECT to_char(at, '%Q') AS x FROM trips",
        "SELECT from_unixtime(CAST(id AS BIGINT), 'Mars') AS x FROM trips",
        "SELECT at + INTERVAL '1' AS x FROM trips",
        "SELECT 1 / 0 AS x FROM trips",
        "SELECT CASE WHEN city = 'a' THEN date_trunc('houre', at) END AS x FROM trips",
        "SELECT timestampdiff(MONTHS, at, at) AS x FROM trips",
        "SELECT sha2(city, 100) AS x FROM trips",
        // Of what is fine beside a mistake nothing is said.
        "SELECT coalesce(city, 'x') AS x, nvl(city, 'y') AS y, nope AS z FROM trips",
    ];
    let told = sqls.map(|sql| stepped(&format!("sql = \"{sql}\"")).unwrap_err());
    expect![[r#"
        unsupported date_trunc granularity: 'houre'. Supported values are: microsecond, millisecond, second, minute, hour, day, week, month, quarter, year [date_trunc('houre', at)]
        'Mars' is no time zone: write Europe/Berlin, UTC or +02:00 [at AT TIME ZONE 'Mars']
        the pattern is no regular expression: unclosed group [regexp_like(city, '(']
        '%Q' is no pattern of a time: '%Q' in it ['%Q']
        'Mars' is no time zone: write Europe/Berlin, UTC or +02:00 [from_unixtime(CAST(id AS BIGINT), 'Mars')]
        INTERVAL '1' has no unit ['1']
        divide by zero error [1 / 0]
        unsupported date_trunc granularity: 'houre'. Supported values are: microsecond, millisecond, second, minute, hour, day, week, month, quarter, year [date_trunc('houre', at)]
        timestampdiff knows no unit 'months': they are MICROSECOND, MILLISECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER and YEAR [timestampdiff(MONTHS, at, at)]
        'sha2' does not take these arguments [sha2]
        there is no column 'nope' here [nope]"#]].assert_eq(&told.join("\n"));
    for fine in [
        "SELECT CASE WHEN city = 'x' THEN 1 / 0 ELSE 1 END AS x FROM trips",
        "SELECT coalesce(CAST(id AS BIGINT), 1 / 0) AS x FROM trips",
        "SELECT from_unixtime(CAST(id AS BIGINT), 'Europe/Berlin') AS x FROM trips",
        "SELECT from_unixtime(CAST(id AS BIGINT), 'yyyy-MM') AS x FROM trips",
        "SELECT regexp_replace(city, '^a+', 'b', 'g') AS x FROM trips",
    ] {
        stepped(&format!("sql = \"{fine}\"")).unwrap_or_else(|told| panic!("{fine}: {told}"));
    }
}
