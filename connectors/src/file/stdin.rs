//! Standard input: one for the process, read by a thread of its own.
//!
//! What was taken from it cannot be had again: a task that is started anew goes on with what
//! comes next.

use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver};

use super::open::{Counts, Open, Piece, Read, ReadOptions, Taken};
use super::tail::{Filled, TailError, Went, io_error, went};

/// Pieces of input that are read ahead.
const CHUNKS_MAX: usize = 8;
const CHUNK_BYTES: usize = 64 << 10;
/// Reads after which [`Stdin::fill`] returns even if it found no line.
const READS_PER_FILL: usize = 16;

/// What it is called in messages, and among properties.
pub const NAME: &str = "-";

struct Shared {
    /// `None`: a task has it.
    chunks: Mutex<Option<Receiver<Vec<u8>>>>,
    more: Arc<Notify>,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// Standard input, as one task has it.
#[derive(Debug)]
pub struct Stdin {
    open: Open,
    options: ReadOptions,
    counts: Counts,
    more: Arc<Notify>,
}

impl Stdin {
    /// Takes it, if nobody else has.
    pub fn open(options: ReadOptions) -> Result<Stdin, TailError> {
        let shared = SHARED.get_or_init(start);
        let taken = shared.chunks.lock().ok().and_then(|mut chunks| chunks.take());
        let chunks = taken.ok_or_else(|| {
            io_error(NAME.as_ref(), "read standard input")(io::Error::other(
                "a task reads it already, and there is one of it for all connectors",
            ))
        })?;
        let open = Open::stream(chunks, &options);
        let open = open.map_err(io_error(NAME.as_ref(), "read standard input"))?;
        Ok(Stdin { open, options, counts: Counts::default(), more: shared.more.clone() })
    }

    /// See [`Tail::fill`](super::tail::Tail::fill).
    pub fn fill(&mut self, mut take: impl FnMut(Piece<'_>) -> Taken) -> Result<Filled, TailError> {
        let failed = |error| io_error(NAME.as_ref(), "read it")(error);
        for _ in 0..READS_PER_FILL {
            let pieces = self.open.take(&self.options, &mut self.counts, &mut take);
            if went(NAME.as_ref(), &self.options, &self.open, pieces)? == Went::Enough {
                return Ok(Filled::More);
            }
            // Asked before the read: what came before the end is there then.
            let over = self.open.is_at_end_of_stream();
            if self.open.read().map_err(failed)? == Read::Some {
                continue;
            }
            if !over {
                return Ok(Filled::Drained);
            }
            let pieces = self.open.finish(&self.options, &mut self.counts, &mut take);
            let pieces = pieces.map_err(failed)?;
            went(NAME.as_ref(), &self.options, &self.open, pieces)?;
            return Ok(Filled::End);
        }
        Ok(Filled::More)
    }

    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Told when there is more, or no more will come.
    pub fn more(&self) -> Arc<Notify> {
        self.more.clone()
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if let Some(shared) = SHARED.get()
            && let Ok(mut chunks) = shared.chunks.lock()
        {
            *chunks = self.open.take_stream();
        }
    }
}

fn start() -> Shared {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let more = Arc::new(Notify::new());
    let waker = more.clone();
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match io::stdin().read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => {
                    if sender.blocking_send(chunk[..read].to_vec()).is_err() {
                        break;
                    }
                    waker.notify_one();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!("standard input: {error}");
                    break;
                }
            }
        }
        drop(sender);
        waker.notify_one();
    });
    Shared { chunks: Mutex::new(Some(chunks)), more }
}
