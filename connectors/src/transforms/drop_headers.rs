//! Removes headers.

use super::{Outcome, PACKAGE, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence};
use crate::data::{ConnectRecord, DataError};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "DropHeaders",
    has_sides: false,
    doc: "Removes headers by name",
    keys: &[ConfigKey {
        name: "headers",
        key_type: KeyType::List,
        presence: Presence::Required,
        doc: "The names of the headers to remove",
        example: "trace,span",
    }],
    make: |_, settings| Ok(Box::new(DropHeaders { names: settings.list("headers").to_vec() })),
};

#[derive(Clone, Debug)]
struct DropHeaders {
    names: Vec<String>,
}

impl Transform for DropHeaders {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        record.headers.retain(|header| !self.names.iter().any(|name| header.name == **name));
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
