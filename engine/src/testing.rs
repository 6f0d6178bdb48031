//! What tests of several modules need: sources, queries planned by batch DataFusion, its answers.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_common::config::Dialect;
use datafusion_expr::LogicalPlan;
use datafusion_expr::registry::FunctionRegistry;
use datafusion_sql::parser::Statement;
use datafusion_sql::sqlparser::ast;

use crate::pipeline::{
    Column, ColumnFrom, Emit, EventTime, Format, LateRows, OnError, Query, Sink, Source,
    SourceFile, SourceKind, Span, Start, Watermark,
};
use crate::plan::optimize::optimize;
use crate::plan::unique_key::unique_key;
use crate::plan::unnest_tables::UnnestTables;
use crate::plan::window_tables::WindowTables;
use crate::topology::{Topology, TopologyError};

pub fn span() -> Span {
    let file = SourceFile { path: "test.toml".into(), text: String::new() };
    Span { file: Arc::new(file), start: 0, end: 0 }
}

pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// A stream of value columns, the first of type timestamp being the event time.
pub fn source(name: &str, format: Format, columns: &[(&str, DataType)]) -> Source {
    let fields: Vec<Field> =
        columns.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect();
    let time = columns.iter().position(|(_, of)| matches!(of, DataType::Timestamp(_, _)));
    Source {
        name: name.to_owned(),
        topic: name.to_owned(),
        kind: SourceKind::Stream,
        format,
        key_format: Format::Raw,
        columns: columns
            .iter()
            .map(|(name, _)| Column { name: (*name).to_owned(), from: ColumnFrom::Value })
            .collect(),
        schema: Arc::new(Schema::new(fields)),
        event_time: time.map_or(EventTime::Record, EventTime::Column),
        watermark: Watermark {
            delay: Duration::from_millis(0),
            idle_timeout: Duration::from_secs(5),
            future_bound: Duration::from_secs(3600),
            late: LateRows::Drop,
        },
        start: Start::default(),
        on_error: OnError::Fail,
        span: span(),
    }
}

/// `ts`, `key`, `n`: what most tests need.
pub fn events(name: &str) -> Source {
    let columns = [("ts", timestamp()), ("key", DataType::Utf8), ("n", DataType::Int64)];
    source(name, Format::Json, &columns)
}

/// A batch engine that knows sources as tables with these rows.
pub fn batch_engine(tables: &[(&Source, Vec<RecordBatch>)]) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(1);
    let mut context = SessionContext::new_with_config(config);
    crate::plan::windows::register(&mut context).unwrap();
    context.register_relation_planner(Arc::new(WindowTables)).unwrap();
    context.register_relation_planner(Arc::new(UnnestTables)).unwrap();
    context.register_udf(crate::plan::as_of::function().as_ref().clone());
    let ours = crate::plan::json::functions().into_iter().chain(crate::plan::times::functions());
    for function in ours.chain(crate::plan::texts::functions()) {
        context.register_udf(function.as_ref().clone());
    }
    for planner in crate::plan::context::expr_planners() {
        FunctionRegistry::register_expr_planner(&mut context, planner).unwrap();
    }
    for function in crate::plan::one_within::functions() {
        context.register_udwf(function.as_ref().clone());
    }
    datafusion_functions_nested::register_all(&mut context).unwrap();
    for (source, rows) in tables {
        let table = MemTable::try_new(source.schema.clone(), vec![rows.clone()]).unwrap();
        context.register_table(source.name.as_str(), Arc::new(table)).unwrap();
    }
    context
}

/// The plan of `sql` as the batch engine has it, lists in FROM included.
pub async fn planned(engine: &SessionContext, sql: &str) -> LogicalPlan {
    planned_after(engine, sql, crate::plan::unnest_tables::rewrite).await
}

async fn planned_after(
    engine: &SessionContext,
    sql: &str,
    rewrite: impl Fn(&mut ast::Query),
) -> LogicalPlan {
    let state = engine.state();
    let mut statement = state.sql_to_statement(sql, &Dialect::Generic).unwrap();
    if let Statement::Statement(statement) = &mut statement
        && let ast::Statement::Query(query) = statement.as_mut()
    {
        rewrite(query);
    }
    state.statement_to_plan(statement).await.unwrap()
}

/// The optimised plan of `sql`.
pub async fn plan(sql: &str, sources: &[&Source]) -> LogicalPlan {
    let tables: Vec<_> = sources.iter().map(|source| (*source, vec![])).collect();
    let engine = batch_engine(&tables);
    let plan = planned_after(&engine, sql, |query| {
        crate::plan::unnest_tables::rewrite(query);
        crate::plan::nth_value::rewrite(query);
    });
    optimize(plan.await).unwrap()
}

pub fn sink(topic: &str) -> Sink {
    Sink {
        topic: topic.to_owned(),
        partitions: None,
        format: Format::Json,
        key: Vec::new(),
        key_format: Format::Raw,
        value_without_key: false,
        value_without_timestamp: false,
        headers: Vec::new(),
        timestamp: None,
        not_null: Vec::new(),
        print: true,
    }
}

pub async fn query(sql: &str, sources: &[&Source]) -> Query {
    let plan = plan(sql, sources).await;
    let mut sink = sink("out");
    sink.key = unique_key(&plan).unwrap_or_default();
    Query { name: "q".to_owned(), plan, emit: Emit::Final, state_ttl: None, sink, span: span() }
}

pub async fn topology(sql: &str, sources: &[&Source]) -> Result<Topology, TopologyError> {
    topology_that_forgets(sql, sources, None).await
}

/// The same of a query whose state has a time to live.
pub async fn topology_that_forgets(
    sql: &str,
    sources: &[&Source],
    state_ttl: Option<Duration>,
) -> Result<Topology, TopologyError> {
    let query = Query { state_ttl, ..query(sql, sources).await };
    let sources: Vec<Arc<Source>> =
        sources.iter().map(|&source| Arc::new(source.clone())).collect();
    Topology::new(&query, &sources)
}
