//! One file of columns being written.
//!
//! Records are held until there are enough of them, then they become arrays and go into the row
//! group that is being encoded, which is in memory until it is full. Where records have no schema,
//! the first ones that are held say what the columns are; from then on they are settled, as all of
//! a file has the same ones. There is nothing to be read in a file before its footer is written:
//! it is complete when it is closed, or nothing.

use std::fs::File;
use std::io;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::columns::{Columns, batch, weigh};
use crate::data::Value;

/// So many records, or so much of them in memory, are held before they become arrays.
pub const HELD_MAX: usize = 10_000;
const HELD_MEMORY_MAX: usize = 8 << 20;
/// A row group is full.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A file of columns.
pub struct ParquetFile {
    compression: Compression,
    held_max: usize,
    /// Those of a schema, or once they are settled.
    columns: Option<Arc<Columns>>,
    held: Vec<Value>,
    held_memory: usize,
    held_bytes: usize,
    /// How long the file is, as of the last time that arrays were written.
    written: usize,
    target: Target,
}

enum Target {
    /// Nothing is written yet.
    New(Option<File>),
    Begun(Box<ArrowWriter<File>>, SchemaRef),
}

impl ParquetFile {
    /// Without columns, its records say what they are.
    pub fn new(
        file: File,
        compression: Compression,
        held_max: usize,
        columns: Option<Arc<Columns>>,
    ) -> ParquetFile {
        ParquetFile {
            compression,
            held_max,
            columns,
            held: Vec::new(),
            held_memory: 0,
            held_bytes: 0,
            written: 0,
            target: Target::New(Some(file)),
        }
    }

    /// Takes a record that fits the columns. Returns about what it takes in memory, and how many
    /// bytes of data it has.
    pub fn hold(&mut self, record: Value) -> (usize, usize) {
        let (memory, bytes) = weigh(&record);
        self.held.push(record);
        self.held_memory += memory;
        self.held_bytes += bytes;
        (memory, bytes)
    }

    /// Whether enough is held to be written.
    pub fn is_full(&self) -> bool {
        self.held.len() >= self.held_max || self.held_memory >= HELD_MEMORY_MAX
    }

    /// Whether its columns can change no more.
    pub fn is_settled(&self) -> bool {
        self.columns.is_some()
    }

    /// Writes what is held. `inferred` are the columns of records without a schema.
    pub fn write(&mut self, inferred: &Columns) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let settle = || Arc::new(inferred.settled());
        let columns = self.columns.get_or_insert_with(settle).clone();
        if let Target::New(file) = &mut self.target {
            let file = file.take().ok_or_else(|| io::Error::other("it failed before"))?;
            let schema = Arc::new(Schema::new(columns.fields()));
            let writer = writer(file, schema.clone(), self.compression).map_err(io_error)?;
            self.target = Target::Begun(Box::new(writer), schema);
        }
        let Target::Begun(writer, schema) = &mut self.target else { return Ok(()) };
        let batch = batch(&columns, schema.clone(), &self.held).map_err(io::Error::other)?;
        self.held.clear();
        (self.held_memory, self.held_bytes) = (0, 0);
        writer.write(&batch).map_err(io_error)?;
        self.written = writer.bytes_written() + writer.in_progress_size();
        Ok(())
    }

    /// Writes all that is in memory.
    pub fn relieve(&mut self, inferred: &Columns) -> io::Result<()> {
        self.write(inferred)?;
        match &mut self.target {
            Target::Begun(writer, _) => writer.flush().map_err(io_error),
            Target::New(_) => Ok(()),
        }
    }

    /// About what is in memory.
    pub fn memory(&self) -> usize {
        self.held_memory
            + match &self.target {
                Target::Begun(writer, _) => writer.memory_size(),
                Target::New(_) => 0,
            }
    }

    /// About how long the file would be.
    pub fn size(&self) -> u64 {
        (self.written + self.held_bytes) as u64
    }

    /// Ends the file, durably.
    pub fn end(mut self, inferred: &Columns) -> io::Result<()> {
        self.write(inferred)?;
        match self.target {
            Target::Begun(writer, _) => writer.into_inner().map_err(io_error)?.sync_all(),
            Target::New(_) => Ok(()),
        }
    }
}

fn writer(
    file: File,
    schema: SchemaRef,
    compression: Compression,
) -> Result<ArrowWriter<File>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_created_by(format!("millstream version {}", env!("CARGO_PKG_VERSION")))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .build();
    // Parquet's own types say all that there is to say.
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(file, schema, options)
}

fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}
