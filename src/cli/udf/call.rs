//! `millstream udf call`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::ReaderBuilder;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
use udfs::{Kind, Signature};

use super::{ModuleArgs, functions};
use crate::cli::Failure;
use crate::cli::stdout::print;
use crate::render::table::plural;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream udf call email.wasm email_domain ada@example.org
  millstream udf call numbers.wat add 1 2
  millstream udf call lists.wasm total '[1, 2, 3]'

NULL is NULL; arrays and rows are JSON.")]
pub struct CallArgs {
    #[command(flatten)]
    module: ModuleArgs,
    /// The function
    name: String,
    /// Its arguments
    #[arg(allow_negative_numbers = true)]
    values: Vec<String>,
}

pub fn call(args: &CallArgs) -> Result<(), Failure> {
    let module = args.module.load()?;
    let found = functions(&module, &args.name)?;
    let fits = |of: &&(usize, &Signature)| of.1.arguments.len() == args.values.len();
    let Some((index, signature)) = found.iter().find(fits) else {
        let known: Vec<String> = found.iter().map(|(_, of)| of.to_string()).collect();
        let given = plural(args.values.len() as i64, "argument");
        let message = format!("{} does not take {given}", args.name);
        return Err(Failure::usage(message).with_help(format!("it is {}", known.join(" or "))));
    };
    let arguments = args.values.iter().zip(&signature.arguments).map(|(text, argument)| {
        value(text, &argument.data_type).map_err(|error| {
            let name = udfs::types::Name(&argument.data_type);
            Failure::usage(format!("'{text}' is no {name} for '{}': {error}", argument.name))
        })
    });
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    let values = match signature.kind {
        Kind::Scalar => module.evaluate(*index, &arguments, 1),
        Kind::Table => module.expand(*index, &arguments, 1).map(|(_, values)| values),
        Kind::Aggregate { .. } => {
            let message = format!("{} is an aggregate: it has no value for one row", args.name);
            return Err(Failure::usage(message));
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
