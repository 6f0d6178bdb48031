//! Names of SQL types to Arrow types.

use arrow::datatypes::DataType;
use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::keywords::Keyword;

use super::context::Catalog;
use crate::pipeline::tokens::{Text, parse_text};
use crate::pipeline::{Diagnostic, Span};

/// What a message offers; there are more spellings.
const TYPE_NAMES: [&str; 17] = [
    "boolean",
    "smallint",
    "int",
    "bigint",
    "int unsigned",
    "bigint unsigned",
    "real",
    "double",
    "decimal(18, 2)",
    "text",
    "varchar",
    "string",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
];

/// The type that `text` names, and whether it may be NULL: `int`, `text not null`.
pub(crate) fn parse_type(text: Text<'_>) -> Result<(DataType, bool), Diagnostic> {
    let span = text.span();
    let parsed = parse_text(text, |parser| {
        let data_type = parser.parse_data_type()?;
        let not_null = parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]);
        Ok((data_type, !not_null))
    });
    match parsed {
        Ok((data_type, nullable)) => Ok((sql_type(data_type, span)?, nullable)),
        Err(_) => Err(unknown(text.sql.trim(), span)),
    }
}

pub(crate) fn sql_type(data_type: ast::DataType, span: Span) -> Result<DataType, Diagnostic> {
    let spelling = data_type.to_string().to_lowercase();
    let column = ast::ColumnDef { name: ast::Ident::new("type"), data_type, options: Vec::new() };
    match Catalog::new().planner().build_schema(vec![column]) {
        Ok(schema) => Ok(schema.field(0).data_type().clone()),
        Err(_) => Err(unknown(&spelling, span)),
    }
}

fn unknown(spelling: &str, span: Span) -> Diagnostic {
    let message = format!("there is no type '{spelling}'");
    Diagnostic::error(message, span).label("not a type").did_you_mean(spelling, TYPE_NAMES)
}
