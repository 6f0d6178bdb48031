//! A program that runs: its pipes, its end, and how it is brought about.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tracing::warn;

use super::command::Call;

/// The longest line of stderr that is logged whole.
const ERROR_LINE_BYTES_MAX: usize = 8 << 10;
/// Its last lines are part of the message when it fails.
const LAST_WORDS: usize = 5;
/// How long SIGTERM is given.
const TERM_TIMEOUT: Duration = Duration::from_secs(2);
/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// A program that was started and whose end was not waited for yet. Dropped, it is killed.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    /// `None`: it was asked to end.
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    buffer: BytesMut,
    /// What of `buffer` is known to have no line end in it.
    searched: usize,
    line_bytes_max: usize,
    at_end: bool,
    has_ended: watch::Receiver<bool>,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

/// What comes next from its stdout.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Line(Bytes),
    /// Nothing for now.
    Nothing,
    /// Nothing ever.
    End,
}

impl Child {
    /// `name` is the connector's, for the log.
    pub fn start(call: &Call, name: &str, line_bytes_max: usize) -> Result<Child, String> {
        let failed = |error: io::Error| call.refusal(&error);
        let mut process = call.command().spawn().map_err(failed)?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let stdin = pipe::Sender::from_owned_fd(OwnedFd::from(stdin)).map_err(failed)?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout)).map_err(failed)?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr)).map_err(failed)?;
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        tokio::spawn(log(stderr, name.to_owned(), last_words.clone()));
        Ok(Child {
            has_ended: watch_end(process.id()),
            process,
            stdin: Some(stdin),
            stdout,
            buffer: BytesMut::new(),
            searched: 0,
            line_bytes_max,
            at_end: false,
            last_words,
        })
    }

    /// The next line, if it is there.
    pub fn try_line(&mut self) -> Result<Next, String> {
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[self.searched..]);
            if let Some(at) = found.map(|at| at + self.searched) {
                let mut line = self.buffer.split_to(at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if line.ends_with(b"\r") {
                    line.truncate(line.len() - 1);
                }
                return self.bounded(line);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.line_bytes_max {
                return self.bounded(self.buffer.clone().freeze());
            }
            if self.at_end {
                // A last line need not end.
                self.searched = 0;
                return match std::mem::take(&mut self.buffer) {
                    rest if rest.is_empty() => Ok(Next::End),
                    rest => self.bounded(rest.freeze()),
                };
            }
            self.buffer.reserve(READ_BYTES);
            match self.stdout.try_read_buf(&mut self.buffer) {
                Ok(0) => self.at_end = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Next::Nothing);
                }
                Err(error) => return Err(format!("its stdout cannot be read: {error}")),
            }
        }
    }

    fn bounded(&self, line: Bytes) -> Result<Next, String> {
        match line.len() > self.line_bytes_max {
            true => Err(format!(
                "it wrote a line of more than process.line.bytes.max = {} bytes",
                self.line_bytes_max
            )),
            false => Ok(Next::Line(line)),
        }
    }

    /// Waits until there may be a line. Can be dropped at any time.
    pub async fn readable(&self) -> Result<(), String> {
        if self.at_end {
            return Ok(());
        }
        self.stdout.readable().await.map_err(|error| format!("its stdout: {error}"))
    }

    /// Waits until [`Child::try_write`] may do something.
    pub async fn writable(&self) -> Result<(), String> {
        match &self.stdin {
            Some(stdin) => stdin.writable().await.map_err(|error| format!("its stdin: {error}")),
            None => std::future::pending().await,
        }
    }

    /// Takes bytes for its stdin as far as there is room, and off the front of `bytes`.
    pub fn try_write(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        let Some(stdin) = &self.stdin else { return Err("its stdin was closed".to_owned()) };
        while !bytes.is_empty() {
            match stdin.try_write(bytes) {
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("it does not read its stdin: {error}")),
            }
        }
        Ok(())
    }

    /// How it ended, once its stdout has.
    pub async fn ended(&mut self) -> Result<ExitStatus, String> {
        // The watch itself never fails before it says so.
        let _ = self.has_ended.wait_for(|ended| *ended).await;
        self.process.wait().map_err(|error| format!("it cannot be waited for: {error}"))
    }

    /// `status 1; its last words: …`
    pub fn in_words(&self, status: ExitStatus) -> String {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let status = status.to_string();
        match words.is_empty() {
            true => format!("it ended with {status}"),
            false => format!("it ended with {status}; its last words: {}", words.join(" / ")),
        }
    }

    /// Asks it to end: by the end of its stdin, later by a signal, at last by one that it cannot
    /// refuse. Gives what it says meanwhile.
    pub async fn stop(mut self, patience: Duration) {
        self.stdin = None;
        for (signal, patience) in [(None, patience), (Some(libc::SIGTERM), TERM_TIMEOUT)] {
            if let Some(signal) = signal {
                self.signal(signal);
            }
            if tokio::time::timeout(patience, self.drained()).await.is_ok() {
                return;
            }
        }
        warn!("'{}' was killed: it ended neither with its stdin nor by SIGTERM", self.process.id());
    }

    /// Waits for its end, passing over what it says: a full pipe would keep it from ending.
    async fn drained(&mut self) {
        let mut rest = BytesMut::with_capacity(READ_BYTES);
        let mut ended = self.has_ended.clone();
        loop {
            rest.clear();
            tokio::select! {
                _ = ended.wait_for(|ended| *ended) => return,
                read = self.stdout.read_buf(&mut rest), if !self.at_end => {
                    self.at_end = !read.is_ok_and(|read| read > 0);
                }
            }
        }
    }

    /// To it and those it has started.
    fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved. It was not waited for, so the number is still its own.
        unsafe { libc::kill(-(self.process.id() as i32), signal) };
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Waited for already: its number may be another's.
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal(libc::SIGKILL);
        // It has no choice, so this is soon over.
        let _ = self.process.wait();
    }
}

/// Becomes true when the program has ended. It is not waited for here, so that its number stays
/// its own until its owner does that.
fn watch_end(id: u32) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    std::thread::spawn(move || {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `info` is as large as it has to be. Signals interrupt the wait.
        while unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), flags) } != 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        // Its owner may be gone.
        let _ = sender.send(true);
    });
    receiver
}

/// Logs what it writes to stderr, line by line.
async fn log(mut stderr: pipe::Receiver, name: String, last_words: Arc<Mutex<VecDeque<String>>>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        let at_end = !stderr.read_buf(&mut buffer).await.is_ok_and(|read| read > 0);
        loop {
            let line = match memchr::memchr(b'\n', &buffer) {
                Some(at) => {
                    let line = buffer.split_to(at);
                    buffer.advance(1);
                    line
                }
                None if buffer.len() > ERROR_LINE_BYTES_MAX => buffer.split(),
                None if at_end && !buffer.is_empty() => buffer.split(),
                None => break,
            };
            let end = line.len().min(ERROR_LINE_BYTES_MAX);
            let line = String::from_utf8_lossy(&line[..end]).trim_end().to_owned();
            if line.is_empty() {
                continue;
            }
            warn!("connector '{name}': {line}");
            let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
            if words.len() == LAST_WORDS {
                words.pop_front();
            }
            words.push_back(super::message::shown(line.as_bytes()));
        }
        if at_end {
            return;
        }
    }
}
