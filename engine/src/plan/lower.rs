//! A draft to a pipeline.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_expr::LogicalPlan;
use datafusion_sql::sqlparser::ast;

use super::context::Catalog;
use super::errors;
use super::optimize::optimize;
use crate::pipeline::draft::{Draft, DraftQuery, Named};
use crate::pipeline::{Diagnostic, Emit, Pipeline, Query, Sink};

/// Lowers all queries; `None` if one of them has a mistake.
pub(crate) fn lower(draft: Draft, mistakes: &mut Vec<Diagnostic>) -> Option<Pipeline> {
    let before = mistakes.len();
    let mut catalog = Catalog::new();
    for source in &draft.sources {
        catalog.add_source(source);
    }
    let mut queries = Vec::new();
    for query in draft.queries {
        queries.extend(lower_query(query, &draft.file, &catalog, mistakes));
    }
    (mistakes.len() == before).then_some(Pipeline {
        name: draft.name.text,
        path: draft.file.path.clone(),
        connectors: draft.connectors,
        sources: draft.sources,
        queries,
        settings: draft.settings,
    })
}

fn lower_query(
    draft: DraftQuery,
    file: &Arc<crate::pipeline::SourceFile>,
    catalog: &Catalog,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Query> {
    let plan = match plan(&draft.query, catalog) {
        Ok(plan) => plan,
        Err(error) => {
            let around = Some(draft.name.span.clone());
            mistakes.push(errors::diagnostic(&error, file, around, catalog));
            return None;
        }
    };
    let sink = Sink {
        topic: draft.sink.topic.text,
        partitions: draft.sink.partitions,
        format: draft.sink.format,
        key: key_columns(&draft.sink.key, &plan, mistakes)?,
        timestamp: None,
        print: draft.sink.print,
    };
    Some(Query { name: draft.name.text, plan, emit: Emit::OnWindowClose, sink, span: draft.span })
}

fn plan(query: &ast::Query, catalog: &Catalog) -> Result<LogicalPlan> {
    let statement = ast::Statement::Query(Box::new(query.clone()));
    optimize(catalog.planner().sql_statement_to_plan(statement)?)
}

fn key_columns(
    names: &[Named],
    plan: &LogicalPlan,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Vec<usize>> {
    let fields = plan.schema().fields();
    let mut key = Vec::new();
    for name in names {
        match fields.iter().position(|field| *field.name() == name.text) {
            Some(index) => key.push(index),
            None => {
                let message = format!("the query gives no column '{}'", name.text);
                let names = fields.iter().map(|field| field.name().as_str());
                let diagnostic = Diagnostic::error(message, name.span.clone());
                mistakes.push(diagnostic.did_you_mean(&name.text, names));
            }
        }
    }
    (key.len() == names.len()).then_some(key)
}
