//! `millstream udf bench`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use clap::Args;
use udfs::Kind;

use super::{ModuleArgs, functions};
use crate::cli::Failure;
use crate::cli::stdout::print;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream udf bench email.wasm email_domain
  millstream udf bench numbers.wat add --rows 1024")]
pub struct BenchArgs {
    #[command(flatten)]
    module: ModuleArgs,
    /// The function
    name: String,
    /// Rows of a batch
    #[arg(long, default_value_t = 8192,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rows: u32,
}

/// How long calls are repeated for.
const DURATION: Duration = Duration::from_secs(2);

pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let began = Instant::now();
    let module = args.module.load()?;
    let loaded = began.elapsed();
    let (index, signature) = functions(&module, &args.name)?[0];
    if signature.kind != Kind::Scalar {
        let message = format!("{} is of kind {}", args.name, signature.kind);
        return Err(Failure::usage(message).with_help("scalar functions are measured"));
    }
    let rows = args.rows as usize;
    let arguments = signature.arguments.iter().map(|argument| {
        column(&argument.data_type, rows).ok_or_else(|| {
            let name = udfs::types::Name(&argument.data_type);
            Failure::usage(format!("there is no made-up {name} for '{}'", argument.name))
        })
    });
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    // The first call makes an instance.
    module.evaluate(index, &arguments, rows).map_err(Failure::running)?;
    let began = Instant::now();
    let mut calls: Vec<Duration> = Vec::new();
    while began.elapsed() < DURATION {
        let began = Instant::now();
        module.evaluate(index, &arguments, rows).map_err(Failure::running)?;
        calls.push(began.elapsed());
    }
    calls.sort();
    let per_row = |call: Duration| call.as_nanos() as f64 / rows as f64;
    let middle = per_row(calls[calls.len() / 2]);
    print(&format!(
        "{signature}\n{}; loaded in {loaded:.1?}\n{} calls of {rows} rows: {middle:.1} ns a row \
         (from {:.1} to {:.1}), {:.1} M rows/s\n",
        module.info().abi,
        calls.len(),
        per_row(calls[0]),
        per_row(calls[calls.len() - 1]),
        1000.0 / middle,
    ))
}

/// Values that differ, of a type that text can become.
fn column(data_type: &DataType, rows: usize) -> Option<ArrayRef> {
    let text = |row: usize| match data_type {
        DataType::Utf8 | DataType::Binary => format!("somebody{row}@example{}.org", row % 100),
        DataType::Boolean => (row % 2 == 0).to_string(),
        DataType::Int8 | DataType::UInt8 => (row % 128).to_string(),
        DataType::Int16 | DataType::UInt16 => (row % 32_768).to_string(),
        DataType::Date32 => format!("2026-11-{:02}", row % 28 + 1),
        DataType::Time64(_) => format!("{:02}:30:00", row % 24),
        DataType::Timestamp(..) => format!("2026-11-{:02}T12:00:00Z", row % 28 + 1),
        _ => row.to_string(),
    };
    let texts: ArrayRef = Arc::new((0..rows).map(|row| Some(text(row))).collect::<StringArray>());
    cast(&texts, data_type).ok()
}
