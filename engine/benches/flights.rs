//! Records per second of `pipelines/flight-delays.toml` in one thread, from record batches to
//! encoded output records, beside batch DataFusion over the same bytes.
//!
//!   cargo bench -p millstream-engine --bench flights
//!
//! Each line of the sample file stands several times in a row, so that event time passes as it
//! does in the original. Streaming commits as often as the pipeline asks for; the broker is left
//! out on one side, the encoding of the answer on the other.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::client::FetchedBatches;
use broker::ids::{LeaderEpoch, Offset, TopicPartition};
use broker::record::{BatchBuilder, ProducerStamp, RecordBatch};
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use engine::pipeline::{Pipeline, load};
use engine::plan::windows::register;
use engine::task::{Position, Task, TaskSetup};
use engine::time::WallTime;
use engine::topology::Topology;

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
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");

    let mut stream = Vec::new();
    let mut batch = Vec::new();
    for _ in 0..ROUNDS {
        let (took, out) = run_stream(&pipeline, &batches);
        let (batch_took, batch_out) = runtime.block_on(run_batch(&pipeline, &file.0));
        assert_eq!(out, batch_out, "both give the same number of rows");
        stream.push(took);
        batch.push(batch_took);
    }
    let (stream, batch) = (median(stream), median(batch));
    println!("flight-delays, {records} records, {} MB, one thread", bytes >> 20);
    for (name, took) in [("streaming", stream), ("batch DataFusion", batch)] {
        let seconds = took.as_secs_f64();
        let (rate, megabytes) = (records as f64 / seconds, bytes as f64 / 1e6 / seconds);
        println!("  {name:18} {rate:>12.0} records/s {megabytes:>8.1} MB/s {:>8.1?}", took);
    }
    println!("  ratio {:.2}", batch.as_secs_f64() / stream.as_secs_f64());
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

fn run_stream(pipeline: &Pipeline, batches: &[RecordBatch]) -> (Duration, usize) {
    let topology =
        Topology::new(&pipeline.queries[0], &pipeline.sources).expect("the pipeline can run");
    let setup = TaskSetup {
        topology,
        batch_rows_max: pipeline.settings.batch_rows_max,
        input_partitions: vec![1],
        sink_partitions: 1,
    };
    let mut task = Task::new(setup, NOW).expect("the pipeline can run");
    let partition = TopicPartition::new("flights", 0);
    let end_offset = batches.last().map_or(Offset::ZERO, RecordBatch::next_offset);
    let position = Position { next: Offset::ZERO, end: end_offset };
    task.start_at(&partition, position, NOW);

    let started = Instant::now();
    let mut committed = started;
    let mut out = 0;
    let mut commit = |task: &mut Task| {
        let commit = task.commit().expect("state can be encoded");
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
    (started.elapsed(), out)
}

async fn run_batch(pipeline: &Pipeline, file: &Path) -> (Duration, usize) {
    let config = SessionConfig::new().with_target_partitions(1);
    let mut context = SessionContext::new_with_config(config);
    register(&mut context).expect("the functions are new");
    let started = Instant::now();
    let options = CsvReadOptions::new().schema(&pipeline.sources[0].schema).has_header(true);
    let path = file.to_str().expect("a plain path");
    context.register_csv("flights", path, options).await.expect("a CSV file");
    let rows = context.sql(SQL).await.expect("SQL").collect().await.expect("an answer");
    (started.elapsed(), rows.iter().map(|batch| batch.num_rows()).sum())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
