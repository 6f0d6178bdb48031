//! Workers that share connectors: in one process, on one broker.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use broker::client::{Client, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use connectors::config::{ConfigKey, KeyType, Presence};
use connectors::herder::distributed::settings::GroupSettings;
use connectors::herder::offsets::{self, PartOffset};
use connectors::herder::{HerderError, Put, Target, TaskState, View};
use connectors::offsets::{SourceOffset, SourcePartition};
use connectors::plugin::{self, Plugin, Tasks};
use connectors::records::SourceRecords;
use connectors::task::{Polled, SourceContext, SourceTask, TaskError, Topic};
use connectors::{ConnectorConfig, Distributed, Herder, HerderOptions, WorkerOptions};
use serde_json::json;
use support::{PATIENCE, process, read};

type Properties = BTreeMap<String, String>;

fn properties(text: &str) -> Properties {
    let lines = text.lines().filter_map(|line| line.trim().split_once('='));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

async fn worker(client: &Arc<dyn Client>, dir: &Path, id: &str) -> Distributed {
    let worker = properties("group.id=g\nsession.timeout.ms=6000\noffset.storage.partitions=2");
    let group = GroupSettings::of(&worker).unwrap().unwrap();
    let options = HerderOptions {
        worker,
        base_dir: dir.to_owned(),
        worker_id: id.to_owned(),
        options: WorkerOptions { commit_interval: Duration::from_millis(1), ..Default::default() },
        graceful: Duration::from_secs(5),
    };
    Distributed::start(client.clone(), options, group).await.unwrap()
}

/// Numbers of several parts, which tasks divide among them as their count says: a part has another
/// task where there are more or fewer of them.
static COUNTING: Plugin = Plugin {
    name: "counting",
    classes: &[],
    doc: "Numbers",
    tasks: Tasks::Source(|config| {
        let tasks = config.integer("tasks.max") as usize;
        let task = |task| -> Box<dyn SourceTask> {
            let parts = (0..PARTS).filter(|part| part % tasks == task).map(|part| (part, 0));
            Box::new(Counting { config: config.clone(), topic: None, next: parts.collect() })
        };
        (0..tasks).map(task).collect()
    }),
    converter: connectors::convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: plugin::no_check,
    alter_offsets: None,
    check_offset: None,
    own_keys: &[ConfigKey {
        name: "count",
        key_type: KeyType::Integer { min: 1, max: 1_000_000 },
        presence: Presence::Required,
        doc: "How many numbers each part has",
        example: "10",
    }],
    family: None,
};

const PARTS: usize = 6;

struct Counting {
    config: ConnectorConfig,
    topic: Option<Topic>,
    next: BTreeMap<usize, i64>,
}

fn part(number: usize) -> SourcePartition {
    SourcePartition::new(&[("part", &number.to_string())])
}

#[async_trait]
impl SourceTask for Counting {
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        self.topic = Some(context.topic(&NewTopic::new("made", 1)).await?);
        for (number, next) in &mut self.next {
            let stored = context.offset(&part(*number)).and_then(|at| at.0["next"].as_i64());
            *next = stored.unwrap_or(0);
        }
        Ok(())
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        let count = self.config.integer("count");
        for (number, next) in &mut self.next {
            if *next < count {
                let value = format!("{number}-{next}");
                out.append_value(self.topic.as_ref().unwrap(), 0, value.as_bytes());
                *next += 1;
                out.set_offset(part(*number), SourceOffset(json!({ "next": *next })));
            }
        }
        Ok(Polled::Drained)
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(())
    }
}

fn counting(tasks: usize, count: usize) -> Properties {
    plugin::register(&COUNTING);
    properties(&format!(
        "connector.class=counting
        tasks.max={tasks}
        tasks.restart.backoff.ms=20
        tasks.restart.backoff.max.ms=50
        tasks.restart.max=1000
        count={count}"
    ))
}

/// Waits until a worker sees a connector so; how long it takes is up to others.
async fn until(herder: &Distributed, name: &str, what: &str, holds: impl Fn(&View) -> bool) {
    let began = Instant::now();
    loop {
        let view = herder.view(name);
        if view.as_ref().is_ok_and(&holds) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {view:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Who runs how many tasks, as that worker sees it.
fn loads(herder: &Distributed, view: &View) -> BTreeMap<String, usize> {
    let mut loads = BTreeMap::new();
    for task in view.tasks.iter().filter(|task| task.state == TaskState::Running) {
        let own = herder.options().worker_id.as_str();
        let id = task.worker_id.as_deref().unwrap_or(own);
        *loads.entry(id.to_owned()).or_default() += 1;
    }
    loads
}

fn of(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(id, tasks)| ((*id).to_owned(), *tasks)).collect()
}

#[test]
fn tasks_are_shared_by_those_who_are_there_and_any_of_them_takes_orders() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let one = worker(&client, dir.path(), "one").await;
        one.create("made", counting(4, 1_000_000), Target::Running).await.unwrap();
        until(&one, "made", "alone", |view| loads(&one, view) == of(&[("one", 4)])).await;
        // Each who comes takes a share, and sees what the others do.
        let two = worker(&client, dir.path(), "two").await;
        let both = of(&[("one", 2), ("two", 2)]);
        until(&one, "made", "two of them", |view| loads(&one, view) == both).await;
        until(&two, "made", "two of them", |view| loads(&two, view) == both).await;
        assert_eq!(two.names(), ["made"]);
        let again = two.create("made", counting(1, 1), Target::Running).await;
        assert!(matches!(again, Err(HerderError::Exists(_))), "{again:?}");

        // What one is told, all do.
        assert_eq!(two.put("made", counting(3, 1_000_000)).await.unwrap(), Put::Changed);
        until(&one, "made", "three tasks", |view| {
            view.tasks.len() == 3 && loads(&one, view).values().sum::<usize>() == 3
        })
        .await;
        two.set_target("made", Target::Paused).await.unwrap();
        until(&one, "made", "paused", |view| {
            view.target == Target::Paused
                && view.tasks.iter().all(|task| task.state == TaskState::Paused)
        })
        .await;
        one.set_target("made", Target::Running).await.unwrap();
        until(&two, "made", "three tasks again", |view| {
            loads(&two, view).values().sum::<usize>() == 3
        })
        .await;
        until(&two, "made", "its topic", |view| {
            view.topics().iter().any(|topic| &**topic == "made")
        })
        .await;

        // Who goes in order leaves all to the other.
        one.shutdown().await;
        until(&two, "made", "left alone", |view| loads(&two, view) == of(&[("two", 3)])).await;
        two.delete("made").await.unwrap();
        assert!(matches!(two.view("made"), Err(HerderError::NotFound(_))));
        two.shutdown().await;
    });
}

/// Which task reads a file hung on its name: one that was renamed was read again by another.
#[test]
fn files_that_are_renamed_while_tasks_in_a_group_read_them_come_once() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let at = |name: &str| dir.path().join("in").join(name);
        std::fs::create_dir(at("")).unwrap();
        let names = ["a", "b", "c", "d", "e", "f"];
        let source = properties(
            "connector.class=FileStreamSource
            file=in/*.log
            topic=t
            tasks.max=2
            poll.interval.ms=10",
        );
        let one = worker(&client, dir.path(), "one").await;
        let two = worker(&client, dir.path(), "two").await;
        one.create("files", source, Target::Running).await.unwrap();
        let mut expected: Vec<String> = Vec::new();
        for round in 0..4 {
            for name in names {
                let line = format!("{name}{round}");
                let path = match round {
                    0 => at(&format!("{name}.log")),
                    _ => at(&format!("{}-{name}.log", 2025 + round)),
                };
                support::append(&path, std::slice::from_ref(&line));
                expected.push(line);
            }
            expected.sort();
            let began = Instant::now();
            loop {
                let mut there = match client.topic("t").await.unwrap() {
                    Some(_) => support::values(&*client, "t").await,
                    None => Vec::new(),
                };
                there.sort();
                if there.len() >= expected.len() {
                    assert_eq!(there, expected);
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "{there:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            for name in names {
                let to = at(&format!("{}-{name}.log", 2026 + round));
                let from = match round {
                    0 => at(&format!("{name}.log")),
                    _ => at(&format!("{}-{name}.log", 2025 + round)),
                };
                std::fs::rename(from, to).unwrap();
            }
        }
        one.shutdown().await;
        two.shutdown().await;
        let mut there = support::values(&*client, "t").await;
        there.sort();
        assert_eq!(there, expected);
    });
}

#[test]
fn records_come_once_whoever_comes_goes_or_dies() {
    let dir = tempfile::tempdir().unwrap();
    let (each, count) = (200, 200 * PARTS);
    process(dir.path(), async |client| {
        let mut workers = vec![worker(&client, dir.path(), "w0").await];
        workers[0].create("made", counting(2, each), Target::Running).await.unwrap();
        for round in 1..6 {
            workers.push(worker(&client, dir.path(), &format!("w{round}")).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
            // Parts move from task to task too.
            workers[0].put("made", counting(1 + round % 4, each)).await.unwrap();
            if round % 2 == 0 {
                let gone = workers.remove(0);
                gone.shutdown().await;
            } else if workers.len() > 1 {
                // As if it were killed.
                drop(workers.remove(0));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let began = Instant::now();
        let made = loop {
            let is_there = client.topic("made").await.unwrap().is_some();
            let made = if is_there { read(&*client, "made", 0).await } else { Vec::new() };
            if made.len() >= count {
                break made;
            }
            assert!(began.elapsed() < PATIENCE, "{} records", made.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let different: BTreeSet<_> = made.iter().collect();
        assert_eq!((made.len(), different.len()), (count, count));
        for worker in workers {
            worker.shutdown().await;
        }
        assert_eq!(read(&*client, "made", 0).await.len(), count);
    });
}

#[test]
fn what_stands_in_topics_outlives_all_workers() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.txt"), "1\n2\n3\n").unwrap();
    let lines = properties("connector.class=FileStreamSource\nfile=in.txt\ntopic=lines");
    process(dir.path(), async |client| {
        let one = worker(&client, dir.path(), "one").await;
        one.create("lines", lines.clone(), Target::Running).await.unwrap();
        one.create("idle", counting(1, 1), Target::Stopped).await.unwrap();
        until(&one, "lines", "three lines", |view| view.tasks[0].records == 3).await;
    });
    process(dir.path(), async |client| {
        let two = worker(&client, dir.path(), "two").await;
        assert_eq!(two.names(), ["idle", "lines"]);
        let idle = two.view("idle").unwrap();
        assert_eq!((idle.target, idle.tasks.len()), (Target::Stopped, 0));
        until(&two, "lines", "moved", |view| loads(&two, view) == of(&[("two", 1)])).await;
        let refused = offsets::reset(&two, "lines").await.unwrap_err();
        assert!(refused.to_string().contains("STOPPED"), "{refused}");
        two.set_target("lines", Target::Stopped).await.unwrap();
        let part = PartOffset {
            partition: json!({ "filename": "in.txt" }),
            offset: offsets::read(&two, "lines").await.unwrap()[0].offset.clone(),
        };
        offsets::reset(&two, "lines").await.unwrap();
        assert_eq!(offsets::read(&two, "lines").await.unwrap(), []);
        offsets::alter(&two, "lines", vec![part.clone()]).await.unwrap();
        assert_eq!(offsets::read(&two, "lines").await.unwrap(), [part]);
        two.set_target("lines", Target::Running).await.unwrap();
        std::fs::write(dir.path().join("in.txt"), "1\n2\n3\n4\n").unwrap();
        until(&two, "lines", "the fourth", |view| {
            view.tasks.first().is_some_and(|task| task.records == 1)
        })
        .await;
        let values: Vec<_> = read(&*client, "lines", 0).await;
        assert_eq!(values.len(), 4, "{values:?}");
        two.shutdown().await;
    });
}

/// Who has the tasks and how they stand, as that worker sees it.
fn standing(view: &View) -> BTreeSet<(String, &'static str)> {
    let id = |task: &connectors::herder::TaskView| task.worker_id.as_deref().map(str::to_owned);
    view.tasks.iter().map(|task| (id(task).unwrap_or_default(), task.state.name())).collect()
}

/// One worker lacked a variable, and led: all tasks of all workers were left out, silently.
#[test]
fn who_cannot_run_a_task_says_so_and_keeps_nobody_else_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let (with, without) = (dir.path().join("with"), dir.path().join("without"));
    for of in [&with, &without] {
        std::fs::create_dir(of).unwrap();
    }
    std::fs::write(with.join("own.properties"), "count=1000000\ntasks=4\n").unwrap();
    let elsewhere = |key: &str| ("${file:own.properties:".to_owned() + key) + "}";
    let mut made = counting(4, 1);
    made.insert("count".to_owned(), elsewhere("count"));
    process(dir.path(), async |client| {
        // The first leads.
        let two = worker(&client, &without, "two").await;
        let one = worker(&client, &with, "one").await;
        one.create("made", made.clone(), Target::Running).await.unwrap();
        let shared = [("one", "RUNNING"), ("two", "FAILED")];
        let shared = shared.map(|(id, state)| (id.to_owned(), state)).into();
        for herder in [&one, &two] {
            let what = "those who can run tasks run them";
            until(herder, "made", what, |view| standing(view) == shared).await;
            let view = herder.view("made").unwrap();
            assert_eq!((view.tasks.len(), view.trace.as_deref()), (4, None));
            let failed = view.tasks.iter().find(|task| task.state == TaskState::Failed).unwrap();
            let trace = failed.trace.as_deref().unwrap();
            assert!(trace.contains("own.properties"), "{trace}");
        }
        // Whoever leads now, there are as many tasks, divided as they were written down.
        let fewer = "count=1000000\ntasks=2\n";
        std::fs::write(without.join("own.properties"), fewer).unwrap();
        one.restart_tasks("made", true).await.unwrap();
        let all = of(&[("one", 2), ("two", 2)]);
        until(&one, "made", "what was missing is there", |view| loads(&one, view) == all).await;
        made.insert("tasks.max".to_owned(), elsewhere("tasks"));
        one.put("made", made.clone()).await.unwrap();
        until(&one, "made", "tasks that are not the same", |view| {
            let view = view.tasks.iter().filter_map(|task| task.trace.as_deref());
            view.filter(|trace| trace.contains("make 2 tasks at this worker, and 4")).count() == 2
        })
        .await;
        two.put("made", made).await.unwrap();
        until(&two, "made", "as the other says", |view| {
            view.tasks.len() == 2 && standing(view).contains(&("two".to_owned(), "RUNNING"))
        })
        .await;
        one.shutdown().await;
        until(&two, "made", "alone", |view| loads(&two, view) == of(&[("two", 2)])).await;
        two.shutdown().await;
    });
}

/// Writes to a topic as it is told, and leaves a transaction open if there is an id.
async fn write(client: &Arc<dyn Client>, id: Option<&str>, records: &[(&str, &str)]) {
    let transactional_id = id.map(str::to_owned);
    let transaction_timeout = Duration::from_secs(600);
    let options = ProducerOptions { transactional_id, transaction_timeout, ..Default::default() };
    let mut producer = client.producer(options).await.unwrap();
    let mut batch = BatchBuilder::default();
    for (key, value) in records {
        batch.append(0, Some(key.as_bytes()), Some(value.as_bytes()));
    }
    if id.is_some() {
        producer.begin().await.unwrap();
    }
    producer.send(&TopicPartition::new("connect-configs", 0), batch).await.unwrap();
    producer.flush().await.unwrap();
}

/// Its plugins divide themselves otherwise, so its numbers of tasks are not ours.
#[test]
fn connectors_of_kafka_connect_are_taken_over_whatever_tasks_they_had() {
    let dir = tempfile::tempdir().unwrap();
    let value = json!({ "properties": counting(3, 1_000_000) }).to_string();
    process(dir.path(), async |client| {
        let topic = NewTopic::new("connect-configs", 1).with_config("cleanup.policy", "compact");
        client.create_topic(&topic).await.unwrap();
        let records = [("connector-made", &*value), ("commit-made", r#"{"tasks":1}"#)];
        write(&client, None, &records).await;
        let one = worker(&client, dir.path(), "one").await;
        until(&one, "made", "three", |view| loads(&one, view) == of(&[("one", 3)])).await;
        one.shutdown().await;
    });
}

/// A worker was killed in the middle of writing: others that started waited for a minute.
#[test]
fn who_was_killed_while_he_wrote_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let one = worker(&client, dir.path(), "one").await;
        one.create("idle", counting(1, 1), Target::Stopped).await.unwrap();
        let open = [("target-state-idle", r#"{"state":"STARTED"}"#)];
        write(&client, Some("connect-cluster-g"), &open).await;
        let two = worker(&client, dir.path(), "two").await;
        assert_eq!(two.view("idle").unwrap().target, Target::Stopped);
        write(&client, Some("connect-cluster-g"), &open).await;
        offsets::reset(&one, "idle").await.unwrap();
        write(&client, Some("connect-cluster-g"), &open).await;
        one.set_target("idle", Target::Running).await.unwrap();
        until(&two, "idle", "started", |view| standing(view).len() == 1).await;
        two.shutdown().await;
        one.shutdown().await;
    });
}
