//! One file being written in a directory: of lines, compressed or not, or of columns.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use broker::ids::Offset;
use parquet::basic::Compression;

use super::parquet::ParquetFile;
use super::parts::PartOptions;
use crate::columns::Columns;
use crate::data::{Schema, Text};

/// A line is written together with others, up to about this size.
const WRITE_BYTES: usize = 64 << 10;

/// How files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Lines.
    None,
    Gzip,
    Zstd,
    /// Columns, with pages compressed like that.
    Parquet(Compression),
}

impl Packing {
    /// What follows a name.
    pub fn ending(self) -> &'static str {
        match self {
            Packing::None => "",
            Packing::Gzip => ".gz",
            Packing::Zstd => ".zst",
            // Within the file, which says so itself.
            Packing::Parquet(_) => "",
        }
    }
}

/// Which file a record belongs in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartKey {
    /// A path that ends with a slash, or nothing.
    pub dir: String,
    /// Of all its records, in a file of columns; `None`: of such as have none.
    pub schema: Option<Schema>,
}

/// A file being written.
pub struct Part {
    /// Its temporary name.
    pub from: String,
    /// The offset of its first record.
    pub first: Offset,
    pub body: Body,
}

pub enum Body {
    Lines(Lines),
    Columns(ParquetFile),
}

/// A file that is ended, but for its name.
pub struct Ended {
    pub dir: String,
    pub from: String,
    pub first: Offset,
}

impl Part {
    /// `columns` are those of a schema.
    pub fn new(
        file: File,
        options: &PartOptions,
        from: String,
        first: Offset,
        columns: Option<Arc<Columns>>,
    ) -> io::Result<Part> {
        let body = match options.packing {
            Packing::Parquet(compression) => {
                Body::Columns(ParquetFile::new(file, compression, options.held_max, columns))
            }
            packing => Body::Lines(Lines::new(file, packing)?),
        };
        Ok(Part { from, first, body })
    }

    /// Ends the file, durably.
    pub fn end(self, dir: String, inferred: &Columns) -> io::Result<Ended> {
        match self.body {
            Body::Lines(lines) => lines.end()?,
            Body::Columns(file) => file.end(inferred)?,
        }
        Ok(Ended { dir, from: self.from, first: self.first })
    }

    /// The file of columns that it is.
    pub fn columns(&mut self) -> Option<&mut ParquetFile> {
        match &mut self.body {
            Body::Columns(file) => Some(file),
            Body::Lines(_) => None,
        }
    }
}

/// A file of lines.
pub struct Lines {
    /// Those of CSV, once it has some.
    pub columns: Option<Vec<Text>>,
    buffer: Vec<u8>,
    writer: Packer,
}

enum Packer {
    None(BufWriter<File>),
    Gzip(Box<flate2::write::GzEncoder<BufWriter<File>>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl Lines {
    fn new(file: File, packing: Packing) -> io::Result<Lines> {
        let file = BufWriter::new(file);
        let writer = match packing {
            Packing::Gzip => {
                let level = flate2::Compression::default();
                Packer::Gzip(Box::new(flate2::write::GzEncoder::new(file, level)))
            }
            Packing::Zstd => Packer::Zstd(zstd::stream::write::Encoder::new(file, 3)?),
            Packing::None | Packing::Parquet(_) => Packer::None(file),
        };
        Ok(Lines { columns: None, buffer: Vec::new(), writer })
    }

    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(line);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write_out() }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let written = match &mut self.writer {
            Packer::None(file) => file.write_all(&self.buffer),
            Packer::Gzip(packer) => packer.write_all(&self.buffer),
            Packer::Zstd(packer) => packer.write_all(&self.buffer),
        };
        self.buffer.clear();
        written
    }

    /// Ends the file, durably.
    fn end(mut self) -> io::Result<()> {
        self.write_out()?;
        let file = match self.writer {
            Packer::None(file) => file,
            Packer::Gzip(packer) => packer.finish()?,
            Packer::Zstd(packer) => packer.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}
