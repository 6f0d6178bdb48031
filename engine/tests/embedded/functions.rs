//! Functions in WebAssembly in queries that run.

use std::path::PathBuf;

use engine::runtime::Outcome;

use super::*;

fn module(file: &str) -> String {
    root().join("udfs/tests/modules").join(file).display().to_string()
}

fn pipeline(sql: String) -> Pipeline {
    let (pipeline, _) =
        load_text(PathBuf::from("test.sql"), sql).unwrap_or_else(|problems| panic!("{problems:?}"));
    pipeline
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

async fn values(world: &World, topic: &str) -> Vec<String> {
    sorted(world.read(topic).await.into_iter().map(|(_, value)| value).collect())
}

/// Rows beside those that a function makes of them: none, one or several; with a LEFT JOIN, rows of
/// which it makes none, too. Rows at which it gives up fail by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn table_functions_give_rows_for_each_row() {
    let strict = module("strict.wasm");
    let pipeline = pipeline(format!(
        "CREATE FUNCTION strict_words LANGUAGE wasm AS '{strict}';
         CREATE TABLE a (id BIGINT, text TEXT)
             WITH (topic = 'a', format = 'json', on_error = 'dead-letter',
                   'dead_letter.topic' = 'loud');
         CREATE TABLE words; CREATE TABLE outer_words; CREATE TABLE counts;
         INSERT INTO words SELECT id, w FROM a, LATERAL TABLE(strict_words(text)) AS t(w);
         INSERT INTO outer_words SELECT id, w, o FROM a
             LEFT JOIN strict_words(text) WITH ORDINALITY AS t(w, o) ON TRUE;
         INSERT INTO counts SELECT w, count(*) AS n FROM a, strict_words(text) AS t(w) GROUP BY w;"
    ));
    let texts = ["null", "''", "'a'", "'b a'", "'loud!'", "' c  b a '"];
    let (mut rows, mut words, mut outer) = (Vec::new(), Vec::new(), Vec::new());
    for id in 0..5000usize {
        let text = texts[id * 7 % texts.len()].replace('\'', "\"");
        rows.push(format!("{{\"id\":{id},\"text\":{text}}}"));
        let text = text.trim_matches('"');
        if text.contains('!') {
            continue;
        }
        let mut found = text.split_whitespace().filter(|word| *word != "null").peekable();
        if found.peek().is_none() {
            outer.push(format!("{{\"id\":{id},\"w\":null,\"o\":null}}"));
        }
        for (word, place) in found.zip(1..) {
            words.push(format!("{{\"id\":{id},\"w\":\"{word}\"}}"));
            outer.push(format!("{{\"id\":{id},\"w\":\"{word}\",\"o\":{place}}}"));
        }
    }
    let world = World::new().await;
    world.create("a", 1).await;
    world.produce("a", 0, &rows).await;
    world.run_to_end(&[&pipeline]).await.unwrap();
    assert_eq!(values(&world, "words").await, sorted(words.clone()));
    assert_eq!(values(&world, "outer_words").await, sorted(outer));
    let mut counts = BTreeMap::new();
    for (key, value) in world.read("counts").await {
        counts.insert(key.unwrap(), serde_json::from_str::<Value>(&value).unwrap()["n"].clone());
    }
    let of =
        |word: &str| words.iter().filter(|row| row.ends_with(&format!(":\"{word}\"}}"))).count();
    let expected = ["a", "b", "c"].map(|word| (word.to_owned(), Value::from(of(word))));
    assert_eq!(counts, BTreeMap::from(expected));
    // Each of the three queries puts them aside.
    let loud: Vec<String> = rows.iter().filter(|row| row.contains('!')).cloned().collect();
    let aside = values(&world, "loud").await;
    assert_eq!(aside, sorted([loud.clone(), loud.clone(), loud].concat()));
}

/// An aggregate takes the rows of a batch at once: those at which it gives up are found before, and
/// fail by themselves, whatever else takes rows.
#[tokio::test(flavor = "multi_thread")]
async fn rows_at_which_an_aggregate_gives_up_fail_by_themselves() {
    let strict = module("strict.wasm");
    let source = |tasks: usize, on_error: &str| {
        pipeline(format!(
            "SET 'tasks' = '{tasks}';
             CREATE FUNCTION strict_sum LANGUAGE wasm AS '{strict}';
             CREATE TABLE a (k INT, v BIGINT, ts TIMESTAMP(3),
                 WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
                 WITH (topic = 'a', format = 'json', on_error = '{on_error}');
             CREATE TABLE windows; CREATE TABLE sessions; CREATE TABLE updating; CREATE TABLE over_rows;
             INSERT INTO windows SELECT k, window_start, strict_sum(v) AS ours, sum(v) AS theirs,
                 count(*) AS n FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
                 GROUP BY k, window_start, window_end;
             INSERT INTO sessions SELECT k, window_start, strict_sum(v) AS ours, sum(v) AS theirs,
                 count(*) AS n
                 FROM TABLE(SESSION(TABLE a PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' SECOND))
                 GROUP BY k, window_start, window_end;
             INSERT INTO updating SELECT k, strict_sum(v) AS ours, sum(v) AS theirs, count(*) AS n
                 FROM a GROUP BY k;
             INSERT INTO over_rows SELECT k, strict_sum(v) OVER w AS ours, sum(v) OVER w AS theirs
                 FROM a WINDOW w AS (PARTITION BY k ORDER BY ts ROWS 5 PRECEDING);"
        ))
    };
    let rows: Vec<String> = (0..3000i64)
        .map(|n| {
            let v = if n % 97 == 5 { -n } else { n };
            format!(
                "{{\"k\":{},\"v\":{v},\"ts\":\"2024-01-01T00:{:02}:{:02}.{:03}\"}}",
                n % 7,
                n / 600,
                n / 10 % 60,
                n % 10 * 100
            )
        })
        .collect();
    let good = rows.iter().filter(|row| !row.contains(":-")).count() as u64;
    for tasks in [1, 2] {
        let world = World::new().await;
        world.create("a", 2).await;
        for (partition, half) in rows.chunks(rows.len() / 2).enumerate() {
            world.produce("a", partition as i32, half).await;
        }
        world.run_to_end(&[&source(tasks, "skip")]).await.unwrap();
        for topic in ["windows", "sessions", "updating", "over_rows"] {
            let told = world.read(topic).await;
            let (mut last, mut seen) = (BTreeMap::new(), 0);
            for (key, value) in told {
                let row: Value = serde_json::from_str(&value).unwrap();
                assert_eq!(row["ours"], row["theirs"], "{topic}: {value}");
                seen += row["n"].as_u64().unwrap_or(1);
                last.insert(key, row["n"].as_u64().unwrap_or_default());
            }
            if topic == "updating" {
                seen = last.values().sum();
            }
            assert_eq!(seen, good, "{topic}");
        }
    }
    let world = World::new().await;
    world.create("a", 1).await;
    world.produce("a", 0, &rows).await;
    let error = world.run_to_end(&[&source(1, "fail")]).await.unwrap_err().to_string();
    assert!(error.contains("topic 'a', partition 0, offset 5"), "{error}");
    assert!(error.contains("function strict_sum"), "{error}");
    assert!(error.contains("-5 is less than nothing"), "{error}");
}

/// An aggregate that cannot go on from what a group has come to stopped its query, and again at each
/// start, whatever `on_error` says.
#[tokio::test(flavor = "multi_thread")]
async fn groups_at_whose_state_an_aggregate_gives_up_fail_by_themselves() {
    let strict = module("strict.wasm");
    let source = |tasks: usize, on_error: &str| {
        pipeline(format!(
            "SET 'tasks' = '{tasks}';
             CREATE FUNCTION bounded_sum LANGUAGE wasm AS '{strict}';
             CREATE TABLE a (k INT, v BIGINT, ts TIMESTAMP(3),
                 WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
                 WITH (topic = 'a', format = 'json', {on_error});
             CREATE TABLE windows; CREATE TABLE sessions; CREATE TABLE updating; CREATE TABLE over_rows;
             INSERT INTO windows SELECT k, window_start, bounded_sum(v) AS ours, sum(v) AS theirs
                 FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
                 GROUP BY k, window_start, window_end;
             INSERT INTO sessions SELECT k, window_start, bounded_sum(v) AS ours, sum(v) AS theirs
                 FROM TABLE(SESSION(TABLE a PARTITION BY k, DESCRIPTOR(ts), INTERVAL '2' SECOND))
                 GROUP BY k, window_start, window_end;
             INSERT INTO updating SELECT k, bounded_sum(v) AS ours, sum(v) AS theirs
                 FROM a GROUP BY k;
             INSERT INTO over_rows SELECT k, bounded_sum(v) OVER w AS ours, sum(v) OVER w AS theirs
                 FROM a WINDOW w AS (PARTITION BY k ORDER BY ts);"
        ))
    };
    // One in ten groups comes to more than its bound; pauses end sessions.
    let rows = |part: i64| -> Vec<String> {
        let row = |n: i64| {
            let (k, second) = (n * 7 % 10, n / 40 + n / 400 * 5);
            let v = if k == 3 { 400 } else { n % 3 };
            let ts = format!("2024-01-01T00:{:02}:{:02}.{:03}", second / 60, second % 60, n % 1000);
            format!("{{\"k\":{k},\"v\":{v},\"ts\":\"{ts}\"}}")
        };
        (part * 2000..(part + 1) * 2000).map(row).collect()
    };
    let topics = ["windows", "sessions", "updating", "over_rows"];
    for tasks in [1, 2] {
        let world = World::new().await;
        world.create("a", 2).await;
        let of = || source(tasks, "on_error = 'dead-letter', 'dead_letter.topic' = 'aside'");
        for part in 0..2 {
            for (partition, half) in rows(part).chunks(1000).enumerate() {
                world.produce("a", partition as i32, half).await;
            }
            world.run_to_end(&[&of()]).await.unwrap();
        }
        for topic in topics {
            let mut last = BTreeMap::new();
            for (key, value) in world.read(topic).await {
                let row: Value = serde_json::from_str(&value).unwrap();
                assert_eq!(row["ours"], row["theirs"], "{topic}: {value}");
                assert!(row["ours"].as_i64().unwrap() <= 1000, "{topic}: {value}");
                last.insert((key, row["k"].clone().to_string()), row);
            }
            let of_3 = last.keys().any(|(_, k)| k == "3");
            assert!(last.len() >= 9, "{topic} with {tasks} tasks: {}", last.len());
            assert_eq!(of_3, topic == "over_rows", "{topic} with {tasks} tasks");
        }
        let aside = world.read("aside").await;
        let is_of_3 = |(_, value): &(_, String)| value.contains("\"k\":3,");
        assert!(aside.len() > 3 && aside.iter().all(is_of_3), "{aside:?}");
    }
    // What is not to be gone without is not committed.
    let world = World::new().await;
    world.create("a", 1).await;
    world.produce("a", 0, &rows(0)).await;
    for _ in 0..2 {
        let strict = source(1, "on_error = 'fail'");
        let error = world.run_to_end(&[&strict]).await.unwrap_err().to_string();
        assert!(error.contains("function bounded_sum"), "{error}");
        assert!(error.contains("it comes to 1200"), "{error}");
        assert!(!error.contains("no value from there on"), "{error}");
    }
}

/// An aggregate of a module beside built-in ones with the same meaning: in windows, in sessions, in
/// an updating table, over rows that are taken back, in one task and in two.
#[tokio::test(flavor = "multi_thread")]
async fn aggregates_in_webassembly_are_like_those_that_are_built_in() {
    let module = module("kinds.wasm");
    let source = |tasks: usize| {
        format!(
            "SET 'tasks' = '{tasks}';
             CREATE FUNCTION weighted_mean LANGUAGE wasm AS '{}';
             CREATE TABLE a (k INT, v BIGINT, w BIGINT, ts TIMESTAMP(3),
                 WATERMARK FOR ts AS ts - INTERVAL '20' SECOND) WITH (topic = 'a', format = 'json');
             CREATE TABLE windows; CREATE TABLE sessions; CREATE TABLE updating; CREATE TABLE anew;
             INSERT INTO windows SELECT k, window_start, {BOTH}
                 FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '30' SECOND))
                 GROUP BY k, window_start, window_end;
             INSERT INTO sessions SELECT k, window_start, {BOTH}
                 FROM TABLE(SESSION(TABLE a PARTITION BY k, DESCRIPTOR(ts), INTERVAL '2' SECOND))
                 GROUP BY k, window_start, window_end;
             INSERT INTO updating SELECT k, {BOTH} FROM a GROUP BY k;
             INSERT INTO anew SELECT g, {BOTH} FROM
                 (SELECT k, k % 3 AS g, max(v) AS v, count(*) AS w FROM a GROUP BY k) GROUP BY g;",
            module
        )
    };
    const BOTH: &str = "weighted_mean(v, w) AS ours,
        CASE WHEN sum(w) <> 0 THEN sum(v * w)::DOUBLE / sum(w)::DOUBLE END AS theirs,
        weighted_mean(v, w) FILTER (WHERE v % 2 = 0) AS ours_of_some,
        CASE WHEN sum(w) FILTER (WHERE v % 2 = 0) <> 0 THEN
            sum(v * w) FILTER (WHERE v % 2 = 0)::DOUBLE
            / sum(w) FILTER (WHERE v % 2 = 0)::DOUBLE END AS theirs_of_some";
    let rows: Vec<String> = (0..5000i64)
        .map(|n| {
            let (k, v, w) = (n * 7 % 13, n * 31 % 101, n * 17 % 5 + 1);
            let v = if n % 11 == 0 { "null".to_owned() } else { v.to_string() };
            let ms = n * 40 + n * 7919 % 15_000;
            format!(
                "{{\"k\":{k},\"v\":{v},\"w\":{},\"ts\":\"2024-01-01T00:{:02}:{:02}.{:03}\"}}",
                if v == "null" { 0 } else { w },
                ms / 60_000,
                ms / 1000 % 60,
                ms % 1000
            )
        })
        .collect();
    for tasks in [1, 2] {
        let (pipeline, _) = load_text("test.sql".into(), source(tasks))
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        let world = World::new().await;
        world.create("a", 2).await;
        for (partition, half) in rows.chunks(rows.len() / 2).enumerate() {
            world.produce("a", partition as i32, half).await;
        }
        world.run_to_end(&[&pipeline]).await.unwrap();
        for topic in ["windows", "sessions", "updating", "anew"] {
            let told = world.read(topic).await;
            assert!(told.len() > 2, "{topic}: {}", told.len());
            for (_, value) in told {
                let row: Value = serde_json::from_str(&value).unwrap();
                assert_eq!(row["ours"], row["theirs"], "{topic}: {value}");
                assert_eq!(row["ours_of_some"], row["theirs_of_some"], "{topic}: {value}");
            }
        }
    }
}

/// Multiplies by `factor`.
fn times(factor: i64) -> String {
    format!(
        "(module (func (export \"times\") (param i64) (result i64)
            (i64.mul (local.get 0) (i64.const {factor}))))"
    )
}

/// All tasks change over to another module together, between two transactions, and a module that
/// does not fit is not taken.
#[tokio::test(flavor = "multi_thread")]
async fn modules_are_replaced_while_queries_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("times.wat");
    std::fs::write(&file, times(2)).unwrap();
    let sql = format!(
        "SET 'tasks' = '2'; SET 'commit_interval' = '20ms';
         CREATE FUNCTION times LANGUAGE wasm AS '{}';
         CREATE TABLE a (n BIGINT) WITH (topic = 'a', format = 'json');
         CREATE TABLE o; CREATE TABLE s;
         INSERT INTO o SELECT n, times(n) AS m FROM a;
         INSERT INTO s SELECT n % 10 AS k, sum(times(n)) AS total FROM a GROUP BY n % 10;",
        file.display()
    );
    let of = || pipeline(sql.clone());
    let world = World::new().await;
    world.create("a", 2).await;
    let rows = |from: i64| (from..from + 200).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>();
    let produce = async |from: i64| {
        world.produce("a", 0, &rows(from)).await;
        world.produce("a", 1, &rows(from + 200)).await;
    };
    let runtime = world.start(&[&of()]);
    produce(1).await;
    for group in ["test-o", "test-s"] {
        world.wait_until_read(group, "a", 2).await;
    }
    let functions = runtime.functions().clone();
    let outcomes = async || {
        let reloaded = functions.reload().await;
        reloaded.into_iter().map(|one| (one.function, one.outcome)).collect::<Vec<_>>()
    };
    assert_eq!(outcomes().await, [("times".to_owned(), Outcome::Same)]);
    std::fs::write(&file, times(3)).unwrap();
    // While rows keep coming.
    let (reloaded, ()) = tokio::join!(outcomes(), async {
        for part in 0..20 {
            produce(1001 + part * 400).await;
        }
    });
    assert_eq!(reloaded, [("times".to_owned(), Outcome::Replaced)]);
    produce(20_001).await;
    // None of these takes its place.
    std::fs::write(&file, "(module (func (export \"times\") (result i64) (i64.const 1)))").unwrap();
    let [(_, Outcome::Kept(reason))] = &outcomes().await[..] else { panic!("another signature") };
    let expected = "it was times(a0 bigint) → bigint, and has times() → bigint now";
    assert_eq!(*reason, format!("{}: {expected}", file.display()));
    std::fs::write(&file, "(module").unwrap();
    let [(_, Outcome::Kept(_))] = &outcomes().await[..] else { panic!("half a file") };
    produce(30_001).await;
    for group in ["test-o", "test-s"] {
        world.wait_until_read(group, "a", 2).await;
    }
    runtime.stop();
    runtime.finished().await.unwrap();
    let mut seen = [0, 0];
    for partition in 0..2 {
        let mut last = 2;
        for value in world.read_partition("o", partition).await {
            let row: Value = serde_json::from_str(&value).unwrap();
            let (n, m) = (row["n"].as_i64().unwrap(), row["m"].as_i64().unwrap());
            let factor = m / n;
            assert!(m == n * factor && (last..=3).contains(&factor), "{value} after {last}");
            assert!(!(n < 1000 && factor == 3 || n > 20_000 && factor == 2), "{value}");
            last = factor;
            seen[usize::from(factor == 3)] += 1;
        }
    }
    assert_eq!(seen[0] + seen[1], 23 * 400);
    // What its state was made with is known to the next run.
    std::fs::write(&file, times(4)).unwrap();
    let runtime = world.start(&[&of()]);
    let changes: Vec<String> =
        runtime.prepared().await.iter().map(|change| change.to_string()).collect();
    assert_eq!(
        changes,
        ["query 's': function 'times' has another module than the one that its state was made \
          with; all is kept"]
    );
    runtime.stop();
    runtime.finished().await.unwrap();
}

/// A batch in which each row takes too long was searched to its end, for hours, whatever was asked
/// for meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_for_endless_rows_is_given_up_when_it_is_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("spin.wat");
    let spin = r#"(module (func (export "spin") (param i64) (result i64)
        (loop (br 0)) (i64.const 0)))"#;
    std::fs::write(&file, spin).unwrap();
    let world = World::new().await;
    world.create("numbers", 1).await;
    let values: Vec<String> = (0..1000).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    world.produce("numbers", 0, &values).await;
    let pipeline = pipeline(format!(
        "CREATE FUNCTION spin LANGUAGE wasm AS '{}' WITH ('time' = '1s');
         CREATE TABLE numbers (n BIGINT) WITH ('on_error' = 'skip');
         CREATE TABLE spun; INSERT INTO spun SELECT spin(n) AS n FROM numbers;",
        file.display()
    ));
    let runtime = world.start(&[&pipeline]);
    let mut progress = runtime.progress();
    progress.wait_for(|queries| queries[0].phase == Phase::Running).await.unwrap();
    runtime.stop();
    let finished = tokio::time::timeout(Duration::from_secs(60), runtime.finished()).await;
    let summaries = finished.expect("it stops soon").unwrap();
    assert!(!summaries[0].complete);
    // Rows that were not tried are not taken for rows that failed.
    let numbers = TopicPartition::new("numbers", 0);
    let committed = world.client.committed_offsets("test-spun", &[numbers]).await.unwrap();
    assert!(committed[0].is_none(), "{committed:?}");
}
