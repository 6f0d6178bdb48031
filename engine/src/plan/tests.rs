//! Golden plans.

use std::path::PathBuf;

use expect_test::{Expect, expect};

use crate::pipeline::{Pipeline, load};

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
