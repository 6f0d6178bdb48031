//! A draft to a pipeline: each query planned, or everything said that is wrong with it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use datafusion_common::DataFusionError;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion_sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, Visit, Visitor};

use super::context::{Catalog, SourceTable};
use super::optimize::{analyze, optimize};
use super::order::in_order;
use super::predicates::predicates;
use super::probe::Probe;
use super::streamable::{self, Place};
use super::unique_key::{unique_key, unique_keys};
use super::user_functions::{calls, not_granted};
use super::windows::{WindowError, check_sessions, group_window};
use super::{
    as_of, constants, errors, event_time, group_windows, inserted, joins, mixed_types, nth_value,
    quantified, spellings, unnest_tables, user_functions, versioned, window_time,
};
use crate::formats::{FormatError, RowEncoder};
use crate::pipeline::cases;
use crate::pipeline::draft::{
    Draft, DraftEmit, DraftQuery, DraftSink, DraftSource, DraftView, Named,
};
use crate::pipeline::functions::DraftFunction;
use crate::pipeline::{
    Diagnostic, Emit, Format, Pipeline, Predicate, Query, Severity, Sink, Source, SourceFile,
};
use crate::topology::{Topology, TopologyError};
use crate::type_names::type_text;

/// Lowers all views and queries, and says what their names mean; `None` if one of them has a
/// mistake. What is only worth a warning is said where there are no mistakes.
pub(crate) fn lower(draft: Draft, mistakes: &mut Vec<Diagnostic>) -> Option<(Pipeline, Catalog)> {
    let before = mistakes.len();
    let mut warnings = Vec::new();
    let mut catalog = Catalog::new();
    for source in &draft.sources {
        catalog.add_source(source);
    }
    catalog.add_processing_times(draft.processing_times);
    load_functions(&draft.functions, &mut catalog, mistakes);
    for function in &draft.functions {
        let loaded = catalog.function(&function.name.text);
        warnings.extend(loaded.into_iter().flat_map(|of| not_granted(function, of)));
    }
    check_unique(&draft.queries, mistakes);
    let mut lowering = Lowering {
        file: &draft.file,
        state_ttl: draft.settings.state_ttl,
        catalog,
        sources: draft.sources,
        derived: draft.derived,
        broken: draft.broken,
        failed: false,
        conditions: Vec::new(),
        said: Said { mistakes, warnings: &mut warnings },
    };
    let queries = lowering.all(draft.views, draft.queries);
    let Lowering { catalog, sources, failed, conditions, .. } = lowering;
    if failed || mistakes.len() > before {
        return None;
    }
    let queries = in_order(queries, mistakes)?;
    mistakes.append(&mut warnings);
    let pipeline = Pipeline {
        name: draft.name.text,
        path: draft.file.path.clone(),
        connectors: draft.connectors,
        cases: cases::by_topics(draft.cases, &sources),
        sources,
        queries,
        settings: draft.settings,
        predicates: conditions,
    };
    Some((pipeline, catalog))
}

/// Views and queries on their way to plans.
struct Lowering<'a> {
    file: &'a Arc<SourceFile>,
    state_ttl: Option<Duration>,
    catalog: Catalog,
    sources: Vec<Arc<Source>>,
    /// Tables that are read, whose columns are those of the queries that write them, which are
    /// still to be planned.
    derived: Vec<DraftSource>,
    /// Sources and views that cannot be used.
    broken: Vec<String>,
    failed: bool,
    conditions: Vec<Predicate>,
    said: Said<'a>,
}

impl Lowering<'_> {
    /// Views in the order of the file, then queries, each as soon as the columns of what it reads
    /// are known.
    fn all(&mut self, mut views: Vec<DraftView>, queries: Vec<DraftQuery>) -> Vec<Query> {
        let mut waiting: Vec<(usize, DraftQuery)> = queries.into_iter().enumerate().collect();
        let mut lowered: Vec<(usize, Query)> = Vec::new();
        loop {
            let mut unknown: BTreeSet<String> =
                self.derived.iter().map(|table| table.name.text.clone()).collect();
            for view in std::mem::take(&mut views) {
                if reads_any(&view.query, &unknown) {
                    unknown.insert(view.name.text.clone());
                    views.push(view);
                } else {
                    self.view(view);
                }
            }
            let ready = waiting.iter().position(|(_, query)| !reads_any(&query.query, &unknown));
            let Some(ready) = ready else { break };
            let (at, query) = waiting.remove(ready);
            lowered.extend(self.query(query).map(|query| (at, query)));
        }
        if let Some((_, query)) = waiting.first() {
            let table = &query.name;
            let message = format!("the columns of '{}' depend on what is read from it", table.text);
            let help = "declare its columns and their types";
            self.said.mistakes.push(Diagnostic::error(message, table.span.clone()).help(help));
        }
        lowered.sort_by_key(|(at, _)| *at);
        lowered.into_iter().map(|(_, query)| query).collect()
    }

    fn plan(&mut self, name: &Named, query: &ast::Query) -> Option<LogicalPlan> {
        let place = Place { file: self.file, query: name.span.clone() };
        let (catalog, broken, of) = (&self.catalog, &self.broken, Meaning::Stream);
        let planning = Planning { place: &place, catalog, broken, of };
        let planned = planning.plan(query, self.said.mistakes, self.said.warnings);
        match planned {
            Some(_) => self.conditions.extend(predicates(query, &place)),
            // Even where what it fails for was told before.
            None => self.failed = true,
        }
        planned
    }

    fn view(&mut self, mut view: DraftView) {
        if view.columns.is_some() {
            inserted::name_columns(&mut view.query.body);
        }
        let plan = self.plan(&view.name, &view.query).and_then(|plan| match &view.columns {
            Some(names) => {
                let named = inserted::under_names(plan, names, self.said.mistakes);
                self.failed |= named.is_none();
                named
            }
            None => Some(plan),
        });
        match plan {
            Some(plan) => {
                self.catalog.add_view(&view.name.text, plan);
                let source = versioned::source_of(&view.name.text, &view.query, &self.catalog);
                if let Some(source) = source.filter(|_| view.columns.is_none()) {
                    self.catalog.add_versioned(&view.name.text, source);
                }
            }
            None => self.broken.push(view.name.text),
        }
    }

    fn query(&mut self, mut query: DraftQuery) -> Option<Query> {
        if query.columns.is_some() || !query.sink.columns.is_empty() {
            inserted::name_columns(&mut query.query.body);
        }
        let planned = self.plan(&query.name, &query.query).filter(|_| !query.incomplete);
        let derived = self.derived.iter().position(|table| table.name.text == query.name.text);
        let derived = derived.map(|at| self.derived.remove(at));
        for source in planned.iter().flat_map(sources_of) {
            if !self.sources.iter().any(|known| known.name == source.name) {
                self.sources.push(source);
            }
        }
        let place = Place { file: self.file, query: query.name.span.clone() };
        let finished = planned.and_then(|plan| {
            let (sources, ttl) = (&self.sources, self.state_ttl);
            finish(query, plan, &place, &self.catalog, sources, ttl, &mut self.said)
        });
        if let Some(table) = derived {
            let name = table.name.text.clone();
            let source = finished.as_ref().and_then(|(query, is_updating)| {
                table.of_query(query, *is_updating).finish(self.said.mistakes)
            });
            match source.map(Arc::new) {
                Some(source) => {
                    self.catalog.add_source(&source);
                    self.sources.push(source);
                }
                None => self.broken.push(name),
            }
        }
        finished.map(|(query, _)| query)
    }
}

fn reads_any(query: &ast::Query, names: &BTreeSet<String>) -> bool {
    !names.is_empty() && !names.is_disjoint(&names_read(query))
}

/// What a query names in FROM, and in the windows there.
pub(crate) fn names_read(query: &ast::Query) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_relation(&mut self, name: &ast::ObjectName) -> ControlFlow<()> {
            let parts = name.0.iter().filter_map(|part| part.as_ident());
            let parts: Vec<&str> = parts.map(|part| part.value.as_str()).collect();
            self.0.insert(parts.join("."));
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, relation: &ast::TableFactor) -> ControlFlow<()> {
            if let ast::TableFactor::Table { args: Some(list), .. } = relation {
                let named = list.args.iter().find_map(|arg| match arg {
                    FunctionArg::Named { name, arg, .. }
                        if name.value.eq_ignore_ascii_case("data") =>
                    {
                        Some(arg)
                    }
                    _ => None,
                });
                let first = list.args.first().and_then(|arg| match arg {
                    FunctionArg::Unnamed(arg) => Some(arg),
                    _ => None,
                });
                if let Some(FunctionArgExpr::Expr(ast::Expr::Identifier(table))) = named.or(first) {
                    self.0.insert(table.value.clone());
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let _ = query.visit(&mut names);
    names.0
}

/// Loads what the queries may call beside the functions that are built in.
pub(crate) fn load_functions(
    functions: &[DraftFunction],
    catalog: &mut Catalog,
    mistakes: &mut Vec<Diagnostic>,
) {
    for function in functions {
        if function.is_broken {
            catalog.add_broken_function(&function.name.text);
            continue;
        }
        match user_functions::load(function) {
            Ok(loaded) => catalog.add_function(&function.name.text, loaded),
            Err(mistake) => {
                catalog.add_broken_function(&function.name.text);
                mistakes.push(mistake);
            }
        }
    }
}

fn check_unique(queries: &[DraftQuery], mistakes: &mut Vec<Diagnostic>) {
    for (index, query) in queries.iter().enumerate() {
        let before = &queries[..index];
        let Named { text: topic, span } = &query.sink.topic;
        if before.iter().any(|other| other.sink.topic.text == *topic) {
            let message = format!("a second query writes topic '{topic}'");
            let help = "read several sources in one query by UNION ALL, or write another topic";
            // A topic declared once may be written twice.
            let declared_once = before.iter().any(|other| other.sink.topic.span == *span);
            let span = if declared_once { &query.name.span } else { span };
            mistakes.push(Diagnostic::error(message, span.clone()).help(help));
        } else if before.iter().any(|other| other.name.text == query.name.text) {
            let message = format!("a second query is called '{}'", query.name.text);
            let help = "its state is found by its name: give it another";
            mistakes.push(Diagnostic::error(message, query.name.span.clone()).help(help));
        }
    }
}

/// What a query is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Answered as its input comes: what a stream cannot do is refused.
    Stream,
    /// Answered once, from input that ends.
    Batch,
}

/// What a query is planned with.
pub(crate) struct Planning<'a> {
    pub place: &'a Place<'a>,
    pub catalog: &'a Catalog,
    /// Sources and views that have mistakes of their own.
    pub broken: &'a [String],
    pub of: Meaning,
}

impl Planning<'_> {
    /// The query as planned, not yet optimised; `None` after a mistake.
    pub fn plan(
        &self,
        query: &ast::Query,
        mistakes: &mut Vec<Diagnostic>,
        warnings: &mut Vec<Diagnostic>,
    ) -> Option<LogicalPlan> {
        let Planning { place, catalog, broken, of } = *self;
        if let Err(mistake) = streamable::check_depth(query, place) {
            mistakes.push(mistake);
            return None;
        }
        let before = mistakes.len();
        let mut query = query.clone();
        spellings::rewrite(&mut query, catalog, place, mistakes);
        calls::rewrite(&mut query, catalog, place, mistakes);
        if mistakes.len() > before {
            return None;
        }
        unnest_tables::rewrite(&mut query);
        quantified::rewrite(&mut query);
        nth_value::rewrite(&mut query);
        let query = window_time::rewrite(group_windows::rewrite(&query, catalog), catalog);
        let query = &as_of::rewrite(query, catalog);
        if of == Meaning::Stream {
            streamable::check(query, place, mistakes);
        }
        let planner = catalog.planner();
        let statement = ast::Statement::Query(Box::new(query.clone()));
        let planned = planner.sql_statement_to_plan(statement);
        let error = match planned.and_then(|plan| checked(plan, of)) {
            Ok(_) if mistakes.len() > before => return None,
            Ok(plan) => {
                let said = planner.take_warnings();
                warnings.extend(said.iter().map(|said| errors::warning(said, place)));
                // What a view compares is part of the queries that read it.
                let is_new = |one: &Diagnostic| {
                    warnings.iter().all(|known: &Diagnostic| known.message != one.message)
                };
                let mixed = mixed_types::warnings(&plan, place).into_iter().filter(is_new);
                let mixed: Vec<Diagnostic> = mixed.collect();
                warnings.extend(mixed);
                return Some(plan);
            }
            Err(error) => error,
        };
        let mut probe = Probe::new(catalog, place, broken);
        probe.query(query);
        let explained = !probe.mistakes.is_empty() || probe.incomplete;
        mistakes.append(&mut probe.mistakes);
        // What no part shows, and nothing refused above explains, is a mistake of the whole.
        if !explained && mistakes.len() == before {
            let twice = streamable::selected_twice(query);
            let around = Some(place.query.clone());
            let mut mistake = errors::diagnostic(&error, place.file, around, catalog);
            if let (true, Some((name, span))) = (errors::is_of_names(&error), twice) {
                mistake.message = format!("two columns that are selected are called '{name}'");
                mistake.span = Some(place.at(span));
            }
            mistakes.push(mistake);
        }
        // A function that could not be loaded has been told of.
        let told = mistakes.split_off(before);
        mistakes.extend(told.into_iter().filter(|told| !errors::is_of_broken(told, catalog)));
        None
    }
}

/// What is told of a pipeline.
struct Said<'a> {
    mistakes: &'a mut Vec<Diagnostic>,
    warnings: &'a mut Vec<Diagnostic>,
}

/// Checks what only the plan tells, and fits the query to its sink; and whether its rows are
/// replaced.
fn finish(
    draft: DraftQuery,
    plan: LogicalPlan,
    place: &Place<'_>,
    catalog: &Catalog,
    sources: &[Arc<Source>],
    state_ttl: Option<Duration>,
    said: &mut Said<'_>,
) -> Option<(Query, bool)> {
    let mistakes = &mut *said.mistakes;
    let before = mistakes.len();
    let plan = inserted::as_listed(plan, &draft, mistakes)?;
    let plan = as_declared(plan, &draft, mistakes)?;
    if let Some(mistake) = called_alike(&plan, &draft, place) {
        mistakes.push(mistake);
        return None;
    }
    let plan = match optimize(plan) {
        Ok(plan) => plan,
        Err(error) => {
            let around = Some(place.query.clone());
            mistakes.push(errors::diagnostic(&error, place.file, around, catalog));
            return None;
        }
    };
    check_aggregates(&plan, &draft.query, place, mistakes);
    let sink = sink(&draft.sink, &plan, mistakes);
    if mistakes.len() > before {
        return None;
    }
    let (emit, name) = (emit_of(draft.emit.as_ref()), draft.name.text);
    let state_ttl = draft.sink.state_ttl.as_ref().map(|(ttl, _)| *ttl).or(state_ttl);
    let mut query = Query { name, plan, emit, state_ttl, sink: sink?, span: draft.span };
    let topology = topology(&query, &draft.query, draft.emit, place, sources, mistakes)?;
    said.warnings.extend(joins::forgotten_condition(&query.plan, &draft.query, place));
    if let Some((_, span)) = &draft.sink.state_ttl
        && !topology.nodes.iter().any(|node| node.operator.forgets())
    {
        let message = "the query keeps nothing by key that is not let go in time anyway";
        let help = "leave out the time to live of its state";
        mistakes.push(Diagnostic::error(message, span.clone()).help(help));
        return None;
    }
    if topology.updating && query.sink.key.is_empty() {
        let Some(key) = unique_key(&query.plan) else {
            let message = "rows of this answer are replaced, and nothing says by which key";
            let help = "give the sink a key: the columns that tell its rows apart";
            mistakes.push(Diagnostic::error(message, draft.sink.topic.span).help(help));
            return None;
        };
        query.sink.key = key;
    } else if topology.updating {
        said.warnings.extend(key_of_several(&query, &draft.sink));
    }
    Some((query, topology.updating))
}

/// Of columns with one name, such as `a.id` and `b.id`, a record could hold one alone.
fn called_alike(plan: &LogicalPlan, draft: &DraftQuery, place: &Place<'_>) -> Option<Diagnostic> {
    let fields = plan.schema().fields();
    let twice = fields.iter().enumerate().find_map(|(at, field)| {
        fields[..at].iter().any(|other| other.name() == field.name()).then(|| field.name())
    })?;
    let message = format!("two columns that are written are called '{twice}'");
    let mut help = format!("give each a name of its own: … AS other_{twice}");
    if place.file.path.extension().is_some_and(|extension| extension == "toml") {
        help.push_str(&format!(
            ", or in a join's step columns = {{ other_{twice} = \"t.{twice}\" }}"
        ));
    }
    Some(Diagnostic::error(message, draft.name.span.clone()).help(help))
}

/// A sink whose key is that of several rows, of which the last one that changed is left.
fn key_of_several(query: &Query, sink: &DraftSink) -> Option<Diagnostic> {
    let (known, key) = (unique_keys(&query.plan), &query.sink.key);
    let tells_apart = |known: &Vec<usize>| known.iter().all(|column| key.contains(column));
    let first = known.first().filter(|_| !known.iter().any(tells_apart))?;
    let fields = query.plan.schema().fields();
    let names = |key: &[usize]| {
        let names = key.iter().map(|&column| fields[column].name().as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let message = format!(
        "several rows of this answer have the same key ({}), and only the last one that changed \
         is left of them",
        names(key)
    );
    let help = match first.is_empty() {
        true => "leave out the key: there is one row".to_owned(),
        false => format!("rows are told apart by {}: make these the key", names(first)),
    };
    let mut warning = Diagnostic::error(message, sink.topic.span.clone()).help(&help);
    warning.severity = Severity::Warning;
    Some(warning)
}

fn emit_of(emit: Option<&DraftEmit>) -> Emit {
    if emit.is_some_and(|emit| emit.changes) { Emit::Changes } else { Emit::Final }
}

/// What runs the query, unless it cannot run as it is to be told.
fn topology(
    query: &Query,
    syntax: &ast::Query,
    emit: Option<DraftEmit>,
    place: &Place<'_>,
    sources: &[Arc<Source>],
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Topology> {
    let topology = match Topology::new(query, sources) {
        Ok(topology) => topology,
        Err(error) => {
            mistakes.push(refused(error, syntax, place));
            return None;
        }
    };
    if let Some(emit) = emit.filter(|emit| !emit.changes && topology.updating) {
        let message = "this answer is never final: its rows change whenever more come";
        let help = "leave out EMIT; or group by a window, and let no late rows update it";
        mistakes.push(Diagnostic::error(message, emit.span).help(help));
        return None;
    }
    Some(topology)
}

/// Of rows that are shown and go nowhere else.
pub(crate) fn shown_sink() -> Sink {
    Sink {
        topic: String::new(),
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

/// Types are made to agree when a plan is optimised; only then is it known to be right.
fn checked(plan: LogicalPlan, of: Meaning) -> Result<LogicalPlan, DataFusionError> {
    match of {
        Meaning::Stream => constants::check_plan(&optimize(plan.clone())?)?,
        Meaning::Batch => drop(analyze(plan.clone())?),
    }
    Ok(plan)
}

/// A planned query that is to be shown, and written nowhere.
pub(crate) fn to_be_shown(
    name: &Named,
    plan: LogicalPlan,
    syntax: &ast::Query,
    emit: Option<DraftEmit>,
    place: &Place<'_>,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Query> {
    let before = mistakes.len();
    let plan = match optimize(plan) {
        Ok(plan) => plan,
        Err(error) => {
            let message = error.strip_backtrace();
            mistakes.push(Diagnostic::error(message, place.query.clone()));
            return None;
        }
    };
    check_aggregates(&plan, syntax, place, mistakes);
    if mistakes.len() > before {
        return None;
    }
    let (how, sources) = (emit_of(emit.as_ref()), sources_of(&plan));
    let span = name.span.clone();
    let sink = shown_sink();
    let name = name.text.clone();
    let query = Query { name, plan, emit: how, state_ttl: None, sink, span };
    topology(&query, syntax, emit, place, &sources, mistakes)?;
    Some(query)
}

/// The sources that a plan reads, each once.
pub(crate) fn sources_of(plan: &LogicalPlan) -> Vec<Arc<Source>> {
    let mut sources: Vec<Arc<Source>> = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(SourceTable(source)) = scan.source.downcast_ref::<SourceTable>()
            && !sources.iter().any(|other| Arc::ptr_eq(other, source))
        {
            sources.push(Arc::clone(source));
        }
        Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
    });
    sources
}

/// What the topology says of a plan that cannot run.
fn refused(error: TopologyError, query: &ast::Query, place: &Place<'_>) -> Diagnostic {
    let what = match &error {
        TopologyError::Unsupported { what, .. } => what,
        TopologyError::Expression { reason, .. } => reason,
        _ => "",
    };
    // Where rows are looked at beside others, that is mostly what cannot be done.
    let at = streamable::span_of(what, query, place).unwrap_or(place.query.clone());
    match error {
        TopologyError::Unsupported { what, reason, help, .. } => {
            Diagnostic::error(format!("{what} cannot run as a stream: {reason}"), at).help(help)
        }
        TopologyError::Join { message, help, .. } => {
            Diagnostic::error(message, joins::join_span(query, place)).help(help)
        }
        TopologyError::Window { error, .. } => {
            let help = help_for(&error);
            Diagnostic::error(error.to_string(), at).help(help)
        }
        TopologyError::Expression { reason, .. } => Diagnostic::error(reason, at),
        TopologyError::UnknownSource { name, .. } => {
            Diagnostic::error(format!("source '{name}' is not declared"), at)
        }
    }
}

/// The query's columns under the names and types that its sink declares, if it does.
fn as_declared(
    plan: LogicalPlan,
    draft: &DraftQuery,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<LogicalPlan> {
    let declared = &draft.sink.columns;
    if declared.is_empty() {
        return Some(plan);
    }
    let schema = Arc::clone(plan.schema());
    let given = schema.fields();
    let before = mistakes.len();
    if given.len() != declared.len() {
        let message = format!(
            "the query gives {} columns, and '{}' declares {}",
            given.len(),
            draft.name.text,
            declared.len()
        );
        mistakes.push(Diagnostic::error(message, draft.name.span.clone()));
        return None;
    }
    let mut exprs = Vec::new();
    for ((column, field), (name, data_type)) in
        schema.columns().into_iter().zip(given).zip(declared)
    {
        let moved =
            *field.name() != name.text && given.iter().any(|other| *other.name() == name.text);
        if moved {
            let message = format!(
                "the query gives '{}' where '{}' declares '{}'",
                field.name(),
                draft.name.text,
                name.text
            );
            let help = "columns are taken in order: give both the same";
            mistakes.push(Diagnostic::error(message, name.span.clone()).help(help));
            continue;
        }
        let expr = Expr::Column(column);
        let expr = match conversion(field.data_type(), data_type) {
            Conversion::None => expr,
            Conversion::Cast => datafusion_expr::cast(expr, data_type.clone()),
            Conversion::Lossy => {
                let message = format!(
                    "column '{}' of '{}' is {}, and the query gives {}",
                    name.text,
                    draft.name.text,
                    type_text(data_type),
                    type_text(field.data_type())
                );
                let help = "CAST it in the query, or declare that type";
                mistakes.push(Diagnostic::error(message, name.span.clone()).help(help));
                expr
            }
        };
        exprs.push(expr.alias(name.text.clone()));
    }
    if mistakes.len() > before {
        return None;
    }
    let same = schema.fields().iter().zip(declared).all(|(field, (name, data_type))| {
        *field.name() == name.text && field.data_type() == data_type
    });
    if same {
        return Some(plan);
    }
    LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).ok()
}

enum Conversion {
    None,
    Cast,
    Lossy,
}

/// Values may go where they keep their meaning.
fn conversion(given: &DataType, declared: &DataType) -> Conversion {
    use datafusion_expr::type_coercion::binary::comparison_coercion;
    let widens = given.is_numeric()
        && declared.is_numeric()
        && comparison_coercion(given, declared).as_ref() == Some(declared);
    match (given, declared) {
        _ if given == declared || declared.is_null() => Conversion::None,
        (DataType::Null, _) => Conversion::Cast,
        (DataType::Timestamp(_, from), DataType::Timestamp(_, to))
            if from.is_some() == to.is_some() =>
        {
            Conversion::Cast
        }
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, DataType::Utf8) => {
            Conversion::Cast
        }
        _ if widens => Conversion::Cast,
        // Counts and ranks, which Flink has as BIGINT; a number that does not fit fails its row.
        (DataType::UInt64, DataType::Int64) => Conversion::Cast,
        // SQL's decimals are rounded where they are put.
        (given, DataType::Decimal128(..)) if given.is_numeric() => Conversion::Cast,
        _ => Conversion::Lossy,
    }
}

/// A window must go by the event time of its sources.
fn check_aggregates(
    plan: &LogicalPlan,
    query: &ast::Query,
    place: &Place<'_>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let mut aggregates = Vec::new();
    let _ = plan.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            aggregates.push(aggregate.clone());
        }
        Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
    });
    let source_of =
        |scan: &TableScan| scan.source.downcast_ref::<SourceTable>().map(|table| table.0.clone());
    let mut wrong_before = false;
    for aggregate in &aggregates {
        let mistake = match group_window(aggregate) {
            Ok(Some(window)) => event_time::check(aggregate, &window, &source_of),
            Ok(None) => None,
            Err(error) => Some((error.to_string(), help_for(&error).to_owned())),
        };
        if let Some((message, help)) = mistake {
            let span = event_time::window_span(query, place).unwrap_or(place.query.clone());
            mistakes.push(Diagnostic::error(message, span).help(help));
            wrong_before = true;
        }
    }
    if let (false, Err(error)) = (wrong_before, check_sessions(plan)) {
        let span = event_time::window_span(query, place).unwrap_or(place.query.clone());
        mistakes.push(Diagnostic::error(error.to_string(), span).help(help_for(&error)));
    }
}

fn help_for(error: &WindowError) -> &'static str {
    match error {
        WindowError::Several => "group by the window_start and window_end of one window",
        WindowError::SessionKeys => {
            "group by window_start, window_end and the columns of PARTITION BY, and no others"
        }
        WindowError::SessionBound => {
            "group by window_start, window_end and what the sessions are partitioned by; use the \
             bounds in a query around that"
        }
        WindowError::TimeComputed(_) => "declare the column that it is made from as event time",
        WindowError::Across => "go by its window_end, or take a multiple of its size",
        WindowError::Size(_) => "such as INTERVAL '1' HOUR",
    }
}

fn sink(draft: &DraftSink, plan: &LogicalPlan, mistakes: &mut Vec<Diagnostic>) -> Option<Sink> {
    let before = mistakes.len();
    let key: Vec<usize> =
        draft.key.iter().filter_map(|name| output_column(name, plan, mistakes)).collect();
    let headers = draft.headers.iter();
    let headers: Vec<(String, usize)> = headers
        .filter_map(|(name, column)| Some((name.clone(), output_column(column, plan, mistakes)?)))
        .collect();
    let not_null = draft.not_null.iter();
    let not_null = not_null.filter_map(|name| output_column(name, plan, mistakes)).collect();
    let timestamp = draft.timestamp.as_ref().and_then(|name| {
        let index = output_column(name, plan, mistakes)?;
        let data_type = plan.schema().field(index).data_type();
        if !matches!(data_type, DataType::Timestamp(..)) {
            let message = format!(
                "the record's timestamp cannot be '{}', which is {}",
                name.text,
                type_text(data_type)
            );
            mistakes.push(Diagnostic::error(message, name.span.clone()));
        }
        Some(index)
    });
    if mistakes.len() > before {
        return None;
    }
    let sink = Sink {
        topic: draft.topic.text.clone(),
        partitions: draft.partitions,
        format: draft.format.clone(),
        key,
        key_format: draft.key_format.clone(),
        value_without_key: draft.value_without_key,
        headers,
        timestamp,
        value_without_timestamp: draft.value_without_timestamp,
        not_null,
        print: draft.print,
    };
    if let Err(error) = RowEncoder::for_sink(&sink, plan.schema().inner()) {
        let message = format!("topic '{}': {error}", draft.topic.text);
        let diagnostic = Diagnostic::error(message, draft.topic.span.clone());
        mistakes.push(match &error {
            FormatError::NoField { column, there, .. } => {
                diagnostic.did_you_mean(column, there.iter().map(String::as_str))
            }
            _ => diagnostic,
        });
        return None;
    }
    Some(sink)
}

fn output_column(
    name: &Named,
    plan: &LogicalPlan,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<usize> {
    let fields = plan.schema().fields();
    let found = fields.iter().position(|field| *field.name() == name.text);
    if found.is_none() {
        let message = format!("the query gives no column '{}'", name.text);
        let names = fields.iter().map(|field| field.name().as_str());
        let diagnostic = Diagnostic::error(message, name.span.clone()).label("no such column");
        mistakes.push(diagnostic.did_you_mean(&name.text, names));
    }
    found
}
