//! The queries of Nexmark, each answered as batch DataFusion answers the same plan.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::ReaderBuilder;
use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{
    Client, Isolation, NewTopic, OffsetSpec, ProducerOptions, ReaderEvent, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::{LogicalPlan, LogicalPlanBuilder};
use engine::pipeline::{Query, Source};
use engine::runtime::{Runtime, RuntimeOptions};
use nexmark_events::{Topics, events, pipelines};
use serde_json::Value;

#[path = "../benches/nexmark_events/mod.rs"]
mod nexmark_events;

const EVENTS: usize = 10_000;
const PARTITIONS: i32 = 2;

/// What batch SQL has to be asked where it has no words for the query.
const ORACLES: &[(&str, &str)] = &[
    (
        "q12",
        // All records have arrived in the same second.
        "SELECT bidder, count(*) AS bid_count,
            arrow_cast(0, 'Timestamp(Millisecond, None)') AS starttime,
            arrow_cast(10000, 'Timestamp(Millisecond, None)') AS endtime
     FROM bid GROUP BY bidder",
    ),
    (
        "q11",
        "SELECT bidder, count(*) AS bid_count, min(date_time) AS starttime,
            arrow_cast(max(date_time) + INTERVAL '10' SECOND, 'Timestamp(Millisecond, None)')
              AS endtime
     FROM (
       SELECT *, sum(fresh) OVER (
         PARTITION BY bidder ORDER BY date_time ROWS UNBOUNDED PRECEDING
       ) AS island
       FROM (
         SELECT bidder, date_time, CASE
           WHEN lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time)
                >= date_time - INTERVAL '10' SECOND THEN 0
           ELSE 1
         END AS fresh
         FROM bid
       )
     )
     GROUP BY bidder, island",
    ),
];

/// The plan over the rows that the topics hold.
async fn batch(query: &Query, sources: &[Arc<Source>], topics: &Topics) -> Vec<Value> {
    let tables: BTreeMap<&str, Arc<MemTable>> = sources
        .iter()
        .filter_map(|source| Some((source.name.as_str(), table(source, topics)?)))
        .collect();
    let over_rows = |plan: LogicalPlan| {
        let LogicalPlan::TableScan(scan) = &plan else { return Ok(Transformed::no(plan)) };
        let rows = provider_as_source(tables[scan.table_name.table()].clone());
        let builder = LogicalPlanBuilder::scan_with_filters(
            scan.table_name.clone(),
            rows,
            scan.projection.clone(),
            scan.filters.clone(),
        )?;
        Ok(Transformed::yes(builder.build()?))
    };
    let config = SessionConfig::new().with_target_partitions(1);
    let mut context = SessionContext::new_with_config(config);
    engine::plan::windows::register(&mut context).unwrap();
    let answer = match ORACLES.iter().find(|(name, _)| *name == query.name) {
        Some((_, sql)) => {
            for (name, table) in &tables {
                context.register_table(*name, table.clone()).unwrap();
            }
            context.sql(sql).await.unwrap()
        }
        None => {
            let plan = query.plan.clone().transform(over_rows).unwrap().data;
            context.execute_logical_plan(plan).await.unwrap()
        }
    };
    let rows = answer.collect().await.unwrap();
    rows.iter().flat_map(encoded).collect()
}

fn table(source: &Source, topics: &Topics) -> Option<Arc<MemTable>> {
    let text = topics.get(source.topic.as_str())?.join("\n");
    let reader = ReaderBuilder::new(source.schema.clone()).build(Cursor::new(text)).unwrap();
    let rows: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    Some(Arc::new(MemTable::try_new(source.schema.clone(), vec![rows]).unwrap()))
}

fn encoded(rows: &RecordBatch) -> Vec<Value> {
    let format = engine::pipeline::Format::Json;
    let encoder = engine::formats::RowEncoder::new(&format, &rows.schema(), &[]).unwrap();
    let encoded = encoder.encode(rows).unwrap();
    (0..encoded.len())
        .map(|row| serde_json::from_slice(encoded.value(row).unwrap()).unwrap())
        .collect()
}

/// Rows in any order; the last digits of floats are those of the order of addition.
fn sorted(rows: Vec<Value>) -> Vec<String> {
    let rounded = |mut row: Value| {
        for (_, value) in row.as_object_mut().unwrap() {
            if value.is_f64() {
                *value = Value::String(format!("{:.9e}", value.as_f64().unwrap() + 0.0));
            }
        }
        row.to_string()
    };
    let mut rows: Vec<String> = rows.into_iter().map(rounded).collect();
    rows.sort();
    rows
}

struct World {
    _dir: tempfile::TempDir,
    client: Arc<dyn Client>,
}

impl World {
    async fn new(topics: &Topics) -> World {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
        let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker));
        let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
        for (topic, values) in topics {
            client.create_topic(&NewTopic::new(*topic, PARTITIONS)).await.unwrap();
            for (index, part) in values.chunks(100).enumerate() {
                let mut batch = BatchBuilder::default();
                part.iter().for_each(|value| batch.append(1000, None, Some(value.as_bytes())));
                let to = TopicPartition::new(*topic, index as i32 % PARTITIONS);
                producer.send(&to, batch).await.unwrap();
            }
        }
        producer.flush().await.unwrap();
        World { _dir: dir, client }
    }

    /// What the sink's topic says: all of it, or the last of each key.
    async fn answer(&self, topic: &str, updating: bool) -> Vec<Value> {
        let partitions = self.client.topic(topic).await.unwrap().unwrap().partitions;
        let (mut all, mut latest) = (Vec::new(), BTreeMap::new());
        for partition in (0..partitions).map(|at| TopicPartition::new(topic, at)) {
            let latest_offset = OffsetSpec::Latest(Isolation::ReadCommitted);
            let one = std::slice::from_ref(&partition);
            let end = self.client.list_offsets(one, latest_offset).await.unwrap()[0].unwrap();
            let mut next = Offset::ZERO;
            let options = ReaderOptions::partitions(vec![(partition.clone(), next)]);
            let mut reader = self.client.reader(options).await.unwrap();
            while next < end {
                let ReaderEvent::Batches(fetched) = reader.next().await.unwrap() else { continue };
                for records in fetched.batches.iter().map(|batch| batch.records().unwrap()) {
                    for record in records.iter().map(Result::unwrap) {
                        let value = record.value.map(|value| serde_json::from_slice(value));
                        let value: Option<Value> = value.transpose().unwrap();
                        if updating {
                            latest.insert(record.key.unwrap().to_vec(), value);
                        } else {
                            all.extend(value);
                        }
                    }
                }
                next = fetched.next_offset;
            }
        }
        all.extend(latest.into_values().flatten());
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_answers_what_batch_answers() {
    let topics = events(EVENTS);
    let world = World::new(&topics).await;
    for tasks in [1, 2] {
        let mut wrong = Vec::new();
        for mut pipeline in pipelines() {
            pipeline.settings.tasks = tasks;
            pipeline.name = format!("{}-in-{tasks}", pipeline.name);
            for query in &mut pipeline.queries {
                query.sink.topic = format!("{}-in-{tasks}", query.sink.topic);
            }
            let options = RuntimeOptions { until_end: true, ..RuntimeOptions::default() };
            let run = Runtime::start(world.client.clone(), vec![pipeline.clone()], options);
            let run = run.unwrap();
            let updating = run.progress().borrow()[0].updating;
            run.inputs_complete();
            let summary = run.finished().await.unwrap().remove(0);
            assert_eq!((summary.complete, summary.counts.late), (true, 0), "{}", pipeline.name);
            let query = &pipeline.queries[0];
            let ours = sorted(world.answer(&query.sink.topic, updating).await);
            let batch = sorted(batch(query, &pipeline.sources, &topics).await);
            assert!(!batch.is_empty(), "{}: the data tells nothing", pipeline.name);
            if ours != batch {
                let other = ours.iter().zip(&batch).find(|(one, other)| one != other);
                wrong.push(format!(
                    "{}: {} rows, batch has {}; the first that differ: {other:#?}",
                    pipeline.name,
                    ours.len(),
                    batch.len()
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
