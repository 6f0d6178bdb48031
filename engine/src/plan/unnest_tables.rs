//! `FROM t CROSS JOIN UNNEST(t.list) AS u(element)` to a query over `t` that takes the list apart.
//!
//! ```text
//! SELECT t.id, u.element FROM t CROSS JOIN UNNEST(t.list) AS u(element)
//! SELECT t.id, element FROM (SELECT *, unnest(t.list) AS element FROM t)
//! ```
//!
//! The subquery has no alias, so that the columns before it keep their names.
//!
//! Without names for its columns, the element is called as UNNEST itself is: `AS element`. WITH
//! ORDINALITY adds the element's place in its list, from 1 on. A row whose list is NULL or empty
//! does not come out, as in any CROSS JOIN.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    Join, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr, Spanned,
    TableFactor, TableWithJoins, Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

/// Rewrites a query and those within it. Where something does not fit, it stays as it is, and the
/// planner says what is wrong.
pub(crate) fn rewrite(query: &mut Query) {
    let _ = query.visit(&mut Selects);
}

struct Selects;

impl VisitorMut for Selects {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let template = query.clone();
        let mut body = query.body.as_mut();
        while let SetExpr::SetOperation { left, right, .. } = body {
            if let SetExpr::Select(select) = right.as_mut() {
                rewrite_select(select, &template);
            }
            body = left;
        }
        if let SetExpr::Select(select) = body {
            rewrite_select(select, &template);
        }
        ControlFlow::Continue(())
    }
}

fn rewrite_select(select: &mut Select, template: &Query) {
    // `FROM t, UNNEST(…)` is a CROSS JOIN, too.
    while let Some(at) = select.from.iter().skip(1).position(|from| is_unnest(&from.relation)) {
        let TableWithJoins { relation, joins } = select.from.remove(at + 1);
        let before = &mut select.from[at].joins;
        let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
        before.push(Join { relation, global: false, join_operator });
        before.extend(joins);
    }
    for place in 0..select.from.len() {
        while let Some(at) = select.from[place].joins.iter().position(is_lateral_unnest) {
            // Only what stands before it can be taken apart.
            let mut before = select.from[place].clone();
            let joined = before.joins.remove(at).relation;
            let after = before.joins.split_off(at);
            let Some((relation, name)) = taken_apart(&before, joined, template) else { return };
            select.from[place] = TableWithJoins { relation, joins: after };
            let mut renamed = Renamed(name);
            let _ = select.projection.visit(&mut renamed);
            let _ = select.selection.visit(&mut renamed);
            let _ = select.group_by.visit(&mut renamed);
            let _ = select.having.visit(&mut renamed);
            let _ = select.qualify.visit(&mut renamed);
        }
    }
}

fn is_unnest(relation: &TableFactor) -> bool {
    matches!(relation, TableFactor::UNNEST { with_offset: false, .. })
}

fn is_lateral_unnest(join: &Join) -> bool {
    let is_true =
        |on: &Expr| matches!(on, Expr::Value(value) if value.value == Value::Boolean(true));
    let meets_all = match &join.join_operator {
        JoinOperator::CrossJoin(_) => true,
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on)) => is_true(on),
        _ => false,
    };
    meets_all && is_unnest(&join.relation)
}

fn taken_apart(
    from: &TableWithJoins,
    unnest: TableFactor,
    template: &Query,
) -> Option<(TableFactor, Option<Ident>)> {
    let TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } = unnest else {
        return None;
    };
    let mut columns: Vec<Ident> = match &alias {
        Some(alias) if alias.columns.is_empty() => vec![alias.name.clone()],
        Some(alias) => alias.columns.iter().map(|column| column.name.clone()).collect(),
        None => vec![Ident::new("unnest")],
    };
    if with_ordinality && columns.len() == array_exprs.len() {
        columns.push(Ident::new("ordinality"));
    }
    if columns.len() != array_exprs.len() + usize::from(with_ordinality) {
        return None;
    }
    let mut lists = array_exprs.clone();
    if with_ordinality {
        let one = Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
        let length = call("array_length", vec![array_exprs[0].clone()]);
        lists.push(call("generate_series", vec![one, length]));
    }
    let mut items = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    items.extend(lists.into_iter().zip(columns).map(|(list, alias)| SelectItem::ExprWithAlias {
        expr: call("unnest", vec![list]),
        alias,
    }));
    let mut query = template.clone();
    (query.with, query.order_by, query.limit_clause) = (None, None, None);
    let mut select = bare_select(&query)?;
    (select.projection, select.from) = (items, vec![from.clone()]);
    *query.body = SetExpr::Select(Box::new(select));
    let relation = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: None,
        sample: None,
    };
    Some((relation, alias.map(|alias| alias.name)))
}

/// A SELECT with nothing but what is put into it.
fn bare_select(of: &Query) -> Option<Select> {
    let mut body = of.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    let SetExpr::Select(select) = body else { return None };
    let mut select = select.as_ref().clone();
    (select.distinct, select.selection, select.having, select.qualify) = (None, None, None, None);
    select.group_by =
        datafusion_sql::sqlparser::ast::GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.named_window.clear();
    Some(select)
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let span = args.first().map_or(SqlSpan::empty(), Spanned::span);
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_span(span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `u.element` to `element`.
struct Renamed(Option<Ident>);

impl VisitorMut for Renamed {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::CompoundIdentifier(parts) = expr else { return ControlFlow::Continue(()) };
        if self.0.as_ref().is_none_or(|name| name.value != parts[0].value) {
            return ControlFlow::Continue(());
        }
        parts.remove(0);
        if let [only] = parts.as_slice() {
            *expr = Expr::Identifier(only.clone());
        }
        ControlFlow::Continue(())
    }
}
