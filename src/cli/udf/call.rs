//! `millstream udf call`: a function on values, or on the records of a topic.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::ReaderBuilder;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
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
  millstream udf call email.wasm email_domain 'lower(email)' --topic people

NULL is NULL; arrays and rows are JSON. With --topic, arguments are SQL over its columns, which are
guessed from its records as by `millstream query`.")]
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
    for argument in &args.values {
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

fn on_values(
    args: &CallArgs,
    module: &Module,
    found: &[(usize, &Signature)],
) -> Result<(), Failure> {
    let given = args.values.len();
    let fits = |of: &&(usize, &Signature)| {
        let left_out = of.1.arguments.get(given..);
        left_out.is_some_and(|left_out| left_out.iter().all(|of| of.default.is_some()))
    };
    // Of those that take as many, the first that can read them.
    let is_read = |of: &Signature| {
        let mut values = args.values.iter().zip(&of.arguments);
        values.all(|(text, argument)| value(text, &argument.data_type).is_ok())
    };
    let fitting =
        found.iter().filter(fits).min_by_key(|(_, of)| (!is_read(of), of.arguments.len()));
    let Some((index, signature)) = fitting else {
        let known: Vec<String> = found.iter().map(|(_, of)| of.to_string()).collect();
        let given = plural(given as i64, "argument");
        let message = format!("{} does not take {given}", args.name);
        return Err(Failure::usage(message).with_help(format!("it is {}", known.join(" or "))));
    };
    let arguments = args.values.iter().zip(&signature.arguments).map(|(text, argument)| {
        value(text, &argument.data_type).map_err(|error| {
            let name = udfs::types::Name(&argument.data_type);
            Failure::usage(format!("'{text}' is no {name} for '{}': {error}", argument.name))
        })
    });
    let mut arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    for argument in &signature.arguments[given..] {
        let default = default_of(argument).map_err(|error| {
            Failure::usage(format!("the default of '{}' is wrong: {error}", argument.name))
        })?;
        arguments.push(default);
    }
    let values = match signature.kind {
        Kind::Scalar => module.evaluate(*index, &arguments, 1),
        Kind::Table => module.expand(*index, &arguments, 1).map(|(_, values)| values),
        Kind::Aggregate { .. } => {
            let message = format!("{} is an aggregate: it has no value for one row", args.name);
            return Err(Failure::usage(message).with_help("call it on a topic: --topic TOPIC"));
        }
    };
    print(&text(&values.map_err(Failure::running)?)?)
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
