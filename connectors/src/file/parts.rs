//! A directory of files that are complete once they have their names, exactly once through
//! crashes.
//!
//! ```text
//! out/day=02/t+0+0000000017.jsonl     complete: offsets from 17 on, of partition 0 of topic t
//! out/.millstream/t-0/8-0             being written
//! out/.millstream/t-0.json            the journal: which offsets the complete ones hold
//! ```
//!
//! All files of a topic partition are rolled together, as one *generation*: they are ended and
//! made durable, the [`Journal`] is replaced by one that knows them and the offset behind them,
//! and then they get their names. The replacing is the moment that counts: before it, a crash
//! leaves temporary files, which are thrown away and their records written again; after it,
//! naming is done again when the directory is opened. The group's committed offsets follow the
//! journal and never lead it.
//!
//! What is rolled is bounded by size, time, records and the number of files that are open at once.
//! A stop in order rolls what there is.
//!
//! Files of columns are among them, one for each schema that records come with, so that two which
//! take turns do not end each other's files. Records without a schema share the columns of their
//! topic, which are widened as fields come: what is settled already is ended then, and other files
//! are begun, whose columns can hold all that was seen.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::ids::{Offset, TopicPartition};
use tokio::time::Instant;

use super::generation::{Generation, OWN};
use super::journal::Journal;
use super::layout::{Layout, says_all};
use super::output::{OutputError, io_error};
use super::part::{Body, Packing, PartKey};
use super::rows::Rows;
use crate::columns::{Columns, has_fields};
use crate::data::{ConnectRecord, Schema, SchemaAndValue, Text, Value};
use crate::task::{Put, Refused, SinkPartition, SinkRecords};

/// The most columns of records without a schema: beyond, their names are data.
const COLUMNS_MAX: usize = 2_000;
const NO_COLUMNS: &str =
    "it has no field to be a column (where partition.by names them all: set partition.keep = true)";
/// Schemas whose columns are remembered.
const SCHEMAS_MAX: usize = 1_000;
/// What files of columns may have in memory together.
const MEMORY_MAX: usize = 128 << 20;
/// Memory is looked at whenever so much more has come.
const MEMORY_STEP: usize = 8 << 20;

/// How files are rolled.
#[derive(Clone, Debug)]
pub struct PartOptions {
    pub root: PathBuf,
    pub layout: Layout,
    /// Fields that are not columns too, since directories are named by them.
    pub left_out: Vec<String>,
    pub packing: Packing,
    /// Of a generation, before it is packed.
    pub roll_bytes: u64,
    /// Of a generation.
    pub roll_records: u64,
    /// Of its oldest record.
    pub roll_after: Duration,
    pub open_max: usize,
    /// Records that a file of columns holds before they become arrays.
    pub held_max: usize,
    /// `.jsonl`
    pub ending: &'static str,
}

/// A directory being written.
pub struct Parts {
    options: PartOptions,
    rows: Rows,
    generations: BTreeMap<TopicPartition, Generation>,
    line: Vec<u8>,
    /// The columns of each topic's records that have no schema.
    inferred: BTreeMap<String, Columns>,
    /// The columns that schemas have.
    schemas: HashMap<Schema, Arc<Columns>>,
    /// What files of columns were given since memory was looked at.
    unweighed: usize,
    /// For tests: how many durable steps succeed.
    #[cfg(test)]
    pub steps_left: Option<usize>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Parts {
    pub fn new(options: PartOptions, rows: Rows) -> Parts {
        Parts {
            options,
            rows,
            generations: BTreeMap::new(),
            line: Vec::new(),
            inferred: BTreeMap::new(),
            schemas: HashMap::new(),
            unweighed: 0,
            #[cfg(test)]
            steps_left: None,
        }
    }

    /// Takes partitions, and tells up to which offsets complete files hold them.
    pub fn open(
        &mut self,
        partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, OutputError> {
        let own = self.options.root.join(OWN);
        fs::create_dir_all(&own).map_err(io_error(&own, "create this directory"))?;
        let mut known = Vec::new();
        for SinkPartition { partition, topic_id } in partitions {
            let id = topic_id.map(|id| id.to_string());
            let generation = Generation::open(&self.options.root, partition, id)?;
            known.push((partition.clone(), Offset(generation.journal.offset)));
            self.generations.insert(partition.clone(), generation);
        }
        Ok(known)
    }

    /// Gives partitions up. What of them is not in complete files will be written again.
    pub fn close(&mut self, partitions: &[TopicPartition]) {
        self.generations.retain(|partition, _| !partitions.contains(partition));
    }

    /// Adds each record's value, as a line or by its columns. Those without a value are left out.
    pub fn put(&mut self, records: &SinkRecords) -> Result<Put, OutputError> {
        let mut put = Put::default();
        let partition = records.partition().clone();
        if !self.generations.contains_key(&partition) {
            return Ok(put);
        }
        match records.given_values() {
            Some(values) => {
                for record in values {
                    let at = record.kafka_offset.unwrap_or(Offset::ZERO);
                    self.put_one(&partition, at, record, &mut put)?;
                }
            }
            None => {
                let topic = Text::from(&*partition.topic);
                records.for_each(|record| {
                    let value = record.value.map(|value| match std::str::from_utf8(value) {
                        Ok(text) => SchemaAndValue::text(text),
                        Err(_) => SchemaAndValue::schemaless(crate::data::Value::Bytes(
                            bytes::Bytes::copy_from_slice(value),
                        )),
                    });
                    let value = value.unwrap_or(SchemaAndValue::NULL);
                    let mut of = ConnectRecord::new(&topic, SchemaAndValue::NULL, value);
                    of.timestamp_ms = Some(record.timestamp_ms);
                    self.put_one(&partition, record.offset, &of, &mut put)
                })?;
            }
        }
        let generation = self.generations.get_mut(&partition).expect("it was there");
        generation.next = generation.next.max(records.next_offset());
        if self.options.is_full(generation) {
            self.roll(&partition)?;
        }
        Ok(put)
    }

    fn put_one(
        &mut self,
        partition: &TopicPartition,
        at: Offset,
        record: &ConnectRecord,
        put: &mut Put,
    ) -> Result<(), OutputError> {
        put.records += 1;
        if record.value.value.is_null() {
            put.skipped += 1;
            return Ok(());
        }
        let columns = matches!(self.options.packing, Packing::Parquet(_));
        let schema = match columns {
            true => self.fit(partition, &record.value)?,
            false => Ok(None),
        };
        let schema = match schema {
            Ok(schema) => schema,
            Err(reason) => {
                put.refused.push(Refused { offset: at, reason });
                return Ok(());
            }
        };
        let key = PartKey { dir: self.options.layout.dir(record), schema };
        self.make_room(partition, &key, at)?;
        match columns {
            true => self.put_columns(partition, key, at, &record.value.value, put),
            false => self.put_line(partition, key, at, &record.value, put),
        }
    }

    /// Rolls what has to be before a record is put.
    fn make_room(
        &mut self,
        partition: &TopicPartition,
        key: &PartKey,
        at: Offset,
    ) -> Result<(), OutputError> {
        let open: usize = self.generations.values().map(|one| one.files.len()).sum();
        let generation = self.generations.get_mut(partition).expect("it is ours");
        let is_new = !generation.files.contains_key(key);
        let too_many = is_new && open >= self.options.open_max;
        if too_many || self.options.is_full(generation) {
            generation.next = at;
            // Of all partitions: this one may have few files.
            let of = match too_many {
                true => self.generations.keys().cloned().collect(),
                false => vec![partition.clone()],
            };
            of.iter().try_for_each(|partition| self.roll(partition))?;
        }
        Ok(())
    }

    fn put_line(
        &mut self,
        partition: &TopicPartition,
        key: PartKey,
        at: Offset,
        value: &SchemaAndValue,
        put: &mut Put,
    ) -> Result<(), OutputError> {
        let generation = self.generations.get_mut(partition).expect("it is ours");
        let mut columns = match generation.files.get_mut(&key).map(|part| &mut part.body) {
            Some(Body::Lines(lines)) => lines.columns.take(),
            _ => None,
        };
        self.line.clear();
        let appended = self.rows.append(value, &mut columns, &mut self.line);
        if let Err(reason) = appended {
            put.refused.push(Refused { offset: at, reason });
            if let Some(Body::Lines(lines)) =
                generation.files.get_mut(&key).map(|part| &mut part.body)
            {
                lines.columns = columns;
            }
            return Ok(());
        }
        let temporary = generation.temporary.clone();
        let part = generation.part(key, at, &self.options, None)?;
        if let Body::Lines(lines) = &mut part.body {
            lines.columns = columns;
            let written = lines.write(&self.line);
            written.map_err(io_error(&temporary, "write to a file in it"))?;
        }
        let bytes = self.line.len() as u64;
        generation.bytes += bytes;
        generation.records += 1;
        put.bytes += bytes;
        Ok(())
    }

    /// Which schema's columns, or those that were inferred, a record fits. The inner error says why
    /// it fits none.
    fn fit(
        &mut self,
        partition: &TopicPartition,
        value: &SchemaAndValue,
    ) -> Result<Result<Option<Schema>, String>, OutputError> {
        let is_cut = |name: &&String| !says_all(&value.value, name);
        if let Some(name) = self.options.left_out.iter().find(is_cut) {
            return Ok(Err(format!(
                "field '{name}' is too long for the name of a directory; set partition.keep = true \
                 to have it in the file"
            )));
        }
        Ok(match &value.value {
            Value::Struct(of) => {
                let schema = value.schema.as_ref().unwrap_or(of.schema());
                let columns = self.columns_of(schema);
                let left_out = &self.options.left_out;
                let fit = columns.and_then(|columns| columns.fit(&value.value, left_out));
                fit.map(|()| Some(schema.clone()))
            }
            of if has_fields(of) => self.infer(partition, of)?.map(|()| None),
            other => Err(format!(
                "Parquet needs records with fields, and this is {}; name the converter that reads \
                 them (value.converter = org.apache.kafka.connect.json.JsonConverter), or make a \
                 field of it by the transform HoistField$Value",
                other.kind()
            )),
        })
    }

    fn columns_of(&mut self, schema: &Schema) -> Result<Arc<Columns>, String> {
        if let Some(columns) = self.schemas.get(schema) {
            return Ok(columns.clone());
        }
        let columns = Columns::of_schema(schema)?.without(&self.options.left_out);
        if columns.is_empty() {
            return Err(NO_COLUMNS.to_owned());
        }
        let columns = Arc::new(columns);
        if self.schemas.len() >= SCHEMAS_MAX {
            self.schemas.clear();
        }
        self.schemas.insert(schema.clone(), columns.clone());
        Ok(columns)
    }

    /// Widens a topic's columns to what a record has.
    fn infer(
        &mut self,
        partition: &TopicPartition,
        value: &Value,
    ) -> Result<Result<(), String>, OutputError> {
        let topic = &*partition.topic;
        if !self.inferred.contains_key(topic) {
            self.inferred.insert(topic.to_owned(), Columns::default());
        }
        let known = self.inferred.get_mut(topic).expect("just put there");
        let left_out = &self.options.left_out;
        if known.fit(value, left_out).is_ok() {
            return Ok(match known.is_empty() {
                true => Err(NO_COLUMNS.to_owned()),
                false => Ok(()),
            });
        }
        let wider = known.widened(value).without(left_out);
        let count = wider.leaves();
        if count > COLUMNS_MAX {
            return Ok(Err(format!(
                "it would make {count} columns, and {COLUMNS_MAX} is the most: if names of fields \
                 are data, give the records a schema with a map, or leave fields out by the \
                 transform ReplaceField$Value"
            )));
        }
        let before = std::mem::replace(known, wider);
        if before.settled() != known.settled() {
            let of_topic = |of: &TopicPartition| of.topic == partition.topic;
            for (_, generation) in self.generations.iter_mut().filter(|(of, _)| of_topic(of)) {
                generation.end_settled(&before)?;
            }
        }
        Ok(Ok(()))
    }

    fn put_columns(
        &mut self,
        partition: &TopicPartition,
        key: PartKey,
        at: Offset,
        value: &Value,
        put: &mut Put,
    ) -> Result<(), OutputError> {
        let columns = key.schema.as_ref().and_then(|schema| self.schemas.get(schema));
        let inferred = self.inferred.entry(partition.topic.to_string()).or_default();
        let generation = self.generations.get_mut(partition).expect("it is ours");
        let temporary = generation.temporary.clone();
        let part = generation.part(key, at, &self.options, columns)?;
        let Some(file) = part.columns() else { return Ok(()) };
        let before = file.size();
        let (memory, bytes) = file.hold(value.clone());
        if file.is_full() {
            let written = file.write(inferred);
            written.map_err(io_error(&temporary, "write to a file in it"))?;
        }
        let after = file.size();
        generation.bytes = (generation.bytes + after).saturating_sub(before);
        generation.records += 1;
        put.bytes += bytes as u64;
        self.unweighed += memory;
        if self.unweighed >= MEMORY_STEP {
            self.unweighed = 0;
            self.relieve()?;
        }
        Ok(())
    }

    /// Writes out those files of columns that have most in memory, where that is too much.
    fn relieve(&mut self) -> Result<(), OutputError> {
        let mut files = Vec::new();
        for (partition, generation) in &mut self.generations {
            let of = generation.files.values_mut().filter_map(|part| part.columns());
            files.extend(of.map(|file| (file.memory(), partition, file)));
        }
        let mut memory: usize = files.iter().map(|(memory, ..)| memory).sum();
        files.sort_by_key(|(memory, ..)| std::cmp::Reverse(*memory));
        for (of_it, partition, file) in files {
            if memory <= MEMORY_MAX {
                break;
            }
            let inferred = self.inferred.get(&*partition.topic).cloned().unwrap_or_default();
            let written = file.relieve(&inferred);
            written.map_err(io_error(&self.options.root, "write to a file in it"))?;
            memory -= of_it;
        }
        Ok(())
    }

    /// Rolls what is due, and tells up to which offsets complete files hold each partition.
    pub fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, OutputError> {
        let now = Instant::now();
        let after = self.options.roll_after;
        let due = |one: &Generation| one.since.is_some_and(|since| now >= since + after);
        let due: Vec<_> = self.generations.iter().filter(|(_, one)| due(one)).collect();
        for partition in due.into_iter().map(|(partition, _)| partition.clone()).collect::<Vec<_>>()
        {
            self.roll(&partition)?;
        }
        // What holds no record that would have to be written again is done with.
        let offsets = self.generations.iter().map(|(partition, one)| {
            let done = match one.is_empty() {
                true => one.next.max(Offset(one.journal.offset)),
                false => Offset(one.journal.offset),
            };
            (partition.clone(), done)
        });
        Ok(offsets.collect())
    }

    /// When a flush has something to roll.
    pub fn flush_at(&self) -> Option<Instant> {
        let since = self.generations.values().filter_map(|one| one.since).min()?;
        Some(since + self.options.roll_after)
    }

    /// Rolls all.
    pub fn finish(&mut self) -> Result<(), OutputError> {
        let all: Vec<_> = self.generations.keys().cloned().collect();
        all.iter().try_for_each(|partition| self.roll(partition))
    }

    /// Ends the files of a partition and gives them their names.
    fn roll(&mut self, partition: &TopicPartition) -> Result<(), OutputError> {
        let root = self.options.root.clone();
        let ending = format!("{}{}", self.options.ending, self.options.packing.ending());
        let none = Columns::default();
        let inferred = self.inferred.get(&*partition.topic).unwrap_or(&none);
        let generation = self.generations.get_mut(partition).expect("it is ours");
        if generation.is_empty() {
            return Ok(());
        }
        generation.end_all(&root, &ending, inferred)?;
        self.step()?;
        self.generations[partition].write_journal()?;
        self.step()?;
        let generation = &self.generations[partition];
        let renamed = generation.journal.rename_files(&generation.temporary, &root);
        renamed.map_err(io_error(&root, "give its files their names"))?;
        self.step()
    }

    #[cfg(test)]
    fn step(&mut self) -> Result<(), OutputError> {
        match &mut self.steps_left {
            Some(0) => {
                Err(io_error(&self.options.root, "live on")(std::io::ErrorKind::Other.into()))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    #[cfg(not(test))]
    fn step(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}

impl PartOptions {
    fn is_full(&self, generation: &Generation) -> bool {
        generation.bytes >= self.roll_bytes || generation.records >= self.roll_records
    }
}

/// Changes which records the directory is taken to hold; what is in it stays.
pub fn alter_offsets(
    root: &Path,
    offsets: &[(TopicPartition, Option<Offset>)],
) -> Result<(), OutputError> {
    let own = root.join(OWN);
    for (partition, offset) in offsets {
        let name = format!("{}-{}", partition.topic, partition.partition);
        let path = own.join(format!("{name}.json"));
        let failed = |error| OutputError::Sidecar { path: path.clone(), error };
        let Some(mut journal) = Journal::read(&path).map_err(failed)? else { continue };
        let renamed = journal.rename_files(&own.join(&name), root);
        renamed.map_err(io_error(root, "give its files their names"))?;
        journal.offset = offset.map_or(0, |offset| offset.0);
        journal.files.clear();
        journal.write(&path).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
