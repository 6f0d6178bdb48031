//! Every scalar function, called once in a stream, as batch SQL answers it.

use super::*;

/// One expression a line, over `ts`, `key`, `n` and the columns below.
const CALLS: &str = include_str!("functions.sql");

const COLUMNS: &str = "SELECT ts, key, n, coalesce(key, '') || 'ab' AS t, CAST(n AS DOUBLE) AS f,
    make_array(n, 3, NULL) AS l, named_struct('a', n, 'b', key) AS s,
    '{\"k\":\"' || coalesce(key, '') || '\",\"a\":[{\"b\":' || coalesce(n, 0) || '},true]}' AS j
    FROM a";

/// Functions that cannot be compared this way, or that mean nothing in a stream.
const LEFT_OUT: [&str; 28] = [
    // The moment at which they are called; refused in a stream.
    "now",
    "current_date",
    "current_time",
    // Another value each time.
    "random",
    "uuid",
    "version",
    // Of files that batch SQL reads.
    "input_file_name",
    "file_row_index",
    // Of unions and of fields' metadata, which no source has.
    "union_extract",
    "union_tag",
    "arrow_field",
    "arrow_metadata",
    "with_metadata",
    // What CAST becomes.
    "cast_to_type",
    "try_cast_to_type",
    // Windows: tested by themselves.
    "tumble_start",
    "tumble_end",
    "hop_starts",
    "hop_end",
    "cumulate_ends",
    "cumulate_start",
    "session_start",
    "session_end",
    // Fails whatever it is given.
    "json_refused",
    // Tables as they were: tested with joins.
    "system_time_as_of",
    // What `s['a']` and ARRAY[…] become.
    "array_element",
    "get_field",
    "map",
];

fn event_of(time: i64, key: Option<&str>, n: Option<i64>) -> Event {
    Event { time, key: key.map(str::to_owned), n }
}

#[test]
fn every_scalar_function_equals_batch_sql() {
    let source = patient(events("a"));
    let rows = [
        event_of(1_500, Some("a"), Some(3)),
        event_of(61_234, Some("bab"), Some(-7)),
        event_of(0, None, None),
        event_of(99_999, Some(""), Some(0)),
        event_of(7_200_000, Some("12"), Some(42)),
    ];
    let mut wrong = Vec::new();
    block_on(async {
        for call in CALLS.lines() {
            let sql = format!("SELECT {call} AS x, ts FROM ({COLUMNS})");
            let checked = std::panic::AssertUnwindSafe(async {
                let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
                world.fill(&[rows.iter().map(|row| vec![row.clone()]).collect()]);
                world.run_to_end();
                assert_eq!(world.out().len(), rows.len());
                assert_same(world.out(), &batch_answer(&sql, &source, &rows).await);
            });
            let checked = futures::FutureExt::catch_unwind(checked).await;
            if let Err(panic) = checked {
                let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                wrong.push(format!("{call}: {}", said.chars().take(300).collect::<String>()));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_scalar_function_is_forgotten() {
    let mut forgotten = Vec::new();
    for function in crate::plan::context::scalar_functions() {
        let names = std::iter::once(function.name()).chain(function.aliases().iter().map(|a| &**a));
        let names: Vec<&str> = names.collect();
        let called = |name: &&str| CALLS.contains(&format!("{name}("));
        let known = names.iter().any(called) || names.iter().any(|name| LEFT_OUT.contains(name));
        if !known && !forgotten.contains(&function.name()) {
            forgotten.push(function.name());
        }
    }
    forgotten.sort_unstable();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}
