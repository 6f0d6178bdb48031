//! Sources and sinks in any language: a program that speaks JSON, a message a line, on its stdin
//! and stdout.
//!
//! ```text
//! source:  program ─► records, commits ─► records and offset, one transaction ─► topic
//!                  ◄─ start, committed
//! sink:    topic ─► start, records, flush ─► program
//!                ◄─ flushed: they are durable ─► offsets committed
//! ```
//!
//! To a source's program, and what it says:
//!
//! ```text
//! ◄ {"type":"start","connector":"feed","offset":{"page":3},"until_end":false}
//! ► {"type":"record","key":"k","value":{"a":1},"headers":{"h":"x"},"timestamp":1700000000000}
//! ► {"type":"commit","offset":{"page":4}}
//! ◄ {"type":"committed","offset":{"page":4}}
//! ```
//!
//! Only `value` is needed of a record. Records become visible with the next commit, or with the
//! offset that the last of them has in itself (`"offset":{…}`): the offset is whatever object
//! says where to go on, and is what the next start gives. `committed` says that they are durable.
//! `topic` and `partition` of a record say where to put it. Text becomes text; other values JSON.
//!
//! To a sink's program, and what it says:
//!
//! ```text
//! ◄ {"type":"start","connector":"mail","task":0}
//! ◄ {"type":"record","topic":"t","partition":0,"offset":7,"timestamp":…,"key":"k","value":{"a":1},"headers":{}}
//! ◄ {"type":"flush","id":1}
//! ► {"type":"flushed","id":1,"refused":[{"topic":"t","partition":0,"offset":7,"reason":"no address"}]}
//! ```
//!
//! It answers a flush once all records before it are safe; those it will not have go where
//! `errors.tolerance` says. `refused` may be left out.
//!
//! Both may say `{"type":"error","message":"…"}`, and are then started anew after a pause; with
//! `"fatal":true` the task fails. What they write to stderr is logged. The end of their stdin asks
//! them to end; later SIGTERM does, then SIGKILL.
//!
//! - [`child`]: a program that runs; [`command`]: how it is called; [`message`]: what it says.
//! - [`restarts`]: when it is started again; [`source`], [`sink`]: the tasks; `keys`: declared.
//!
//! Invariants:
//! - What a program says after its last commit is not written: it comes again with the offset.
//! - No line is longer than `process.line.bytes.max`, and no more than
//!   [`source::PENDING_BYTES_MAX`] wait for a commit.
//! - A program never outlives its task.

pub mod child;
pub mod command;
mod keys;
pub mod message;
pub mod restarts;
pub mod sink;
pub mod source;

use crate::convert;
use crate::plugin::{self, Plugin, Tasks};

pub(crate) const SOURCE_PLUGIN: Plugin = Plugin {
    name: "process-source",
    classes: &[],
    doc: "Records that a program writes to its stdout, in any language",
    tasks: Tasks::Source(|config| vec![Box::new(source::ProcessSource::new(config))]),
    converter: convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: command::check,
    alter_offsets: None,
    check_offset: None,
    own_keys: keys::SOURCE_KEYS,
    family: None,
};

pub(crate) const SINK_PLUGIN: Plugin = Plugin {
    name: "process-sink",
    classes: &[],
    doc: "Records for a program that reads its stdin, in any language",
    tasks: Tasks::Sink(|config| {
        let tasks = config.integer("tasks.max") as usize;
        (0..tasks).map(|number| Box::new(sink::ProcessSink::new(config, number)) as _).collect()
    }),
    converter: convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: command::check,
    alter_offsets: None,
    check_offset: None,
    own_keys: keys::SINK_KEYS,
    family: None,
};
