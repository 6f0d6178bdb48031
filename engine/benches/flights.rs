//! Records per second of `pipelines/flight-delays.toml`, beside batch DataFusion over the same
//! bytes: from record batches to encoded records in one thread, and from topic to topic on the
//! broker of this process, its transactions fsynced.
//!
//!   cargo bench --workspace --bench flights
//!
//! Each line of the sample file stands several times in a row, so that event time passes as it
//! does in the original. The encoding of the answer is left out on the batch side. Processor time
//! is that of all threads: records per second of it are what one core does.
//!
//! Then the same with two more columns, by functions in WebAssembly (C and Zig) and by expressions
//! with the same meaning, and with an aggregate in WebAssembly (Rust), in memory.

mod stopwatch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, FetchedBatches, NewTopic, ProducerOptions};
use broker::ids::{LeaderEpoch, Offset, TopicPartition};
use broker::record::{BatchBuilder, ProducerStamp, RecordBatch};
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use engine::pipeline::{Pipeline, load, load_text};
use engine::plan::windows::register;
use engine::runtime::{Reset, Runtime, RuntimeOptions};
use engine::task::{Position, Task, TaskSetup};
use engine::time::WallTime;
use engine::topology::Topology;
use stopwatch::{Stopwatch, Took, median};

/// How often each line stands in the input.
const COPIES: usize = 20;
/// As a producer would batch them, and as a reader would fetch them.
const BATCH_BYTES: usize = 64 << 10;
const FETCH_BATCHES: usize = 16;
const ROUNDS: usize = 5;
const NOW: WallTime = WallTime(1_800_000_000_000);

const SQL: &str = "
    SELECT tumble_start(time_hour, INTERVAL '1 hour') AS window_start,
           tumble_end(time_hour, INTERVAL '1 hour') AS window_end, origin,
           count(*) AS flights, count(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
           avg(dep_delay) AS mean_delay, max(dep_delay) AS max_delay,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY dep_delay) AS p90_delay
    FROM flights
    GROUP BY tumble_start(time_hour, INTERVAL '1 hour'), tumble_end(time_hour, INTERVAL '1 hour'),
             origin";

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace");
    let path = root.join("pipelines/flight-delays.toml");
    let (mut pipelines, _) = load(&[path]).unwrap_or_else(|problems| panic!("{problems:?}"));
    let pipeline = pipelines.remove(0);
    let text = std::fs::read_to_string(root.join("examples/data/flights-2013-01.csv"))
        .expect("the sample data is in the repository");
    let lines = repeated(&text);
    let records = lines.len();
    let batches = batches(&lines);
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    let file = csv_file(&lines);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let topics = runtime.block_on(Topics::filled(&lines));

    let (mut task, mut stream, mut batch) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (task_took, task_out) = run_task(&pipeline, &batches);
        let (stream_took, stream_out) = runtime.block_on(topics.run(&pipeline));
        let (batch_took, batch_out) = runtime.block_on(run_batch(&pipeline, &file.0));
        assert_eq!((task_out, stream_out), (batch_out, batch_out), "all give as many rows");
        task.push(task_took);
        stream.push(stream_took);
        batch.push(batch_took);
    }
    println!("flight-delays, {records} records, {} MB, median of {ROUNDS}", bytes >> 20);
    let batch = median(batch);
    for (name, took) in [
        ("one task, in memory", median(task)),
        ("topic to topic", median(stream)),
        ("batch DataFusion", batch),
    ] {
        let rate = |took: Duration| records as f64 / took.as_secs_f64();
        let ratio = |of: Duration, took: Duration| of.as_secs_f64() / took.as_secs_f64();
        println!(
            "  {name:20} {:>10.0} records/s ({:.2} of batch); per core {:>10.0} ({:.2} of batch)",
            rate(took.wall),
            ratio(batch.wall, took.wall),
            rate(took.processor),
            ratio(batch.processor, took.processor),
        );
    }
    runtime.block_on(topics.broker.shutdown()).expect("an orderly end");
    functions(root, &batches, records);
}

/// What functions of users cost.
fn functions(root: &Path, batches: &[RecordBatch], records: usize) {
    let variants = [
        ("without", ""),
        (
            "by expressions",
            "late = \"count(*) FILTER (WHERE CASE WHEN dep_delay IS NULL THEN 'cancelled' \
             WHEN dep_delay < 0 THEN 'early' WHEN dep_delay < 15 THEN 'on time' \
             WHEN dep_delay < 60 THEN 'late' ELSE 'very late' END = 'very late')\"\n\
             knots = \"avg(distance * 1.609344 / 1.852 / (air_time / 60))\"\n",
        ),
        (
            "in WebAssembly",
            "late = \"count(*) FILTER (WHERE punctuality(dep_delay) = 'very late')\"\n\
             knots = \"avg(knots(distance, air_time))\"\n",
        ),
        ("an aggregate", "to = \"usual(dest)\"\n"),
    ];
    let variants = variants.map(|(name, aggregates)| (name, with_aggregates(root, aggregates)));
    let mut took: Vec<Vec<Took>> = variants.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, pipeline), took) in variants.iter().zip(&mut took) {
            took.push(run_task(pipeline, batches).0);
        }
    }
    println!("functions, one task in memory, median of {ROUNDS}");
    let took: Vec<Took> = took.into_iter().map(median).collect();
    for ((name, _), of) in variants.iter().zip(&took) {
        println!(
            "  {name:20} {:>10.0} records/s per core ({:.2} of without)",
            records as f64 / of.processor.as_secs_f64(),
            took[0].processor.as_secs_f64() / of.processor.as_secs_f64(),
        );
    }
}

/// `pipelines/flight-delays.toml` with more of what it computes.
fn with_aggregates(root: &Path, aggregates: &str) -> Pipeline {
    const LAST: &str = "p90_delay = ";
    let path = root.join("pipelines/flight-delays.toml");
    let text = std::fs::read_to_string(&path).expect("the pipeline is in the repository");
    let functions = ["knots", "punctuality", "usual"].map(|name| {
        let file = root.join(format!("examples/udfs/flights/{name}.wasm"));
        format!("[udfs.{name}]\nfile = \"{}\"\n", file.display())
    });
    let text = format!("{}{text}", functions.concat());
    let text = text.replacen(LAST, &format!("{aggregates}{LAST}"), 1);
    load_text(path, text).unwrap_or_else(|problems| panic!("{problems:?}")).0
}

/// A broker with the input in a topic.
struct Topics {
    _dir: tempfile::TempDir,
    broker: Arc<Broker>,
    client: Arc<dyn Client>,
}

impl Topics {
    async fn filled(lines: &[&str]) -> Topics {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let broker = Broker::open(BrokerConfig::new(dir.path())).await.expect("a broker");
        let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
        client.create_topic(&NewTopic::new("flights", 1)).await.expect("a new topic");
        let mut producer = client.producer(ProducerOptions::default()).await.expect("a producer");
        let to = TopicPartition::new("flights", 0);
        let mut batch = BatchBuilder::default();
        for (index, line) in lines.iter().enumerate() {
            batch.append(NOW.0, None, Some(line.as_bytes()));
            if batch.size() >= BATCH_BYTES || index + 1 == lines.len() {
                producer.send(&to, std::mem::take(&mut batch)).await.expect("room for it");
            }
        }
        producer.flush().await.expect("a disk");
        Topics { _dir: dir, broker, client }
    }

    async fn run(&self, pipeline: &Pipeline) -> (Took, usize) {
        let watch = Stopwatch::start();
        let options = RuntimeOptions {
            reset_state: Reset::All,
            until_end: true,
            ..RuntimeOptions::default()
        };
        let started = Runtime::start(self.client.clone(), vec![pipeline.clone()], options);
        let mut running = started.expect("the pipeline can run");
        drop(running.printed());
        running.inputs_complete();
        let summaries = running.finished().await.expect("the data is good");
        (watch.read(), summaries[0].counts.rows_out as usize)
    }
}

fn repeated(text: &str) -> Vec<&str> {
    let mut lines = text.lines();
    let header = lines.next().into_iter();
    header.chain(lines.flat_map(|line| std::iter::repeat_n(line, COPIES))).collect()
}

fn batches(lines: &[&str]) -> Vec<RecordBatch> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut builder = BatchBuilder::default();
    for (index, line) in lines.iter().enumerate() {
        builder.append(NOW.0, None, Some(line.as_bytes()));
        if builder.size() >= BATCH_BYTES || index + 1 == lines.len() {
            let base = batches.last().map_or(Offset::ZERO, RecordBatch::next_offset);
            let batch = std::mem::take(&mut builder).build(ProducerStamp::NONE);
            batches.push(batch.stamped(base, LeaderEpoch(0)));
        }
    }
    batches
}

/// Deleted when it goes.
struct CsvFile(PathBuf);

impl Drop for CsvFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn csv_file(lines: &[&str]) -> CsvFile {
    let path = std::env::temp_dir().join(format!("flights-{}.csv", std::process::id()));
    let mut file = std::fs::File::create(&path).expect("a temporary file");
    // DataFusion's CSV has no token for NULL but the empty field.
    file.write_all(lines.join("\n").replace(",NA", ",").as_bytes()).expect("room for it");
    CsvFile(path)
}

fn run_task(pipeline: &Pipeline, batches: &[RecordBatch]) -> (Took, usize) {
    let topology =
        Topology::new(&pipeline.queries[0], &pipeline.sources).expect("the pipeline can run");
    let setup = TaskSetup {
        topology,
        batch_rows_max: pipeline.settings.batch_rows_max,
        task: 0,
        input_partitions: vec![vec![0]],
        sink_partitions: 1,
    };
    let mut task = Task::new(setup, NOW).expect("the pipeline can run");
    let partition = TopicPartition::new("flights", 0);
    let end_offset = batches.last().map_or(Offset::ZERO, RecordBatch::next_offset);
    let position = Position { next: Offset::ZERO, end: end_offset };
    task.start_at(&partition, position, NOW);

    let watch = Stopwatch::start();
    let mut committed = Instant::now();
    let mut out = 0;
    let mut commit = |task: &mut Task| {
        let commit = task.commit(NOW).expect("state can be encoded");
        out += commit.outputs.iter().map(|(_, batch)| batch.len()).sum::<usize>();
    };
    for batches in batches.chunks(FETCH_BATCHES) {
        let next_offset = batches.last().map_or(Offset::ZERO, RecordBatch::next_offset);
        let partition = partition.clone();
        let batches = batches.to_vec();
        let fetched = FetchedBatches { partition, batches, next_offset, end_offset };
        task.process(&fetched, NOW).expect("the data is good");
        if committed.elapsed() >= pipeline.settings.commit_interval {
            commit(&mut task);
            committed = Instant::now();
        }
    }
    task.finish(NOW).expect("windows close");
    commit(&mut task);
    (watch.read(), out)
}

async fn run_batch(pipeline: &Pipeline, file: &Path) -> (Took, usize) {
    let config = SessionConfig::new().with_target_partitions(1);
    let mut context = SessionContext::new_with_config(config);
    register(&mut context).expect("the functions are new");
    let watch = Stopwatch::start();
    let options = CsvReadOptions::new().schema(&pipeline.sources[0].schema).has_header(true);
    let path = file.to_str().expect("a plain path");
    context.register_csv("flights", path, options).await.expect("a CSV file");
    let rows = context.sql(SQL).await.expect("SQL").collect().await.expect("an answer");
    (watch.read(), rows.iter().map(|batch| batch.num_rows()).sum())
}
