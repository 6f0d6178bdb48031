//! Finding every mistake in a query that the planner refused at the first.
//!
//! The query is walked from the inside out. FROM gives the columns that its expressions can name;
//! each expression is then planned by itself, and where one fails, the smallest part of it that
//! fails is reported. What fails gives a column of unknown type, which fits everywhere, so that
//! one mistake does not cause others. Where a source itself is not known, nothing is said about
//! the columns that would be its.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::tree_node::TreeNode;
use datafusion_common::{DFSchema, DataFusionError, Result, TableReference};
use datafusion_expr::{Expr, ExprSchemable};
use datafusion_optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{
    self, GroupByExpr, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned,
    TableFactor, TableWithJoins, Visit, Visitor,
};

use super::context::Catalog;
use super::streamable::Place;
use super::unnest_tables::UnnestCall;
use super::window_tables::{WINDOW_END, WINDOW_START, WindowCall};
use super::{constants, errors};
use crate::pipeline::Diagnostic;
use crate::type_names::type_text;

/// Columns as a query or a relation gives them.
type Columns = Vec<(Option<TableReference>, FieldRef)>;

pub(crate) struct Probe<'a> {
    catalog: &'a Catalog,
    planner: SqlToRel<'a, Catalog>,
    place: &'a Place<'a>,
    /// Names whose declaration has mistakes.
    broken: &'a [String],
    /// WITH tables by name; `None` where their columns are not known.
    with: HashMap<String, Option<Columns>>,
    pub mistakes: Vec<Diagnostic>,
    /// Something could not be judged for a mistake that is reported elsewhere.
    pub incomplete: bool,
}

impl<'a> Probe<'a> {
    pub fn new(catalog: &'a Catalog, place: &'a Place<'a>, broken: &'a [String]) -> Probe<'a> {
        Probe {
            catalog,
            planner: catalog.planner(),
            place,
            broken,
            with: HashMap::new(),
            mistakes: Vec::new(),
            incomplete: false,
        }
    }

    fn report(
        &mut self,
        error: &DataFusionError,
        span: datafusion_sql::sqlparser::tokenizer::Span,
    ) {
        let around = Some(self.place.at(span));
        self.mistakes.push(errors::diagnostic(error, self.place.file, around, self.catalog));
    }

    /// The columns that the query gives, if they can be known.
    pub fn query(&mut self, query: &Query) -> Option<Columns> {
        let outer = self.with.clone();
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = self.query(&table.query);
            self.with.insert(table.alias.name.value.clone(), columns);
        }
        let columns = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, query.order_by.as_ref()),
            body => self.body(body),
        };
        self.with = outer;
        columns
    }

    fn body(&mut self, body: &SetExpr) -> Option<Columns> {
        match body {
            SetExpr::Select(select) => self.select(select, None),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                let columns = self.body(left);
                self.body(right);
                columns
            }
            _ => None,
        }
    }

    fn select(&mut self, select: &Select, order_by: Option<&OrderBy>) -> Option<Columns> {
        let mut scope = Columns::new();
        for from in &select.from {
            scope.extend(self.joined(from)?);
        }
        let schema = self.schema(&scope)?;
        if let Some(condition) = &select.selection {
            self.condition(condition, &schema);
        }
        let mut columns = Columns::new();
        for item in &select.projection {
            self.item(item, &scope, &schema, &mut columns);
        }
        // GROUP BY, HAVING, QUALIFY and ORDER BY may name what is selected.
        let mut named = scope.clone();
        for (relation, field) in &columns {
            if relation.is_none() && !scope.iter().any(|(_, other)| other.name() == field.name()) {
                named.push((None, Arc::clone(field)));
            }
        }
        let named = self.schema(&named)?;
        if let GroupByExpr::Expressions(exprs, _) = &select.group_by {
            for expr in exprs {
                // A number counts the columns that are selected.
                if !matches!(expr, ast::Expr::Value(_)) {
                    self.expr(expr, &named);
                }
            }
        }
        for condition in select.having.iter().chain(&select.qualify) {
            self.condition(condition, &named);
        }
        if let Some(OrderByKind::Expressions(exprs)) = order_by.map(|order_by| &order_by.kind) {
            let exprs = exprs.iter().map(|by| &by.expr);
            exprs.filter(|by| !matches!(by, ast::Expr::Value(_))).for_each(|by| {
                self.expr(by, &named);
            });
        }
        Some(columns)
    }

    fn schema(&self, columns: &Columns) -> Option<DFSchema> {
        // It fails for two columns of one name; the planner says so of the whole.
        DFSchema::new_with_metadata(columns.clone(), HashMap::new()).ok()
    }

    fn joined(&mut self, from: &TableWithJoins) -> Option<Columns> {
        let mut columns = self.relation(&from.relation);
        for join in &from.joins {
            let joined = self.relation(&join.relation);
            columns = columns.zip(joined).map(|(mut left, right)| {
                left.extend(right);
                left
            });
        }
        columns
    }

    fn relation(&mut self, relation: &TableFactor) -> Option<Columns> {
        if let Some(call) = WindowCall::of(relation) {
            let columns = self.window(&call);
            return columns.map(|columns| aliased(columns, call.alias));
        }
        if let Some(call) = UnnestCall::of(relation) {
            let columns = self.unnest(&call);
            return columns.map(|columns| aliased(columns, call.alias));
        }
        match relation {
            TableFactor::Table { name, alias, args: None, .. } => {
                let name_span = name.span();
                let name = self.table_name(name);
                let columns = self.table(&name, name_span)?;
                let relation = TableReference::bare(name);
                let columns = qualified(columns, &relation);
                Some(aliased(columns, alias.as_ref()))
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let columns = self.query(subquery)?;
                Some(aliased(columns, alias.as_ref()))
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let columns = self.joined(table_with_joins)?;
                Some(aliased(columns, alias.as_ref()))
            }
            // The planner says what is wrong with it.
            _ => None,
        }
    }

    fn table_name(&self, name: &ast::ObjectName) -> String {
        let parts = name.0.iter().map(|part| match part.as_ident() {
            Some(ident) => ident.value.clone(),
            None => part.to_string(),
        });
        parts.collect::<Vec<_>>().join(".")
    }

    fn table(
        &mut self,
        name: &str,
        span: datafusion_sql::sqlparser::tokenizer::Span,
    ) -> Option<Columns> {
        if let Some(columns) = self.with.get(name) {
            return columns.clone();
        }
        if let Some(table) = self.catalog.table(name) {
            let schema = table.schema();
            return Some(schema.fields().iter().map(|field| (None, Arc::clone(field))).collect());
        }
        if self.broken.iter().any(|broken| broken == name) {
            self.incomplete = true;
            return None;
        }
        let message = format!("there is no source or view '{name}'");
        let diagnostic = Diagnostic::error(message, self.place.at(span)).label("no such source");
        self.mistakes.push(diagnostic.did_you_mean(name, self.catalog.table_names()));
        None
    }

    /// The columns of the table that is windowed, and those that the window adds.
    fn window(&mut self, call: &WindowCall<'_>) -> Option<Columns> {
        let arguments = match call.arguments() {
            Ok(arguments) => arguments,
            Err(error) => {
                self.report(&error, call.span());
                return None;
            }
        };
        let constants = arguments.checked_constants(|given| {
            let empty = DFSchema::empty();
            self.planner.sql_to_expr(given, &empty, &mut PlannerContext::new())
        });
        if let Err(error) = constants {
            self.report(&error, call.span());
        }
        let table = match arguments.table() {
            Ok(table) => table,
            Err(error) => {
                self.report(&error, call.span());
                return None;
            }
        };
        let mut columns = self.relation(&table)?;
        let schema = self.schema(&columns)?;
        let time = self.expr(&arguments.time, &schema);
        if let Err(error) = arguments.check_time(&time) {
            self.report(&error, call.span());
        }
        for key in &arguments.keys {
            self.expr(key, &schema);
        }
        for bound in [WINDOW_START, WINDOW_END] {
            columns.push((None, Arc::new(Field::new(bound, time.clone(), true))));
        }
        Some(columns)
    }

    /// The columns of the table beside which lists stand, and those of their elements.
    fn unnest(&mut self, call: &UnnestCall<'_>) -> Option<Columns> {
        let mut columns = self.relation(&call.before())?;
        let schema = self.schema(&columns)?;
        let types: Vec<DataType> =
            call.lists().iter().map(|list| self.expr(list, &schema)).collect();
        let outputs = call.outputs(&types).and_then(|outputs| Ok((outputs, call.kind()?)));
        let (outputs, (_, condition)) = match outputs {
            Ok(outputs) => outputs,
            Err(error) => {
                self.report(&error, call.span());
                return None;
            }
        };
        let qualifier = Some(call.qualifier());
        columns.extend(outputs.into_iter().map(|output| {
            (qualifier.clone(), Arc::new(Field::new(output.name, output.data_type, true)))
        }));
        if let Some(condition) = condition {
            let schema = self.schema(&columns)?;
            self.condition(condition, &schema);
        }
        Some(columns)
    }

    fn item(
        &mut self,
        item: &SelectItem,
        scope: &Columns,
        schema: &DFSchema,
        columns: &mut Columns,
    ) {
        match item {
            SelectItem::ExprWithAlias { expr, alias } => {
                let data_type = self.expr(expr, schema);
                columns.push((None, Arc::new(Field::new(&alias.value, data_type, true))));
            }
            SelectItem::UnnamedExpr(expr) => {
                let data_type = self.expr(expr, schema);
                let planned = self.plan(expr, schema).ok();
                let (relation, name) = match (planned, expr) {
                    (Some(Expr::Column(column)), _) => (column.relation, column.name),
                    (Some(planned), _) => (None, planned.schema_name().to_string()),
                    (None, ast::Expr::Identifier(ident)) => (None, ident.value.clone()),
                    (None, other) => (None, other.to_string()),
                };
                columns.push((relation, Arc::new(Field::new(name, data_type, true))));
            }
            SelectItem::Wildcard(_) => columns.extend(scope.iter().cloned()),
            SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => {
                columns.extend(scope.iter().cloned());
            }
        }
    }

    fn condition(&mut self, condition: &ast::Expr, schema: &DFSchema) {
        let data_type = self.expr(condition, schema);
        if !matches!(data_type, DataType::Boolean | DataType::Null) {
            let message =
                format!("a condition is true or false, and this is {}", type_text(&data_type));
            let span = self.place.at(condition.span());
            self.mistakes.push(Diagnostic::error(message, span).label("not a condition"));
        }
    }

    /// The type of the expression; NULL's if it has a mistake.
    pub fn expr(&mut self, expr: &ast::Expr, schema: &DFSchema) -> DataType {
        if let Ok(data_type) = self.type_of(expr, schema) {
            return data_type;
        }
        let before = self.mistakes.len();
        let mut parts = Parts { probe: self, schema, within: 0, failed: vec![false] };
        let _ = expr.visit(&mut parts);
        debug_assert!(self.mistakes.len() > before, "the expression itself is its last part");
        DataType::Null
    }

    /// The expression, its types made to agree.
    pub fn plan(&self, expr: &ast::Expr, schema: &DFSchema) -> Result<Expr> {
        let planned = self.planner.sql_to_expr(expr.clone(), schema, &mut PlannerContext::new())?;
        Ok(planned.rewrite(&mut TypeCoercionRewriter::new(schema))?.data)
    }

    fn type_of(&self, expr: &ast::Expr, schema: &DFSchema) -> Result<DataType> {
        // What refers to another query is refused as a whole, and no part of it planned here.
        if matches!(
            expr,
            ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. }
        ) {
            return Ok(DataType::Null);
        }
        // No part of a query yet that types could be made to agree in.
        if let ast::Expr::Function(call) = expr
            && call.name.to_string().eq_ignore_ascii_case("unnest")
        {
            let context = &mut PlannerContext::new();
            return self.planner.sql_to_expr(expr.clone(), schema, context)?.get_type(schema);
        }
        let planned = self.plan(expr, schema)?;
        constants::check(&planned, schema)?;
        planned.get_type(schema)
    }
}

/// Tries every part of an expression, the innermost first.
struct Parts<'p, 'a> {
    probe: &'p mut Probe<'a>,
    schema: &'p DFSchema,
    /// How many queries and lambdas within the expression we are in; their parts are not ours.
    within: usize,
    /// For each expression around the current one: whether a part of it has failed.
    failed: Vec<bool>,
}

impl Visitor for Parts<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.within += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.within -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        self.failed.push(false);
        self.within += usize::from(matches!(expr, ast::Expr::Lambda(_)));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        let mut failed = self.failed.pop().unwrap_or(false);
        let is_lambda = matches!(expr, ast::Expr::Lambda(_));
        self.within -= usize::from(is_lambda);
        if !failed
            && !is_lambda
            && self.within == 0
            && let Err(error) = self.probe.type_of(expr, self.schema)
        {
            self.probe.report(&error, expr.span());
            failed = true;
        }
        if let Some(around) = self.failed.last_mut() {
            *around |= failed;
        }
        ControlFlow::Continue(())
    }
}

fn qualified(columns: Columns, relation: &TableReference) -> Columns {
    columns.into_iter().map(|(_, field)| (Some(relation.clone()), field)).collect()
}

fn aliased(columns: Columns, alias: Option<&ast::TableAlias>) -> Columns {
    let Some(alias) = alias else { return columns };
    let mut columns = qualified(columns, &TableReference::bare(alias.name.value.clone()));
    for ((_, field), renamed) in columns.iter_mut().zip(&alias.columns) {
        *field = Arc::new(field.as_ref().clone().with_name(&renamed.name.value));
    }
    columns
}
