//! What the planner says, as diagnostics of the file.

use std::sync::Arc;

use datafusion_common::{DataFusionError, SchemaError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span as SqlSpan};

use super::context::Catalog;
use super::spellings::form_of;
use super::streamable::Place;
use crate::pipeline::elsewhere;
use crate::pipeline::tokens::file_span;
use crate::pipeline::{Diagnostic, Severity, SourceFile, Span};
use crate::type_names::with_types_of_files;

/// One error of the planner. `around` is the smallest piece of the file known to be wrong, for
/// when the planner names no place.
pub(crate) fn diagnostic(
    error: &DataFusionError,
    file: &Arc<SourceFile>,
    around: Option<Span>,
    catalog: &Catalog,
) -> Diagnostic {
    let placed = error.diagnostic();
    let span = placed
        .and_then(|placed| placed.span)
        .and_then(|span| file_span(file, sql_span_of(span)))
        .or(around);
    let mut diagnostic = Diagnostic {
        severity: Severity::Error,
        message: String::new(),
        span,
        label: None,
        help: placed.and_then(|placed| placed.helps.first()).map(|help| help.message.clone()),
    };
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema_error, _) = root {
        return of_schema(diagnostic, schema_error, catalog);
    }
    let message = match placed {
        Some(placed) => placed.message.clone(),
        None => root.strip_backtrace(),
    };
    if let Some(table) = between(&message, "table '", "' not found") {
        diagnostic.message = format!("there is no source or view '{table}'");
        return diagnostic.label("no such source").did_you_mean(&table, catalog.table_names());
    }
    if let Some(function) = between(&message, "Invalid function '", "'") {
        if let Some(form) = form_of(&function) {
            diagnostic.message = format!("'{function}' does not take these arguments");
            return diagnostic.help(format!("write {form}"));
        }
        diagnostic.message = format!("{NO_FUNCTION}{function}'");
        if let Some(help) = elsewhere::function(&function) {
            return diagnostic.label("no such function").help(help);
        }
        return diagnostic
            .label("no such function")
            .did_you_mean(&function, catalog.function_names());
    }
    if message.contains("unique expression names") {
        diagnostic.message = "two columns that are selected have the same name".to_owned();
        diagnostic.help = Some("give one of them another name with AS".to_owned());
        return diagnostic;
    }
    diagnostic.message = with_types_of_files(&plain(&message));
    let types: Vec<&str> = placed
        .iter()
        .flat_map(|placed| &placed.notes)
        .filter_map(|note| note.message.strip_prefix("has type "))
        .collect();
    if let [left, right] = types.as_slice() {
        let types = with_types_of_files(&format!("{left} and {right}"));
        diagnostic.message = format!("{types} do not fit together");
        diagnostic.help = Some("CAST one of them".to_owned());
    }
    diagnostic
}

/// Whether two columns that are selected have the same name.
pub(crate) fn is_of_names(error: &DataFusionError) -> bool {
    error.to_string().contains("unique expression names")
}

/// What the planner finds odd but plans.
pub(crate) fn warning(said: &datafusion_common::Diagnostic, place: &Place<'_>) -> Diagnostic {
    let span = said.span.and_then(|span| file_span(place.file, sql_span_of(span)));
    Diagnostic {
        severity: Severity::Warning,
        message: plain(&said.message),
        span: Some(span.unwrap_or_else(|| place.query.clone())),
        label: None,
        help: said.helps.first().map(|help| help.message.clone()),
    }
}

fn of_schema(mut diagnostic: Diagnostic, error: &SchemaError, catalog: &Catalog) -> Diagnostic {
    match error {
        SchemaError::FieldNotFound { field, .. }
            if catalog.is_processing_time(None, &field.name) =>
        {
            diagnostic.message = format!("'{}' is the time of processing", field.name);
            diagnostic.help = Some(
                "it is for FOR SYSTEM_TIME AS OF alone: an answer must not depend on when it is \
                 computed; use the event time of the rows"
                    .to_owned(),
            );
            diagnostic
        }
        SchemaError::FieldNotFound { field, valid_fields } => {
            let column = match &field.relation {
                Some(relation) => format!("{relation}.{}", field.name),
                None => field.name.clone(),
            };
            diagnostic.message = format!("there is no column '{column}' here");
            let names = valid_fields.iter().map(|valid| match &field.relation {
                Some(_) => valid.flat_name(),
                None => valid.name.clone(),
            });
            let names: Vec<String> = names.collect();
            if let Some(help) = elsewhere::column(&field.name) {
                return diagnostic.label("no such column").help(help);
            }
            diagnostic
                .label("no such column")
                .did_you_mean(&column, names.iter().map(String::as_str))
        }
        SchemaError::AmbiguousReference { field } => {
            diagnostic.message = format!("there are several columns '{}' here", field.name);
            diagnostic.help = Some("put the name of the table and a point before it".to_owned());
            diagnostic
        }
        SchemaError::DuplicateUnqualifiedField { name }
        | SchemaError::DuplicateQualifiedField { name, .. } => {
            diagnostic.message = format!("two columns are called '{name}'");
            diagnostic.help = Some("give one of them another name with AS".to_owned());
            diagnostic
        }
    }
}

fn sql_span_of(span: datafusion_common::Span) -> SqlSpan {
    let location = |at: datafusion_common::Location| Location::new(at.line, at.column);
    SqlSpan::new(location(span.start), location(span.end))
}

/// What is said of a name that no function has.
const NO_FUNCTION: &str = "there is no function '";

/// Whether a mistake is only that a function is not there which could not be loaded.
pub(super) fn is_of_broken(mistake: &Diagnostic, catalog: &Catalog) -> bool {
    between(&mistake.message, NO_FUNCTION, "'")
        .is_some_and(|name| catalog.is_broken_function(&name))
}

fn between(message: &str, before: &str, after: &str) -> Option<String> {
    let (_, rest) = message.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found.to_owned())
}

/// Without the kind of error before it and its own suggestions after it.
fn plain(message: &str) -> String {
    // What a function of ours says of its arguments.
    if let Some((_, said)) = message.split_once("user-defined coercion failed with: ") {
        return plain(said);
    }
    let mut message = message;
    for kind in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "Internal error: ",
        "Arrow error: ",
        "SQL error: ",
        "External error: ",
        "Compute error: ",
        "Parser error: ",
        "Cast error: ",
        "Invalid argument error: ",
    ] {
        message = message.strip_prefix(kind).unwrap_or(message);
    }
    // The crate shows the pattern over several lines, and says at last what is wrong.
    if let Some((_, said)) = message.split_once("regex parse error:")
        && let Some((_, said)) = said.rsplit_once("error: ")
    {
        let said = said.lines().next().unwrap_or_default();
        return format!("the pattern is no regular expression: {said}");
    }
    let line = message.lines().next().unwrap_or(message).trim_end_matches(['.', ' ']);
    let mut characters = line.chars();
    let first = characters.next();
    let second = characters.clone().next();
    match (first, second) {
        // Not a word in capitals.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => line.to_owned(),
    }
}
