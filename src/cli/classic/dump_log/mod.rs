//! `kafka-dump-log`.
//!
//! - [`contents`]: batches and records; [`indexes`]: the small files beside them; here: which file
//!   is what, and which reader of keys and values is meant.

mod contents;
mod indexes;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use broker::dump::{DumpError, StorageError};
use broker::ids::Offset;

use self::contents::Contents;
use super::Error;
use super::options::{Given, Tool, flag, maybe, value};
use crate::cli::Failure;
use crate::cli::consume::print::BytesAs;
use crate::cli::stored::Internal;

pub const TOOL: Tool = Tool {
    name: "kafka-dump-log",
    about: "This tool helps to parse a log file and dump its contents to the console, useful for \
            debugging a seemingly corrupt log segment.",
    example: "kafka-dump-log --print-data-log --files .millstream/t-0/00000000000000000000.log",
    options: &[
        flag("cluster-metadata-decoder", "Refused: there is no log of cluster metadata"),
        flag("deep-iteration", "Show each record of a batch"),
        value("files", "FILES", "Segments, indexes and snapshots, with commas between"),
        flag("index-sanity-check", "Only check whether an index is in order"),
        maybe("key-decoder-class", "CLASS", "StringDecoder (default), IntegerDecoder, LongDecoder"),
        value("max-bytes", "BYTES", "Read so much of each segment"),
        value("max-message-size", "BYTES", "Taken, without effect: batches are read whole"),
        flag("offsets-decoder", "Show the records of __consumer_offsets"),
        flag("print-data-log", "Show keys and values"),
        flag("remote-log-metadata-decoder", "Refused: there is no tiered storage"),
        flag("share-group-state-decoder", "Show the records of __share_group_state"),
        flag("skip-record-metadata", "Show of records keys and values alone"),
        flag("transaction-log-decoder", "Show the records of __transaction_state"),
        maybe("value-decoder-class", "CLASS", "As --key-decoder-class, of values"),
        flag(
            "verify-index-only",
            "Check indexes against their segments, and show mismatches alone",
        ),
    ],
};

/// What is left out, and why.
const REFUSED: [(&str, &str); 2] = [
    ("cluster-metadata-decoder", "one broker keeps no log of cluster metadata"),
    ("remote-log-metadata-decoder", "there is no tiered storage, so no log about it"),
];

/// How keys and values are read.
#[derive(Clone, Copy, Debug)]
enum Decoder {
    Plain { key: BytesAs, value: BytesAs },
    Internal(Internal),
}

/// Why printing has ended early.
#[derive(Debug)]
enum Stop {
    /// Its reader has gone, or the disk is full.
    Out(io::Error),
    Failure(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Out(error)
    }
}

impl From<DumpError> for Stop {
    fn from(error: DumpError) -> Stop {
        Stop::Failure(Failure::running(error))
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Stop {
        Stop::Failure(Failure::running(error))
    }
}

pub fn run(given: &Given) -> Result<(), Error> {
    let files = given.required("files")?;
    if let Some((name, why)) = REFUSED.iter().find(|(name, _)| given.has(name)) {
        return Err(Failure::usage(format!("--{name}: {why}")).into());
    }
    let contents = contents(given)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut wrong = Vec::new();
    let done = files.split(',').try_for_each(|file| {
        writeln!(out, "Dumping {file}")?;
        dump(&mut out, Path::new(file), &contents, given, &mut wrong)
    });
    let done = done.and_then(|()| Ok(out.flush()?));
    for line in wrong {
        eprintln!("{line}");
    }
    match done {
        Ok(()) => Ok(()),
        Err(Stop::Out(error)) => {
            // What is left in the buffer has no reader: dropping it must not write it.
            drop(out.into_parts());
            match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(Failure::running(format!("stdout: {error}")).into()),
            }
        }
        Err(Stop::Failure(failure)) => {
            // What was found up to there is what people look for.
            let _ = out.flush();
            Err(failure.into())
        }
    }
}

fn contents(given: &Given) -> Result<Contents, Error> {
    let decoders = [
        ("offsets-decoder", Internal::ConsumerOffsets),
        ("transaction-log-decoder", Internal::TransactionState),
        ("share-group-state-decoder", Internal::ShareGroupState),
    ];
    let decoder = match decoders.iter().find(|(name, _)| given.has(name)) {
        Some((_, internal)) => Decoder::Internal(*internal),
        None => Decoder::Plain {
            key: decoder(given, "key-decoder-class")?,
            value: decoder(given, "value-decoder-class")?,
        },
    };
    let print = ["print-data-log", "key-decoder-class", "value-decoder-class"];
    let print = matches!(decoder, Decoder::Internal(_)) || print.iter().any(|name| given.has(name));
    Ok(Contents {
        decoder,
        print,
        deep: print || given.has("deep-iteration"),
        metadata: !given.has("skip-record-metadata"),
        bytes_max: given.parsed::<i32>("max-bytes")?.map(|bytes| bytes.max(0) as u64),
    })
}

/// The decoders that Kafka brings along.
fn decoder(given: &Given, name: &str) -> Result<BytesAs, Error> {
    let class = given.value(name).unwrap_or("StringDecoder");
    match class.rsplit('.').next().unwrap_or(class) {
        "StringDecoder" | "DefaultDecoder" => Ok(BytesAs::Text),
        "IntegerDecoder" => Ok(BytesAs::Integer),
        "LongDecoder" => Ok(BytesAs::Long),
        _ => Err(Failure::usage(format!("--{name} {class}: there are no Java classes here"))
            .with_help("StringDecoder, IntegerDecoder and LongDecoder are known by name")
            .into()),
    }
}

/// Files are known by their names.
fn dump(
    out: &mut impl Write,
    file: &Path,
    contents: &Contents,
    given: &Given,
    wrong: &mut Vec<String>,
) -> Result<(), Stop> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let checks = indexes::Checks {
        sanity_only: given.has("index-sanity-check"),
        verify_only: given.has("verify-index-only"),
    };
    match suffix {
        "log" => contents.dump(out, file, base(file)?, wrong),
        "index" => indexes::offsets(out, file, base(file)?, checks, wrong),
        "timeindex" => indexes::times(out, file, base(file)?, checks, wrong),
        "txnindex" => indexes::transactions(out, file),
        "snapshot" => indexes::producers(out, file),
        _ => {
            out.flush()?;
            Ok(eprintln!("Ignoring unknown file {}", file.display()))
        }
    }
}

/// The offset that a segment begins with, which is its name.
fn base(file: &Path) -> Result<Offset, Stop> {
    let stem = file.file_name().and_then(|name| name.to_str()?.split('.').next());
    let wrong = || {
        let name = file.display();
        let failure = Failure::usage(format!("{name}: its name is no offset"));
        Stop::Failure(failure.with_help("segments are named such as 00000000000000000000.log"))
    };
    stem.and_then(|stem| stem.parse().ok()).map(Offset).ok_or_else(wrong)
}

/// A file of the same segment.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    file.with_file_name(format!("{}.{suffix}", name.split('.').next().unwrap_or_default()))
}
