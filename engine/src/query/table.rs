//! A topic as a table of a batch engine: read up to where it ended, as fast as it is asked for.
//!
//! Rows of a stream are decoded as they are fetched, partitions in parallel, only the columns that
//! the plan wants. Where records replace or take back rows, all of them are read first, and what
//! is left comes out.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use broker::client::{Client, FetchedBatches, Reader, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::Record;
use datafusion::catalog::{Session, TableProvider};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::{Expr, LogicalPlanBuilder, TableType};
use futures::stream;

use super::changes::Standing;
use super::snapshot::{Range, TimeBounds, is_changelog};
use crate::formats::RowDecoder;
use crate::pipeline::{Emit, EventTime, OnError, Query, Source};
use crate::plan::SourceTable;
use crate::plan::lower::shown_sink;
use crate::plan::optimize::optimize;
use crate::runtime::{now, without_letters};
use crate::task::{Position, Task, TaskError, TaskSetup};
use crate::topology::Topology;

/// Rows that are decoded together.
const BATCH_ROWS_MAX: usize = 8192;

/// What was read for a statement.
#[derive(Debug, Default)]
pub struct Counters {
    pub records: AtomicU64,
    pub skipped: AtomicU64,
}

/// Where a table is read, and how.
#[derive(Clone)]
pub struct Reading {
    pub client: Arc<dyn Client>,
    pub ranges: Vec<Range>,
    pub bounds: TimeBounds,
    /// Records that fail are left out, whatever their source says.
    pub skip_failed: bool,
    pub counters: Arc<Counters>,
}

/// A source as a batch engine sees it.
pub struct TopicTable {
    source: Arc<Source>,
    reading: Reading,
}

impl TopicTable {
    pub fn new(source: &Arc<Source>, reading: Reading) -> TopicTable {
        let mut source = without_letters(source, reading.skip_failed);
        if !is_changelog(&source) {
            // Nobody asks when a row happened, so that need not be decoded.
            Arc::make_mut(&mut source).event_time = EventTime::Record;
        }
        TopicTable { source, reading }
    }
}

impl fmt::Debug for TopicTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicTable({})", self.source.topic)
    }
}

#[async_trait]
impl TableProvider for TopicTable {
    fn schema(&self) -> SchemaRef {
        self.source.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.source.columns.len()).collect();
        let projection: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.source.schema.project(&projection)?);
        let part = |ranges: Vec<Range>| -> Arc<dyn PartitionStream> {
            Arc::new(Part {
                source: self.source.clone(),
                projection: projection.clone(),
                schema: schema.clone(),
                reading: Reading { ranges, ..self.reading.clone() },
            })
        };
        let ranges = self.reading.ranges.clone();
        let parts = match is_changelog(&self.source) {
            true => vec![part(ranges)],
            false => {
                let readers = state.config().target_partitions().clamp(1, ranges.len().max(1));
                let mut shares = vec![Vec::new(); readers];
                for (index, range) in ranges.into_iter().enumerate() {
                    shares[index % readers].push(range);
                }
                shares.into_iter().map(part).collect()
            }
        };
        let scan = StreamingTableExec::try_new(schema, parts, None, [], false, limit)?;
        Ok(Arc::new(scan))
    }
}

/// Some partitions of a topic.
struct Part {
    source: Arc<Source>,
    projection: Vec<usize>,
    schema: SchemaRef,
    reading: Reading,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.source.topic, self.reading.ranges.len())
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (source, projection) = (self.source.clone(), self.projection.clone());
        let reading = self.reading.clone();
        let rows = stream::once(async move {
            let rows: BatchStream = match is_changelog(&source) {
                true => Box::pin(stream::iter(standing_rows(&source, &projection, reading).await?)),
                false => {
                    let scan = Scan::open(source, &projection, reading).await?;
                    Box::pin(stream::try_unfold(scan, Scan::next))
                }
            };
            Ok::<_, DataFusionError>(rows)
        });
        let rows = futures::TryStreamExt::try_flatten(rows);
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

type BatchStream = std::pin::Pin<Box<dyn futures::Stream<Item = Result<RecordBatch>> + Send>>;

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Partitions being read to their ends.
struct Opened {
    /// `None` if there is nothing to read.
    reader: Option<Box<dyn Reader>>,
    /// Those not read to their ends: where reading goes on, and where it ends.
    open: BTreeMap<TopicPartition, (Offset, Offset)>,
}

/// Batches of a partition with the offsets that count.
struct Fetched {
    batches: FetchedBatches,
    from: Offset,
    end: Offset,
}

impl Opened {
    async fn new(reading: &Reading, from_earliest: bool) -> Result<Opened> {
        let start = |range: &Range| if from_earliest { range.earliest } else { range.from };
        let places: Vec<_> = reading
            .ranges
            .iter()
            .map(|range| (range.partition.clone(), start(range), range.end))
            .filter(|(_, start, end)| start < end)
            .collect();
        let from = places.iter().map(|(at, start, _)| (at.clone(), *start)).collect();
        let reader = match places.is_empty() {
            true => None,
            false => {
                let reader = reading.client.reader(ReaderOptions::partitions(from)).await;
                Some(reader.map_err(external)?)
            }
        };
        let open = places.into_iter().map(|(at, start, end)| (at, (start, end))).collect();
        Ok(Opened { reader, open })
    }

    /// What was fetched next; `None` at the end of all partitions.
    async fn next(&mut self) -> Result<Option<Fetched>> {
        while !self.open.is_empty() {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            let event = reader.next().await.map_err(external)?;
            let ReaderEvent::Batches(batches) = event else { continue };
            let Some((next, end)) = self.open.get_mut(&batches.partition) else { continue };
            let (from, end) = (*next, *end);
            *next = batches.next_offset.max(from);
            if *next >= end {
                self.open.remove(&batches.partition);
            }
            return Ok(Some(Fetched { batches, from, end }));
        }
        Ok(None)
    }
}

/// Rows of a stream, as they are fetched.
struct Scan {
    source: Arc<Source>,
    decoder: RowDecoder,
    opened: Opened,
    bounds: TimeBounds,
    counters: Arc<Counters>,
    decoded: VecDeque<RecordBatch>,
}

impl Scan {
    async fn open(source: Arc<Source>, projection: &[usize], reading: Reading) -> Result<Scan> {
        let decoder = RowDecoder::new(&source, projection).map_err(external)?;
        let opened = Opened::new(&reading, false).await?;
        let Reading { bounds, counters, .. } = reading;
        Ok(Scan { source, decoder, opened, bounds, counters, decoded: VecDeque::new() })
    }

    async fn next(mut self) -> Result<Option<(RecordBatch, Scan)>> {
        loop {
            if let Some(batch) = self.decoded.pop_front() {
                return Ok(Some((batch, self)));
            }
            let Some(fetched) = self.opened.next().await? else { return Ok(None) };
            self.decode(&fetched).map_err(external)?;
        }
    }

    fn decode(&mut self, fetched: &Fetched) -> Result<(), TaskError> {
        let Fetched { batches, from, end } = fetched;
        let partition = &batches.partition;
        let broken = |error| TaskError::Batch { from: partition.clone(), error };
        for batch in &batches.batches {
            let set = batch.records().map_err(broken)?;
            let mut records: Vec<Record<'_>> = Vec::new();
            for record in set.iter() {
                let record = record.map_err(broken)?;
                let counts = record.offset >= *from && record.offset < *end;
                if counts && self.bounds.contain(record.timestamp_ms) {
                    records.push(record);
                }
            }
            for records in records.chunks(BATCH_ROWS_MAX) {
                self.decode_records(partition, records)?;
            }
        }
        Ok(())
    }

    fn decode_records(
        &mut self,
        partition: &TopicPartition,
        records: &[Record<'_>],
    ) -> Result<(), TaskError> {
        let decoded = self.decoder.decode(partition.partition, records);
        self.counters.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        match (&self.source.on_error, decoded.failures.first()) {
            (OnError::Fail, Some(failure)) => {
                let (from, offset) = (partition.clone(), records[failure.index].offset);
                let reason = failure.reason.to_string();
                return Err(TaskError::Record { from, offset, reason });
            }
            _ => {
                let skipped = decoded.failures.len() as u64;
                self.counters.skipped.fetch_add(skipped, Ordering::Relaxed);
            }
        }
        if !decoded.rows.is_empty() {
            self.decoded.push_back(decoded.rows.batch);
        }
        Ok(())
    }
}

/// The rows of a table, or those that a changelog has left.
async fn standing_rows(
    source: &Arc<Source>,
    projection: &[usize],
    reading: Reading,
) -> Result<Vec<Result<RecordBatch>>> {
    let plan = SourceTable::scan(source)?;
    let columns = plan.schema().columns();
    let wanted = projection.iter().map(|&column| Expr::Column(columns[column].clone()));
    let plan = LogicalPlanBuilder::from(plan).project(wanted)?.build()?;
    let query = Query {
        name: source.name.clone(),
        plan: optimize(plan)?,
        emit: Emit::Changes,
        state_ttl: None,
        sink: shown_sink(),
        span: source.span.clone(),
    };
    let topology = Topology::new(&query, std::slice::from_ref(source)).map_err(external)?;
    let schema = topology.schema().clone();
    let partitions = reading.ranges.iter().map(|range| range.partition.partition);
    let setup = TaskSetup {
        batch_rows_max: BATCH_ROWS_MAX,
        task: 0,
        input_partitions: vec![partitions.collect()],
        sink_partitions: 1,
        topology,
    };
    let mut task = Task::showing(setup, now()).map_err(external)?;
    for range in &reading.ranges {
        let position = Position { next: range.earliest, end: range.end };
        task.start_at(&range.partition, position, now());
    }
    let mut standing = Standing::new(schema)?;
    let mut opened = Opened::new(&reading, true).await?;
    while let Some(mut fetched) = opened.next().await? {
        let end = fetched.end;
        fetched.batches.batches.retain(|batch| batch.base_offset() < end);
        task.process(&fetched.batches, now()).map_err(external)?;
        let commit = task.commit(now()).map_err(external)?;
        commit.printed.iter().try_for_each(|rows| standing.apply(rows))?;
    }
    let counts = task.counts();
    let records = counts.rows_in + counts.tombstones + counts.skipped;
    reading.counters.records.fetch_add(records, Ordering::Relaxed);
    reading.counters.skipped.fetch_add(counts.skipped, Ordering::Relaxed);
    Ok(standing.into_batches(BATCH_ROWS_MAX)?.into_iter().map(Ok).collect())
}
