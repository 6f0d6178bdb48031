//! How long state lives: where that is said, and what is refused.

use std::path::PathBuf;
use std::time::Duration;

use crate::pipeline::load_text;

const TRIPS: &str = "
CREATE TABLE trips (city TEXT, at TIMESTAMP(3), WATERMARK FOR at AS at);
";

const COUNTED: &str = "INSERT INTO o SELECT city, count(*) AS c FROM trips GROUP BY city;";

/// Of the only query; or what is wrong.
fn ttl_of(file: &str, text: String) -> Result<Option<Duration>, Vec<String>> {
    match load_text(PathBuf::from(file), text) {
        Ok((pipeline, _)) => Ok(pipeline.queries[0].state_ttl),
        Err(mistakes) => Err(mistakes.0.iter().map(|mistake| mistake.message.clone()).collect()),
    }
}

fn of_sql(text: &str) -> Result<Option<Duration>, Vec<String>> {
    ttl_of("ttl.sql", format!("{TRIPS}{text}"))
}

fn of_toml(settings: &str, query: &str) -> Result<Option<Duration>, Vec<String>> {
    let text = format!(
        "[settings]\n{settings}\n[sources.trips]\nformat = \"json\"\n\
         columns = {{ city = \"text\", at = \"timestamp\" }}\nevent_time = \"at\"\n\
         [[queries]]\nname = \"o\"\n{query}\n\
         sql = \"SELECT city, count(*) AS c FROM trips GROUP BY city\"\n"
    );
    ttl_of("ttl.toml", text)
}

#[test]
fn a_query_says_how_long_its_state_lives_or_the_file_does() {
    let days = |days: u64| Ok(Some(Duration::from_secs(days * 86_400)));
    let table = "CREATE TABLE o WITH ('state.ttl' = '2 days');";
    assert_eq!(of_sql(&format!("CREATE TABLE o; {COUNTED}")), Ok(None));
    assert_eq!(of_sql(&format!("{table} {COUNTED}")), days(2));
    assert_eq!(of_sql(&format!("SET 'state_ttl' = '1 day'; {table} {COUNTED}")), days(2));
    let set = "SET 'state.ttl' = '1 day'; CREATE TABLE o;";
    assert_eq!(of_sql(&format!("{set} {COUNTED}")), days(1));
    assert_eq!(of_toml("", ""), Ok(None));
    assert_eq!(of_toml("state_ttl = \"3 days\"", ""), days(3));
    assert_eq!(of_toml("state_ttl = \"3 days\"", "state_ttl = \"4 days\""), days(4));
}

#[test]
fn a_time_to_live_that_means_nothing_is_refused() {
    let nothing = "state that lives for no time at all keeps nothing";
    let said = |answer: Result<Option<Duration>, Vec<String>>| answer.unwrap_err().join("\n");
    let table = |ttl: &str| format!("CREATE TABLE o WITH ('state.ttl' = '{ttl}');");
    assert_eq!(said(of_sql(&format!("{} {COUNTED}", table("0s")))), nothing);
    let set = "SET 'state_ttl' = '10 ns'; CREATE TABLE o;";
    assert_eq!(said(of_sql(&format!("{set} {COUNTED}"))), nothing);
    assert_eq!(said(of_toml("", "state_ttl = \"0 days\"")), nothing);
    assert!(said(of_sql(&format!("{} {COUNTED}", table("a while")))).contains("a duration is"));
    let stateless = "INSERT INTO o SELECT upper(city) AS c FROM trips;";
    let ends_nothing = "the query keeps nothing by key that is not let go in time anyway";
    assert_eq!(said(of_sql(&format!("{} {stateless}", table("1 day")))), ends_nothing);
    // What is said of all queries of a file may be nothing to some.
    let set = "SET 'state_ttl' = '1 day'; CREATE TABLE o;";
    assert!(of_sql(&format!("{set} {stateless}")).is_ok());
}
