//! Streams joined with tables and with each other, by the real binary.

mod fixture;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use fixture::{ROOT, Running, stdout, succeed};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const FILES: [&str; 6] = [
    "pipelines/carrier-delays.toml",
    "pipelines/weather-delays.toml",
    "examples/data/weather-2013-01.csv",
    "examples/data/flights-2013-01.csv",
    "examples/data/airlines.csv",
    "examples/data/airports.csv",
];

/// A folder laid out like the repository.
fn place() -> TempDir {
    let dir = tempdir().unwrap();
    fs::create_dir_all(dir.path().join("examples/data")).unwrap();
    fs::create_dir_all(dir.path().join("pipelines")).unwrap();
    for file in FILES {
        fs::copy(Path::new(ROOT).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

/// What batch DataFusion answers over the same files.
fn by_batch(dir: &Path, names: &[&str], sql: &str) -> Vec<Value> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let batches = runtime.block_on(async {
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        for name in names {
            let monthly = matches!(*name, "flights" | "weather");
            let file = if monthly { format!("{name}-2013-01") } else { (*name).to_owned() };
            let text = dir.join(format!("examples/data/{file}.csv"));
            // DataFusion's CSV reader has no token for NULL but the empty field.
            let plain = dir.join(format!("{name}.csv"));
            let text = fs::read_to_string(text).unwrap().replace(",NA", ",");
            fs::write(&plain, text).unwrap();
            let path = plain.to_str().unwrap();
            context.register_csv(*name, path, CsvReadOptions::new()).await.unwrap();
        }
        context.sql(sql).await.unwrap().collect().await.unwrap()
    });
    let mut json = Vec::new();
    for batch in &batches {
        let mut writer = LineDelimitedWriter::new(&mut json);
        writer.write(batch).unwrap();
        writer.finish().unwrap();
    }
    rows(&String::from_utf8(json).unwrap())
}

/// The day of a flight.
const DAY: &str =
    "date_trunc('day', arrow_cast(flights.time_hour, 'Timestamp(Second, Some(\"+00:00\"))'))";

fn carriers_by_batch(dir: &Path) -> Vec<Value> {
    let sql = format!(
        "SELECT {DAY} AS window_start, {DAY} + INTERVAL '1 day' AS window_end,
                airlines.name AS airline, tzone AS zone, count(*) AS flights,
                avg(dep_delay) AS mean_delay
         FROM flights JOIN airlines ON flights.carrier = airlines.carrier
         LEFT JOIN airports ON dest = faa GROUP BY 1, 2, 3, 4"
    );
    by_batch(dir, &["flights", "airlines", "airports"], &sql)
}

/// Rows in one order, with delays as near as sums of floats are in any order.
fn rows(lines: &str) -> Vec<Value> {
    let mut rows: Vec<Value> = lines
        .lines()
        .map(|line| {
            let mut row: Value = serde_json::from_str(line).unwrap();
            let fields = row.as_object_mut().unwrap();
            for (_, mean) in fields.iter_mut().filter(|(name, _)| name.contains("delay")) {
                *mean = mean.as_f64().map_or(Value::Null, |mean| format!("{mean:.9}").into());
            }
            // A batch writer may leave out what is NULL.
            fields.retain(|_, value| !value.is_null());
            row
        })
        .collect();
    rows.sort_by_key(Value::to_string);
    rows
}

const RUN: [&str; 7] = [
    "run",
    "pipelines/carrier-delays.toml",
    "--listen",
    "127.0.0.1:0",
    "--data-dir",
    "data",
    "--json",
];

#[test]
fn the_answer_until_the_end_is_that_of_batch_sql() {
    let dir = place();
    let output = succeed(dir.path(), &[&RUN[..], &["--until-end"]].concat());
    let expected = carriers_by_batch(dir.path());
    assert!(expected.len() > 1_000, "{}", expected.len());
    assert_eq!(rows(&stdout(&output)), expected);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("airlines: 16 rows") && said.contains("airports: 1,458 rows"), "{said}");
}

#[test]
fn a_row_that_replaces_another_counts_for_what_comes_after_and_after_a_restart() {
    let dir = place();
    let flights = dir.path().join("examples/data/flights-2013-01.csv");
    let text = fs::read_to_string(&flights).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&flights, lines[..=3_000].join("\n") + "\n").unwrap();
    let append = |file: &str, text: &str| {
        let path = dir.path().join("examples/data").join(file);
        OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let mut running = Running::start(dir.path(), &RUN);
    running.wait_stdout("United Air Lines Inc.");
    append("airlines.csv", "UA,Renamed Air Lines\n");
    // The table is followed: a row that comes later meets the new name, sooner or later.
    let mut later: Vec<String> = (3..=12)
        .flat_map(|month| (1..=28).map(move |day| format!("2013-{month:02}-{day:02}")))
        .collect();
    later.reverse();
    let flight = |day: &str| {
        format!("2013,3,1,600,600,0,800,800,0,UA,1,N1,JFK,LAX,1,1,6,0,{day}T11:00:00Z\n")
    };
    let mut day = later.pop().unwrap();
    append("flights-2013-01.csv", &flight(&day));
    loop {
        // Its window closes when the next day but one comes.
        let next = later.pop().expect("the new name was never met");
        append("flights-2013-01.csv", &flight(&next));
        let after = later.pop().unwrap();
        append("flights-2013-01.csv", &flight(&after));
        let row = running.wait_stdout(&format!("\"window_start\":\"{day}"));
        if row.contains("Renamed Air Lines") {
            break;
        }
        day = after;
    }
    running.kill();
    // It is read anew at a start, whole: nothing is left of the row that was replaced.
    append("flights-2013-01.csv", &flight("2014-01-01"));
    let output = stdout(&succeed(dir.path(), &[&RUN[..], &["--until-end"]].concat()));
    let after: Vec<&str> = output.lines().filter(|line| line.contains("\"2014-01-01T")).collect();
    assert!(matches!(after[..], [only] if only.contains("Renamed Air Lines")), "{after:?}");
}

#[test]
fn streams_joined_by_time_answer_as_batch_sql_does() {
    let dir = place();
    let run = ["run", "pipelines/weather-delays.toml", "--until-end", "--listen", "127.0.0.1:0"];
    let output = succeed(dir.path(), &[&run[..], &["--data-dir", "data", "--json"]].concat());
    let sql = format!(
        "SELECT {DAY} AS window_start, {DAY} + INTERVAL '1 day' AS window_end,
                flights.origin, count(*) AS flights, count(visib) AS measured,
                avg(dep_delay) AS mean_delay,
                avg(dep_delay) FILTER (WHERE visib < 3) AS delay_in_fog,
                avg(dep_delay) FILTER (WHERE wind_speed > 25) AS delay_in_wind
         FROM flights LEFT JOIN weather
         ON flights.origin = weather.origin AND flights.time_hour = weather.time_hour
         GROUP BY 1, 2, 3"
    );
    let expected = by_batch(dir.path(), &["flights", "weather"], &sql);
    assert!(expected.len() >= 93, "{}", expected.len());
    assert_eq!(rows(&stdout(&output)), expected);
}
