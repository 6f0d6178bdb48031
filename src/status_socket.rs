//! Where a process that runs pipelines tells others on this machine how they stand: a socket in its
//! data directory, open to whoever may read that directory.
//!
//! ```text
//! <data dir>/run/<pid>.sock   connect, read one JSON object up to the end of the stream
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// A reader that takes longer is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A pause after the system has run out of something, for which there is no event to wait.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Served until it is dropped.
pub struct StatusSocket {
    path: PathBuf,
    serving: JoinHandle<()>,
}

/// Where the sockets of a data directory are.
pub fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("run")
}

impl StatusSocket {
    /// Tells whoever connects what `status` says at that moment.
    pub fn open(
        data_dir: &Path,
        status: impl Fn() -> Value + Send + Sync + 'static,
    ) -> std::io::Result<StatusSocket> {
        let dir = directory(data_dir);
        std::fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.sock", std::process::id()));
        // Of an earlier process of this number, which did not end in order.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        let serving = tokio::spawn(serve(listener, Arc::new(status)));
        Ok(StatusSocket { path, serving })
    }
}

async fn serve(listener: UnixListener, status: Arc<impl Fn() -> Value + Send + Sync + 'static>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // One after the other: what is told is small, and whoever does not take it is cut off.
        let told = status().to_string();
        let _ = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(told.as_bytes())).await;
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}
