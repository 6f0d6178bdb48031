//! What names mean to the SQL planner: the pipeline's sources and views, and all functions.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion_expr::{
    AggregateUDF, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource,
    WindowUDF,
};
use datafusion_sql::planner::{ParserOptions, SqlToRel};

use super::unnest_tables::UnnestTables;
use super::user_functions::Loaded;
use super::window_tables::WindowTables;
use super::{as_of, json, one_within, texts, times, windows};
use crate::pipeline::Source;

/// A source as the leaf of a plan.
pub struct SourceTable(pub Arc<Source>);

impl TableSource for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }
}

impl SourceTable {
    /// All of a source.
    pub fn scan(source: &Arc<Source>) -> Result<LogicalPlan> {
        let table = Arc::new(SourceTable(Arc::clone(source)));
        let name = TableReference::bare(source.name.clone());
        LogicalPlanBuilder::scan(name, table, None)?.build()
    }
}

/// A named query, put in place wherever it is read.
struct View(LogicalPlan);

impl TableSource for View {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema().inner())
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.0))
    }
}

/// Everything that the queries of one file can name.
pub(crate) struct Catalog {
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    /// Columns of tables that are the time of processing.
    processing_times: Vec<(String, String)>,
    /// Views as tables with versions.
    versioned: BTreeMap<String, Arc<Source>>,
    /// Functions of users.
    functions: BTreeMap<String, Loaded>,
    /// Those that could not be loaded, their mistakes being reported.
    broken_functions: Vec<String>,
    /// Names that could be meant, beside those of the tables.
    also: Vec<String>,
    options: ConfigOptions,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Catalog {
    pub fn new() -> Catalog {
        Catalog {
            tables: BTreeMap::new(),
            processing_times: Vec::new(),
            versioned: BTreeMap::new(),
            functions: BTreeMap::new(),
            broken_functions: Vec::new(),
            also: Vec::new(),
            options: options(),
            relation_planners: vec![Arc::new(WindowTables), Arc::new(UnnestTables)],
            expr_planners: expr_planners(),
        }
    }

    pub fn add_source(&mut self, source: &Arc<Source>) {
        self.tables.insert(source.name.clone(), Arc::new(SourceTable(Arc::clone(source))));
    }

    pub fn add_view(&mut self, name: &str, plan: LogicalPlan) {
        self.tables.insert(name.to_owned(), Arc::new(View(plan)));
    }

    pub fn add_table(&mut self, name: &str, table: Arc<dyn TableSource>) {
        self.tables.insert(name.to_owned(), table);
    }

    /// What a view is as a table with versions.
    pub fn add_versioned(&mut self, view: &str, source: Source) {
        let source = Arc::new(source);
        self.add_source(&source);
        self.versioned.insert(view.to_owned(), source);
    }

    pub fn versioned(&self, view: &str) -> Option<&Arc<Source>> {
        self.versioned.get(view)
    }

    pub fn add_processing_times(&mut self, columns: Vec<(String, String)>) {
        self.processing_times.extend(columns);
    }

    /// Whether such a column of this table, or of any, is the time of processing.
    pub fn is_processing_time(&self, table: Option<&str>, column: &str) -> bool {
        let mut all = self.processing_times.iter();
        all.any(|(of, name)| name == column && table.is_none_or(|table| table == of))
    }

    pub fn add_function(&mut self, name: &str, function: Loaded) {
        self.functions.insert(name.to_ascii_lowercase(), function);
    }

    pub fn function(&self, name: &str) -> Option<&Loaded> {
        self.functions.get(&name.to_ascii_lowercase())
    }

    pub fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// A function that could not be loaded: calls of it are no mistakes of their own.
    pub fn add_broken_function(&mut self, name: &str) {
        self.broken_functions.push(name.to_ascii_lowercase());
    }

    pub fn is_broken_function(&self, name: &str) -> bool {
        self.broken_functions.iter().any(|broken| broken.eq_ignore_ascii_case(name))
    }

    /// Every function's name, for "did you mean".
    pub fn function_names(&self) -> impl Iterator<Item = &str> {
        let of_users = self.functions.keys().map(String::as_str);
        of_users.chain(function_names().map(|name| -> &str { name }))
    }

    /// Takes in all names of another file; those that both have, if any, are left as they are.
    pub fn add_all(&mut self, other: &Catalog) -> Vec<String> {
        let mut doubles = Vec::new();
        for (name, table) in &other.tables {
            match self.tables.contains_key(name) {
                true => doubles.push(name.clone()),
                false => {
                    self.tables.insert(name.clone(), Arc::clone(table));
                }
            }
        }
        for (name, function) in &other.functions {
            match self.functions.contains_key(name) {
                true => doubles.push(name.clone()),
                false => {
                    self.functions.insert(name.clone(), function.clone());
                }
            }
        }
        doubles
    }

    /// Names to suggest where one is not known.
    pub fn suggest(&mut self, names: Vec<String>) {
        self.also = names;
    }

    pub fn source(&self, name: &str) -> Option<&Arc<Source>> {
        self.tables.get(name)?.downcast_ref::<SourceTable>().map(|table| &table.0)
    }

    pub fn view_names(&self) -> impl Iterator<Item = &str> {
        let views = self.tables.iter().filter(|(_, table)| table.downcast_ref::<View>().is_some());
        views.map(|(name, _)| name.as_str())
    }

    pub fn table(&self, name: &str) -> Option<&Arc<dyn TableSource>> {
        self.tables.get(name)
    }

    pub fn table_names(&self) -> impl Iterator<Item = &str> {
        let is_versioned =
            |name: &&String| self.versioned.values().any(|source| source.name == **name);
        let tables = self.tables.keys().filter(move |name| !is_versioned(name));
        tables.chain(&self.also).map(String::as_str)
    }

    /// Identifiers keep their case, as in Flink: JSON fields often have capitals.
    pub fn planner(&self) -> SqlToRel<'_, Catalog> {
        let options = ParserOptions::new()
            .with_collect_spans(true)
            .with_enable_ident_normalization(false)
            .with_map_string_types_to_utf8view(false);
        SqlToRel::new_with_options(self, options)
    }
}

/// Times with a zone are in UTC unless a type names another.
pub(crate) fn options() -> ConfigOptions {
    let mut options = ConfigOptions::default();
    options.execution.time_zone = Some("+00:00".to_owned());
    options.sql_parser.map_string_types_to_utf8view = false;
    options
}

pub(crate) fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![
        Arc::new(json::JsonOperators),
        Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
        Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
        Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
        Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
        Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
        Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
        Arc::new(datafusion_functions_window::planner::WindowFunctionPlanner),
    ]
}

/// All functions by name, other names of theirs included.
struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut scalar = HashMap::new();
    let built_in = datafusion_functions::all_default_functions()
        .into_iter()
        .chain(datafusion_functions_nested::all_default_nested_functions());
    let ours = windows::functions().chain(json::functions());
    let ours = ours.chain([as_of::function()]).chain(times::functions()).chain(texts::functions());
    for function in built_in.chain(ours) {
        for name in std::iter::once(function.name()).chain(all(function.aliases())) {
            scalar.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    let mut higher_order = HashMap::new();
    for function in datafusion_functions_nested::all_default_higher_order_functions() {
        for name in std::iter::once(function.name()).chain(all(function.aliases())) {
            higher_order.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    let mut aggregate = HashMap::new();
    for function in datafusion_functions_aggregate::all_default_aggregate_functions() {
        for name in std::iter::once(function.name()).chain(all(function.aliases())) {
            aggregate.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    let mut window = HashMap::new();
    let built_in = datafusion_functions_window::all_default_window_functions();
    for function in built_in.into_iter().chain(one_within::functions()) {
        for name in std::iter::once(function.name()).chain(all(function.aliases())) {
            window.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    Functions { scalar, higher_order, aggregate, window }
});

fn all(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str)
}

/// What a row's expressions may call.
#[cfg(test)]
pub(crate) fn scalar_functions() -> impl Iterator<Item = &'static Arc<ScalarUDF>> {
    FUNCTIONS.scalar.values()
}

/// Whether it is one of ours or the library's that computes a value; others stand for something.
pub(crate) fn computes(function: &ScalarUDF) -> bool {
    let stands_for = windows::is_window_function(function) || function.name() == as_of::NAME;
    !stands_for && FUNCTIONS.scalar.contains_key(function.name())
}

/// Whether a function computes something for each element of a list.
pub(crate) fn takes_lambdas(name: &str) -> bool {
    FUNCTIONS.higher_order.contains_key(name)
}

/// Whether it is a function of the values of one row.
pub(crate) fn is_scalar_function(name: &str) -> bool {
    FUNCTIONS.scalar.contains_key(name) || FUNCTIONS.higher_order.contains_key(name)
}

/// Whether a function of any kind is built in under this name.
pub(crate) fn is_function(name: &str) -> bool {
    function_names().any(|known| known == name)
}

/// Every function's name, for "did you mean".
pub(crate) fn function_names() -> impl Iterator<Item = &'static str> {
    let functions = &*FUNCTIONS;
    let names = functions.scalar.keys().chain(functions.aggregate.keys());
    let names = names.chain(functions.higher_order.keys());
    names.chain(functions.window.keys()).map(String::as_str)
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        // Topics have points in their names, and are in no schema.
        let found = match &name {
            TableReference::Bare { table } => self.tables.get(table.as_ref()),
            TableReference::Partial { schema, table } => {
                self.tables.get(&format!("{schema}.{table}"))
            }
            TableReference::Full { catalog, schema, table } => {
                self.tables.get(&format!("{catalog}.{schema}.{table}"))
            }
        };
        match found {
            Some(table) => Ok(Arc::clone(table)),
            None => plan_err!("there is no source or view '{name}'"),
        }
    }

    /// What a query of WITH RECURSIVE calls itself; no stream gets so far.
    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let of_user = || match self.function(name) {
            Some(Loaded::Scalar(function) | Loaded::Table(function)) => Some(function),
            _ => None,
        };
        FUNCTIONS.scalar.get(name).or_else(of_user).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        FUNCTIONS.higher_order.get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        let of_user = || match self.function(name) {
            Some(Loaded::Aggregate(function)) => Some(function),
            _ => None,
        };
        FUNCTIONS.aggregate.get(name).or_else(of_user).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        FUNCTIONS.window.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        FUNCTIONS.higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        FUNCTIONS.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        FUNCTIONS.window.keys().cloned().collect()
    }
}
