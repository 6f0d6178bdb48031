//! Where queries begin, and what becomes of others when one fails.

use engine::runtime::Phase;

use super::*;

fn pipeline(name: &str, start: &str) -> Pipeline {
    let text = format!(
        "SET 'pipeline.name' = '{name}';
         CREATE TABLE numbers (n INT) WITH ('start' = '{start}');
         CREATE TABLE {name}_out; INSERT INTO {name}_out SELECT n FROM numbers;"
    );
    load_text("begins.sql".into(), text).unwrap().0
}

fn numbers(numbers: impl Iterator<Item = i64>) -> Vec<String> {
    numbers.map(|n| format!(r#"{{"n":{n}}}"#)).collect()
}

async fn running(runtime: &Runtime) {
    let mut progress = runtime.progress();
    let are_running =
        progress.wait_for(|queries| queries.iter().all(|query| query.phase == Phase::Running));
    tokio::time::timeout(Duration::from_secs(30), are_running).await.unwrap().unwrap();
}

async fn out(world: &World, topic: &str) -> Vec<String> {
    let mut rows: Vec<String> =
        world.read(topic).await.into_iter().map(|(_, value)| value).collect();
    rows.sort();
    rows
}

/// Not at the end that there is when it first reads something, but when it first ran: what comes
/// while it is down is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_begins_at_the_end_that_there_was_when_it_began() {
    let world = World::new().await;
    world.create("numbers", 2).await;
    world.produce("numbers", 0, &numbers(0..5)).await;
    let mut two_tasks = pipeline("tail", "latest");
    two_tasks.settings.tasks = 2;
    let runtime = world.start(&[&two_tasks]);
    running(&runtime).await;
    runtime.stop();
    runtime.finished().await.unwrap();

    world.produce("numbers", 0, &numbers(5..7)).await;
    world.produce("numbers", 1, &numbers(7..9)).await;
    let runtime = world.start(&[&two_tasks]);
    running(&runtime).await;
    world.wait_until_read("tail-tail_out", "numbers", 2).await;
    runtime.stop();
    runtime.finished().await.unwrap();
    assert_eq!(out(&world, "tail_out").await, numbers(5..9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_begins_at_a_time() {
    // Records have the time 1000.
    for (name, start, expected) in
        [("then", "1970-01-01T00:00:01Z", 0..6), ("later", "1970-01-01T00:00:01.001Z", 3..6)]
    {
        let world = World::new().await;
        world.create("numbers", 1).await;
        world.produce("numbers", 0, &numbers(0..3)).await;
        let runtime = world.start(&[&pipeline(name, start)]);
        running(&runtime).await;
        world.produce("numbers", 0, &numbers(3..6)).await;
        world.wait_until_read(&format!("{name}-{name}_out"), "numbers", 1).await;
        runtime.stop();
        runtime.finished().await.unwrap();
        assert_eq!(out(&world, &format!("{name}_out")).await, numbers(expected));
    }
}

/// One bad record in one file ended the queries of all files of the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_fails_stops_no_other() {
    let world = World::new().await;
    world.create("numbers", 1).await;
    let strict = pipeline("strict", "earliest");
    let mut lenient = pipeline("lenient", "earliest");
    let mut source = (*lenient.sources[0]).clone();
    source.on_error = engine::pipeline::OnError::Skip;
    lenient.sources[0] = source.into();
    let runtime = world.start(&[&strict, &lenient]);
    running(&runtime).await;
    world.produce("numbers", 0, &["{\"n\":"]).await;
    let mut progress = runtime.progress();
    let failed = progress.wait_for(|queries| queries[0].failure.is_some());
    let failed = tokio::time::timeout(Duration::from_secs(30), failed).await.unwrap().unwrap();
    assert_eq!(failed[0].phase, Phase::Failed);
    let reason = failed[0].failure.clone().unwrap();
    assert!(reason.contains("topic 'numbers', partition 0, offset 0"), "{reason}");
    drop(failed);
    world.produce("numbers", 0, &numbers(1..3)).await;
    world.wait_until_read("lenient-lenient_out", "numbers", 1).await;
    assert_eq!(runtime.progress().borrow()[1].phase, Phase::Running);
    runtime.stop();
    assert_eq!(runtime.finished().await.unwrap_err().to_string(), *reason);
    assert_eq!(out(&world, "lenient_out").await, numbers(1..3));
    assert_eq!(out(&world, "strict_out").await, Vec::<String>::new());
}

/// A process that was killed before its first commit left an aborted transaction between its tasks,
/// which was taken for rows that they had told each other: the query never started again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_before_the_first_commit_is_nothing_that_was_told() {
    let sql = "SET 'tasks' = '2';
        CREATE TABLE a (n BIGINT) WITH (topic = 'a', format = 'json');
        CREATE TABLE o; INSERT INTO o SELECT n % 3 AS k, count(*) AS c FROM a GROUP BY n % 3;";
    let (pipeline, _) = load_text("test.sql".into(), sql.to_owned()).unwrap();
    let world = World::new().await;
    world.create("a", 2).await;
    let exchange = "test-o-0of2-repartition";
    world.create(exchange, 2).await;
    let transactional_id = Some("killed".to_owned());
    let options = ProducerOptions { transactional_id, ..ProducerOptions::default() };
    let mut producer = world.client.producer(options).await.unwrap();
    producer.begin().await.unwrap();
    for partition in 0..2 {
        let mut batch = BatchBuilder::default();
        batch.append(1000, None, Some(b"never seen"));
        producer.send(&TopicPartition::new(exchange, partition), batch).await.unwrap();
    }
    producer.flush().await.unwrap();
    producer.abort().await.unwrap();
    let rows: Vec<String> = (0..30).map(|n| format!("{{\"n\":{n}}}")).collect();
    world.produce("a", 0, &rows).await;
    world.run_to_end(&[&pipeline]).await.unwrap();
    let counts: BTreeMap<_, _> = world.read("o").await.into_iter().collect();
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|row| row.contains("\"c\":10")), "{counts:?}");
}
