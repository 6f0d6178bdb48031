//! What Flink SQL spells otherwise, put into the words that the planner knows.
//!
//! | there | here |
//! |---|---|
//! | `if(c, a, b)` | `CASE WHEN c THEN a ELSE b END` |
//! | `year(t)`, `quarter`, `month`, `week`, `hour`, `minute`, `second` | `date_part('year', t)` |
//! | `dayofyear(t)`, `dayofmonth`, `dayofweek` (1 is Sunday) | `date_part('doy', t)` and so on |
//! | `floor(t TO HOUR)`, `ceil(t TO HOUR)` | `date_trunc('hour', t)`, and up from there |
//! | `INTERVAL '1-2' YEAR TO MONTH`, `'1 02:03' DAY TO MINUTE` | `INTERVAL '1 years 2 months'` |
//! | `convert_tz(s, 'UTC', z)` | the text of that time on the clock of `z` |
//! | `json_object('a' VALUE x)`, `json_array(x, y)` | JSON text of what `json_string` writes |
//! | `json_arrayagg(x)`, `json_objectagg(k VALUE v)` | the same of all rows, by `string_agg` |
//! | `json_value(j, p RETURNING INT)` | `TRY_CAST(json_value(j, p) AS INT)` |
//! | `json_value(j, p DEFAULT 0 ON EMPTY)` | `CASE WHEN … END`; `json_query`, `json_exists` too |
//! | `j IS JSON OBJECT` | `json_type(j) = 'object'` |
//! | `x LIKE p ESCAPE '!'` | the pattern with backslashes |
//! | `x SIMILAR TO 'a%|b'` | `regexp_like(x, '^(?s:a.*|b)$')` |
//! | `timestampdiff(HOUR, a, b)` | `timestampdiff('hour', a, b)` |
//! | `unix_timestamp(t)`, `unix_timestamp(s, 'yyyy-MM-dd')` | seconds since 1970 |
//! | `regexp(s, p)` | `regexp_like(s, p)` |
//! | `mod(a, b)`, `locate(x, s)` | `a % b`, `strpos(s, x)` |
//! | `to_base64(s)` | `encode(s, 'base64pad')` |
//! | `from_base64(s)`, `e()`, `rand_integer(n)` | as text; `exp(1)`; whole numbers below `n` |
//! | `encode(s, 'UTF-8')`, `decode(b, 'UTF-8')` | `CAST(s AS BYTES)`, `CAST(b AS TEXT)` |
//! | `unhex(s)`, `sha2(s, 256)` | `decode(s, 'hex')`, … |
//! | `percentile(x, 0.9)` | `percentile_cont(0.9) WITHIN GROUP (ORDER BY x)` |
//! | `elt(n, a, b)` | `make_array(a, b)[n]` |
//! | `is_digit(s)`, `is_alpha(s)`, `is_decimal(s)` | false of NULL |
//! | `truncate`, `sign`, `ceiling`, `startswith`, `endswith`, `split` | [`NAMES`] |
//! | `split_index(s, ',', 0)` | `(string_to_array(s, ','))[1]` |
//! | `timestampadd(HOUR, 2, t)` | `t + INTERVAL '2 hour'`; of a column a function of ours |
//! | `regexp_extract(s, p, 1)`, `regexp_substr(s, p)` | `(regexp_match(s, p))[1]` |
//! | `from_unixtime(n, 'yyyy-MM-dd')` | `to_char(from_unixtime(n), '%Y-%m-%d')` |
//! | `listagg(x, '; ')`, `listagg(x)` by commas | `string_agg(x, '; ')` |
//! | `date_format(t, 'yyyy-MM-dd')`, `to_timestamp`, `to_date` | the same by `'%Y-%m-%d'` |
//! | `l[1].name` | `l[1]['name']` |
//! | `SELECT t.row.field` | `SELECT t.row.field AS field` |
//! | `CAST(t AT TIME ZONE z AS TIMESTAMP)` | the clock of that zone: `to_local_time(…)` |
//! | `CAST(x AS VARCHAR(3))`, `CHAR(3)` | `left(CAST(x AS TEXT), 3)`, `rpad(…, 3)` |
//! | `CAST(x AS BYTES)`, `TIMESTAMP_LTZ(3)` and so on | [`types::known`] |
//!
//! Patterns are Java's (`DateTimeFormatter`) where there is no `%` in them. A function of the
//! user's own that has one of these names is that.

mod json;
mod texts;
mod times;

use std::mem;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, DateTimeField, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, OrderByExpr, OrderByOptions, Query, SelectItem, SetExpr, Spanned, Subscript,
    TableFactor, TimezoneInfo, UnaryOperator, Value, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::context::{Catalog, is_function};
use super::streamable::Place;
use super::types;
use crate::pipeline::{Diagnostic, lambdas};

/// Functions that only have another name.
const NAMES: [(&str, &str); 13] = [
    ("ceiling", "ceil"),
    ("truncate", "trunc"),
    ("sign", "signum"),
    ("startswith", "starts_with"),
    ("endswith", "ends_with"),
    ("split", "string_to_array"),
    ("map_from_arrays", "map"),
    ("ucase", "upper"),
    ("lcase", "lower"),
    ("len", "character_length"),
    ("variance", "var_samp"),
    ("grouping_id", "grouping"),
    ("approx_count_distinct", "approx_distinct"),
];

/// How functions are called that only the rewriting knows.
const FORMS: [(&str, &str); 25] = [
    ("if", "IF(condition, a, b)"),
    ("mod", "MOD(a, b)"),
    ("e", "E()"),
    ("rand_integer", "RAND_INTEGER(below)"),
    ("year", "YEAR(time)"),
    ("quarter", "QUARTER(time)"),
    ("month", "MONTH(time)"),
    ("week", "WEEK(time)"),
    ("hour", "HOUR(time)"),
    ("minute", "MINUTE(time)"),
    ("second", "SECOND(time)"),
    ("dayofyear", "DAYOFYEAR(time)"),
    ("dayofmonth", "DAYOFMONTH(time)"),
    ("dayofweek", "DAYOFWEEK(time)"),
    ("convert_tz", "CONVERT_TZ('2020-01-01 00:00:00', 'UTC', 'Europe/Berlin')"),
    ("unix_timestamp", "UNIX_TIMESTAMP(time), or UNIX_TIMESTAMP(text, 'yyyy-MM-dd')"),
    ("regexp", "REGEXP(text, 'pattern')"),
    ("regexp_extract", "REGEXP_EXTRACT(text, 'pattern', 1)"),
    ("split_index", "SPLIT_INDEX(text, ',', 0)"),
    ("listagg", "LISTAGG(text, ',')"),
    ("locate", "LOCATE(part, text)"),
    ("elt", "ELT(n, a, b)"),
    ("percentile", "PERCENTILE(x, 0.9)"),
    ("unhex", "UNHEX(text)"),
    ("sha2", "SHA2(text, 256); also 224, 384, 512"),
];

/// How a function is called that only the rewriting knows.
pub(crate) fn form_of(function: &str) -> Option<&'static str> {
    let function = function.to_lowercase();
    FORMS.iter().find(|(name, _)| *name == function).map(|(_, form)| *form)
}

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
        if let TableFactor::MatchRecognize { table, .. } = relation {
            let message =
                format!("MATCH_RECOGNIZE over {table}: patterns of rows are not searched");
            let mistake = Diagnostic::error(message, self.place.at(table.span()));
            let help = "compare a row with those before it, by LAG (…) OVER (PARTITION BY … ORDER \
                        BY the event time), or group rows by SESSION windows";
            self.mistakes.push(mistake.help(help));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && self.catalog.function(&function.name.to_string()).is_none()
            && let Some(made) = lambdas::written(function)
                .or_else(|| json::made(function))
                .or_else(|| json::gathered(function))
        {
            *expr = made;
        }
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
            Expr::Cast { data_type, expr: of, .. } => {
                if is_clock(data_type) && is_at_zone(of) {
                    let at = mem::replace(of.as_mut(), nothing());
                    **of = call("to_local_time", vec![at]);
                }
                let given = mem::replace(data_type, DataType::Unspecified);
                let length = types::length_of_text(&given);
                *data_type = types::known(given);
                if let Some((function, length)) = length {
                    let whole = mem::replace(expr, nothing());
                    *expr = call(function, vec![whole, number(length)]);
                }
            }
            Expr::Floor { expr: of, field: CeilFloorKind::DateTimeField(unit) }
                if *unit != DateTimeField::NoDateTime =>
            {
                let (span, of) = (of.span(), mem::replace(of.as_mut(), nothing()));
                *expr = times::floor(of, unit, span);
            }
            Expr::Ceil { expr: of, field: CeilFloorKind::DateTimeField(unit) }
                if *unit != DateTimeField::NoDateTime =>
            {
                let (span, of) = (of.span(), mem::replace(of.as_mut(), nothing()));
                *expr = Expr::Nested(Box::new(times::ceil(of, unit, span)));
            }
            Expr::Interval(interval) => {
                times::interval(interval);
                if let Some((text, span)) = times::without_unit(interval) {
                    let message = format!("INTERVAL '{text}' has no unit");
                    let mistake = Diagnostic::error(message, self.place.at(span));
                    let help = format!("write INTERVAL '{text}' SECOND, MINUTE, HOUR, DAY or so");
                    self.mistakes.push(mistake.help(help));
                }
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                texts::escape_by_backslash(pattern, escape_char);
            }
            Expr::SimilarTo { .. } => self.similar(expr),
            Expr::IsNormalized { expr: of, form, negated } => {
                let (of, form) = (mem::replace(of.as_mut(), nothing()), *form);
                *expr = json::is_json(of, form, *negated);
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
    /// `x SIMILAR TO p` by the regular expression that the pattern is.
    fn similar(&mut self, expr: &mut Expr) {
        let Expr::SimilarTo { negated, expr: of, pattern, escape_char } = expr else { return };
        let (pattern, span) = match pattern.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(pattern) => (pattern.clone(), value.span),
                _ => return,
            },
            other => {
                let message = "the pattern of SIMILAR TO must be a text by itself";
                let mistake = Diagnostic::error(message, self.place.at(other.span()));
                let help = "regexp_like(text, pattern) takes any regular expression";
                self.mistakes.push(mistake.help(help));
                return;
            }
        };
        let escape = match escape_char.as_ref().map(|escape| &escape.value) {
            Some(Value::SingleQuotedString(escape)) => escape.chars().next(),
            _ => None,
        };
        let regex = text(&texts::similar_to(&pattern, escape), span);
        let matches = call("regexp_like", vec![mem::replace(of, nothing()), regex]);
        *expr = match *negated {
            true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(matches) },
            false => matches,
        };
    }

    fn instead(&mut self, function: &mut Function) -> Option<Expr> {
        let name = function.name.to_string().to_lowercase();
        if function.over.is_some() || self.catalog.function(&name).is_some() {
            return None;
        }
        let span = function.name.span();
        if let "json_value" | "json_query" | "json_exists" = &*name {
            return json::with_clauses(&name, function);
        }
        if let Some((_, ours)) = NAMES.iter().find(|(theirs, _)| *theirs == name) {
            function.name = ObjectName::from(vec![Ident::with_span(span, *ours)]);
            return None;
        }
        if name == "percentile" {
            return of_percentile(function);
        }
        let is_aggregate = name == "listagg";
        if function.filter.is_some() && !is_aggregate {
            return None;
        }
        let FunctionArguments::List(list) = &mut function.args else { return None };
        if let ("unix_timestamp", 2) = (&*name, list.args.len()) {
            self.pattern(list.args.get_mut(1)?, true);
            times::complete(list);
            let (said, pattern) = (taken(list, 0)?, taken(list, 1)?);
            return Some(times::seconds(call("to_timestamp", vec![said, pattern])));
        }
        if let "date_format" | "to_timestamp" | "to_timestamp_millis" | "to_date" | "to_char" =
            &*name
        {
            self.pattern(list.args.get_mut(1)?, name != "to_char");
            if name.starts_with("to_timestamp") {
                times::complete(list);
            }
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
        if let Some(unit) = times::unit_of(&name).filter(|_| count == 1) {
            let part = call("date_part", vec![text(unit, span), taken(list, 0)?]);
            return Some(match unit {
                "dow" => binary(part, BinaryOperator::Plus, number(1)),
                _ => part,
            });
        }
        let instead = of_values(&name, list)
            .or_else(|| texts::of_texts(&name, list, span))
            .or_else(|| times::of_times(&name, list, span));
        if instead.is_none()
            && !is_function(&name)
            && let Some(form) = form_of(&name)
        {
            let message = format!("'{name}' does not take these arguments");
            let mistake = Diagnostic::error(message, self.place.at(span));
            self.mistakes.push(mistake.help(format!("write {form}")));
        }
        instead
    }

    /// A pattern of Java's in the signs of strftime; a mistake in these.
    fn pattern(&mut self, argument: &mut FunctionArg, may_be_java: bool) {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = argument else {
            return;
        };
        let Value::SingleQuotedString(pattern) = &mut value.value else { return };
        let is_java = may_be_java && !pattern.contains('%');
        let signs = match is_java && pattern.contains(|sign: char| sign.is_ascii_alphabetic()) {
            true => times::strftime(pattern),
            false => times::checked(pattern).map(|()| pattern.clone()),
        };
        match signs {
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

/// Functions of values of any kind.
fn of_values(name: &str, list: &mut FunctionArgumentList) -> Option<Expr> {
    match (name, list.args.len()) {
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
        ("e", 0) => Some(call("exp", vec![number(1)])),
        ("rand_integer", 1) => {
            let below = binary(call("random", vec![]), BinaryOperator::Multiply, taken(list, 0)?);
            Some(whole(call("floor", vec![below])))
        }
        _ => None,
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

fn whole(expr: Expr) -> Expr {
    cast(expr, DataType::BigInt(None))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    cast_by(CastKind::Cast, expr, data_type)
}

/// NULL where it cannot be.
fn try_cast(expr: Expr, data_type: DataType) -> Expr {
    cast_by(CastKind::TryCast, expr, data_type)
}

fn cast_by(kind: CastKind, expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None }
}

/// `PERCENTILE(x, 0.9)` as SQL has it: `PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY x)`.
fn of_percentile(function: &mut Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    if list.args.len() != 2 {
        return None;
    }
    let of = taken(list, 0)?;
    list.args.remove(0);
    let options = OrderByOptions { asc: None, nulls_first: None };
    function.within_group = vec![OrderByExpr { expr: of, options, with_fill: None }];
    function.name =
        ObjectName::from(vec![Ident::with_span(function.name.span(), "percentile_cont")]);
    None
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
