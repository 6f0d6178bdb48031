//! JSON in text columns, by path.
//!
//! | call | gives |
//! |---|---|
//! | `json_value(j, '$.a[0].b')` | the scalar there as text; NULL for an object or array |
//! | `json_query(j, '$.a')` | the object or array there as JSON text; NULL for a scalar |
//! | `json_at(j, '$.a')` | whatever is there as JSON text |
//! | `json_exists(j, '$.a')` | whether something is there, `null` included |
//! | `json_length(j [, path])` | elements of the array or fields of the object there |
//! | `json_get_str(j, 'a', 0)`, `…_int`, `…_float`, `…_bool`, `…_json` | that, if it is such |
//! | `json_string(x)` | any value as JSON text, as it is written in records; NULL of NULL |
//! | `json_type(j)` | what JSON it is: `object`, `array` or `scalar`; NULL for none |
//! | `json_refused(j, said)` | fails, saying what was said of it |
//! | `j -> 'a'`, `j -> 0` | as `json_get_json` |
//! | `j ->> 'a'` | its text: a string without quotes, all else as JSON text; NULL for `null` |
//!
//! A path is `$`, then any of `.name`, `["name"]`, `.["name"]` and `[0]`; a negative index counts
//! from the end. With `[*]` or `.*`, all items or fields, it leads to an array of what is there: no
//! scalar for `json_value`, and something for `json_exists` unless it is empty. `lax` or `strict`
//! may stand before it, which only says what is empty and what an error where a query asks for
//! that: [`super::spellings`] sees to it. Text that is no JSON, and a path that leads nowhere, give
//! NULL (`false` for `json_exists`). What comes out as JSON text has its fields in the order in
//! which they stand there, and no blanks ([`path`]).

mod path;

use std::borrow::Cow;
use std::sync::Arc;

use self::path::{Found, Step, find, gather, parse_path};
use crate::formats::json::encode::json_objects;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion_common::{DFSchema, Result, exec_err, plan_err};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_sql::sqlparser::ast::BinaryOperator;

/// For any registry that plans or runs our queries.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let found = KINDS.into_iter().map(|kind| Arc::new(ScalarUDF::from(Json::new(kind))));
    found.chain([Arc::new(ScalarUDF::from(JsonString::new()))]).collect()
}

const KINDS: [Kind; 13] = [
    Kind::Value,
    Kind::Query,
    Kind::Exists,
    Kind::Length,
    Kind::GetStr,
    Kind::GetInt,
    Kind::GetFloat,
    Kind::GetBool,
    Kind::GetJson,
    Kind::GetText,
    Kind::At,
    Kind::Type,
    Kind::Refused,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Value,
    Query,
    Exists,
    Length,
    GetStr,
    GetInt,
    GetFloat,
    GetBool,
    GetJson,
    /// `->>`.
    GetText,
    At,
    Type,
    Refused,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Value => "json_value",
            Kind::Query => "json_query",
            Kind::Exists => "json_exists",
            Kind::Length => "json_length",
            Kind::GetStr => "json_get_str",
            Kind::GetInt => "json_get_int",
            Kind::GetFloat => "json_get_float",
            Kind::GetBool => "json_get_bool",
            Kind::GetJson => "json_get_json",
            Kind::GetText => "json_get_text",
            Kind::At => "json_at",
            Kind::Type => "json_type",
            Kind::Refused => "json_refused",
        }
    }

    /// Whether it takes one path, rather than a key or index for each level.
    fn takes_path(self) -> bool {
        matches!(self, Kind::Value | Kind::Query | Kind::At | Kind::Exists | Kind::Length)
    }

    fn result(self) -> DataType {
        match self {
            Kind::Exists | Kind::GetBool => DataType::Boolean,
            Kind::Length | Kind::GetInt => DataType::Int64,
            Kind::GetFloat => DataType::Float64,
            _ => DataType::Utf8,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Json {
    kind: Kind,
    signature: Signature,
}

impl Json {
    fn new(kind: Kind) -> Json {
        Json { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Json {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let text = |of: &DataType| match of {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                Some(DataType::Utf8)
            }
            _ => None,
        };
        let key = |of: &DataType| match of {
            of if of.is_integer() && !self.kind.takes_path() => Some(DataType::Int64),
            of => text(of),
        };
        let count_fits = match self.kind {
            Kind::Length => (1..=2).contains(&types.len()),
            Kind::Type => types.len() == 1,
            kind if kind.takes_path() => types.len() == 2,
            _ => types.len() >= 2,
        };
        let coerced = types.split_first().filter(|_| count_fits).and_then(|(json, path)| {
            let path = path.iter().map(key).collect::<Option<Vec<_>>>()?;
            Some(std::iter::once(text(json)?).chain(path).collect())
        });
        match coerced {
            Some(coerced) => Ok(coerced),
            None if self.kind.takes_path() => {
                plan_err!("{name} takes JSON as text and a path, such as '$.a[0]'")
            }
            None if self.kind == Kind::Type => plan_err!("{name} takes JSON as text"),
            None => plan_err!(
                "{name} takes JSON as text, and names of fields or indices; a field of a struct is \
                 s.field"
            ),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.kind.result())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        // A path that is the same for all rows is read once.
        let constant = args.args[1..].iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays: Vec<ArrayRef> =
            args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<_>>()?;
        let (json, path) = (arrays[0].as_string::<i32>(), &arrays[1..]);
        let same = if constant && rows > 0 { Some(self.path(path, 0)?) } else { None };
        // What paths lead to that lead to several things.
        let mut gathered: Vec<(usize, Option<String>)> = Vec::new();
        let mut found: Vec<Option<Found>> = Vec::with_capacity(rows);
        for row in 0..rows {
            let path = match &same {
                Some(path) => Cow::Borrowed(path),
                None => Cow::Owned(self.path(path, row)?),
            };
            let (Some(path), true) = (&*path, json.is_valid(row)) else {
                found.push(None);
                continue;
            };
            found.push(find(json.value(row), path));
            if path.contains(&Step::All) {
                let all = gather(json.value(row), path);
                gathered.push((row, all.filter(|all| self.kind != Kind::Exists || all != "[]")));
            }
        }
        for (row, all) in &gathered {
            found[*row] = all.as_deref().and_then(|all| find(all, &[]));
        }
        Ok(ColumnarValue::Array(self.column(found)))
    }
}

impl Json {
    /// `None` if a part of it is NULL.
    fn path(&self, path: &[ArrayRef], row: usize) -> Result<Option<Vec<Step>>> {
        if path.iter().any(|part| part.is_null(row)) {
            return Ok(None);
        }
        if self.kind == Kind::Refused {
            let said = path.first().map(|said| said.as_string::<i32>().value(row));
            return exec_err!("{}", said.unwrap_or_default());
        }
        if self.kind.takes_path() {
            let Some(path) = path.first() else { return Ok(Some(Vec::new())) };
            return parse_path(path.as_string::<i32>().value(row)).map(Some);
        }
        let steps = path.iter().map(|part| match part.data_type() {
            DataType::Int64 => Step::Index(part.as_primitive::<Int64Type>().value(row)),
            _ => Step::Key(part.as_string::<i32>().value(row).to_owned()),
        });
        Ok(Some(steps.collect()))
    }

    fn column(&self, found: Vec<Option<Found<'_>>>) -> ArrayRef {
        let found = found.into_iter();
        match self.kind {
            Kind::Exists => Arc::new(BooleanArray::from_iter(found.map(|at| Some(at.is_some())))),
            Kind::GetBool => Arc::new(BooleanArray::from_iter(found.map(|at| match at?.kind {
                path::Kind::True => Some(true),
                path::Kind::False => Some(false),
                _ => None,
            }))),
            Kind::GetInt => {
                Arc::new(Int64Array::from_iter(found.map(|at| at?.plain()?.parse().ok())))
            }
            Kind::GetFloat => {
                let number =
                    |at: Found<'_>| at.plain()?.parse().ok().filter(|of: &f64| of.is_finite());
                Arc::new(Float64Array::from_iter(found.map(|at| number(at?))))
            }
            Kind::Length => {
                let count = |at: Found<'_>| i64::try_from(at.len()?).ok();
                Arc::new(Int64Array::from_iter(found.map(|at| count(at?))))
            }
            _ => Arc::new(found.map(|at| self.text(at?)).collect::<StringArray>()),
        }
    }

    fn text<'j>(&self, found: Found<'j>) -> Option<Cow<'j, str>> {
        let json = |found: Found<'_>| found.json().map(Cow::Owned);
        match self.kind {
            Kind::Query if found.is_scalar() => None,
            Kind::Query | Kind::At | Kind::GetJson => json(found),
            // What its strings are is looked at too.
            Kind::Type => found.json().map(|_| match found.kind {
                path::Kind::Array => Cow::Borrowed("array"),
                path::Kind::Object => Cow::Borrowed("object"),
                _ => Cow::Borrowed("scalar"),
            }),
            Kind::GetStr => found.text(),
            Kind::GetText if !found.is_scalar() => json(found),
            // NULL of null, of arrays and of objects.
            _ => found.text().or_else(|| found.plain().map(Cow::Borrowed)),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonString {
    signature: Signature,
}

impl JsonString {
    fn new() -> JsonString {
        JsonString { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JsonString {
    fn name(&self) -> &str {
        "json_string"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        /// A record of one column, whose name is empty, is this around its value.
        const AROUND: (&str, &str) = ("{\"\":", "}");
        let values = args.args[0].to_array(args.number_rows)?;
        let field = Field::new("", values.data_type().clone(), true);
        let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![values.clone()])?;
        let written = json_objects(&rows)?;
        let nulls = values.logical_nulls();
        let texts = (0..values.len()).map(|row| {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                return None;
            }
            let record = std::str::from_utf8(written.get(row)?).ok()?;
            record.strip_prefix(AROUND.0)?.strip_suffix(AROUND.1)
        });
        Ok(ColumnarValue::Array(Arc::new(StringArray::from_iter(texts))))
    }
}

/// `->` and `->>`.
#[derive(Debug)]
pub struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let kind = match expr.op {
            BinaryOperator::Arrow => Kind::GetJson,
            BinaryOperator::LongArrow => Kind::GetText,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let function = ScalarUDF::from(Json::new(kind));
        let call: Expr = function.call(vec![expr.left, expr.right]);
        Ok(PlannerResult::Planned(call))
    }
}
