//! `kafka-storage`: what people run before a first start, which is not needed here.

use broker::dump::encode_id;

use super::Error;
use super::options::{Given, Tool, flag, value};
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-storage",
    about: "The Kafka storage tool. Nothing has to be formatted: a data directory is made when the \
            broker first starts.\nCommands: random-uuid, format, info.",
    example: "kafka-storage random-uuid",
    options: &[
        value("c", "FILE", "Taken, without effect"),
        value("config", "FILE", "Taken, without effect"),
        value("cluster-id", "ID", "Taken, without effect: an id is made up"),
        value("t", "ID", "The same"),
        value("release-version", "VERSION", "Taken, without effect"),
        value("r", "VERSION", "The same"),
        value("feature", "FEATURE", "Taken, without effect"),
        value("f", "FEATURE", "The same"),
        flag("ignore-formatted", "Taken, without effect"),
        flag("g", "The same"),
        flag("standalone", "Taken, without effect"),
        flag("s", "The same"),
        flag("no-initial-controllers", "Taken, without effect"),
        flag("N", "The same"),
    ],
};

pub fn run(given: &Given) -> Result<(), Error> {
    match given.rest.first().map(String::as_str) {
        Some("random-uuid") => Ok(print(&format!("{}\n", encode_id(uuid::Uuid::new_v4())))?),
        Some("format" | "info") => Ok(print(
            "Nothing has to be formatted: kafka-server-start makes its data directory.\n",
        )?),
        Some(other) => Err(Error::usage(format!(
            "kafka-storage: error: invalid choice: '{other}' (choose from 'random-uuid', \
             'format', 'info')"
        ))),
        None => Err(Error::usage("kafka-storage: error: too few arguments")),
    }
}
