//! What the log says, and how often.

use std::fmt;
use std::sync::{Mutex, Once};

use connectors::Worker;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::incremental::released;
use crate::server::Postgres;
use crate::support::{connector, options, process};
use crate::{PLAIN, at_least};

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what all tests of this process are warned of.
struct Listener;

struct Message<'a>(&'a mut Vec<String>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(&mut HEARD.lock().unwrap()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
}

/// The snapshot and the stream after it look at the server each, and each warned of what it found.
#[test]
fn a_start_warns_once_of_a_table() {
    listen();
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table nobodys_rows (n int); insert into nobodys_rows values (1)").await;
        let properties = server.properties(PLAIN);
        let config = || connector(directory.path(), "t", &properties);
        let said = || {
            let heard = HEARD.lock().unwrap();
            heard.iter().filter(|one| one.contains("of: public.nobodys_rows;")).count()
        };
        for start in 1..3 {
            let worker = Worker::start(client.clone(), vec![config()], options(false));
            at_least(&*client, &worker, "pg.public.nobodys_rows", start).await;
            // This one can only come by the stream.
            server.sql("insert into nobodys_rows values (2)").await;
            at_least(&*client, &worker, "pg.public.nobodys_rows", start + 1).await;
            assert_eq!(said(), start);
            worker.shutdown().await.unwrap();
            released(&server, "millstream").await;
        }
    });
}
