//! `millstream records dump`: what lies in log files, without a broker.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use broker::dump::{DumpError, SegmentFile, StoredBatch};
use broker::record::{ControlType, Record, RecordBatch};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::stored::{self, Internal};
use crate::render::table::plural;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream records dump .millstream/orders-0
  millstream records dump .millstream/__consumer_offsets-0 --json
  millstream records dump --batches 00000000000000000000.log

Nothing is changed, so it can be used beside a running broker. Exit status 1 says that a batch is
damaged or cut short; `kafka-dump-log` shows indexes too, in Kafka's form.")]
pub struct DumpArgs {
    /// Segments (.log), or directories of partitions
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Batches alone, without the records in them
    #[arg(long)]
    batches: bool,
    /// One JSON object per record, or per batch
    #[arg(long)]
    json: bool,
}

/// Why a dump has ended early.
enum Stop {
    Out(io::Error),
    Failure(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Out(error)
    }
}

pub fn dump(args: &DumpArgs) -> Result<(), Failure> {
    let mut segments = Vec::new();
    for path in &args.paths {
        segments.extend(segments_of(path)?);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut faults = 0;
    let done = segments.iter().try_for_each(|path| segment(&mut out, path, args, &mut faults));
    match done.and_then(|()| Ok(out.flush()?)) {
        Ok(()) if faults == 0 => Ok(()),
        Ok(()) => Err(Failure::running("not everything could be read")
            .with_help("a broker cuts what is damaged off when it next starts with these files")),
        Err(Stop::Out(error)) => {
            // What is left in the buffer has no reader: dropping it must not write it.
            drop(out.into_parts());
            match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(Failure::running(format!("stdout: {error}"))),
            }
        }
        Err(Stop::Failure(failure)) => Err(failure),
    }
}

/// The segments of a partition's directory in order, or the one file.
fn segments_of(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: io::Error| Failure::running(format!("{}: {error}", path.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        // A base offset, by which a directory's other files are told apart as well.
        let stem = entry.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_offset = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
        if is_offset && entry.extension().is_some_and(|suffix| suffix == "log") {
            found.push(entry);
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(Failure::usage(format!("{}: no segments (.log) in it", path.display()))
            .with_help("name the directory of a partition, such as .millstream/orders-0")),
        false => Ok(found),
    }
}

fn segment(
    out: &mut impl Write,
    path: &Path,
    args: &DumpArgs,
    faults: &mut usize,
) -> Result<(), Stop> {
    let failure = |error: DumpError| Stop::Failure(Failure::running(error));
    let mut file = SegmentFile::open(path, u64::MAX).map_err(|error| failure(error.into()))?;
    let dir = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let internal = Internal::of_dir(&dir);
    if !args.json {
        writeln!(out, "{}", path.display())?;
    }
    let mut tell = |out: &mut dyn Write, fault: String| {
        *faults += 1;
        // In order with what is on stdout, for those who see both.
        out.flush()?;
        eprintln!("{fault}");
        io::Result::Ok(())
    };
    loop {
        let stored = match file.next_batch() {
            Ok(Some(stored)) => stored,
            Ok(None) => break,
            Err(error @ (DumpError::Damaged { .. } | DumpError::TooLarge { .. })) => {
                return Ok(tell(out, error.to_string())?);
            }
            Err(error) => return Err(failure(error)),
        };
        let position = stored.position;
        if let Err(error) = stored.batch.verify_checksum() {
            tell(out, format!("{}: at byte {position}: {error}", path.display()))?;
        }
        match args.json {
            true if args.batches => writeln!(out, "{}", batch_json(&stored))?,
            true => {}
            false => writeln!(out, "{}", batch_line(&stored))?,
        }
        if args.batches {
            continue;
        }
        if let Err(error) = records(out, &stored.batch, internal, args.json)? {
            tell(out, format!("{}: at byte {position}: {error}", path.display()))?;
        }
    }
    if file.remaining() > 0 {
        let (bytes, position) = (file.remaining(), file.position());
        let name = path.display();
        tell(out, format!("{name}: at byte {position}: a batch cut short, {bytes} bytes of it"))?;
    }
    Ok(())
}

fn records(
    out: &mut impl Write,
    batch: &RecordBatch,
    internal: Option<Internal>,
    as_json: bool,
) -> io::Result<Result<(), broker::record::BatchError>> {
    let records = match batch.records() {
        Ok(records) => records,
        Err(error) => return Ok(Err(error)),
    };
    for record in records.iter() {
        let record = match record {
            Ok(record) => record,
            Err(error) => return Ok(Err(error)),
        };
        match as_json {
            true => writeln!(out, "{}", record_json(batch, &record, internal))?,
            false => writeln!(out, "  {}", record_line(batch, &record, internal))?,
        }
    }
    Ok(Ok(()))
}

fn batch_line(stored: &StoredBatch) -> String {
    let StoredBatch { position, batch } = stored;
    let codec = batch.compression().map_or("unknown".to_owned(), |codec| codec.to_string());
    let mut line = format!(
        "offsets {}..={} at byte {position}: {}, {} bytes, {codec}, epoch {}",
        batch.base_offset(),
        batch.last_offset(),
        plural(i64::from(batch.records_count()), "record"),
        batch.size(),
        batch.leader_epoch().0,
    );
    if batch.producer_id().is_some() {
        let (id, epoch) = (batch.producer_id(), batch.producer_epoch());
        line.push_str(&format!(", producer {id} epoch {epoch}"));
        if batch.base_sequence() >= 0 {
            line.push_str(&format!(" from sequence {}", batch.base_sequence()));
        }
    }
    if batch.is_transactional() && !batch.is_control() {
        line.push_str(", in a transaction");
    }
    line
}

fn record_line(batch: &RecordBatch, record: &Record<'_>, internal: Option<Internal>) -> String {
    let start = format!("{}  {}", record.offset, record.timestamp_ms);
    if batch.is_control() {
        return format!("{start}  {}", marker(record));
    }
    let (key, value) = texts(record, internal);
    let mut line = format!("{start}  {key}  {value}");
    for header in record.headers() {
        let value = header.value.map_or("null".into(), String::from_utf8_lossy);
        line.push_str(&format!("  {}={}", header.key, escaped(&value)));
    }
    line
}

/// As JSON strings, so that each record is one line; internal ones as the JSON that they mean.
fn texts(record: &Record<'_>, internal: Option<Internal>) -> (String, String) {
    if let Some(Ok(decoded)) = internal.map(|of| stored::decode(of, record.key, record.value)) {
        return (decoded.key, decoded.value.unwrap_or_else(|| "null".to_owned()));
    }
    let text = |bytes: Option<&[u8]>| {
        bytes.map_or("null".to_owned(), |bytes| escaped(&String::from_utf8_lossy(bytes)))
    };
    (text(record.key), text(record.value))
}

fn escaped(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn marker(record: &Record<'_>) -> &'static str {
    match record.control_type() {
        Some(ControlType::Commit) => "the transaction is committed",
        Some(ControlType::Abort) => "the transaction is aborted",
        None => "a marker of a kind that is not known",
    }
}

fn batch_json(stored: &StoredBatch) -> Value {
    let StoredBatch { position, batch } = stored;
    json!({
        "position": position, "base_offset": batch.base_offset().0,
        "last_offset": batch.last_offset().0, "records": batch.records_count(),
        "bytes": batch.size(), "leader_epoch": batch.leader_epoch().0,
        "codec": batch.compression().ok().map(|codec| codec.to_string()),
        "timestamp_type": format!("{:?}", batch.timestamp_type()),
        "max_timestamp_ms": batch.max_timestamp_ms(), "producer_id": batch.producer_id().0,
        "producer_epoch": batch.producer_epoch().0, "base_sequence": batch.base_sequence(),
        "transactional": batch.is_transactional(), "control": batch.is_control(),
        "delete_horizon_ms": batch.delete_horizon_ms(),
        "checksum_is_right": batch.verify_checksum().is_ok(),
    })
}

fn record_json(batch: &RecordBatch, record: &Record<'_>, internal: Option<Internal>) -> Value {
    let mut value = json!({ "offset": record.offset.0, "timestamp_ms": record.timestamp_ms });
    if batch.is_control() {
        value["control"] = match record.control_type() {
            Some(ControlType::Commit) => json!("commit"),
            Some(ControlType::Abort) => json!("abort"),
            None => Value::Null,
        };
        return value;
    }
    let (key, text) = texts(record, internal);
    // What was written as JSON above is read as such.
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    value["key"] = parsed(&key);
    value["value"] = parsed(&text);
    let headers: Vec<Value> = record
        .headers()
        .map(|header| {
            let bytes = header.value.map(|value| String::from_utf8_lossy(value).into_owned());
            json!({ "key": header.key, "value": bytes })
        })
        .collect();
    if !headers.is_empty() {
        value["headers"] = json!(headers);
    }
    if batch.is_transactional() {
        value["producer_id"] = json!(batch.producer_id().0);
    }
    value
}
