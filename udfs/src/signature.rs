//! What a function is called with, and what it gives.

use std::fmt;

use arrow::datatypes::DataType;

use crate::types::Name;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// As SQL spells it: letters, digits and underscores.
    pub name: String,
    pub kind: Kind,
    pub arguments: Vec<Argument>,
    pub returns: DataType,
    /// The same arguments always give the same value.
    pub deterministic: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value for each row.
    Scalar,
    /// Any number of rows for each row.
    Table,
    /// A value for a group of rows, which can take rows back or not.
    Aggregate { retracts: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub data_type: DataType,
    /// Whether the function sees NULL. Where it does not, it does not see the row: a scalar's value
    /// is NULL, a table has no rows for it, an aggregate leaves it out.
    pub nullable: bool,
    /// What it is where it is left out, as an SQL literal.
    pub default: Option<String>,
}

impl Signature {
    pub fn argument_types(&self) -> Vec<DataType> {
        self.arguments.iter().map(|argument| argument.data_type.clone()).collect()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (index, argument) in self.arguments.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{} {}", argument.name, Name(&argument.data_type))?;
            if let Some(default) = &argument.default {
                write!(f, " = {default}")?;
            }
        }
        write!(f, ") → ")?;
        match self.kind {
            Kind::Table => write!(f, "table of {}", Name(&self.returns)),
            _ => write!(f, "{}", Name(&self.returns)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Scalar => "scalar",
            Kind::Table => "table",
            Kind::Aggregate { .. } => "aggregate",
        })
    }
}

/// A name of a guest's language as SQL spells it.
pub(crate) fn sql_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}
