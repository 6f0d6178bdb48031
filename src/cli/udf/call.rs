//! `millstream udf call`: a function on values, or on the records of a topic.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::ReaderBuilder;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
use engine::formats::RowEncoder;
use engine::pipeline::Format;
use engine::plan::user_functions::default_of;
use udfs::http::Origin;
use udfs::{Kind, Module, Signature};

use super::{ModuleArgs, functions};
use crate::cli::query::{QueryArgs, Shape};
use crate::cli::stdout::print;
use crate::cli::{BrokerChoice, Failure};
use crate::render::table::plural;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream udf call email.wasm email_domain ada@example.org
  millstream udf call numbers.wat add 1 2
  millstream udf call lists.wasm total '[1, 2, 3]'
  millstream udf call text.wasm clean 'a  b' 'max_length => 80' --json
  millstream udf call email.wasm email_domain 'lower(email)' --topic people

NULL is NULL; arrays and rows are JSON; NAME => VALUE is the argument of that name. With --topic,
arguments are SQL over its columns, which are guessed from its records as by `millstream query`.")]
pub struct CallArgs {
    #[command(flatten)]
    module: ModuleArgs,
    /// The function
    name: String,
    /// Its arguments
    #[arg(allow_negative_numbers = true)]
    values: Vec<String>,
    /// Call it on the records of this topic
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    broker: BrokerChoice,
    #[command(flatten)]
    shape: Shape,
}

/// What it is to be called on.
pub enum Called {
    /// Values: it was, and they are printed.
    Values,
    /// A topic: this is to be asked.
    Topic(Box<QueryArgs>),
}

pub fn call(args: CallArgs) -> Result<Called, Failure> {
    let module = args.module.load()?;
    let found = functions(&module, &args.name)?;
    if let Some(topic) = &args.topic {
        let kind = found[0].1.kind;
        let sql = sql(&args, topic, kind);
        let shape = args.shape.or_limit(ROWS_SHOWN);
        return Ok(Called::Topic(Box::new(QueryArgs::asking(sql, args.broker, shape))));
    }
    on_values(&args, &module, &found)?;
    Ok(Called::Values)
}

/// Of a topic, unless more are asked for.
const ROWS_SHOWN: u64 = 10;

/// The arguments, and what the function makes of them.
fn sql(args: &CallArgs, topic: &str, kind: Kind) -> String {
    let ModuleArgs { file, wit, memory, time, stack, grant_http, settings } = &args.module;
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let path = |path: &Path| text(&path.display().to_string());
    let wit = wit.as_ref().map(|wit| format!(", 'wit' = {}", path(wit))).unwrap_or_default();
    let http: Vec<String> = grant_http.iter().map(Origin::to_string).collect();
    let http = match http.is_empty() {
        true => String::new(),
        false => format!(", 'grants.http' = '{}'", http.join(", ")),
    };
    let more = settings.iter().map(|(key, value)| format!(", {} = {}", text(key), text(value)));
    let more: String = more.collect();
    let name = args.name.to_ascii_lowercase().replace('-', "_");
    let (file, time) = (path(file), time.as_millis());
    let topic = format!("\"{}\"", topic.replace('"', "\"\""));
    let arguments = args.values.join(", ");
    let mut shown: Vec<String> = Vec::new();
    for argument in args.values.iter().map(|argument| without_name(argument)) {
        let one = format!("{argument} AS \"{}\"", argument.replace('"', "\"\""));
        if !shown.contains(&one) {
            shown.push(one);
        }
    }
    let from = match kind {
        Kind::Table => {
            shown.push(format!("{name}.*"));
            format!("{topic}, {name}({arguments}) AS {name}")
        }
        Kind::Scalar | Kind::Aggregate { .. } => {
            shown.retain(|_| kind == Kind::Scalar);
            shown.push(format!("{name}({arguments}) AS {name}"));
            topic
        }
    };
    let rows = format!("SELECT {} FROM {from}", shown.join(", "));
    format!(
        "CREATE FUNCTION {name} LANGUAGE wasm AS {file} WITH ('memory' = '{memory}B', \
         'time' = '{time}ms', 'stack' = '{stack}B'{wit}{http}{more});\n{rows};"
    )
}

/// The value of `NAME => VALUE`.
fn without_name(argument: &str) -> &str {
    let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    let named = argument.split_once("=>").filter(|(name, _)| is_name(name.trim()));
    named.map_or(argument, |(_, value)| value.trim())
}

fn on_values(
    args: &CallArgs,
    module: &Module,
    found: &[(usize, &Signature)],
) -> Result<(), Failure> {
    let placed = found.iter().filter_map(|(index, of)| {
        let texts = placed(&args.values, of)?;
        let mut given = texts.iter().zip(&of.arguments);
        let is_read = given.all(|(text, argument)| {
            text.is_none_or(|text| value(text, &argument.data_type).is_ok())
        });
        Some((!is_read, of.arguments.len(), *index, *of, texts))
    });
    // Of those that take such arguments, the first that can read them.
    let fitting = placed.min_by_key(|(is_not_read, count, ..)| (*is_not_read, *count));
    let Some((_, _, index, signature, texts)) = fitting else {
        let known: Vec<String> = found.iter().map(|(_, of)| of.to_string()).collect();
        let given = plural(args.values.len() as i64, "argument");
        let message = format!("{} does not take {given}", args.name);
        return Err(Failure::usage(message).with_help(format!("it is {}", known.join(" or "))));
    };
    let arguments = texts.iter().zip(&signature.arguments).map(|(text, argument)| match text {
        Some(text) => value(text, &argument.data_type).map_err(|error| {
            let name = udfs::types::Name(&argument.data_type);
            Failure::usage(format!("'{text}' is no {name} for '{}': {error}", argument.name))
        }),
        None => default_of(argument).map_err(|error| {
            Failure::usage(format!("the default of '{}' is wrong: {error}", argument.name))
        }),
    });
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    let values = match signature.kind {
        Kind::Scalar => module.evaluate(index, &arguments, 1),
        Kind::Table => module.expand(index, &arguments, 1).map(|(_, values)| values),
        Kind::Aggregate { .. } => {
            let message = format!("{} is an aggregate: it has no value for one row", args.name);
            return Err(Failure::usage(message).with_help("call it on a topic: --topic TOPIC"));
        }
    };
    let values = values.map_err(Failure::running)?;
    print(&if args.shape.json { json(signature, values)? } else { text(&values)? })
}

/// What stands for each argument: nothing for one that has a default.
fn placed<'a>(values: &'a [String], of: &Signature) -> Option<Vec<Option<&'a str>>> {
    let mut texts = vec![None; of.arguments.len()];
    for (place, text) in values.iter().enumerate() {
        let named = text.split_once("=>").and_then(|(name, value)| {
            let name = name.trim();
            let is_it = |argument: &udfs::Argument| argument.name.eq_ignore_ascii_case(name);
            Some((of.arguments.iter().position(is_it)?, value.trim()))
        });
        let (place, text) = named.unwrap_or((place, text));
        let before = texts.get_mut(place)?.replace(text);
        if before.is_some() {
            return None;
        }
    }
    let is_there = |(text, argument): (&Option<&str>, &udfs::Argument)| {
        text.is_some() || argument.default.is_some()
    };
    texts.iter().zip(&of.arguments).all(is_there).then_some(texts)
}

/// An object per row: its fields, where it has some, as a query would print them.
fn json(signature: &Signature, values: ArrayRef) -> Result<String, Failure> {
    let batch = match values.as_struct_opt() {
        Some(rows) if rows.null_count() == 0 && signature.kind == Kind::Table => rows.into(),
        _ => RecordBatch::try_from_iter_with_nullable([(&signature.name, values, true)])
            .map_err(Failure::running)?,
    };
    let encoder = RowEncoder::new(&Format::Json, &batch.schema(), &[]).map_err(Failure::running)?;
    let encoded = encoder.encode(&batch).map_err(Failure::running)?;
    let rows = (0..encoded.len()).filter_map(|row| encoded.value(row));
    Ok(rows.map(|row| format!("{}\n", String::from_utf8_lossy(row))).collect())
}

/// One value, of what stands on the command line.
fn value(text: &str, data_type: &DataType) -> Result<ArrayRef, String> {
    if text == "NULL" {
        return Ok(new_null_array(data_type, 1));
    }
    if data_type.is_nested() {
        let schema = Schema::new(vec![Field::new("value", data_type.clone(), true)]);
        let row = format!("{{\"value\":{text}}}");
        let reader = ReaderBuilder::new(Arc::new(schema)).build(row.as_bytes());
        let batch = reader.map_err(|error| error.to_string())?.next();
        let batch = batch.ok_or("there is nothing")?.map_err(|error| error.to_string())?;
        return Ok(batch.column(0).clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let texts = StringArray::from(vec![text]);
    cast_with_options(&texts, data_type, &options).map_err(|error| error.to_string())
}

fn text(values: &ArrayRef) -> Result<String, Failure> {
    let options = FormatOptions::default().with_null("NULL");
    let format = ArrayFormatter::try_new(values, &options).map_err(Failure::running)?;
    Ok((0..values.len()).map(|row| format!("{}\n", format.value(row))).collect())
}
