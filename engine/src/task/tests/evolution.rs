//! Queries that are changed while their state is kept.

use super::*;
use crate::testing::source;

/// Calls that a query may have: what each is called, and what it computes of the rows for which
/// `{}` holds.
const CALLS: [(&str, &str); 8] = [
    ("c", "count(*)"),
    ("total", "sum(n)"),
    ("mean", "avg(n)"),
    ("least", "min(key)"),
    ("most", "max(n)"),
    ("middle", "median(n)"),
    ("numbers", "count(DISTINCT n)"),
    ("listed", "array_agg(n ORDER BY n)"),
];

/// What groups are told apart by, with a window or without one.
const SHAPES: [(&str, &str); 4] = [
    ("key AS k", "key"),
    ("tumble_start(ts, INTERVAL '10 seconds') AS w", "w"),
    ("tumble_start(ts, INTERVAL '10 seconds') AS w, key AS k", "w, k"),
    (
        "session_start(ts, INTERVAL '3 seconds', key) AS w, session_end(ts, INTERVAL '3 seconds', key) AS e, key AS k",
        "w, e, k",
    ),
];

/// The query with these calls, each over the rows that `of` says.
fn query(shape: usize, calls: &[usize], of: impl Fn(usize) -> String) -> String {
    let (group, _) = SHAPES[shape];
    let computed = calls.iter().map(|&call| {
        let (name, what) = CALLS[call];
        format!("{what}{} AS {name}", of(call))
    });
    let numbers = group.split(" AS ").count() - 1;
    let by: Vec<String> = (1..=numbers).map(|number| number.to_string()).collect();
    let computed: Vec<String> = computed.collect();
    format!("SELECT {group}, {} FROM a GROUP BY {}", computed.join(", "), by.join(", "))
}

/// Sessions as batch SQL finds them.
fn sessions(calls: &[usize], of: impl Fn(usize) -> String) -> String {
    let computed = calls.iter().map(|&call| {
        let (name, what) = CALLS[call];
        format!("{what}{} AS {name}", of(call))
    });
    let computed: Vec<String> = computed.collect();
    format!(
        "SELECT min(ts) AS w, max(ts) + INTERVAL '3 seconds' AS e, key AS k, {}
         FROM (SELECT *, sum(fresh) OVER (PARTITION BY key ORDER BY ts
                 RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
               FROM (SELECT *, CASE WHEN ts - lag(ts) OVER (PARTITION BY key ORDER BY ts)
                                         <= INTERVAL '3 seconds' THEN 0 ELSE 1 END AS fresh
                     FROM a) b) c
         GROUP BY key, island",
        computed.join(", ")
    )
}

/// All events, each with how many changes of the query it came after.
async fn expected(sql: &str, events: &[(Event, usize)]) -> Vec<Value> {
    let columns = [
        ("ts", crate::testing::timestamp()),
        ("key", arrow::datatypes::DataType::Utf8),
        ("n", arrow::datatypes::DataType::Int64),
        ("phase", arrow::datatypes::DataType::Int64),
    ];
    let with_phase = source("a", Format::Json, &columns);
    let plain: Vec<Event> = events.iter().map(|(event, _)| event.clone()).collect();
    let mut columns = table(&patient(super::events("a")), &plain).columns().to_vec();
    let phases: Int64Array = events.iter().map(|(_, phase)| Some(*phase as i64)).collect();
    columns.push(Arc::new(phases));
    let rows = RecordBatch::try_new(with_phase.schema.clone(), columns).unwrap();
    answer(&batch_engine(&[(&with_phase, vec![rows])]), sql).await
}

type Steps = Vec<(usize, usize, Fate)>;

/// Runs one version of a query after the other over the same logs; what each call's rows are, and
/// what came out at the end.
async fn evolve(shape: usize, versions: &[(Vec<usize>, Steps)], logs: &[Vec<Vec<Event>>]) {
    let source = patient(events("a"));
    let sql = |calls: &[usize]| query(shape, calls, |_| String::new());
    let mut world = World::new(topology(&sql(&versions[0].0), &[&source]).await.unwrap());
    world.is_reshaped = true;
    world.fill(logs);
    let mut phases: Vec<BTreeMap<TopicPartition, Offset>> = Vec::new();
    // What is kept, and since when, by what was committed last.
    let mut kept: HashMap<usize, usize> = HashMap::new();
    for (phase, (calls, steps)) in versions.iter().enumerate() {
        world.topology = topology(&sql(calls), &[&source]).await.unwrap();
        let committed = world.changelog.len();
        walk(&mut world, steps);
        if world.changelog.len() > committed {
            let first = if committed == 0 { 0 } else { phase };
            kept = goes_on(&kept, calls, first);
        }
        phases.push(world.offsets.clone());
    }
    // All keys change once more, so that what is told of each has the columns of the last version.
    let last: Vec<String> =
        ["\"\"", "\"a\"", "\"b\"", "\"aa\"", "\"ab\"", "\"ba\"", "\"bb\"", "null"]
            .map(|key| format!("{{\"ts\": 0, \"key\": {key}, \"n\": 1}}"))
            .into();
    world.produce("a", 0, &last);
    world.run_to_end();
    let mut all: Vec<(Event, usize)> = Vec::new();
    for (partition, batches) in logs.iter().enumerate() {
        let partition = TopicPartition::new("a", partition as i32);
        for (offset, event) in batches.iter().flatten().enumerate() {
            let is_read = |phase: &&BTreeMap<TopicPartition, Offset>| {
                phase.get(&partition).is_some_and(|next| next.0 > offset as i64)
            };
            let phase = phases.iter().position(|phase| is_read(&phase));
            all.push((event.clone(), phase.unwrap_or(versions.len())));
        }
    }
    for value in last {
        let value: Value = serde_json::from_str(&value).unwrap();
        let key = value["key"].as_str().map(str::to_owned);
        all.push((Event { time: 0, key, n: Some(1) }, versions.len()));
    }
    let first = if phases.iter().all(BTreeMap::is_empty) { 0 } else { versions.len() - 1 };
    let since = goes_on(&kept, &versions.last().unwrap().0, first);
    let of = |call: usize| format!(" FILTER (WHERE phase >= {})", since[&call]);
    let calls = &versions.last().unwrap().0;
    let batch = match shape {
        3 => sessions(calls, of),
        _ => query(shape, calls, of),
    };
    let expected = expected(&batch, &all).await;
    match world.topology.updating {
        true => assert_same(&world.latest.values().cloned().collect::<Vec<_>>(), &expected),
        false => assert_same(world.out(), &expected),
    }
}

/// Calls that go on with what is kept, or begin with a version.
fn goes_on(kept: &HashMap<usize, usize>, calls: &[usize], first: usize) -> HashMap<usize, usize> {
    calls.iter().map(|call| (*call, kept.get(call).copied().unwrap_or(first))).collect()
}

/// Versions of a query, each with the call that all have among its calls.
fn versions() -> impl Strategy<Value = Vec<(Vec<usize>, Steps)>> {
    let steps = prop::collection::vec((0..4usize, 1..3usize, fate()), 0..12);
    let calls = prop::sample::subsequence((1..CALLS.len()).collect::<Vec<_>>(), 0..4);
    let calls = (calls, 0..4usize).prop_map(|(mut calls, at)| {
        calls.insert(at.min(calls.len()), 0);
        calls
    });
    prop::collection::vec((calls, steps), 2..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Calls that stay answer as if nothing had happened, and those that are new as if the stream
    /// had begun with them; from the changelog and from disk, through crashes.
    #[test]
    fn calls_come_and_go_and_the_others_keep_their_state(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4,
        ),
        versions in versions(),
        shape in 0..SHAPES.len(),
    ) {
        block_on(evolve(shape, &versions, &logs));
    }
}

/// What an aggregate keeps of no rows leads to what it answers over no rows.
#[tokio::test]
async fn every_aggregate_can_be_added() {
    for call in super::EVERY_CALL {
        let source = patient(events("a"));
        let sql = |calls: &str| {
            format!("SELECT {WINDOW} AS w, max(n + 1000) AS most{calls} FROM a GROUP BY {WINDOW}")
        };
        let event = |at: i64| Event {
            time: at * 7919 % 30_000,
            key: (at % 11 != 0).then(|| ["a", "b", "c"][at as usize % 3].to_owned()),
            n: (at % 13 != 0).then_some(at * 31 % 17 - 5),
        };
        let all: Vec<Event> = (0..200).map(event).collect();
        let mut world = World::new(topology(&sql(""), &[&source]).await.unwrap());
        for part in all.chunks(25) {
            let values: Vec<String> = part.iter().map(Event::json).collect();
            world.produce("a", 0, &values);
        }
        walk(&mut world, &[(0, 1, Fate::Commits); 4]);
        let added = format!(", {call} AS answer");
        world.topology = topology(&sql(&added), &[&source]).await.unwrap();
        walk(&mut world, &[(0, 1, Fate::Commits), (0, 1, Fate::DiesAfterWriting)]);
        world.run_to_end();
        let phased: Vec<(Event, usize)> =
            all.into_iter().enumerate().map(|(at, event)| (event, at / 100)).collect();
        // What is FILTERed already is so by both.
        let later = match call.split_once(" FILTER (WHERE ") {
            Some((call, rest)) => format!("{call} FILTER (WHERE phase > 0 AND {rest}"),
            None => format!("{call} FILTER (WHERE phase > 0)"),
        };
        println!("{call}");
        let batch = sql(&format!(", {later} AS answer"));
        assert_same(world.out(), &expected(&batch, &phased).await);
    }
}

async fn fingerprint(sql: &str) -> String {
    topology(sql, &[&patient(events("a"))]).await.unwrap().nodes[0].fingerprint.clone()
}

/// What a column is called or where it stands makes no difference; what it is does.
#[tokio::test]
async fn state_is_known_by_what_it_is_made_of() {
    let plain = fingerprint("SELECT key, count(*) AS c FROM a GROUP BY key").await;
    for same in [
        "SELECT key AS k, count(*) AS c, sum(n) AS s FROM a GROUP BY key",
        "SELECT key, max(ts) AS last, count(*) AS rows FROM a GROUP BY key HAVING max(ts) IS NOT NULL",
        "SELECT b.key, sum(b.m) AS s FROM (SELECT n + 1 AS m, key FROM a) AS b GROUP BY b.key",
    ] {
        assert_eq!(fingerprint(same).await, plain, "{same}");
    }
    for other in [
        "SELECT key, count(*) AS c FROM a WHERE n > 1 GROUP BY key",
        "SELECT key, n, count(*) AS c FROM a GROUP BY key, n",
        "SELECT upper(key) AS key, count(*) AS c FROM a GROUP BY upper(key)",
    ] {
        assert_ne!(fingerprint(other).await, plain, "{other}");
    }
}

/// Two aggregates of the same rows and keys in one query are told apart by what they compute.
#[tokio::test]
async fn twins_do_not_take_each_others_state() {
    let a = patient(events("a"));
    let sql = |second: &str| {
        format!(
            "SELECT key, count(*) AS c FROM a GROUP BY key
             UNION ALL SELECT key, {second} FROM a GROUP BY key"
        )
    };
    let one = topology(&sql("sum(n)"), &[&a]).await.unwrap();
    let other = topology(&sql("max(n)"), &[&a]).await.unwrap();
    assert_eq!(one.nodes[0].fingerprint, other.nodes[0].fingerprint);
    assert_ne!(one.nodes[1].fingerprint, other.nodes[1].fingerprint);
    assert!(one.nodes[1].parts.is_empty());
}
