//! What Flink SQL spells otherwise, put into the words that the planner knows.
//!
//! | there | here |
//! |---|---|
//! | `if(c, a, b)` | `CASE WHEN c THEN a ELSE b END` |
//! | `year(t)`, `quarter`, `month`, `week`, `hour`, `minute`, `second` | `date_part('year', t)` |
//! | `dayofyear(t)`, `dayofmonth`, `dayofweek` (1 is Sunday) | `date_part('doy', t)` and so on |
//! | `floor(t TO HOUR)` | `date_trunc('hour', t)` |
//! | `timestampdiff(HOUR, a, b)`; of SECOND, MINUTE, DAY too | whole units from `a` to `b` |
//! | `unix_timestamp(t)` | seconds since 1970 |
//! | `regexp(s, p)` | `regexp_like(s, p)` |
//! | `mod(a, b)`, `locate(x, s)`, `to_base64(s)` | `a % b`, `strpos(s, x)`, `encode(s, 'base64')` |
//! | `split_index(s, ',', 0)` | `nullif(split_part(s, ',', 1), '')` |
//! | `timestampadd(HOUR, 2, t)` | `t + INTERVAL '2 hour'` |
//! | `regexp_extract(s, p, 1)` | `(regexp_match(s, p))[1]` |
//! | `listagg(x, '; ')`, `listagg(x)` by commas | `string_agg(x, '; ')` |
//! | `date_format(t, 'yyyy-MM-dd')`, `to_timestamp`, `to_date` | the same by `'%Y-%m-%d'` |
//! | `l[1].name` | `l[1]['name']` |
//! | `SELECT t.row.field` | `SELECT t.row.field AS field` |
//! | `CAST(t AT TIME ZONE z AS TIMESTAMP)` | the clock of that zone: `to_local_time(…)` |
//! | `CAST(x AS BYTES)`, `TIMESTAMP_LTZ(3)` and so on | [`types::known`] |
//!
//! Patterns are Java's (`DateTimeFormatter`) where there is no `%` in them. A function of the
//! user's own that has one of these names is that.

use std::mem;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, DateTimeField, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Query, SelectItem, SetExpr, Spanned, Subscript, TableFactor, TimezoneInfo, Value,
    VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::context::Catalog;
use super::streamable::Place;
use super::types;
use crate::pipeline::Diagnostic;

/// Rewrites a query, or an expression by itself.
pub(crate) fn rewrite(
    syntax: &mut impl VisitMut,
    catalog: &Catalog,
    place: &Place<'_>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let _ = syntax.visit(&mut Spellings { catalog, place, mistakes });
}

/// An expression in the planner's words, where no functions of users are to be had.
pub(crate) fn rewritten(expr: &Expr, place: &Place<'_>, mistakes: &mut Vec<Diagnostic>) -> Expr {
    let mut expr = expr.clone();
    rewrite(&mut expr, &Catalog::new(), place, mistakes);
    expr
}

struct Spellings<'a> {
    catalog: &'a Catalog,
    place: &'a Place<'a>,
    mistakes: &'a mut Vec<Diagnostic>,
}

impl VisitorMut for Spellings<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_fields(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { sample: Some(_), name, .. } = relation {
            let message = format!("TABLESAMPLE of {name}: samples are not taken");
            let mistake = Diagnostic::error(message, self.place.at(name.span()));
            self.mistakes
                .push(mistake.help("filter by something of the rows, such as id % 10 = 0"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // Before its parts are looked at: the name of a field is no column.
        if let Expr::CompoundFieldAccess { root, access_chain } = expr {
            // A table, a column and its fields are one name.
            let first = match root.as_ref() {
                Expr::Identifier(_) => access_chain.iter().position(|access| !is_field(access)),
                _ => Some(0),
            };
            for access in access_chain.iter_mut().skip(first.unwrap_or(usize::MAX)) {
                if let AccessExpr::Dot(Expr::Identifier(field)) = access {
                    *access = AccessExpr::Dot(text(&field.value, field.span));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { data_type, expr, .. } => {
                if is_clock(data_type) && is_at_zone(expr) {
                    let at = mem::replace(expr.as_mut(), nothing());
                    **expr = call("to_local_time", vec![at]);
                }
                *data_type = types::known(mem::replace(data_type, DataType::Unspecified));
            }
            Expr::Floor { expr: of, field: CeilFloorKind::DateTimeField(field) }
                if *field != DateTimeField::NoDateTime =>
            {
                let unit = text(&field.to_string().to_lowercase(), of.span());
                let of = mem::replace(of.as_mut(), nothing());
                *expr = call("date_trunc", vec![unit, of]);
            }
            Expr::Function(function) => {
                if let Some(instead) = self.instead(function) {
                    *expr = instead;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Spellings<'_> {
    fn instead(&mut self, function: &mut Function) -> Option<Expr> {
        let name = function.name.to_string().to_lowercase();
        if function.over.is_some() || self.catalog.function(&name).is_some() {
            return None;
        }
        let span = function.name.span();
        let is_aggregate = name == "listagg";
        if function.filter.is_some() && !is_aggregate {
            return None;
        }
        let FunctionArguments::List(list) = &mut function.args else { return None };
        if let "date_format" | "to_timestamp" | "to_timestamp_millis" | "to_date" = &*name {
            self.pattern(list.args.get_mut(1)?);
            return None;
        }
        let count = list.args.len();
        if is_aggregate && (1..=2).contains(&count) {
            if count == 1 {
                list.args.push(unnamed(text(",", span)));
            }
            function.name = ObjectName::from(vec![Ident::with_span(span, "string_agg")]);
            return None;
        }
        if let Some(unit) = unit_of(&name).filter(|_| count == 1) {
            let part = call("date_part", vec![text(unit, span), taken(list, 0)?]);
            return Some(match unit {
                "dow" => binary(part, BinaryOperator::Plus, number(1)),
                _ => part,
            });
        }
        match (&*name, count) {
            ("if", 3) => {
                let (condition, result) = (taken(list, 0)?, taken(list, 1)?);
                Some(Expr::Case {
                    case_token: AttachedToken::empty(),
                    end_token: AttachedToken::empty(),
                    operand: None,
                    conditions: vec![CaseWhen { condition, result }],
                    else_result: Some(Box::new(taken(list, 2)?)),
                })
            }
            ("mod", 2) => {
                let (of, by) = (taken(list, 0)?, taken(list, 1)?);
                Some(Expr::Nested(Box::new(binary(
                    Expr::Nested(Box::new(of)),
                    BinaryOperator::Modulo,
                    Expr::Nested(Box::new(by)),
                ))))
            }
            // Flink counts from 0, and a place that is not there is NULL.
            ("split_index", 3) => {
                let at = binary(taken(list, 2)?, BinaryOperator::Plus, number(1));
                let part = call("split_part", vec![taken(list, 0)?, taken(list, 1)?, at]);
                Some(call("nullif", vec![part, text("", span)]))
            }
            ("locate", 2) => Some(call("strpos", vec![taken(list, 1)?, taken(list, 0)?])),
            ("to_base64", 1) => Some(call("encode", vec![taken(list, 0)?, text("base64", span)])),
            ("regexp", 2) => Some(call("regexp_like", vec![taken(list, 0)?, taken(list, 1)?])),
            ("regexp_extract", 3) => {
                let group = list.args[2].to_string().parse().ok().filter(|group| *group > 0)?;
                let groups = call("regexp_match", vec![taken(list, 0)?, taken(list, 1)?]);
                Some(call("array_element", vec![groups, number(group)]))
            }
            _ => of_times(&name, list, span),
        }
    }

    /// A pattern of Java's in the signs of strftime.
    fn pattern(&mut self, argument: &mut FunctionArg) {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = argument else {
            return;
        };
        let Value::SingleQuotedString(pattern) = &mut value.value else { return };
        if pattern.contains('%') || !pattern.contains(|sign: char| sign.is_ascii_alphabetic()) {
            return;
        }
        match strftime(pattern) {
            Ok(signs) => *pattern = signs,
            Err(letters) => {
                let message = format!("'{pattern}' is no pattern of a time: '{letters}' in it");
                let mistake = Diagnostic::error(message, self.place.at(value.span));
                let help = "such as 'yyyy-MM-dd HH:mm:ss' or '%Y-%m-%d %H:%M:%S'";
                self.mistakes.push(mistake.help(help));
            }
        }
    }
}

/// A time on a clock, of no zone.
fn is_clock(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone))
}

fn is_at_zone(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(expr) => is_at_zone(expr),
        Expr::AtTimeZone { .. } => true,
        _ => false,
    }
}

/// Functions of times that take a unit, or give a number of them.
fn of_times(name: &str, list: &mut FunctionArgumentList, span: Span) -> Option<Expr> {
    match (name, list.args.len()) {
        ("unix_timestamp", 1) => Some(whole(epoch(taken(list, 0)?))),
        ("timestampdiff", 3) => {
            let seconds = match list.args[0].to_string().to_lowercase().as_str() {
                "second" => 1,
                "minute" => 60,
                "hour" => 3_600,
                "day" => 86_400,
                _ => return None,
            };
            let (from, to) = (epoch(taken(list, 1)?), epoch(taken(list, 2)?));
            let between = Expr::Nested(Box::new(binary(to, BinaryOperator::Minus, from)));
            let units = binary(between, BinaryOperator::Divide, number(seconds));
            Some(whole(call("trunc", vec![units])))
        }
        ("timestampadd", 3) => {
            let unit = list.args[0].to_string().to_lowercase();
            let units = ["second", "minute", "hour", "day", "week", "month", "year"];
            units.contains(&&*unit).then_some(())?;
            // Intervals that differ from row to row are none of the planner's.
            let count: i64 = list.args[1].to_string().replace(' ', "").parse().ok()?;
            let length = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(text(&format!("{count} {unit}"), span)),
                data_type: DataType::Interval { fields: None, precision: None },
                array: false,
                format: None,
            };
            Some(binary(taken(list, 2)?, BinaryOperator::Plus, length))
        }
        _ => None,
    }
}

/// What `date_part` calls the part of a time that such a function gives.
fn unit_of(function: &str) -> Option<&str> {
    match function {
        "year" | "quarter" | "month" | "week" | "hour" | "minute" | "second" => Some(function),
        "dayofyear" => Some("doy"),
        "dayofmonth" => Some("day"),
        "dayofweek" => Some("dow"),
        _ => None,
    }
}

/// `yyyy-MM-dd'T'HH:mm` to `%Y-%m-%dT%H:%M`; what cannot be said so.
fn strftime(pattern: &str) -> Result<String, String> {
    let mut signs = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let after = rest.trim_start_matches(first);
        let run = &rest[..rest.len() - after.len()];
        rest = after;
        let sign = match run {
            "yyyy" | "uuuu" => "%Y",
            "yy" | "uu" => "%y",
            "M" => "%-m",
            "MM" => "%m",
            "MMM" => "%b",
            "MMMM" => "%B",
            "d" => "%-d",
            "dd" => "%d",
            "DDD" => "%j",
            "H" => "%-H",
            "HH" => "%H",
            "h" => "%-I",
            "hh" => "%I",
            "m" => "%-M",
            "mm" => "%M",
            "s" => "%-S",
            "ss" => "%S",
            "SSS" => "%3f",
            "SSSSSS" => "%6f",
            "SSSSSSSSS" => "%9f",
            "a" => "%p",
            "E" | "EE" | "EEE" => "%a",
            "EEEE" => "%A",
            "X" | "XX" | "Z" => "%z",
            "XXX" => "%:z",
            "''" => "'",
            "'" => {
                let (quoted, after) = rest.split_once('\'').ok_or_else(|| run.to_owned())?;
                rest = after;
                quoted
            }
            _ if first.is_ascii_alphabetic() => return Err(run.to_owned()),
            _ => run,
        };
        signs.push_str(sign);
    }
    Ok(signs)
}

/// Fields that are selected without a name have their own: not that of the way to them.
fn name_fields(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            name_fields(left);
            name_fields(right);
        }
        SetExpr::Select(select) => {
            let tables = select.from.iter().flat_map(|from| {
                std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
            });
            let tables: Vec<String> = tables.filter_map(name_of).collect();
            for item in &mut select.projection {
                let SelectItem::UnnamedExpr(expr) = item else { continue };
                if let Some(alias) = name_of_field(expr, &tables) {
                    let expr = mem::replace(expr, nothing());
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
            }
        }
        _ => {}
    }
}

fn name_of(relation: &TableFactor) -> Option<String> {
    match relation {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. }
        | TableFactor::TableFunction { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => Some(alias.name.value.clone()),
        TableFactor::Table { name, .. } => {
            Some(name.0.last()?.as_ident().map(|ident| ident.value.clone())?)
        }
        _ => None,
    }
}

/// Of a field within a column; those of a table are columns.
fn name_of_field(expr: &Expr, tables: &[String]) -> Option<Ident> {
    match expr {
        Expr::CompoundIdentifier(names) => {
            let is_of_table = tables.iter().any(|table| *table == names[0].value);
            (names.len() > 1 + usize::from(is_of_table)).then(|| names.last().cloned()).flatten()
        }
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last()? {
            AccessExpr::Dot(Expr::Identifier(field)) => Some(field.clone()),
            AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) }) => {
                match &value.value {
                    Value::SingleQuotedString(name) if !name.is_empty() => {
                        Some(Ident::with_quote('"', name))
                    }
                    _ => None,
                }
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_field(access: &AccessExpr) -> bool {
    matches!(access, AccessExpr::Dot(Expr::Identifier(_)))
}

/// An argument, which is not needed any more where it stands.
fn taken(list: &mut FunctionArgumentList, at: usize) -> Option<Expr> {
    match list.args.get_mut(at)? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(mem::replace(expr, nothing())),
        _ => None,
    }
}

fn nothing() -> Expr {
    Expr::Identifier(Ident::new(""))
}

fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

fn text(text: &str, span: Span) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_span(span))
}

fn number(number: i64) -> Expr {
    Expr::Value(Value::Number(number.to_string(), false).with_empty_span())
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn epoch(time: Expr) -> Expr {
    call("date_part", vec![text("epoch", Span::empty()), time])
}

fn whole(expr: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    }
}

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(unnamed).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn patterns_of_java_are_said_in_signs() {
        for (pattern, signs) in [
            ("yyyy-MM-dd HH:mm:ss", "%Y-%m-%d %H:%M:%S"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "%Y-%m-%dT%H:%M:%S.%3f%:z"),
            ("d. MMMM yy, h 'o''clock' a", "%-d. %B %y, %-I oclock %p"),
            ("EEEE", "%A"),
        ] {
            assert_eq!(strftime(pattern).as_deref(), Ok(signs), "{pattern}");
        }
        assert_eq!(strftime("yyyy-QQ"), Err("QQ".to_owned()));
        assert_eq!(strftime("yyyy'"), Err("'".to_owned()));
    }
}
