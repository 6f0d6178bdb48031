//! `millstream state get`: the tables that a pipeline keeps, as of its last commit.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use clap::{Args, Subcommand};
use engine::operators::tables::KeptTable;
use engine::pipeline::{Pipeline, Query};
use engine::query::{BatchOptions, Declared, Script, Snapshot};
use engine::runtime::{KeptState, read_kept};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Connection};
use super::query::Shape;
use super::query::answer::{Printer, answer_all, run_failure};
use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, unless_stopped};
use crate::render::diagnostics;
use crate::render::rows::RowStyle;
use crate::render::status::{Unit, amount, grouped};
use crate::render::table::{Table, plural};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream state get pipelines/flight-delays.toml --list
  millstream state get orders.sql by-customer --key ada")]
pub struct StateArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the rows that a query of a pipeline keeps, or how much they are
    Get(GetArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream state get pipelines/aircraft-days.sql --list
  millstream state get pipelines/flight-delays.toml delays-by-hour --key JFK
  millstream state get pipelines/flight-delays.toml --key origin=JFK --output csv
  millstream state get orders.sql by-customer --sql 'SELECT * FROM groups ORDER BY n DESC LIMIT 10'

It reads the changelogs, up to the last commit, beside a pipeline that runs or one that is stopped;
nothing is written. What is kept depends on the query: `groups` of an aggregate, `windows` and
`sessions` that are open, `left` and `right` of a join, `rows` of a table, a ranking or OVER.")]
pub struct GetArgs {
    /// The pipeline file, TOML or SQL
    file: PathBuf,
    /// The query; may be left out where the file has one, and with --list
    query: Option<String>,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Show what is kept and how much, not the rows
    #[arg(long, conflicts_with_all = ["key", "sql", "table"])]
    list: bool,
    /// Only this table, if there are several
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Only rows with this in a column of the key, or in the column named
    #[arg(long, value_name = "[COLUMN=]VALUE", conflicts_with = "sql")]
    key: Vec<String>,
    /// Ask SQL of the tables
    #[arg(long, value_name = "SELECT …", conflicts_with = "table")]
    sql: Option<String>,
    #[command(flatten)]
    shape: Shape,
}

pub async fn state(args: StateArgs, stop: CancellationToken) -> Result<(), Failure> {
    let Action::Get(args) = args.action;
    // Connectors are not used, so nothing is said of them.
    let loaded = Declared::load(std::slice::from_ref(&args.file), |_, _| Vec::new());
    let (declared, warnings) = loaded.map_err(Failure::Pipeline)?;
    diagnostics::print_warnings(warnings);
    let pipeline = declared.pipelines().first().expect("one file is one pipeline");
    let queries = match (args.list, &args.query) {
        (true, None) => pipeline.queries.iter().collect(),
        (_, name) => vec![query_of(pipeline, name.as_deref())?],
    };
    let connection = connection::open(&args.broker).await?;
    let got = unless_stopped(&stop, get(&args, pipeline, &queries, &connection)).await;
    connection.close().await;
    got
}

fn query_of<'p>(pipeline: &'p Pipeline, name: Option<&str>) -> Result<&'p Query, Failure> {
    let names: Vec<&str> = pipeline.queries.iter().map(|query| query.name.as_str()).collect();
    let there = format!("there is {}", names.join(", "));
    match (name, pipeline.queries.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => {
            let message = format!("{} has several queries", pipeline.path.display());
            Err(Failure::usage(message).with_help(format!("name one of them: {there}")))
        }
        (Some(name), queries) => queries.iter().find(|query| query.name == name).ok_or_else(|| {
            let message = format!("{} has no query '{name}'", pipeline.path.display());
            Failure::usage(message).with_help(there)
        }),
    }
}

async fn get(
    args: &GetArgs,
    pipeline: &Pipeline,
    queries: &[&Query],
    connection: &Connection,
) -> Result<(), Failure> {
    let client = &connection.client;
    let mut kept = Vec::new();
    for query in queries {
        let of_query = read_kept(client.as_ref(), pipeline, &query.name, !args.list).await;
        kept.extend(of_query.map_err(run_failure)?.into_iter().map(|state| (&*query.name, state)));
    }
    let names: Vec<String> = queries.iter().map(|query| format!("'{}'", query.name)).collect();
    let names = names.join(", ");
    if kept.is_empty() {
        let (queries, keep) =
            if queries.len() == 1 { ("query", "keeps") } else { ("queries", "keep") };
        let message = format!("{queries} {names} {keep} nothing: each row is done by itself");
        return Err(Failure::usage(message));
    }
    if args.list {
        return list(args, &kept);
    }
    let tables = named(kept.into_iter().map(|(_, state)| state));
    if let Some(sql) = &args.sql {
        return ask(args, sql, &tables, connection).await;
    }
    let tables = chosen(args, &names, tables)?;
    let style = args.shape.style();
    let several = tables.len() > 1;
    if several && style == RowStyle::Csv {
        let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("several tables have no CSV together: {}", names.join(", "));
        return Err(Failure::usage(message).with_help("choose one with --table"));
    }
    for (index, (name, table)) in tables.iter().enumerate() {
        let rows = with_key(table, &args.key)?;
        let mut printer = Printer::new(style, args.shape.limit);
        match style {
            RowStyle::Table if several => {
                let line = if index > 0 { "\n" } else { "" };
                print(&format!("{line}{name}: {} rows\n", grouped(rows.num_rows() as u64)))?;
                printer.print(&rows)?;
            }
            RowStyle::JsonLines if several => printer.print(&with_table(name, &rows)?)?,
            _ => printer.print(&rows)?,
        }
    }
    if let [(_, table)] = tables.as_slice()
        && style == RowStyle::Table
    {
        let rows = table.rows.num_rows();
        let (dim, reset) =
            if io::stderr().is_terminal() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        eprintln!("{dim}of {}, as of the last commit{reset}", plural(rows as i64, "row"));
    }
    Ok(())
}

/// Tables with names that tell them apart: those of later operators have a number.
fn named(kept: impl Iterator<Item = KeptState>) -> Vec<(String, KeptTable)> {
    let mut named: Vec<(String, KeptTable)> = Vec::new();
    for table in kept.flat_map(|state| state.tables) {
        let same = |number: usize| match number {
            1 => table.name.to_owned(),
            _ => format!("{}_{number}", table.name),
        };
        let is_free = |name: &String| !named.iter().any(|(other, _)| other == name);
        if let Some(name) = (1..).map(same).find(is_free) {
            named.push((name, table));
        }
    }
    named
}

fn chosen(
    args: &GetArgs,
    query: &str,
    tables: Vec<(String, KeptTable)>,
) -> Result<Vec<(String, KeptTable)>, Failure> {
    let Some(wanted) = &args.table else { return Ok(tables) };
    let names: Vec<String> = tables.iter().map(|(name, _)| name.clone()).collect();
    let found: Vec<_> = tables.into_iter().filter(|(name, _)| name == wanted).collect();
    if found.is_empty() {
        let message = format!("query {query} keeps no table '{wanted}'");
        return Err(Failure::usage(message).with_help(format!("there is {}", names.join(", "))));
    }
    Ok(found)
}

/// The rows that have all of the keys.
fn with_key(table: &KeptTable, keys: &[String]) -> Result<RecordBatch, Failure> {
    let mut rows = table.rows.clone();
    for key in keys {
        let schema = rows.schema();
        let named = key
            .split_once('=')
            .and_then(|(name, value)| Some((vec![schema.index_of(name).ok()?], value)));
        let (columns, value) = named.unwrap_or((table.keys.clone(), key));
        if columns.is_empty() {
            let message = format!("'{}' has no key", table.name);
            return Err(Failure::usage(message).with_help("name a column: --key column=value"));
        }
        let mut mask = vec![false; rows.num_rows()];
        for column in columns {
            let texts = cast(rows.column(column), &DataType::Utf8).map_err(Failure::running)?;
            let texts = texts.as_any().downcast_ref::<StringArray>().cloned();
            let texts = texts.expect("cast to text");
            for (row, is_meant) in mask.iter_mut().enumerate() {
                *is_meant |= texts.is_valid(row) && texts.value(row) == value;
            }
        }
        let mask = BooleanArray::from(mask);
        rows = filter_record_batch(&rows, &mask).map_err(Failure::running)?;
    }
    Ok(rows)
}

/// With the name of the table before the columns.
fn with_table(name: &str, rows: &RecordBatch) -> Result<RecordBatch, Failure> {
    let names: ArrayRef = Arc::new(StringArray::from(vec![name; rows.num_rows()]));
    let mut columns = vec![names];
    columns.extend(rows.columns().iter().cloned());
    let mut fields = vec![Arc::new(Field::new("table", DataType::Utf8, false))];
    fields.extend(rows.schema().fields().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(Failure::running)
}

async fn ask(
    args: &GetArgs,
    sql: &str,
    tables: &[(String, KeptTable)],
    connection: &Connection,
) -> Result<(), Failure> {
    let mut declared = Declared::nothing();
    for (name, table) in tables {
        declared.add_rows(name, table.rows.clone()).map_err(Failure::running)?;
    }
    let script = Script::read("--sql".into(), sql.to_owned()).map_err(Failure::Pipeline)?;
    let planned = script.plan(&declared, &[], Vec::new(), false);
    let (statements, warnings) = planned.map_err(Failure::Pipeline)?;
    diagnostics::print_warnings(warnings);
    let (client, options) = (connection.client.clone(), BatchOptions::default());
    answer_all(client, Snapshot::default(), options, statements, args.shape).await
}

/// What is kept and how much.
fn list(args: &GetArgs, kept: &[(&str, KeptState)]) -> Result<(), Failure> {
    if args.shape.style() == RowStyle::JsonLines {
        let values: Vec<_> = kept
            .iter()
            .map(|(query, state)| {
                json!({
                    "query": query,
                    "operator": state.operator,
                    "tables": state.tables.iter().map(|table| table.name).collect::<Vec<_>>(),
                    "entries": state.entries,
                    "bytes": state.bytes,
                    "changelog": state.changelog,
                    "partitions": state.partitions,
                })
            })
            .collect();
        return print_json(&values);
    }
    let mut table = Table::new([
        ("query", false),
        ("tables", false),
        ("entries", true),
        ("size", true),
        ("changelog", false),
        ("partitions", true),
        ("operator", false),
    ]);
    let rows: Vec<Vec<String>> = kept
        .iter()
        .map(|(query, state)| {
            let tables: Vec<&str> = state.tables.iter().map(|table| table.name).collect();
            vec![
                (*query).to_owned(),
                tables.join(", "),
                grouped(state.entries),
                amount(state.bytes, Unit::Bytes),
                state.changelog.clone(),
                state.partitions.to_string(),
                // The last one: it may be long.
                state.operator.clone(),
            ]
        })
        .collect();
    print(&table.lines(&rows))
}
