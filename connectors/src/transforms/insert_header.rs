//! Adds a header to each record.

use super::{Outcome, PACKAGE, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence};
use crate::data::{ConnectRecord, DataError, SchemaAndValue, Text, text_form};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "InsertHeader",
    has_sides: false,
    doc: "Adds a header with a fixed value",
    keys: KEYS,
    make: |_, settings| {
        let name = settings.text("header").into();
        Ok(Box::new(InsertHeader { name, value: text_form::parse(settings.text("value.literal")) }))
    },
};

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "header",
        key_type: KeyType::AnyText,
        presence: Presence::Required,
        doc: "The header's name",
        example: "origin",
    },
    ConfigKey {
        name: "value.literal",
        key_type: KeyType::AnyText,
        presence: Presence::Required,
        doc: "The header's value; text that looks like a number, a boolean, a time or a list is one",
        example: "crm",
    },
];

#[derive(Clone, Debug)]
struct InsertHeader {
    name: Text,
    value: SchemaAndValue,
}

impl Transform for InsertHeader {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        record.add_header(self.name.clone(), self.value.clone());
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
