//! Pipelines from file to answer, by the real binary: what a new user does, and what can happen
//! to it.

mod fixture;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use fixture::{ROOT, Running, fail, stdout, succeed};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const FLIGHTS: &str = "examples/data/flights-2013-01.csv";

/// A folder laid out like the repository: pipelines/ beside examples/data/.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempdir().unwrap();
        fs::create_dir_all(dir.path().join("examples/data")).unwrap();
        fs::create_dir_all(dir.path().join("examples/udfs/flights")).unwrap();
        fs::create_dir_all(dir.path().join("pipelines")).unwrap();
        for file in [
            "pipelines/flight-delays.toml",
            "pipelines/flight-delays.sql",
            "pipelines/aircraft-days.sql",
            "pipelines/flight-functions.toml",
            "examples/udfs/flights/knots.wasm",
            "examples/udfs/flights/punctuality.wasm",
            "examples/udfs/flights/usual.wasm",
            FLIGHTS,
        ] {
            fs::copy(Path::new(ROOT).join(file), dir.path().join(file)).unwrap();
        }
        Place { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn flights(&self) -> PathBuf {
        self.path().join(FLIGHTS)
    }

    /// Keeps only this many flights, and gives the others.
    fn cut_flights(&self, keep: usize) -> Vec<String> {
        let text = fs::read_to_string(self.flights()).unwrap();
        let lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
        fs::write(self.flights(), lines[..=keep].concat()).unwrap();
        lines[keep + 1..].to_vec()
    }

    fn append(&self, lines: &[String]) {
        let mut file = OpenOptions::new().append(true).open(self.flights()).unwrap();
        file.write_all(lines.concat().as_bytes()).unwrap();
    }
}

/// What the pipeline must answer, by batch DataFusion over the file.
fn by_batch(flights: &Path) -> BTreeMap<(String, String), Value> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let text = fs::read_to_string(flights).unwrap();
    // DataFusion's CSV reader has no token for NULL but the empty field.
    let plain = flights.with_extension("plain.csv");
    fs::write(&plain, text.replace(",NA", ",")).unwrap();
    let batches = runtime.block_on(async {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        let path = plain.to_str().unwrap();
        context.register_csv("flights", path, CsvReadOptions::new()).await.unwrap();
        let answer = context.sql(
            "SELECT date_bin(INTERVAL '1 hour', arrow_cast(time_hour, 'Timestamp(Nanosecond, Some(\"+00:00\"))')) AS window_start,
                    date_bin(INTERVAL '1 hour', arrow_cast(time_hour, 'Timestamp(Nanosecond, Some(\"+00:00\"))')) + INTERVAL '1 hour' AS window_end,
                    origin, count(*) AS flights,
                    count(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
                    avg(dep_delay) AS mean_delay, max(dep_delay) AS max_delay,
                    percentile_cont(0.9) WITHIN GROUP (ORDER BY dep_delay) AS p90_delay
             FROM flights GROUP BY 1, 2, origin",
        );
        answer.await.unwrap().collect().await.unwrap()
    });
    let mut json = Vec::new();
    for batch in &batches {
        let mut writer = datafusion::arrow::json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, datafusion::arrow::json::writer::LineDelimited>(&mut json);
        writer.write(batch).unwrap();
        writer.finish().unwrap();
    }
    rows(&String::from_utf8(json).unwrap())
}

/// Rows by window and airport. None may come twice.
fn rows(lines: &str) -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    for line in lines.lines() {
        let mut row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        // 3 and 3.0 are one number.
        for column in ["mean_delay", "max_delay", "p90_delay"] {
            row[column] = row[column].as_f64().map_or(Value::Null, Value::from);
        }
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let key = (text("window_start"), text("origin"));
        assert!(found.insert(key.clone(), row).is_none(), "{key:?} came twice");
    }
    found
}

const UNTIL_END: [&str; 6] =
    ["--until-end", "--listen", "127.0.0.1:0", "--data-dir", "data", "--json"];

#[test]
fn the_answer_until_the_end_is_that_of_batch_sql() {
    for form in ["pipelines/flight-delays.toml", "pipelines/flight-delays.sql"] {
        let place = Place::new();
        let output = succeed(place.path(), &[&["run", form], &UNTIL_END[..]].concat());
        let expected = by_batch(&place.flights());
        assert!(expected.len() > 1_000, "{}", expected.len());
        assert_eq!(rows(&stdout(&output)), expected, "{form}: stdout");
        let file = fs::read_to_string(place.path().join("delays-by-hour.jsonl")).unwrap();
        assert_eq!(rows(&file), expected, "{form}: the sink's file");
        let topic = ["consume", "delays-by-hour", "--until-end", "--data-dir", "data"];
        assert_eq!(rows(&stdout(&succeed(place.path(), &topic))), expected, "{form}: the topic");
        // The flights are years old, and so are the timestamps of what is said about them.
        let describe = ["configs", "describe", "--topic", "delays-by-hour", "--data-dir", "data"];
        let configs = stdout(&succeed(place.path(), &describe));
        let retention = configs.lines().find(|line| line.starts_with("retention.ms"));
        assert!(retention.is_some_and(|line| line.contains(" -1")), "{configs}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("read 27,004 rows"), "{said}");
        assert!(!said.contains("late"), "{said}");
    }
}

#[test]
fn a_second_run_has_nothing_to_do_and_says_so() {
    let place = Place::new();
    let run = [&["run", "pipelines/flight-delays.toml"], &UNTIL_END[..]].concat();
    succeed(place.path(), &run);
    let again = succeed(place.path(), &run);
    assert_eq!(stdout(&again), "");
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("goes on with flights-0 at offset 27,00"), "{said}");
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_doubles_nothing() {
    let place = Place::new();
    let expected = by_batch(&place.flights());
    let rest = place.cut_flights(3_000);
    let run = [
        "run",
        "pipelines/flight-delays.toml",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "data",
        "--json",
    ];
    for lines in rest.chunks(4_000) {
        let mut running = Running::start(place.path(), &run);
        running.wait_stderr("look");
        place.append(lines);
        // Some of it has come out, some is on its way: the worst moment.
        running.wait_stdout("window_start");
        running.kill();
    }
    succeed(place.path(), &[&["run", "pipelines/flight-delays.toml"], &UNTIL_END[..]].concat());
    let topic = ["consume", "delays-by-hour", "--until-end", "--data-dir", "data"];
    assert_eq!(rows(&stdout(&succeed(place.path(), &topic))), expected, "the topic");
    let file = fs::read_to_string(place.path().join("delays-by-hour.jsonl")).unwrap();
    assert_eq!(rows(&file), expected, "the sink's file");
}

#[test]
fn a_file_that_grows_is_followed_and_ctrl_c_stops_in_order() {
    let place = Place::new();
    let rest = place.cut_flights(1_000);
    let run = [
        "run",
        "pipelines/flight-delays.toml",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "data",
        "--json",
    ];
    let mut running = Running::start(place.path(), &run);
    running.wait_stderr("look");
    place.append(&rest[..2_000]);
    // Of the third day, which the first thousand flights do not reach.
    running.wait_stdout("2013-01-03T");
    let (status, _, said) = running.interrupt();
    assert_eq!(status, Some(0), "{said:#?}");
    assert!(said.iter().any(|line| line.contains("stopped in order")), "{said:#?}");
}

#[test]
fn a_run_joins_the_broker_that_serves_its_directory() {
    let place = Place::new();
    let (broker, address) = Running::broker(place.path());
    let output = succeed(
        place.path(),
        &["run", "pipelines/flight-delays.toml", "--until-end", "--data-dir", "data", "--json"],
    );
    assert_eq!(rows(&stdout(&output)), by_batch(&place.flights()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&address), "{said}");
    assert_eq!(broker.interrupt().0, Some(0));
}

#[test]
fn all_mistakes_come_at_once_and_nothing_is_started() {
    let dir = tempdir().unwrap();
    fs::write(
        dir.path().join("bad.toml"),
        r#"
[sources.flights]
formta = "csv"
event_time = "tiem"
[sources.flights.columns]
time = "timestampz"
origin = "text"

[connectors.in]
connector.class = "FileStreamSorce"
file = "flights.csv"
topic = "flights"

[[queries]]
name = "q"
from = "fligths"
steps = [{ filter = "origni = 'JFK'" }]
sink = "out"
"#,
    )
    .unwrap();
    for command in ["check", "run"] {
        let said = fail(dir.path(), &[command, "bad.toml"], 2);
        for wanted in [
            "formta",
            "did you mean 'format'",
            "timestampz",
            "fligths",
            "FileStreamSorce",
            "bad.toml:",
        ] {
            assert!(said.contains(wanted), "no {wanted} in\n{said}");
        }
    }
    assert!(!dir.path().join(".millstream").exists(), "a wrong file must create nothing");
}

/// It ended at once: there was no query to wait for.
#[test]
fn a_file_of_connectors_alone_runs_until_its_sources_end_or_it_is_stopped() {
    let place = tempdir().unwrap();
    let copies = r#"
[connectors.in]
connector.class = "FileStreamSource"
file = "lines.txt"
topic = "lines"
[connectors.out]
connector.class = "FileStreamSink"
file = "copy.txt"
topics = "lines"
"#;
    fs::write(place.path().join("copies.toml"), copies).unwrap();
    fs::write(place.path().join("lines.txt"), "one\ntwo\n").unwrap();
    let run = ["run", "copies.toml", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    succeed(place.path(), &[&run[..], &["--until-end"]].concat());
    assert_eq!(fs::read_to_string(place.path().join("copy.txt")).unwrap(), "one\ntwo\n");
    let mut running = Running::start(place.path(), &run);
    let address = running.address();
    let consume = ["consume", "lines", "--bootstrap-server", &address];
    let mut reader = Running::start(place.path(), &consume);
    let path = place.path().join("lines.txt");
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"three\n").unwrap();
    reader.wait_stdout("three");
    let (status, _, said) = running.interrupt();
    assert_eq!(status, Some(0), "{said:#?}");
    assert_eq!(fs::read_to_string(place.path().join("copy.txt")).unwrap(), "one\ntwo\nthree\n");
}

/// Queries made the topics of their sources first, and knew nothing of what was asked for.
#[test]
fn topics_that_queries_read_are_made_as_the_connector_that_fills_them_says() {
    let place = tempdir().unwrap();
    let file = r#"
[connectors.in]
connector.class = "FileStreamSource"
file = "in.jsonl"
topic = "orders"
"topic.creation.default.partitions" = 3
"topic.creation.default.retention.ms" = 86400000

[connectors.names]
connector.class = "FileStreamSource"
file = "names.jsonl"
topic = "names"
"topic.creation.groups" = "few"
"topic.creation.few.include" = "na.*"
"topic.creation.few.partitions" = 2

[sources.orders]
columns = { id = "bigint", who = "bigint" }

[tables.names]
key = "id"
columns = { id = "bigint", name = "varchar" }

[[queries]]
name = "named"
from = "orders"
steps = [{ join = "names", on = "who = names.id" }]
sink = { topic = "named", print = true }
"#;
    fs::write(place.path().join("p.toml"), file).unwrap();
    fs::write(place.path().join("in.jsonl"), "{\"id\":1,\"who\":7}\n").unwrap();
    fs::write(place.path().join("names.jsonl"), "{\"id\":7,\"name\":\"Ada\"}\n").unwrap();
    let data = ["--data-dir", "data"];
    let run = ["run", "p.toml", "--listen", "127.0.0.1:0", "--until-end", "--json"];
    let shown = stdout(&succeed(place.path(), &[&run[..], &data].concat()));
    assert_eq!(shown, "{\"id\":1,\"who\":7,\"name\":\"Ada\"}\n");
    let made = |topic: &str| {
        let words = ["topics", "describe", topic, "--json"];
        let told = succeed(place.path(), &[&words[..], &data].concat()).stdout;
        let told: Value = serde_json::from_slice(&told).unwrap();
        (told["partitions"].as_array().unwrap().len(), told["configs"]["retention.ms"].clone())
    };
    assert_eq!(made("orders"), (3, "86400000".into()));
    // Rows of a table stay.
    assert_eq!(made("names"), (2, "-1".into()));
    assert_eq!(made("named"), (3, "-1".into()));
}

#[test]
fn a_database_that_cannot_be_read_is_told_of_before_anything_starts() {
    let place = tempdir().unwrap();
    // Nothing listens at port 1.
    let shop = r#"
[connectors.shop]
connector.class = "postgres-source"
topic.prefix = "shop"
database.hostname = "127.0.0.1"
database.port = 1
database.user = "millstream"
database.password = "not told"
database.dbname = "shop"

[sources.items]
topic = "shop.public.items"
format = "json"
columns = { id = "int" }

[[queries]]
name = "all"
from = "items"
"#;
    fs::write(place.path().join("shop.toml"), shop).unwrap();
    let said = fail(place.path(), &["check", "shop.toml"], 1);
    assert!(said.contains("shop.toml: no mistakes"), "{said}");
    assert!(said.contains("✗") && said.contains("127.0.0.1:1"), "{said}");
    assert!(said.contains("1 thing has to be changed"), "{said}");
    assert!(!said.contains("not told"), "{said}");
    succeed(place.path(), &["check", "--offline", "shop.toml"]);
    let properties = "name=shop\nconnector.class=io.debezium.connector.postgresql.PostgresConnector
        database.hostname=127.0.0.1\ndatabase.port=1\ndatabase.user=replicator
        database.password=not told\ndatabase.dbname=shop\ntopic.prefix=shop\n";
    fs::write(place.path().join("shop.properties"), properties).unwrap();
    let said = fail(place.path(), &["check", "shop.properties"], 1);
    assert!(said.contains("connector 'shop': no mistakes"), "{said}");
    assert!(said.contains("✗") && said.contains("127.0.0.1:1"), "{said}");
    assert!(!said.contains("not told"), "{said}");
    succeed(place.path(), &["check", "--offline", "shop.properties", "shop.toml"]);
    fs::write(place.path().join("shop.properties"), properties.replace("port=1", "port=x"))
        .unwrap();
    fail(place.path(), &["check", "--offline", "shop.properties"], 2);
}

/// A pipeline over a CSV file of two columns.
fn small_pipeline(dir: &Path, csv: &[u8], source_options: &str) {
    fs::write(dir.join("in.csv"), csv).unwrap();
    fs::write(
        dir.join("p.toml"),
        format!(
            r#"
[connectors.in]
connector.class = "FileStreamSource"
file = "in.csv"
topic = "orders"

[sources.orders]
format = {{ type = "csv", header = true }}
{source_options}
columns = {{ id = "bigint", amount = "double" }}

[[queries]]
name = "large"
from = "orders"
steps = [{{ filter = "amount > 10" }}]
sink = {{ topic = "large", print = true }}
"#
        ),
    )
    .unwrap();
}

#[test]
fn a_row_that_does_not_parse_stops_with_its_place_and_reason() {
    for (row, reason) in [(&b"3,many\n"[..], "amount"), (b"3\n", "2"), (b"3,\xff\xfe\n", "UTF-8")] {
        let dir = tempdir().unwrap();
        small_pipeline(dir.path(), &[b"id,amount\n1,5\n2,50\n", row].concat(), "");
        let said = fail(dir.path(), &[&["run", "p.toml"], &UNTIL_END[..]].concat(), 1);
        for wanted in [reason, "orders", "offset 3"] {
            assert!(said.contains(wanted), "no {wanted} in\n{said}");
        }
        // What came before it is not lost, and the pipeline can go on once told to skip.
        small_pipeline(
            dir.path(),
            &[b"id,amount\n1,5\n2,50\n", row, b"4,40\n"].concat(),
            "on_error = \"skip\"",
        );
        let output = succeed(dir.path(), &[&["run", "p.toml"], &UNTIL_END[..]].concat());
        let large = stdout(&succeed(
            dir.path(),
            &["consume", "large", "--until-end", "--data-dir", "data"],
        ));
        let ids: Vec<_> = large
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap())
            .collect();
        assert_eq!(ids, [2, 4]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("1 skipped"));
    }
}

#[test]
fn a_record_that_does_not_parse_can_go_to_a_topic_with_its_reason() {
    let dir = tempdir().unwrap();
    let options = "on_error = { dead_letter = \"bad-orders\" }";
    small_pipeline(dir.path(), b"id,amount\n1,50\n2,many\n3,30\n", options);
    succeed(dir.path(), &[&["run", "p.toml"], &UNTIL_END[..]].concat());
    let dead = stdout(&succeed(
        dir.path(),
        &["consume", "bad-orders", "--until-end", "--json", "--data-dir", "data"],
    ));
    let record: Value = serde_json::from_str(&dead).unwrap();
    assert_eq!(record["value"], "2,many");
    let headers = record["headers"].to_string();
    assert!(headers.contains("__connect.errors.topic") && headers.contains("orders"), "{headers}");
}

#[test]
fn a_line_that_is_too_long_is_an_error_with_its_place() {
    let dir = tempdir().unwrap();
    let long = [b"id,amount\n1,50\n", &b"7".repeat(50 << 20)[..], b"\n2,30\n"].concat();
    small_pipeline(dir.path(), &long, "");
    let said = fail(dir.path(), &[&["run", "p.toml"], &UNTIL_END[..]].concat(), 1);
    for wanted in ["in.csv", "line"] {
        assert!(said.contains(wanted), "no {wanted} in\n{said}");
    }
}

/// `2013-01-01T10:00:00Z` in hours of January.
fn hour_of(time: &str) -> i64 {
    let number = |at: std::ops::Range<usize>| time[at].parse::<i64>().unwrap();
    (number(5..7) - 1) * 31 * 24 + (number(8..10) - 1) * 24 + number(11..13)
}

#[test]
fn hops_and_sessions_of_flights_are_those_of_a_loop_over_the_file() {
    let place = Place::new();
    let output =
        succeed(place.path(), &[&["run", "pipelines/aircraft-days.sql"], &UNTIL_END[..]].concat());
    let text = fs::read_to_string(place.flights()).unwrap();
    let flights: Vec<Vec<&str>> =
        text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let mut hops: BTreeMap<(i64, String), i64> = BTreeMap::new();
    let mut of_aircraft: BTreeMap<String, Vec<(i64, &str)>> = BTreeMap::new();
    for flight in &flights {
        let (tailnum, origin, dest, hour) =
            (flight[11], flight[12], flight[13], hour_of(flight[18]));
        (0..6).for_each(|back| *hops.entry((hour - back, origin.to_owned())).or_default() += 1);
        if tailnum != "NA" {
            of_aircraft.entry(tailnum.to_owned()).or_default().push((hour, dest));
        }
    }
    let mut days = std::collections::BTreeSet::new();
    for (tailnum, mut flights) in of_aircraft {
        flights.sort_unstable();
        for day in flights.chunk_by(|before, after| after.0 <= before.0 + 10) {
            let places: std::collections::BTreeSet<&str> =
                day.iter().map(|(_, dest)| *dest).collect();
            if day.len() > 2 {
                let (first, last) = (day[0].0, day[day.len() - 1].0);
                days.insert((
                    first,
                    last + 10,
                    tailnum.clone(),
                    day.len() as i64,
                    places.len() as i64,
                ));
            }
        }
    }
    let read = |lines: &str| -> Vec<Value> {
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let hour = |row: &Value, name: &str| hour_of(row[name].as_str().unwrap());
    let found = read(&stdout(&output));
    let of_days = found.iter().filter(|row| row.get("tailnum").is_some()).map(|row| {
        let number = |name: &str| row[name].as_i64().unwrap();
        let tailnum = row["tailnum"].as_str().unwrap().to_owned();
        (
            hour(row, "window_start"),
            hour(row, "window_end"),
            tailnum,
            number("flights"),
            number("places"),
        )
    });
    let of_days: Vec<_> = of_days.collect();
    assert!(days.len() > 300, "{}", days.len());
    assert_eq!(of_days.len(), days.len());
    assert_eq!(of_days.into_iter().collect::<std::collections::BTreeSet<_>>(), days);
    let topic = ["consume", "six-hours", "--until-end", "--data-dir", "data"];
    let mut of_hops = BTreeMap::new();
    for row in read(&stdout(&succeed(place.path(), &topic))) {
        let key = (hour(&row, "window_start"), row["origin"].as_str().unwrap().to_owned());
        assert_eq!(hour(&row, "window_end"), key.0 + 6);
        assert!(of_hops.insert(key, row["flights"].as_i64().unwrap()).is_none(), "{row} twice");
    }
    assert_eq!(of_hops, hops);
}

/// What comes most often, the first by the alphabet of those that come equally often.
fn usual<'t>(texts: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(text, _)| text)
}

#[test]
fn functions_in_three_languages_answer_what_a_loop_over_the_file_does() {
    let place = Place::new();
    let run = [&["run", "pipelines/flight-functions.toml"], &UNTIL_END[..]].concat();
    let output = succeed(place.path(), &run);
    let text = fs::read_to_string(place.flights()).unwrap();
    let mut days: BTreeMap<(i64, String), Vec<Vec<&str>>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let flight: Vec<&str> = line.split(',').collect();
        let day = (hour_of(flight[18]) / 24 * 24, flight[12].to_owned());
        days.entry(day).or_default().push(flight);
    }
    let punctuality = |flight: &Vec<&str>| match flight[5].parse::<f64>() {
        Err(_) => "cancelled",
        Ok(delay) if delay < 0.0 => "early",
        Ok(delay) if delay < 10.0 => "on time",
        Ok(delay) if delay < 40.0 => "late",
        Ok(_) => "very late",
    };
    let mut told = 0;
    for row in stdout(&output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let start = hour_of(row["window_start"].as_str().unwrap());
        let flights = days.remove(&(start, row["origin"].as_str().unwrap().to_owned()));
        let flights = flights.unwrap_or_else(|| panic!("{row}"));
        let are = |wanted: &[&str]| {
            flights.iter().filter(|flight| wanted.contains(&punctuality(flight))).count()
        };
        assert_eq!(row["flights"], flights.len(), "{row}");
        assert_eq!(row["on_time"], are(&["early", "on time"]), "{row}");
        assert_eq!(row["very_late"], are(&["very late"]), "{row}");
        assert_eq!(row["usually"], usual(flights.iter().map(punctuality)).unwrap(), "{row}");
        assert_eq!(row["usually_to"], usual(flights.iter().map(|of| of[13])).unwrap(), "{row}");
        let knots = flights.iter().filter_map(|flight| {
            let (minutes, miles) = (flight[14].parse::<f64>().ok()?, flight[15].parse::<f64>());
            Some(miles.unwrap() * 1.609344 / 1.852 / (minutes / 60.0))
        });
        let knots: Vec<f64> = knots.collect();
        let mean = knots.iter().sum::<f64>() / knots.len() as f64;
        assert!((row["mean_knots"].as_f64().unwrap() - mean).abs() < 1e-6, "{row}: {mean}");
        told += 1;
    }
    assert!(days.is_empty() && told > 90, "{told} told, not {days:?}");
}
