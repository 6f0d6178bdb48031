//! Sends records to a topic named after their time.

use super::date_format::DateFormat;
use super::{Mistake, Outcome, PACKAGE, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, DataError};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "TimestampRouter",
    has_sides: false,
    doc: "Makes a topic name of the topic and the record's time",
    keys: &[
        ConfigKey {
            name: "topic.format",
            key_type: KeyType::Text,
            presence: Presence::Default("${topic}-${timestamp}"),
            doc: "The new name, with `${topic}` and `${timestamp}` in it",
            example: "${topic}_${timestamp}",
        },
        ConfigKey {
            name: "timestamp.format",
            key_type: KeyType::Text,
            presence: Presence::Default("yyyyMMdd"),
            doc: "How the time is written, in UTC, by a pattern of Java's SimpleDateFormat",
            example: "yyyy-MM",
        },
    ],
    make,
};

fn make(_: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let format = DateFormat::parse_pattern(settings.text("timestamp.format"));
    let format = format.map_err(|message| Mistake::new("timestamp.format", message))?;
    Ok(Box::new(TimestampRouter { topic: settings.text("topic.format").to_owned(), format }))
}

#[derive(Clone, Debug)]
struct TimestampRouter {
    topic: String,
    format: DateFormat,
}

impl Transform for TimestampRouter {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let Some(timestamp_ms) = record.timestamp_ms else {
            return Err(DataError::new("cannot route by time: the record has no timestamp"));
        };
        let time = self.format.format(timestamp_ms);
        let topic = self.topic.replace("${topic}", &record.topic);
        record.topic = topic.replace("${timestamp}", &time).into();
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
