//! Sends records to a topic whose name is made of their topic's by a pattern.

use super::rewrite::Rewrite;
use super::{Mistake, Outcome, PACKAGE, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, DataError};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "RegexRouter",
    has_sides: false,
    doc: "Makes another topic name where a pattern matches the whole name",
    keys: &[
        ConfigKey {
            name: "regex",
            key_type: KeyType::Regex,
            presence: Presence::Required,
            doc: "The pattern that a topic's name has to match",
            example: "([^.]+)\\.public\\.(.*)",
        },
        ConfigKey {
            name: "replacement",
            key_type: KeyType::AnyText,
            presence: Presence::Required,
            doc: "The topic's new name; `$1` or `${name}` is what a group has matched",
            example: "$2",
        },
    ],
    make,
};

fn make(_: super::Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let rewrite = Rewrite::new(settings.text("regex"), settings.text("replacement"));
    let rewrite = rewrite.map_err(|message| Mistake::new("replacement", message))?;
    Ok(Box::new(RegexRouter(rewrite)))
}

#[derive(Clone, Debug)]
struct RegexRouter(Rewrite);

impl Transform for RegexRouter {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        if let Some(renamed) = self.0.apply(&record.topic) {
            record.topic = renamed.into();
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
