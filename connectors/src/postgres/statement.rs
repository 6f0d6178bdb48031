//! The statement of `heartbeat.action.query`: on a connection of its own, beside the stream, which
//! neither waits for it nor ends with it.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::wire::session::Purpose;
use super::wire::{PgError, Session, Target};
use crate::data::Text;

/// A statement that keeps failing is complained of so often.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// A statement to be run now and then.
pub struct Statement {
    /// One run may wait while another is under way.
    runs: mpsc::Sender<()>,
    runner: JoinHandle<()>,
}

impl Statement {
    pub fn new(sql: String, target: Target, connector: Text) -> Statement {
        let (runs, wanted) = mpsc::channel(1);
        let complaint = Complaint { connector, last: None, failures: 0 };
        Statement { runs, runner: tokio::spawn(run(sql, target, wanted, complaint)) }
    }

    /// Has it run; one that waits to be run already does for both.
    pub fn run(&mut self) {
        let _ = self.runs.try_send(());
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

async fn run(
    sql: String,
    target: Target,
    mut wanted: mpsc::Receiver<()>,
    mut complaint: Complaint,
) {
    let mut session = None;
    while wanted.recv().await.is_some() {
        match run_once(&sql, &target, &mut session).await {
            Ok(()) => complaint.well(),
            Err(error) => {
                // Nothing is known of the connection.
                session = None;
                complaint.failed(&error);
            }
        }
    }
}

async fn run_once(sql: &str, target: &Target, kept: &mut Option<Session>) -> Result<(), PgError> {
    let session = match kept {
        Some(session) => session,
        none => none.insert(Session::connect(target, Purpose::Statements).await?),
    };
    session.query(sql).await.map(drop)
}

/// What was said of failures.
struct Complaint {
    connector: Text,
    last: Option<Instant>,
    failures: u64,
}

impl Complaint {
    fn failed(&mut self, error: &PgError) {
        self.failures += 1;
        if self.last.is_some_and(|last| last.elapsed() < WARN_INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        let (connector, failures) = (&self.connector, self.failures);
        warn!(
            "connector '{connector}': `heartbeat.action.query` failed ({failures} in a row): {error}; \
             changes stream on, and it is tried again at the next heartbeat"
        );
    }

    fn well(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            self.last = None;
            info!("connector '{}': `heartbeat.action.query` works again", self.connector);
        }
    }
}
