//! Drops records, those for which its predicate holds.

use super::{Outcome, PACKAGE, Transform, TransformPlugin};
use crate::data::{ConnectRecord, DataError};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "Filter",
    has_sides: false,
    doc: "Drops every record; a predicate says which",
    keys: &[],
    make: |_, _| Ok(Box::new(Filter)),
};

#[derive(Debug)]
struct Filter;

impl Transform for Filter {
    fn apply(&mut self, _record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        Ok(Outcome::Drop)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(Filter)
    }
}
