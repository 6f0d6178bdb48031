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
//! What is rolled is bounded by size, time and the number of files that are open at once.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::ids::{Offset, TopicPartition};
use tokio::time::Instant;
use tracing::info;

use super::journal::{Journal, Rename};
use super::layout::Layout;
use super::output::{OutputError, io_error};
use super::rows::Rows;
use crate::data::{ConnectRecord, SchemaAndValue, Text};
use crate::task::{Put, Refused, SinkPartition, SinkRecords};

/// What is ours in the directory. Hidden, so that nobody takes it for data.
const OWN: &str = ".millstream";
/// A line is written together with others, up to about this size.
const WRITE_BYTES: usize = 64 << 10;

/// How files are rolled.
#[derive(Clone, Debug)]
pub struct PartOptions {
    pub root: PathBuf,
    pub layout: Layout,
    pub packing: Packing,
    /// Of a generation, before it is packed.
    pub roll_bytes: u64,
    /// Of its oldest record.
    pub roll_after: Duration,
    pub open_max: usize,
    /// `.jsonl`
    pub ending: &'static str,
}

/// How files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Zstd,
}

/// A directory being written.
pub struct Parts {
    options: PartOptions,
    rows: Rows,
    generations: BTreeMap<TopicPartition, Generation>,
    line: Vec<u8>,
    /// For tests: how many durable steps succeed.
    #[cfg(test)]
    pub steps_left: Option<usize>,
}

/// What is being written of one topic partition.
struct Generation {
    journal: Journal,
    journal_path: PathBuf,
    temporary: PathBuf,
    /// Held as long as it is ours.
    _lock: File,
    files: HashMap<String, Part>,
    bytes: u64,
    since: Option<Instant>,
    /// The offset behind what was put.
    next: Offset,
}

/// One file being written.
struct Part {
    from: String,
    /// The offset of its first record.
    first: Offset,
    columns: Option<Vec<Text>>,
    buffer: Vec<u8>,
    writer: Packer,
}

enum Packer {
    None(BufWriter<File>),
    Gzip(Box<flate2::write::GzEncoder<BufWriter<File>>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl Packer {
    fn new(file: File, packing: Packing) -> io::Result<Packer> {
        let file = BufWriter::new(file);
        Ok(match packing {
            Packing::None => Packer::None(file),
            Packing::Gzip => {
                let level = flate2::Compression::default();
                Packer::Gzip(Box::new(flate2::write::GzEncoder::new(file, level)))
            }
            Packing::Zstd => Packer::Zstd(zstd::stream::write::Encoder::new(file, 3)?),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Packer::None(file) => file.write_all(bytes),
            Packer::Gzip(packer) => packer.write_all(bytes),
            Packer::Zstd(packer) => packer.write_all(bytes),
        }
    }

    /// Ends the file, durably.
    fn end(self) -> io::Result<()> {
        let file = match self {
            Packer::None(file) => file,
            Packer::Gzip(packer) => packer.finish()?,
            Packer::Zstd(packer) => packer.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
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

    /// Adds each record's value as a line. Records without a value are left out.
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
        if generation.bytes >= self.options.roll_bytes {
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
        let dir = self.options.layout.dir(record);
        let open: usize = self.generations.values().map(|one| one.files.len()).sum();
        let generation = self.generations.get_mut(partition).expect("it is ours");
        let is_new = !generation.files.contains_key(&dir);
        let full = is_new && open >= self.options.open_max;
        if full || generation.bytes >= self.options.roll_bytes {
            generation.next = at;
            // Of all partitions: this one may have few files.
            let of = if full {
                self.generations.keys().cloned().collect()
            } else {
                vec![partition.clone()]
            };
            for partition in of {
                self.roll(&partition)?;
            }
        }
        let generation = self.generations.get_mut(partition).expect("it is ours");
        let known = generation.files.get_mut(&dir);
        let mut columns = known.and_then(|part| part.columns.take());
        self.line.clear();
        let appended = self.rows.append(&record.value, &mut columns, &mut self.line);
        if let Err(reason) = appended {
            put.refused.push(Refused { offset: at, reason });
            if let Some(part) = generation.files.get_mut(&dir) {
                part.columns = columns;
            }
            return Ok(());
        }
        let temporary = generation.temporary.clone();
        let part = generation.part(dir, at, self.options.packing)?;
        part.columns = columns;
        part.buffer.extend_from_slice(&self.line);
        let bytes = self.line.len() as u64;
        if part.buffer.len() >= WRITE_BYTES {
            let written = part.writer.write(&part.buffer);
            part.buffer.clear();
            written.map_err(io_error(&temporary, "write to a file in it"))?;
        }
        generation.bytes += bytes;
        put.bytes += bytes;
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
            let done = match one.files.is_empty() {
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
        let ending = format!(
            "{}{}",
            self.options.ending,
            match self.options.packing {
                Packing::None => "",
                Packing::Gzip => ".gz",
                Packing::Zstd => ".zst",
            }
        );
        let generation = self.generations.get_mut(partition).expect("it is ours");
        if generation.files.is_empty() {
            return Ok(());
        }
        let mut renames = Vec::new();
        let temporary = generation.temporary.clone();
        for (dir, mut part) in generation.files.drain() {
            let ended = part.writer.write(&part.buffer).and_then(|()| part.writer.end());
            ended.map_err(io_error(&temporary.join(&part.from), "make it durable"))?;
            let base =
                format!("{dir}{}+{}+{:010}", partition.topic, partition.partition, part.first.0);
            renames.push(Rename { from: part.from, to: free_name(&root, &base, &ending) });
        }
        renames.sort_by(|a, b| a.to.cmp(&b.to));
        generation.journal.files = renames;
        generation.journal.offset = generation.next.0;
        generation.journal.generation += 1;
        (generation.bytes, generation.since) = (0, None);
        self.step()?;
        let generation = self.generations.get_mut(partition).expect("it is ours");
        File::open(&temporary)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error(&temporary, "make it durable"))?;
        let written = generation.journal.write(&generation.journal_path);
        written.map_err(io_error(&generation.journal_path, "write it"))?;
        self.step()?;
        let generation = &self.generations[partition];
        let renamed = generation.journal.rename_files(&temporary, &root);
        renamed.map_err(io_error(&root, "give its files their names"))?;
        self.step()
    }

    #[cfg(test)]
    fn step(&mut self) -> Result<(), OutputError> {
        match &mut self.steps_left {
            Some(0) => Err(io_error(&self.options.root, "live on")(io::ErrorKind::Other.into())),
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

impl Generation {
    /// Brings to its end what the journal says, and throws away what it does not know.
    fn open(
        root: &Path,
        partition: &TopicPartition,
        id: Option<String>,
    ) -> Result<Generation, OutputError> {
        let own = root.join(OWN);
        let name = format!("{}-{}", partition.topic, partition.partition);
        let lock = locked(&own.join(format!("{name}.lock")))?;
        let journal_path = own.join(format!("{name}.json"));
        let temporary = own.join(&name);
        let journal = Journal::read(&journal_path)
            .map_err(|error| OutputError::Sidecar { path: journal_path.clone(), error })?;
        let new = Journal::new(&partition.topic, partition.partition);
        let mut journal = journal.unwrap_or(new);
        fs::create_dir_all(&temporary).map_err(io_error(&temporary, "create this directory"))?;
        let renamed = journal.rename_files(&temporary, root);
        renamed.map_err(io_error(root, "give its files their names"))?;
        let emptied = fs::remove_dir_all(&temporary).and_then(|()| fs::create_dir(&temporary));
        emptied.map_err(io_error(&temporary, "empty this directory"))?;
        if journal.id.is_some() && id.is_some() && journal.id != id {
            info!("{}: topic '{}' was created anew", root.display(), partition.topic);
            journal.offset = 0;
        }
        journal.id = id.or(journal.id);
        journal.files.clear();
        let next = Offset(journal.offset);
        Ok(Generation {
            journal,
            journal_path,
            temporary,
            _lock: lock,
            files: HashMap::new(),
            bytes: 0,
            since: None,
            next,
        })
    }

    /// The file for a directory, begun if there is none.
    fn part(
        &mut self,
        dir: String,
        first: Offset,
        packing: Packing,
    ) -> Result<&mut Part, OutputError> {
        let number = self.files.len();
        Ok(match self.files.entry(dir) {
            std::collections::hash_map::Entry::Occupied(part) => part.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let from = format!("{}-{number}", self.journal.generation + 1);
                let path = self.temporary.join(&from);
                let writer = File::create_new(&path).and_then(|file| Packer::new(file, packing));
                let writer = writer.map_err(io_error(&path, "create it"))?;
                self.since.get_or_insert_with(Instant::now);
                let (columns, buffer) = (None, Vec::new());
                vacant.insert(Part { from, first, columns, buffer, writer })
            }
        })
    }
}

/// A name that no file has: offsets may count anew.
fn free_name(root: &Path, base: &str, ending: &str) -> String {
    let first = format!("{base}{ending}");
    if !root.join(&first).exists() {
        return first;
    }
    let numbered = (2u64..).map(|number| format!("{base}-{number}{ending}"));
    numbered.into_iter().find(|name| !root.join(name).exists()).expect("numbers do not end")
}

fn locked(path: &Path) -> Result<File, OutputError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(io_error(path, "open it"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OutputError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(path, "lock it")(error)),
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
