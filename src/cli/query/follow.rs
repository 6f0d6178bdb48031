//! Rows of a stream, printed as they come.

use std::sync::Arc;

use broker::client::Client;
use engine::query::StreamStatement;
use engine::runtime::{PrintedRows, RunError, Runtime, ShownFrom};
use tokio_util::sync::CancellationToken;

use super::Shape;
use super::answer::{Printer, run_failure, tell_skipped};
use crate::cli::connection::{Connection, How};
use crate::cli::stdout::reader_gone;
use crate::cli::{Failure, stopped};

/// Says that nobody writes, where that is so: this process alone has the data directory.
pub fn tell_if_alone(connection: &Connection) {
    if connection.how == How::Offline {
        eprintln!(
            "note: no broker serves this data directory, so nothing new comes while this runs; \
             start `millstream run` or `millstream broker` first"
        );
    }
}

/// A statement that is answered until it is stopped.
pub struct Following {
    pub statement: StreamStatement,
    pub from: ShownFrom,
    pub skip_failed: bool,
}

impl Following {
    /// Prints rows until Ctrl-C, the limit, or an error.
    pub async fn show(
        self,
        client: Arc<dyn Client>,
        shape: Shape,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let Following { statement, from, skip_failed } = self;
        let StreamStatement { query, sources } = &statement;
        let shown = Runtime::show(client, query, sources, from, skip_failed).await;
        let mut runtime = shown.map_err(run_failure)?;
        let mut printed = runtime.printed().expect("nobody else has taken the rows");
        let mut printer = Printer::new(shape.style(), shape.limit);
        let mut reader_gone = std::pin::pin!(reader_gone());
        let ended = loop {
            tokio::select! {
                () = stop.cancelled() => break Err(stopped()),
                () = &mut reader_gone => break Ok(()),
                rows = printed.recv() => {
                    // `finished` tells why there are no more.
                    let Some(rows) = rows else { break Ok(()) };
                    if let Err(failure) = print(&mut printer, &rows) {
                        break Err(failure);
                    }
                    if printer.is_done() {
                        break Ok(());
                    }
                }
            }
        };
        runtime.stop();
        // What is still on its way is not wanted, and must not be waited for.
        drop(printed);
        let finished: Result<_, RunError> = runtime.finished().await;
        let summary = finished.map_err(run_failure)?;
        tell_skipped(summary.iter().map(|query| query.counts.skipped).sum());
        ended
    }
}

fn print(printer: &mut Printer, printed: &PrintedRows) -> Result<(), Failure> {
    let PrintedRows { rows, updating, .. } = printed;
    let retracts: Vec<bool> = (0..rows.len()).map(|row| rows.is_retraction(row)).collect();
    printer.print_changes(&rows.batch, updating.then_some(retracts.as_slice()))
}
