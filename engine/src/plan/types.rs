//! Names of SQL types to Arrow types.

use arrow::datatypes::DataType;
use datafusion_sql::sqlparser::ast;

use super::context::Catalog;
use crate::pipeline::Diagnostic;
use crate::pipeline::tokens::{Text, parse_text};

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

/// The type that `text` names.
pub(crate) fn parse_type(text: Text<'_>) -> Result<DataType, Diagnostic> {
    let span = text.span();
    if text.sql.trim().is_empty() {
        return Err(Diagnostic::error("a type is missing", span).help("such as \"text\""));
    }
    let unknown = |_| {
        let message = format!("unknown type '{}'", text.sql.trim());
        let names = TYPE_NAMES;
        Diagnostic::error(message, span.clone()).did_you_mean(text.sql.trim(), names)
    };
    let data_type = parse_text(text, |parser| parser.parse_data_type()).map_err(unknown)?;
    arrow_type(data_type).map_err(|_| unknown(Diagnostic::error_without_place("")))
}

pub(crate) fn arrow_type(data_type: ast::DataType) -> datafusion_common::Result<DataType> {
    let column = ast::ColumnDef { name: ast::Ident::new("type"), data_type, options: Vec::new() };
    let schema = Catalog::new().planner().build_schema(vec![column])?;
    Ok(schema.field(0).data_type().clone())
}
