//! Where a process that runs pipelines tells others on this machine how they stand, and does what
//! they ask for: a socket in its data directory, open to whoever may read that directory.
//!
//! ```text
//! <data dir>/run/<pid>.sock   connect, write what is asked for, end; read one JSON object up to
//!                             the end of the stream
//! ```

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A client that takes longer to ask, or to read, is cut off.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A pause after the system has run out of something, for which there is no event to wait.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Clients that are served at once; others wait.
const CLIENTS_MAX: usize = 16;
/// Nothing that can be asked for is longer.
const REQUEST_BYTES_MAX: u64 = 64;
/// More than any process has to tell.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// How it stands.
    Status,
    /// To take up functions whose modules have changed.
    ReloadFunctions,
}

impl Request {
    const ALL: [Request; 2] = [Request::Status, Request::ReloadFunctions];

    fn word(self) -> &'static str {
        match self {
            Request::Status => "status",
            Request::ReloadFunctions => "reload-functions",
        }
    }

    /// Longer than any process takes to answer.
    fn timeout(self) -> Duration {
        Duration::from_secs(match self {
            Request::Status => 2,
            Request::ReloadFunctions => 120,
        })
    }
}

/// Served until it is dropped.
pub struct StatusSocket {
    path: PathBuf,
    serving: JoinHandle<()>,
}

fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("run")
}

impl StatusSocket {
    /// Answers whoever connects.
    pub fn open<Answering>(
        data_dir: &Path,
        answer: impl Fn(Request) -> Answering + Send + Sync + 'static,
    ) -> io::Result<StatusSocket>
    where
        Answering: Future<Output = Value> + Send + 'static,
    {
        let dir = directory(data_dir);
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.sock", std::process::id()));
        // Of an earlier process of this number, which did not end in order.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        let serving = tokio::spawn(serve(listener, Arc::new(answer)));
        Ok(StatusSocket { path, serving })
    }
}

async fn serve<Answering>(
    listener: UnixListener,
    answer: Arc<impl Fn(Request) -> Answering + Send + Sync + 'static>,
) where
    Answering: Future<Output = Value> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _place = place;
            let asked = tokio::time::timeout(CLIENT_TIMEOUT, asked_for(&mut stream)).await;
            let Ok(Some(request)) = asked else { return };
            let told = answer(request).await.to_string();
            let _ = tokio::time::timeout(CLIENT_TIMEOUT, stream.write_all(told.as_bytes())).await;
        });
    }
}

async fn asked_for(stream: &mut UnixStream) -> Option<Request> {
    let mut asked = String::new();
    stream.take(REQUEST_BYTES_MAX).read_to_string(&mut asked).await.ok()?;
    Request::ALL.into_iter().find(|request| request.word() == asked.trim())
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = fs::remove_file(&self.path);
    }
}

/// What each process with its data in this directory answers, in the order of their numbers.
pub fn ask_all(data_dir: &Path, request: Request) -> Vec<Value> {
    let entries = fs::read_dir(directory(data_dir)).into_iter().flatten().flatten();
    let sockets = entries.map(|entry| entry.path());
    let sockets = sockets.filter(|path| path.extension().is_some_and(|of| of == "sock"));
    let mut answers: Vec<Value> = sockets.filter_map(|path| ask(&path, request)).collect();
    answers.sort_by_key(|answer| answer["pid"].as_u64());
    answers
}

/// `None` where nobody listens any more.
fn ask(path: &Path, request: Request) -> Option<Value> {
    let mut stream = match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // Of a process that did not end in order.
            let _ = fs::remove_file(path);
            return None;
        }
        stream => stream.ok()?,
    };
    stream.set_read_timeout(Some(request.timeout())).ok()?;
    stream.write_all(request.word().as_bytes()).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    let mut told = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut told).ok()?;
    serde_json::from_str(&told).ok()
}
