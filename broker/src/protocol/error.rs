//! Why bytes are no message, and why a message has no bytes in some version.
//!
//! Inside the codec a [`Fault`] or [`Refusal`] climbs from the field where it arose and gathers
//! its path on the way, so that the path costs nothing while all goes well. At the message it
//! becomes the public error with the message's name and version.

use std::fmt;

use thiserror::Error;

use super::api::ApiKey;

/// Why a request was not understood. Kafka answers ApiVersions of an unsupported version with
/// error 35 in the form of version 0, and closes the connection in all other cases.
#[derive(Debug, Error)]
pub enum RequestError {
    #[error("request {correlation_id} asks for api key {api_key}, which is not served here")]
    UnknownApi { api_key: i16, version: i16, correlation_id: i32 },
    #[error("request {correlation_id} asks for {api} v{version}, served are {}", Span(.api))]
    UnsupportedVersion { api: ApiKey, version: i16, correlation_id: i32 },
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

struct Span<'a>(&'a ApiKey);

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}..v{}", self.0.versions().start(), self.0.versions().end())
    }
}

/// Before a path, which is empty when the message as a whole is meant.
fn colon(path: &str) -> &'static str {
    if path.is_empty() { "" } else { ": " }
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{message} v{version}{}{path} at byte {offset}: {reason}", colon(path))]
pub struct DecodeError {
    pub message: &'static str,
    pub version: i16,
    /// From the message down, such as `topics[2].partitions[0].records`.
    pub path: String,
    /// Within the frame (or, for embedded messages, within their bytes).
    pub offset: usize,
    pub reason: DecodeReason,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DecodeReason {
    #[error("{needed} bytes are needed and {remaining} remain")]
    Truncated { needed: usize, remaining: usize },
    #[error("{length} is no length")]
    Length { length: i64 },
    #[error("{count} elements do not fit into the {remaining} bytes that remain")]
    Count { count: usize, remaining: usize },
    #[error("null, which this version does not permit")]
    Null,
    #[error("a varint of more than 32 bits")]
    Varint,
    #[error("{value} does not say whether a struct follows (1) or none (-1)")]
    Presence { value: i8 },
    #[error("tagged field {tag} declares {size} bytes and its value takes {used}")]
    TagSize { tag: u32, size: usize, used: usize },
    #[error("no such version, known are v{min}..v{max}")]
    Version { min: i16, max: i16 },
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{message} v{version}{}{path}: {reason}", colon(path))]
pub struct EncodeError {
    pub message: &'static str,
    pub version: i16,
    pub path: String,
    pub reason: EncodeReason,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum EncodeReason {
    #[error("is set, but this version has no such field")]
    NotInVersion,
    #[error("null, which this version does not permit")]
    Null,
    #[error("a length of {length} does not fit")]
    Length { length: usize },
    #[error("no such version, known are v{min}..v{max}")]
    Version { min: i16, max: i16 },
}

#[derive(Debug)]
enum Step {
    Field(&'static str),
    Index(usize),
}

/// The steps to a field, the innermost first.
#[derive(Debug, Default)]
struct Path(Vec<Step>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().rev().enumerate() {
            match step {
                Step::Field(name) if depth == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A decode error on its way up.
#[derive(Debug)]
pub struct Fault(Box<Traced<DecodeReason>>);

/// An encode error on its way up.
#[derive(Debug)]
pub struct Refusal(Box<Traced<EncodeReason>>);

#[derive(Debug)]
struct Traced<R> {
    path: Path,
    offset: usize,
    reason: R,
}

impl Fault {
    #[cold]
    pub(super) fn new(offset: usize, reason: DecodeReason) -> Fault {
        Fault(Box::new(Traced { path: Path::default(), offset, reason }))
    }

    #[cold]
    pub(super) fn within(mut self, field: &'static str) -> Fault {
        self.0.path.0.push(Step::Field(field));
        self
    }

    #[cold]
    pub(super) fn at(mut self, index: usize) -> Fault {
        self.0.path.0.push(Step::Index(index));
        self
    }

    pub(super) fn of(self, message: &'static str, version: i16) -> DecodeError {
        let Traced { path, offset, reason } = *self.0;
        DecodeError { message, version, path: path.to_string(), offset, reason }
    }
}

impl Refusal {
    #[cold]
    pub(super) fn new(reason: EncodeReason) -> Refusal {
        Refusal(Box::new(Traced { path: Path::default(), offset: 0, reason }))
    }

    #[cold]
    pub(super) fn within(mut self, field: &'static str) -> Refusal {
        self.0.path.0.push(Step::Field(field));
        self
    }

    #[cold]
    pub(super) fn at(mut self, index: usize) -> Refusal {
        self.0.path.0.push(Step::Index(index));
        self
    }

    pub(super) fn of(self, message: &'static str, version: i16) -> EncodeError {
        let Traced { path, reason, .. } = *self.0;
        EncodeError { message, version, path: path.to_string(), reason }
    }
}
