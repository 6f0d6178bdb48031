//! `millstream topics infer`: a declaration of a topic, guessed from its last records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use engine::formats::avro::{AvroDeclaration, AvroFormat};
use engine::formats::framing::Framing;
use engine::formats::infer::declaration::{AvroOption, sql, toml};
use engine::formats::infer::{InferError, Inferred, Sample, infer};
use engine::pipeline::registered_schemas;
use engine::query::sample::sample;

use super::stdout::print;
use super::{BrokerChoice, Failure, connection};
use crate::render::table::plural;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream topics infer flights
  millstream topics infer orders --schema-file orders.avsc
  millstream topics infer payments --registry schemas/ --sql

The guess is as good as the records: look it over, and name what you know better.")]
pub struct InferArgs {
    pub topic: String,
    #[command(flatten)]
    pub broker: BrokerChoice,
    /// How many of the last records to look at
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub records: u32,
    /// The Avro schema of the values
    #[arg(long, value_name = "FILE", conflicts_with = "registry")]
    pub schema_file: Option<PathBuf>,
    /// Avro schemas by id for values in Confluent's framing: a directory of 7.avsc, or a JSON file
    #[arg(long, value_name = "PATH")]
    pub registry: Option<PathBuf>,
    /// Print TOML alone
    #[arg(long, conflicts_with = "sql")]
    pub toml: bool,
    /// Print SQL alone
    #[arg(long)]
    pub sql: bool,
}

pub async fn infer_topic(args: InferArgs) -> Result<(), Failure> {
    let avro = schemas(&args)?;
    let connection = connection::open(&args.broker).await?;
    let read = sample(connection.client.as_ref(), &args.topic, i64::from(args.records)).await;
    connection.close().await;
    let (last, first) = read.map_err(Failure::running)?;
    let samples: Vec<Sample<'_>> = last
        .iter()
        .map(|(key, value)| Sample { key: key.as_deref(), value: value.as_deref() })
        .collect();
    let first: Vec<&[u8]> = first.iter().filter_map(|(_, value)| value.as_deref()).collect();
    let format = avro.as_ref().map(|(format, _)| format);
    let inferred = infer(&samples, &first, format).map_err(|error| failure(&args.topic, &error))?;
    let options = avro.map(|(_, options)| options).unwrap_or_default();
    print(&text(&args, &inferred, &options))
}

fn text(args: &InferArgs, inferred: &Inferred, options: &[AvroOption]) -> String {
    let read = plural(inferred.records as i64, "record");
    let tombstones = match inferred.tombstones {
        0 => String::new(),
        count => format!(" and {}", plural(count as i64, "tombstone")),
    };
    let toml = toml(&args.topic, inferred, options);
    let sql = sql(&args.topic, inferred, options);
    match (args.toml, args.sql) {
        (true, _) => toml,
        (_, true) => sql,
        _ => format!(
            "# From {read}{tombstones} of topic '{}'. In TOML:\n\n{toml}\n-- In SQL:\n\n{sql}",
            args.topic
        ),
    }
}

fn failure(topic: &str, error: &InferError) -> Failure {
    let failure = Failure::running(format!("topic '{topic}': {error}"));
    match error {
        InferError::Empty => failure.with_help("write some records first, then ask again"),
        InferError::Framed { id } => failure.with_help(format!(
            "if it is Avro, give the schemas: --registry with a directory that has {id}.avsc in it"
        )),
        InferError::Schema { .. } => failure,
    }
}

/// The schemas that were given, and how a pipeline file names them.
fn schemas(args: &InferArgs) -> Result<Option<(Arc<AvroFormat>, Vec<AvroOption>)>, Failure> {
    let wrong = |path: &Path, reason: String| {
        Failure::usage(format!("cannot read {}: {reason}", path.display()))
    };
    let mut declaration = AvroDeclaration {
        schema: None,
        registered: BTreeMap::new(),
        framing: Framing::None,
        schema_id: None,
    };
    let (key, path) = match (&args.schema_file, &args.registry) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| wrong(file, error.to_string()))?;
            declaration.schema = Some(text);
            ("schema_file", file)
        }
        (None, Some(registry)) => {
            let schemas = registered_schemas(registry);
            declaration.registered = schemas.map_err(|reason| wrong(registry, reason))?;
            declaration.framing = Framing::Confluent;
            ("registry", registry)
        }
        (None, None) => return Ok(None),
    };
    let format = AvroFormat::new(&declaration).map_err(|error| wrong(path, error.to_string()))?;
    let option = (key.to_owned(), path.display().to_string());
    Ok(Some((Arc::new(format), vec![option])))
}
