//! `millstream query`: SQL over topics, as they stand or as they grow.
//!
//! ```text
//! SQL ─ read ─ topics that no FILE declares: guessed ─ planned ┬ batch: rows, then the end
//!                          mistakes: nothing is read           └ --follow: rows until Ctrl-C
//! ```
//!
//! - [`follow`]: rows as they come; [`answer`]: rows of a batch statement, and how they are shown.

pub mod answer;
pub mod follow;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker::client::Client;
use clap::{Args, ValueEnum};
use engine::formats::infer::InferError;
use engine::pipeline::Source;
use engine::query::sample::{SampleError, infer_source};
use engine::query::{BatchOptions, Declared, Script, Snapshot, Statement, TimeBounds};
use tokio_util::sync::CancellationToken;

use super::connection::{self, Connection};
use super::{BrokerChoice, Failure, unless_stopped};
use crate::cli::groups::time::datetime_ms;
use crate::render::diagnostics;
use crate::render::rows::RowStyle;

/// More SQL than this is a mistake.
const SQL_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream query 'SELECT origin, count(*) FROM flights GROUP BY origin ORDER BY 2 DESC'
  millstream query 'SELECT * FROM \"delays-by-hour\" LIMIT 10' pipelines/flight-delays.toml
  millstream query --follow 'SELECT * FROM orders WHERE amount > 100'
  millstream query --json 'SELECT * FROM orders' | jq .amount
  millstream query -f report.sql --output csv > report.csv

Tables are what the FILEs declare and what their queries write; any other topic by its name, its
columns guessed from its records as by `millstream topics infer`. Names with a dash or a point
stand in double quotes. All statements see topics up to where they ended at the start; of a table
or a changelog, the rows that are left. Nothing is written.

--follow answers as a stream: rows as they come, `+` before new ones and `-` before those taken
back where an answer changes.")]
pub struct QueryArgs {
    /// The SQL, or - to read it from stdin; then pipeline files, TOML or SQL, that declare tables
    #[arg(value_name = "SQL [FILE]...", required_unless_present = "file")]
    words: Vec<String>,
    /// Read the SQL from this file: statements end with semicolons
    #[arg(short = 'f', long, value_name = "FILE.sql")]
    file: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Go on: print rows as they come, until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// With --follow, end where the topics end now, closing all windows; else it ends there anyway
    #[arg(long)]
    until_end: bool,
    #[command(flatten)]
    shape: Shape,
    /// Records from this time on, by their timestamps: 2024-05-01T12:30, or as long ago as 2h
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    from: Option<i64>,
    /// Records before this time
    #[arg(long, value_name = "TIME", value_parser = time_ms, conflicts_with = "follow")]
    to: Option<i64>,
    /// Leave out records that cannot be decoded, and say how many they are
    #[arg(long)]
    skip_bad_records: bool,
    /// Look at so many of the last records to guess the columns of a topic
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    infer_records: u32,
    /// Memory for sorting, grouping and joining; beyond it goes to temporary files where it can
    #[arg(long, value_name = "MB", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(16..))]
    memory_mb: u32,
}

impl QueryArgs {
    /// One question, as it is asked without further flags.
    pub fn asking(sql: String, broker: BrokerChoice, shape: Shape) -> QueryArgs {
        QueryArgs {
            words: vec![sql],
            file: None,
            broker,
            follow: false,
            until_end: false,
            shape,
            from: None,
            to: None,
            skip_bad_records: false,
            infer_records: 1000,
            memory_mb: 1024,
        }
    }
}

/// How rows are printed.
#[derive(Args, Clone, Copy, Debug)]
pub struct Shape {
    /// How rows are printed: a table on a terminal, else JSON lines, unless this says otherwise
    #[arg(short, long, value_enum, value_name = "STYLE")]
    output: Option<Output>,
    /// The same as --output json: a JSON object per row
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    /// Stop after this many rows
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
    Csv,
}

impl Shape {
    /// The same, for so many rows unless it says how many.
    pub fn or_limit(self, rows: u64) -> Shape {
        Shape { limit: self.limit.or(Some(rows)), ..self }
    }

    pub fn style(self) -> RowStyle {
        match self.output {
            None => RowStyle::for_stdout(self.json),
            Some(Output::Table) => RowStyle::Table,
            Some(Output::Json) => RowStyle::JsonLines,
            Some(Output::Csv) => RowStyle::Csv,
        }
    }
}

/// A point in time, or how long ago one was, in ms since 1970.
pub fn time_ms(text: &str) -> Result<i64, String> {
    if let Some(ms) = datetime_ms(text) {
        return Ok(ms);
    }
    let ago = engine::pipeline::duration::parse_duration(text).map_err(|_| {
        "expected a time such as 2024-05-01T12:30 (UTC), or a span such as 2h".to_owned()
    })?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let then = now.unwrap_or_default().saturating_sub(ago);
    Ok(i64::try_from(then.as_millis()).unwrap_or(i64::MAX))
}

pub async fn query(args: QueryArgs, stop: CancellationToken) -> Result<(), Failure> {
    let (script, files) = read_script(&args)?;
    super::run::keep_compiled_functions();
    let (declared, warnings) = match files.is_empty() {
        true => (Declared::nothing(), Vec::new()),
        // Connectors are not used, so nothing is said of them.
        false => Declared::load(&files, |_, _| Vec::new()).map_err(Failure::Pipeline)?,
    };
    diagnostics::print_warnings(warnings);
    let connection = connection::open(&args.broker).await?;
    let answered = answer_script(&args, script, &declared, &connection, &stop).await;
    connection.close().await;
    answered
}

async fn answer_script(
    args: &QueryArgs,
    script: Script,
    declared: &Declared,
    connection: &Connection,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let client = &connection.client;
    let (statements, snapshot) =
        unless_stopped(stop, plan(args, script, declared, client.as_ref())).await?;
    if !args.follow {
        let memory_bytes_max = args.memory_mb as usize * 1_000_000;
        let options = BatchOptions { memory_bytes_max, skip_failed: args.skip_bad_records };
        let answer = answer::answer_all(client.clone(), snapshot, options, statements, args.shape);
        return unless_stopped(stop, answer).await;
    }
    let Some(Statement::Stream(statement)) = statements.into_iter().next() else {
        unreachable!("checked when it was planned");
    };
    if !args.until_end {
        follow::tell_if_alone(connection);
    }
    let from = snapshot.shown_from(&statement.sources, false, args.until_end);
    let following = follow::Following { statement, from, skip_failed: args.skip_bad_records };
    following.show(client.clone(), args.shape, stop).await
}

/// Statements, and where the topics that they read end.
async fn plan(
    args: &QueryArgs,
    script: Script,
    declared: &Declared,
    client: &dyn Client,
) -> Result<(Vec<Statement>, Snapshot), Failure> {
    let unknown = script.undeclared(declared).map_err(Failure::Pipeline)?;
    let (mut inferred, mut topics) = (Vec::new(), Vec::new());
    if !unknown.is_empty() {
        let known = client.topics().await?.into_iter();
        topics = known.filter(|topic| !topic.internal).map(|topic| topic.name).collect();
        for name in unknown.iter().filter(|name| topics.contains(name)) {
            inferred.push(guessed(client, name, i64::from(args.infer_records)).await?);
        }
    }
    let planned = script.plan(declared, &inferred, topics, args.follow);
    let (statements, warnings) = planned.map_err(Failure::Pipeline)?;
    diagnostics::print_warnings(warnings);
    if args.follow && statements.len() != 1 {
        let message = "--follow answers one statement, which has no end";
        return Err(Failure::usage(message).with_help("run each in a terminal of its own"));
    }
    let sources: Vec<Arc<Source>> = statements.iter().flat_map(Statement::sources).collect();
    let topics: BTreeSet<String> = sources.iter().map(|source| source.topic.clone()).collect();
    let bounds = TimeBounds { from_ms: args.from, to_ms: args.to };
    Ok((statements, Snapshot::take(client, topics, bounds).await?))
}

async fn guessed(client: &dyn Client, topic: &str, records: i64) -> Result<Arc<Source>, Failure> {
    infer_source(client, topic, records).await.map_err(|error| match error {
        SampleError::Declaration { mistakes, .. } => Failure::Pipeline(mistakes),
        SampleError::Infer { error: InferError::Empty, .. } => {
            let message = format!("topic '{topic}' has no records to guess its columns from");
            Failure::running(message).with_help(
                "name a pipeline file that declares it, or declare it before the query: \
                 CREATE TABLE name (column type, …) WITH (topic = '…', format = 'json');",
            )
        }
        SampleError::Infer { error: error @ InferError::Framed { .. }, .. } => {
            Failure::running(format!("topic '{topic}': {error}"))
                .with_help("name a pipeline file that declares it with its schemas")
        }
        error => Failure::running(error),
    })
}

/// The SQL and the files that were given.
fn read_script(args: &QueryArgs) -> Result<(Script, Vec<PathBuf>), Failure> {
    let (path, text, files) = match &args.file {
        Some(path) => (path.clone(), read_file(path)?, args.words.as_slice()),
        None => {
            let (sql, files) = args.words.split_first().expect("clap wants one or --file");
            match sql.as_str() {
                "-" => ("stdin".into(), read_all("stdin", io::stdin().lock())?, files),
                _ => (PathBuf::from("query"), given(sql)?, files),
            }
        }
    };
    let script = Script::read(path, text).map_err(Failure::Pipeline)?;
    Ok((script, files.iter().map(PathBuf::from).collect()))
}

/// SQL on the command line; files are given in its place by mistake.
fn given(sql: &str) -> Result<String, Failure> {
    let is_file = [".sql", ".toml"].iter().any(|end| sql.ends_with(end)) && Path::new(sql).exists();
    if !is_file {
        return Ok(sql.to_owned());
    }
    let message = format!("'{sql}' stands where the SQL is expected");
    Err(Failure::usage(message).with_help(format!(
        "millstream query 'SELECT …' {sql} asks of what it declares; -f FILE.sql runs statements"
    )))
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path);
    let file = file.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    read_all(&name, file)
}

fn read_all(name: &str, from: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    let read = from.take(SQL_BYTES_MAX + 1).read_to_string(&mut text);
    let read = read.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    if read as u64 > SQL_BYTES_MAX {
        return Err(Failure::usage(format!("{name} is larger than {SQL_BYTES_MAX} bytes")));
    }
    Ok(text)
}
