//! Names of SQL types to Arrow types.
//!
//! Beside the types that the SQL parser knows there are Flink's `MAP<key, value>`,
//! `ARRAY<item>` and `ROW<name type, …>` (or `STRUCT<…>`), to any depth, `TIMESTAMP_LTZ`, `BYTES`,
//! `VARBINARY`, `DEC` and `TIME(p)`.

use arrow::datatypes::{DataType, Field};
use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::Token;

use super::context::Catalog;
use crate::formats::columns::map_type;
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
        let data_type = type_syntax(parser)?;
        let not_null = parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]);
        Ok((data_type, !not_null))
    });
    match parsed {
        Ok((data_type, nullable)) => Ok((sql_type(data_type, span)?, nullable)),
        Err(_) => Err(unknown(text.sql.trim(), span)),
    }
}

/// A type as it is written.
pub(crate) enum TypeSyntax {
    Plain(ast::DataType),
    Array(Box<TypeSyntax>),
    Map(Box<TypeSyntax>, Box<TypeSyntax>),
    Row(Vec<(String, TypeSyntax)>),
}

/// Types within types: what is deeper is a mistake.
const DEPTH_MAX: usize = 32;

pub(crate) fn type_syntax(parser: &mut Parser<'_>) -> Result<TypeSyntax, ParserError> {
    let (syntax, closed) = nested_syntax(parser, 0)?;
    match closed {
        0 => Ok(syntax),
        _ => Err(ParserError::ParserError("a '>' too many".to_owned())),
    }
}

/// A type, and how many of the `>` that close those around it were read with it: the tokenizer
/// makes one token of `>>`.
fn nested_syntax(parser: &mut Parser<'_>, depth: usize) -> Result<(TypeSyntax, u8), ParserError> {
    let word = parser.peek_token().token.to_string().to_ascii_lowercase();
    let opens = matches!(parser.peek_nth_token(1).token, Token::Lt | Token::LParen);
    if depth >= DEPTH_MAX || !opens || !matches!(&*word, "map" | "array" | "row" | "struct") {
        let plain = TypeSyntax::Plain(parser.parse_data_type()?);
        // Within others, NULL or not is not told apart.
        if depth > 0 {
            let _ = parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]);
        }
        return Ok((plain, 0));
    }
    parser.next_token();
    let round = parser.next_token().token == Token::LParen;
    let item = |parser: &mut Parser<'_>| nested_syntax(parser, depth + 1);
    let (syntax, closed) = match &*word {
        "map" => {
            let (key, 0) = item(parser)? else {
                return Err(ParserError::ParserError("a '>' too early".to_owned()));
            };
            parser.expect_token(&Token::Comma)?;
            let (value, closed) = item(parser)?;
            (TypeSyntax::Map(Box::new(key), Box::new(value)), closed)
        }
        "array" => {
            let (item, closed) = item(parser)?;
            (TypeSyntax::Array(Box::new(item)), closed)
        }
        _ => {
            let mut fields = Vec::new();
            loop {
                let name = parser.parse_identifier()?.value;
                let _ = parser.consume_token(&Token::Colon);
                let (syntax, closed) = item(parser)?;
                if closed == 0 && parser.parse_keyword(Keyword::COMMENT) {
                    parser.parse_literal_string()?;
                }
                fields.push((name, syntax));
                // What follows a `>>` goes on with the row around this one.
                if closed > 0 || !parser.consume_token(&Token::Comma) {
                    break (TypeSyntax::Row(fields), closed);
                }
            }
        }
    };
    if closed > 0 {
        return Ok((syntax, closed - 1));
    }
    let closing = if round { Token::RParen } else { Token::Gt };
    if !round && parser.consume_token(&Token::ShiftRight) {
        return Ok((syntax, 1));
    }
    parser.expect_token(&closing)?;
    Ok((brackets(parser, syntax)?, 0))
}

/// `[]` after a type makes an array of it.
fn brackets(parser: &mut Parser<'_>, mut syntax: TypeSyntax) -> Result<TypeSyntax, ParserError> {
    while parser.consume_token(&Token::LBracket) {
        parser.expect_token(&Token::RBracket)?;
        syntax = TypeSyntax::Array(Box::new(syntax));
    }
    Ok(syntax)
}

pub(crate) fn sql_type(syntax: TypeSyntax, span: Span) -> Result<DataType, Diagnostic> {
    let below = |syntax: TypeSyntax| sql_type(syntax, span.clone());
    Ok(match syntax {
        TypeSyntax::Plain(data_type) => plain_type(data_type, span)?,
        TypeSyntax::Array(item) => DataType::new_list(below(*item)?, true),
        TypeSyntax::Map(key, value) => map_type(below(*key)?, below(*value)?),
        TypeSyntax::Row(fields) => {
            let fields = fields.into_iter();
            let fields = fields.map(|(name, of)| Ok(Field::new(name, below(of)?, true)));
            DataType::Struct(fields.collect::<Result<_, Diagnostic>>()?)
        }
    })
}

fn plain_type(data_type: ast::DataType, span: Span) -> Result<DataType, Diagnostic> {
    let spelling = data_type.to_string().to_lowercase();
    let data_type = known(data_type);
    let column = ast::ColumnDef { name: ast::Ident::new("type"), data_type, options: Vec::new() };
    match Catalog::new().planner().build_schema(vec![column]) {
        Ok(schema) => Ok(schema.field(0).data_type().clone()),
        Err(_) => Err(unknown(&spelling, span)),
    }
}

/// What makes a text one of a type with so many characters: cut, and filled up if it is CHAR.
pub(crate) fn length_of_text(of: &ast::DataType) -> Option<(&'static str, i64)> {
    use ast::DataType as Sql;
    let (function, length) = match of {
        Sql::Varchar(length)
        | Sql::Nvarchar(length)
        | Sql::CharVarying(length)
        | Sql::CharacterVarying(length) => ("left", length),
        Sql::Char(length) | Sql::Character(length) => ("rpad", length),
        _ => return None,
    };
    match length {
        Some(ast::CharacterLength::IntegerLength { length, .. }) => {
            Some((function, i64::try_from(*length).ok()?))
        }
        _ => None,
    }
}

/// Flink's names of types in those that the planner knows.
pub(crate) fn known(data_type: ast::DataType) -> ast::DataType {
    use ast::{DataType, TimezoneInfo};
    let is_ltz = |name: &ast::ObjectName| name.to_string().eq_ignore_ascii_case("timestamp_ltz");
    match data_type {
        DataType::Custom(name, precision) if is_ltz(&name) => {
            let precision = precision.first().and_then(|precision| precision.parse().ok());
            DataType::Timestamp(precision.map(unit_of), TimezoneInfo::WithTimeZone)
        }
        DataType::Timestamp(precision, zone) => DataType::Timestamp(precision.map(unit_of), zone),
        DataType::Time(Some(0..=9), zone) => DataType::Time(None, zone),
        DataType::Bytes(_) | DataType::Binary(_) | DataType::Varbinary(_) => DataType::Bytea,
        DataType::Dec(precision) => DataType::Decimal(precision),
        other => other,
    }
}

/// The digits after the second that a unit of time has which holds as many.
fn unit_of(precision: u64) -> u64 {
    match precision {
        0 => 0,
        1..=3 => 3,
        4..=6 => 6,
        7..=9 => 9,
        more => more,
    }
}

fn unknown(spelling: &str, span: Span) -> Diagnostic {
    let message = format!("there is no type '{spelling}'");
    Diagnostic::error(message, span).label("not a type").did_you_mean(spelling, TYPE_NAMES)
}
