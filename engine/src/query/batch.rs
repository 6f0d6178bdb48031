//! Statements to rows, by batch DataFusion over topics as they stand.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use broker::client::Client;
use datafusion::catalog::TableProvider;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::{LogicalPlan, TableScan};
use futures::StreamExt;
use thiserror::Error;
use tokio::runtime::Handle;

use super::changes::Standing;
use super::script::{BatchStatement, StreamStatement, Streamed};
use super::snapshot::Snapshot;
use super::table::{Counters, Reading, TopicTable};
use crate::pipeline::Diagnostics;
use crate::pipeline::load::on_deep_stack;
use crate::plan::SourceTable;
use crate::plan::context::options;
use crate::runtime::{RunError, Runtime};

/// Rows of an answer that come together.
const BATCH_ROWS_MAX: usize = 8192;
/// How many of those that need memory are named where there is not enough.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// How to answer.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// What sorts, groups and joins may hold before they go to disk, or fail.
    pub memory_bytes_max: usize,
    /// Records that cannot be decoded are left out and counted, whatever their sources say.
    pub skip_failed: bool,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions { memory_bytes_max: 1 << 30, skip_failed: false }
    }
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Error)]
pub enum QueryError {
    #[error("{0}")]
    Evaluate(String),
    #[error("there is not enough memory for {0}")]
    Memory(String),
    #[error(transparent)]
    Run(RunError),
    #[error("the planner failed, which is a bug")]
    Panicked(Diagnostics),
}

/// Answers statements over one snapshot.
pub struct Batch {
    context: SessionContext,
    client: Arc<dyn Client>,
    snapshot: Arc<Snapshot>,
    options: BatchOptions,
}

/// Rows, as they come.
pub struct Answer {
    pub schema: SchemaRef,
    stream: SendableRecordBatchStream,
    counters: Arc<Counters>,
}

/// What was read for an answer so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    pub records: u64,
    /// Records left out because they could not be decoded.
    pub skipped: u64,
}

impl Batch {
    pub fn new(
        client: Arc<dyn Client>,
        snapshot: Snapshot,
        batch: BatchOptions,
    ) -> Result<Batch, QueryError> {
        let pool = FairSpillPool::new(batch.memory_bytes_max);
        let pool = Arc::new(TrackConsumersPool::new(pool, CONSUMERS_NAMED));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc();
        let config = SessionConfig::from(options()).with_batch_size(BATCH_ROWS_MAX);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.map_err(query_error)?)
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        Ok(Batch { context, client, snapshot: Arc::new(snapshot), options: batch })
    }

    /// Begins to answer, inside a tokio runtime of several threads.
    pub async fn answer(&self, statement: BatchStatement) -> Result<Answer, QueryError> {
        let counters = Arc::new(Counters::default());
        let BatchStatement { plan, parts, .. } = statement;
        let mut streamed = Vec::new();
        for part in &parts {
            streamed.push(self.answer_as_stream(part, &counters).await?);
        }
        let plan = self.over_topics(plan, &streamed, &counters).map_err(query_error)?;
        let context = self.context.clone();
        let runtime = Handle::current();
        let planning = tokio::task::spawn_blocking(move || {
            on_deep_stack(|| runtime.block_on(physical(&context, plan)))
        });
        let planned = planning.await.map_err(|error| QueryError::Evaluate(error.to_string()))?;
        let (plan, task) = planned.map_err(QueryError::Panicked)?.map_err(query_error)?;
        let stream = execute_stream(plan, task).map_err(query_error)?;
        Ok(Answer { schema: stream.schema(), stream, counters })
    }

    /// Scans of sources to scans of their topics.
    fn over_topics(
        &self,
        plan: LogicalPlan,
        streamed: &[Vec<RecordBatch>],
        counters: &Arc<Counters>,
    ) -> Result<LogicalPlan> {
        let of_topic = |plan: LogicalPlan| {
            let LogicalPlan::TableScan(scan) = plan else { return Ok(Transformed::no(plan)) };
            if let Some(part) = scan.source.downcast_ref::<Streamed>() {
                let table = provider_as_source(rows_of_part(&scan, &streamed[part.part])?);
                return Ok(Transformed::yes(LogicalPlan::TableScan(TableScan {
                    source: table,
                    ..scan
                })));
            }
            let Some(SourceTable(source)) = scan.source.downcast_ref::<SourceTable>() else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            let reading = Reading {
                client: self.client.clone(),
                ranges: self.snapshot.ranges(&source.topic).to_vec(),
                bounds: self.snapshot.bounds,
                skip_failed: self.options.skip_failed,
                counters: counters.clone(),
            };
            let table = provider_as_source(Arc::new(TopicTable::new(source, reading)));
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source: table, ..scan })))
        };
        Ok(plan.transform_down_with_subqueries(of_topic)?.data)
    }

    /// Answers what only a stream can be asked, up to the end of its inputs: what is left of its
    /// rows then.
    async fn answer_as_stream(
        &self,
        statement: &StreamStatement,
        counters: &Counters,
    ) -> Result<Vec<RecordBatch>, QueryError> {
        let StreamStatement { query, sources } = statement;
        let from = self.snapshot.shown_from(sources, false, true);
        let skip_failed = self.options.skip_failed;
        let shown = Runtime::show(self.client.clone(), query, sources, from, skip_failed).await;
        let mut runtime = shown.map_err(QueryError::Run)?;
        let schema = runtime.progress().borrow()[0].schema.clone();
        let mut standing = Standing::new(schema).map_err(query_error)?;
        if let Some(mut printed) = runtime.printed() {
            while let Some(printed) = printed.recv().await {
                standing.apply(&printed.rows).map_err(query_error)?;
            }
        }
        let summary = runtime.finished().await.map_err(QueryError::Run)?;
        for query in summary {
            let records = query.counts.rows_in + query.counts.tombstones;
            counters.records.fetch_add(records, Ordering::Relaxed);
            counters.skipped.fetch_add(query.counts.skipped, Ordering::Relaxed);
        }
        standing.into_batches(BATCH_ROWS_MAX).map_err(query_error)
    }
}

/// Rows that a stream has answered, under the names that the scan has for their columns.
fn rows_of_part(scan: &TableScan, rows: &[RecordBatch]) -> Result<Arc<dyn TableProvider>> {
    let schema = scan.source.schema();
    let named = |rows: &RecordBatch| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let columns = rows.columns().to_vec();
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    };
    let rows = rows.iter().map(named).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(MemTable::try_new(schema.clone(), vec![rows])?))
}

async fn physical(
    context: &SessionContext,
    plan: LogicalPlan,
) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
    let frame = context.execute_logical_plan(plan).await?;
    let task = Arc::new(frame.task_ctx());
    Ok((frame.create_physical_plan().await?, task))
}

impl Answer {
    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        Some(self.stream.next().await?.map_err(query_error))
    }

    pub fn counts(&self) -> ReadCounts {
        let Counters { records, skipped } = &*self.counters;
        ReadCounts {
            records: records.load(Ordering::Relaxed),
            skipped: skipped.load(Ordering::Relaxed),
        }
    }
}

pub(super) fn query_error(error: DataFusionError) -> QueryError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(reason) => QueryError::Memory(wanting(reason)),
        DataFusionError::External(inner) => QueryError::Evaluate(inner.to_string()),
        DataFusionError::Execution(reason)
        | DataFusionError::Plan(reason)
        | DataFusionError::NotImplemented(reason) => QueryError::Evaluate(plain(reason)),
        DataFusionError::ArrowError(error, _) => QueryError::Evaluate(plain(&error.to_string())),
        root => QueryError::Evaluate(plain(&root.strip_backtrace())),
    }
}

/// Who asked for more memory than there is.
fn wanting(reason: &str) -> String {
    let after = reason.split_once("allocation failed for ").map(|(_, after)| after);
    let name = after.and_then(|after| after.split([' ', '[', '#']).next());
    name.map_or_else(|| plain(reason), |name| format!("'{name}'"))
}

/// Without the kind of error before it, and in small letters.
fn plain(message: &str) -> String {
    let kinds = ["Execution error: ", "Arrow error: ", "External error: ", "Cast error: "];
    let mut message = message.trim();
    for kind in kinds {
        message = message.strip_prefix(kind).unwrap_or(message);
    }
    let mut characters = message.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}
