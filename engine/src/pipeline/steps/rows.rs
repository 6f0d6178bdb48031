//! Steps about rows and their doubles: `dedup` and `flat_map`.

use datafusion_sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query,
    SelectItem, WindowType,
};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::{
    Input, columns, flatten, interval, report, select_from, select_mut, time_of_step, wildcard,
};
use crate::pipeline::Diagnostic;
use crate::pipeline::reader::{Mistakes, Table, Value};
use crate::pipeline::tokens::{DIALECT, parse_expr, sql_span};
use crate::plan::one_within::Which;

const KEEPS: [&str; 2] = ["first", "last"];

/// `{ dedup = ["id"], keep = "first", within = "1 hour" }`: one row of those that are alike.
pub(super) struct Dedup {
    by: Vec<Expr>,
    time: Ident,
    keep: Keep,
    span: SqlSpan,
}

enum Keep {
    First,
    Last,
    /// Forgets after that.
    Within(Which, Expr),
}

impl Dedup {
    pub(super) fn read(
        table: &mut Table<'_>,
        event_time: Option<&str>,
        mistakes: &mut Mistakes,
    ) -> Option<Dedup> {
        let span = mistakes.span(&table.range);
        let by = table.get("dedup").and_then(|by| by.strings(mistakes));
        let by: Option<Vec<Expr>> = by.and_then(|by| {
            if by.is_empty() {
                let message = "'dedup' names no column by which rows are alike";
                mistakes.push(Diagnostic::error(message, span.clone()));
                return None;
            }
            let parsed = by.iter().map(|text| report(parse_expr(text.sql()), mistakes));
            parsed.collect::<Vec<_>>().into_iter().collect()
        });
        let last = match table.get("keep") {
            None => Some(false),
            Some(keep) => keep.string(mistakes).and_then(|keep| match keep.text {
                "first" => Some(false),
                "last" => Some(true),
                other => {
                    let message = format!("'{other}' says nothing about which row to keep");
                    let diagnostic = Diagnostic::error(message, keep.span.clone());
                    mistakes.push(diagnostic.did_you_mean(other, KEEPS.into_iter()));
                    None
                }
            }),
        };
        let within = table.get("within").map(|within| interval(&within, mistakes));
        let time = time_of_step(table.get("time"), event_time, "'dedup'", &span, mistakes);
        let keep = match (last?, flatten(within)?) {
            (true, None) => Keep::Last,
            (false, None) => Keep::First,
            (true, Some(within)) => Keep::Within(Which::Last, within),
            (false, Some(within)) => Keep::Within(Which::First, within),
        };
        Some(Dedup { by: by?, time: time?, keep, span: sql_span(span.start, span.end) })
    }

    pub(super) fn apply(self, input: Input) -> Box<Query> {
        let template = match &self.keep {
            Keep::First => "row_number() OVER (ORDER BY t)",
            Keep::Within(Which::First, _) => "first_within(t, t) OVER (ORDER BY t)",
            Keep::Within(Which::Last, _) => "last_within(t, t) OVER (ORDER BY t)",
            Keep::Last => "row_number() OVER (ORDER BY t DESC)",
        };
        let condition = match self.call(template) {
            (call, true) => call,
            (call, false) => Expr::BinaryOp {
                left: Box::new(call),
                op: ast::BinaryOperator::Eq,
                right: Box::new(parsed_here("1")),
            },
        };
        let mut query = select_from(input, vec![wildcard()]);
        select_mut(&mut query).qualify = Some(condition);
        query
    }

    /// The window function, and whether it is a condition by itself.
    fn call(self, template: &str) -> (Expr, bool) {
        let Expr::Function(mut call) = parsed_here(template) else {
            unreachable!("our own text is a call")
        };
        let name = Ident::with_span(self.span, call.name.to_string());
        call.name = ObjectName::from(vec![name]);
        let time = Expr::Identifier(self.time);
        if let Some(WindowType::WindowSpec(spec)) = &mut call.over {
            spec.partition_by = self.by;
            spec.order_by.iter_mut().for_each(|by| by.expr = time.clone());
        }
        let Keep::Within(_, within) = self.keep else { return (Expr::Function(call), false) };
        if let FunctionArguments::List(list) = &mut call.args {
            let args = [time, within].map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
            list.args = args.into();
        }
        (Expr::Function(call), true)
    }
}

fn parsed_here(text: &str) -> Expr {
    let parser = Parser::new(&DIALECT).try_with_sql(text);
    parser.and_then(|mut parser| parser.parse_expr()).expect("our own text is an expression")
}

/// `{ flat_map = { tag = "tags" } }`: a row for each element of a list, beside all other columns.
pub(super) fn flat_map(
    value: Option<Value<'_>>,
    mistakes: &mut Mistakes,
) -> Option<Vec<SelectItem>> {
    let span = value.as_ref().map(|value| mistakes.span(&value.range))?;
    let before = mistakes.list.len();
    let mut items = columns(value, mistakes)?;
    if mistakes.list.len() > before {
        return None;
    }
    for item in &mut items {
        let SelectItem::ExprWithAlias { expr, .. } = item else { continue };
        let Expr::Function(mut call) = parsed_here("unnest(t)") else { continue };
        let name = Ident::with_span(sql_span(span.start, span.end), "unnest");
        call.name = ObjectName::from(vec![name]);
        if let FunctionArguments::List(list) = &mut call.args {
            let list_of = FunctionArgExpr::Expr(expr.clone());
            list.args = vec![FunctionArg::Unnamed(list_of)];
        }
        *expr = Expr::Function(call);
    }
    Some(items)
}
