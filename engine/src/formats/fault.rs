//! What is wrong with one value inside a record: the path to it, what stands there, and what
//! should.

use super::builders::{ColumnBuilder, Refused};
use super::columns::expectation;
use super::{DecodeError, excerpt};

/// One step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    Index(usize),
    /// A map's key, as it is shown.
    Key(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Innermost first: decoders add to it on their way out.
    path: Vec<Step>,
    found: String,
    expected: String,
}

impl Fault {
    pub fn new(found: String, expected: String) -> Box<Fault> {
        Box::new(Fault { path: Vec::new(), found, expected })
    }

    #[cold]
    pub fn refused(column: &ColumnBuilder, refused: Refused, found: String) -> Box<Fault> {
        let expected = match refused {
            Refused::Type => expectation(column.data_type()),
            Refused::Null => format!("{}, never null", expectation(column.data_type())),
            Refused::Unit => format!(
                "{}, or a count of its own units since 1970: as one, that would be before 1973 \
                 (declare timestamp(3) for milliseconds, timestamp(0) for seconds)",
                expectation(column.data_type())
            ),
            Refused::Room => "less: a column of one batch holds 2 GiB".to_owned(),
        };
        Fault::new(found, expected)
    }

    pub fn push(&mut self, step: Step) {
        self.path.push(step);
    }

    pub fn at(mut self: Box<Fault>, step: Step) -> Box<Fault> {
        self.push(step);
        self
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => path.push_str(&format!(".{name}")),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Key(key) => path.push_str(&format!("[{key}]")),
            }
        }
        path
    }

    pub fn into_error(self, format: &'static str, record: &[u8]) -> DecodeError {
        let path = self.path();
        let Fault { found, expected, .. } = self;
        let excerpt = excerpt(record);
        if path.is_empty() {
            return DecodeError::Row { format, found, expected, excerpt };
        }
        DecodeError::Value { format, path, found, expected, excerpt }
    }
}
