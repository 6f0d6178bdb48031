//! Topics in memory.

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use broker::client::FetchedBatches;
use broker::ids::{LeaderEpoch, Offset, TopicPartition};
use broker::record::{BatchBuilder, ProducerStamp, Record, RecordBatch};
use serde_json::{Map, Value as Json};

use super::TopicName;
use crate::formats::{RowDecoder, RowEncoder};
use crate::pipeline::cases::{
    Case, CaseInput, CaseRecord, CaseValue, rows_are_encoded, value_columns,
};
use crate::pipeline::{ColumnFrom, EventTime, Format, Pipeline, Source, SourceKind};
use crate::time::WallTime;

/// All records, in the order in which they came.
pub struct Logs {
    partitions: BTreeMap<TopicName, i32>,
    /// One record each.
    batches: Vec<(TopicPartition, RecordBatch)>,
    ends: BTreeMap<TopicPartition, Offset>,
}

/// A record as it was written.
#[derive(Clone, Debug)]
pub struct LoggedRecord {
    pub key: Option<String>,
    pub value: Option<String>,
    pub timestamp_ms: i64,
    pub partition: i32,
    pub headers: Vec<(String, String)>,
}

impl Logs {
    /// Topics have as many partitions as the case names.
    pub fn for_case(case: &Case) -> Logs {
        let mut partitions: BTreeMap<TopicName, i32> = BTreeMap::new();
        for input in case.steps.iter().flat_map(|step| &step.inputs) {
            let named = input.records.iter().filter_map(|record| record.partition);
            let count = named.max().unwrap_or(0) + 1;
            let known = partitions.entry(input.topic.as_str().into()).or_insert(1);
            *known = count.max(*known);
        }
        Logs { partitions, batches: Vec::new(), ends: BTreeMap::new() }
    }

    pub fn partitions(&self, topic: &str) -> i32 {
        self.partitions.get(topic).copied().unwrap_or(1)
    }

    pub fn declare(&mut self, topic: &str, partitions: i32) {
        self.partitions.entry(topic.into()).or_insert(partitions);
    }

    /// Writes what a case names.
    pub fn produce(
        &mut self,
        pipeline: &Pipeline,
        input: &CaseInput,
        now: WallTime,
    ) -> Result<(), String> {
        let source = pipeline.sources.iter().find(|source| source.topic == input.topic);
        for record in &input.records {
            let value = match &record.value {
                CaseValue::Tombstone => None,
                CaseValue::Text(text) => Some(text.clone().into_bytes()),
                CaseValue::Columns(columns) => {
                    let encoded = encoded(source.map(AsRef::as_ref), columns);
                    Some(encoded.map_err(|reason| at(record, &reason))?)
                }
            };
            let headers: Vec<(&str, Option<&[u8]>)> = record
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
                .collect();
            let mut builder = BatchBuilder::default();
            let (key, time) = (record.key.as_deref(), record.timestamp_ms.unwrap_or(now.0));
            builder.append_with_headers(time, key.map(str::as_bytes), value.as_deref(), &headers);
            let to = TopicPartition::new(input.topic.as_str(), record.partition.unwrap_or(0));
            self.push(to, builder);
        }
        Ok(())
    }

    /// Takes a batch, record by record.
    pub fn append(&mut self, to: &TopicPartition, batch: BatchBuilder) -> Result<(), String> {
        let batch = batch.build(ProducerStamp::NONE);
        let records = batch.records().map_err(|error| error.to_string())?;
        for record in records.iter() {
            let Record { timestamp_ms, key, value, .. } =
                record.as_ref().map_err(|error| error.to_string())?;
            let headers = record.as_ref().map(|record| {
                record.headers().map(|header| (header.key, header.value)).collect::<Vec<_>>()
            });
            let mut builder = BatchBuilder::default();
            let headers = headers.unwrap_or_default();
            builder.append_with_headers(*timestamp_ms, *key, *value, &headers);
            self.push(to.clone(), builder);
        }
        Ok(())
    }

    fn push(&mut self, to: TopicPartition, builder: BatchBuilder) {
        let end = self.ends.entry(to.clone()).or_insert(Offset::ZERO);
        let batch = builder.build(ProducerStamp::NONE).stamped(*end, LeaderEpoch(0));
        *end = batch.next_offset();
        self.batches.push((to, batch));
    }

    fn fetched(&self, partition: &TopicPartition, batches: Vec<RecordBatch>) -> FetchedBatches {
        FetchedBatches {
            partition: partition.clone(),
            next_offset: batches.last().map_or(Offset::ZERO, RecordBatch::next_offset),
            batches,
            end_offset: self.ends.get(partition).copied().unwrap_or(Offset::ZERO),
        }
    }

    /// Everything of a partition from an offset on, if there is anything.
    pub fn fetch_all(&self, partition: &TopicPartition, from: Offset) -> Option<FetchedBatches> {
        let of = self.batches.iter().filter(|(of, _)| of == partition).map(|(_, batch)| batch);
        let batches: Vec<RecordBatch> =
            of.filter(|batch| batch.next_offset() > from).cloned().collect();
        (!batches.is_empty()).then(|| self.fetched(partition, batches))
    }

    /// Record by record, in the order in which they came.
    pub fn arrivals(&self) -> impl Iterator<Item = FetchedBatches> {
        self.batches.iter().map(|(of, batch)| self.fetched(of, vec![batch.clone()]))
    }

    pub fn records(&self, topic: &str) -> Vec<LoggedRecord> {
        let of_topic = self.batches.iter().filter(|(of, _)| *of.topic == *topic);
        let mut found = Vec::new();
        for (of, batch) in of_topic {
            let Ok(records) = batch.records() else { continue };
            for record in records.iter().flatten() {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let headers = record.headers();
                found.push(LoggedRecord {
                    key: record.key.map(text),
                    value: record.value.map(text),
                    timestamp_ms: record.timestamp_ms,
                    partition: of.partition,
                    headers: headers
                        .map(|header| {
                            (header.key.to_owned(), text(header.value.unwrap_or_default()))
                        })
                        .collect(),
                });
            }
        }
        found
    }
}

fn at(record: &CaseRecord, reason: &str) -> String {
    format!("the record at {} cannot be written: {reason}", record.span)
}

/// A row as a value of the source: in its format, else as JSON.
fn encoded(source: Option<&Source>, columns: &[(String, Json)]) -> Result<Vec<u8>, String> {
    let object: Map<String, Json> = columns.iter().cloned().collect();
    let json = Json::Object(object).to_string().into_bytes();
    let Some(source) = source.filter(|source| rows_are_encoded(&source.format)) else {
        return Ok(json);
    };
    let wanted = value_columns(source);
    let fields: Vec<_> = wanted.iter().map(|column| source.schema.field(*column).clone()).collect();
    let as_json = Source {
        kind: SourceKind::Stream,
        format: Format::Json,
        columns: wanted.iter().map(|column| source.columns[*column].clone()).collect(),
        schema: Schema::new(fields).into(),
        event_time: EventTime::Record,
        ..source.clone()
    };
    debug_assert!(as_json.columns.iter().all(|column| column.from == ColumnFrom::Value));
    let all: Vec<usize> = (0..wanted.len()).collect();
    let mut decoder = RowDecoder::new(&as_json, &all).map_err(|error| error.to_string())?;
    let mut builder = BatchBuilder::default();
    builder.append(0, None, Some(&json));
    let batch = builder.build(ProducerStamp::NONE);
    let records = batch.records().map_err(|error| error.to_string())?;
    let records: Vec<Record<'_>> =
        records.iter().collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let decoded = decoder.decode(0, &records);
    if let Some(failure) = decoded.failures.first() {
        return Err(failure.reason.to_string());
    }
    let encoder = RowEncoder::new(&source.format, &as_json.schema, &[]);
    let encoder = encoder.map_err(|error| error.to_string())?;
    let rows = encoder.encode(&decoded.rows.batch).map_err(|error| error.to_string())?;
    rows.value(0).map(<[u8]>::to_vec).ok_or_else(|| "it is no record".to_owned())
}
