//! A chunk of a table: so many rows behind a key, in the order of their keys.
//!
//! ```text
//!  look ─► which columns make the key, and the last key there is
//!  read ─► begin; snapshot, place in the log; copy … where key > after and key <= up_to; commit
//! ```

use std::time::Duration;

use super::progress::TableProgress;
use super::watch::row_key;
use super::window::{RowKey, Visibility};
use crate::postgres::catalog::{self, TableInfo, quote_identifier, quote_literal};
use crate::postgres::error::SourceError;
use crate::postgres::lsn::Lsn;
use crate::postgres::pgoutput::{Field, ReplicaIdentity, Row};
use crate::postgres::snapshot;
use crate::postgres::wire::session::Purpose;
use crate::postgres::wire::{PgError, Session, Target};

/// A chunk of this size ends before it has all the rows that were asked for.
const CHUNK_BYTES_MAX: usize = 8 << 20;
/// How long to wait for transactions that are in the stream and not yet to be seen.
const SEEN_DELAY: Duration = Duration::from_millis(5);

/// A table, looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub info: TableInfo,
    /// The columns that it is read by.
    pub key: Vec<String>,
    /// The columns that tell its rows apart in the stream.
    pub identity: Vec<String>,
    /// The last key that there is; nothing: it is empty.
    pub up_to: Option<Vec<String>>,
    /// What the server guesses.
    pub rows: u64,
    pub bytes: u64,
}

/// Some rows, and what they show.
#[derive(Debug, Default)]
pub struct Chunk {
    pub seen: Visibility,
    /// All that the rows show is before this in the log.
    pub high: Lsn,
    pub time_us: i64,
    /// In their order; those that were dropped are gone.
    pub rows: Vec<Option<(RowKey, Row)>>,
    /// The last row's key.
    pub last: Option<Vec<String>>,
    /// Whether it is the last one.
    pub end: bool,
}

/// What came of a job.
#[derive(Debug)]
pub enum Done {
    Looked(Box<Looked>),
    Read(Box<Chunk>),
    /// The table is another now: it has to be looked at again.
    Changed,
    /// It cannot be read, and why.
    Refused(String),
    /// The same, for there is nothing to go by.
    NoKey(String),
}

/// What is to be read.
#[derive(Clone, Debug)]
pub struct Ask {
    pub of: TableProgress,
    pub looked: Looked,
    pub rows_max: usize,
    /// Transactions that were in the stream before: the chunk has to show them.
    pub recent: Vec<u32>,
}

/// What a job gives back: the connection, where it may be used again.
pub type Job = (Option<Session>, Result<Done, SourceError>);

/// Looks at a table, or reads a chunk of it.
pub async fn job(
    target: Target,
    session: Option<Session>,
    of: TableProgress,
    ask: Option<Ask>,
) -> Job {
    let mut session = match session {
        Some(session) => session,
        None => match Session::connect(&target, Purpose::Queries).await {
            Ok(session) => session,
            Err(error) => return (None, Err(error.into())),
        },
    };
    let done = match ask {
        None => look(&mut session, &of).await.map(|done| (done, true)),
        Some(ask) => read(&mut session, &ask).await,
    };
    match done {
        Ok((done, whole)) => (whole.then_some(session), Ok(done)),
        Err(error) if error.is_transient() => (None, Err(error.into())),
        // The request is at fault, not the connection.
        Err(error) => (None, Ok(Done::Refused(error.to_string()))),
    }
}

async fn look(session: &mut Session, of: &TableProgress) -> Result<Done, PgError> {
    let sql = format!(
        "select c.oid, greatest(c.reltuples, 0)::bigint as rows, \
         pg_catalog.pg_table_size(c.oid) as bytes from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = {} and c.relname = {}",
        quote_literal(&of.schema),
        quote_literal(&of.table)
    );
    let found = session.query(&sql).await?;
    let number = |name| found.get(0, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let id = u32::try_from(number("oid")).unwrap_or(0);
    let Some(info) = catalog::table(session, id).await? else {
        return Ok(Done::Refused("there is no such table any more".to_owned()));
    };
    let key = match key_of(&info, of) {
        Ok(key) => key,
        Err(reason) => return Ok(Done::NoKey(reason)),
    };
    let up_to = match &of.up_to {
        // It is gone on with.
        Some(up_to) if of.key == key => Some(up_to.clone()),
        _ => {
            let columns = listed(&key);
            let each = |what: &str, between: &str| {
                let names = key.iter().map(|name| format!("{} {what}", quote_identifier(name)));
                names.collect::<Vec<_>>().join(between)
            };
            let keyed = Some(each("is not null", " and "));
            begin(session, &info).await?;
            let sql = format!(
                "select {columns} from {}{} order by {} limit 1",
                from(&info),
                condition(&[keyed, filter(of)]),
                each("desc", ", ")
            );
            let last = session.query(&sql).await?;
            session.query("commit").await?;
            let last = last.rows.into_iter().next();
            last.and_then(|row| row.into_iter().collect::<Option<Vec<String>>>())
        }
    };
    let identity = identity_of(&info);
    let (rows, bytes) = (number("rows"), number("bytes"));
    Ok(Done::Looked(Box::new(Looked { info, key, identity, up_to, rows, bytes })))
}

/// The columns to go by: the primary key, unless another is asked for.
fn key_of(info: &TableInfo, of: &TableProgress) -> Result<Vec<String>, String> {
    if let Some(name) = &of.surrogate_key {
        return match info.columns.iter().any(|column| column.name == *name) {
            true => Ok(vec![name.clone()]),
            false => Err(format!("it has no column '{name}', which `surrogate-key` names")),
        };
    }
    let key = primary_key(info);
    if key.is_empty() {
        return Err("it has no primary key: name a unique column by `surrogate-key`".to_owned());
    }
    Ok(key)
}

fn primary_key(info: &TableInfo) -> Vec<String> {
    info.key().into_iter().map(str::to_owned).collect()
}

/// The columns that are in the stream whenever a row is.
fn identity_of(info: &TableInfo) -> Vec<String> {
    let all = || info.columns.iter();
    let names = |wanted: &dyn Fn(&&catalog::ColumnInfo) -> bool| {
        all().filter(wanted).map(|column| column.name.clone()).collect::<Vec<_>>()
    };
    match info.identity {
        ReplicaIdentity::Index => names(&|column| column.in_identity_index),
        _ if info.has_key() => primary_key(info),
        _ => names(&|_| true),
    }
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", ")
}

fn literals(values: &[String]) -> String {
    values.iter().map(|value| quote_literal(value)).collect::<Vec<_>>().join(", ")
}

fn from(info: &TableInfo) -> String {
    let only = if info.partitioned { "" } else { "only " };
    format!("{only}{}", info.quoted())
}

fn filter(of: &TableProgress) -> Option<String> {
    // A comment at its end must not swallow what follows.
    of.filter.as_ref().map(|filter| format!("({filter}\n)"))
}

fn condition(parts: &[Option<String>]) -> String {
    let parts: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" where {}", parts.join(" and ")),
    }
}

/// Opens a transaction in which keys compare as their own types do: those of extensions have
/// their operators in a schema that has to be named.
async fn begin(session: &mut Session, info: &TableInfo) -> Result<(), PgError> {
    let sql = format!(
        "begin isolation level repeatable read read only; \
         select coalesce(string_agg(distinct pg_catalog.quote_ident(n.nspname), ', '), '') \
         from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid \
         left join pg_catalog.pg_type b on b.oid = t.typbasetype \
         join pg_catalog.pg_namespace n on n.oid in (t.typnamespace, b.typnamespace) \
         where a.attrelid = {} and a.attnum > 0 and n.nspname <> 'pg_catalog'",
        info.id
    );
    let schemas = session.query(&sql).await?;
    let schemas = schemas.single().unwrap_or_default().to_owned();
    if !schemas.is_empty() {
        session.query(&format!("set local search_path = {schemas}")).await?;
    }
    Ok(())
}

/// Reads a chunk. `false`: the connection is of no more use.
async fn read(session: &mut Session, ask: &Ask) -> Result<(Done, bool), PgError> {
    let info = &ask.looked.info;
    let mut chunk = loop {
        begin(session, info).await?;
        let chunk = place(session).await?;
        if ask.recent.iter().all(|xid| chunk.seen.sees(*xid)) {
            break chunk;
        }
        session.query("rollback").await?;
        tokio::time::sleep(SEEN_DELAY).await;
    };
    let now = catalog::table(session, info.id).await?;
    if now.as_ref() != Some(info) {
        session.query("rollback").await?;
        return Ok((Done::Changed, true));
    }
    session.copy_out(&copy_sql(ask)).await?;
    let mut bytes = 0;
    let mut last = None;
    while let Some(line) = session.copied().await? {
        bytes += line.len();
        let row = Row(snapshot::fields(&line));
        if row.0.len() != info.columns.len() {
            return Ok((Done::Refused("a row that is no row of a COPY".to_owned()), false));
        }
        last = key_values(info, &ask.looked.key, &row);
        let key = row_key(info, &ask.looked.identity, &row, None);
        chunk.rows.push(Some((key, row)));
        if bytes >= CHUNK_BYTES_MAX {
            chunk.last = last;
            return Ok((Done::Read(Box::new(chunk)), false));
        }
    }
    session.query("commit").await?;
    chunk.end = chunk.rows.len() < ask.rows_max || last == ask.looked.up_to;
    chunk.last = last;
    Ok((Done::Read(Box::new(chunk)), true))
}

/// Which transactions show, and how far the log is: further than any of them.
async fn place(session: &mut Session) -> Result<Chunk, PgError> {
    let answer = session
        .query(
            "select pg_catalog.txid_current_snapshot() as seen, case when \
             pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() \
             else pg_catalog.pg_current_wal_insert_lsn() end as high, \
             (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint as time_us",
        )
        .await?;
    let field = |name| answer.get(0, name).unwrap_or_default();
    Ok(Chunk {
        seen: Visibility::parse(field("seen")).unwrap_or_default(),
        high: field("high").parse().unwrap_or_default(),
        time_us: field("time_us").parse().unwrap_or(0),
        ..Chunk::default()
    })
}

fn copy_sql(ask: &Ask) -> String {
    let Looked { info, key, up_to, .. } = &ask.looked;
    let key = listed(key);
    let bound = |compare: &str, values: &Option<Vec<String>>| {
        values.as_ref().map(|values| format!("({key}) {compare} ({})", literals(values)))
    };
    let conditions = [bound(">", &ask.of.after), bound("<=", up_to), filter(&ask.of)];
    let columns: Vec<String> = info.columns.iter().map(|column| column.name.clone()).collect();
    format!(
        "copy (select {} from {}{} order by {key} limit {}) to stdout",
        listed(&columns),
        from(info),
        condition(&conditions),
        ask.rows_max
    )
}

fn key_values(info: &TableInfo, key: &[String], row: &Row) -> Option<Vec<String>> {
    let value = |name: &String| {
        let at = info.columns.iter().position(|column| column.name == *name)?;
        match row.0.get(at)? {
            Field::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }
    };
    key.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::catalog::ColumnInfo;

    fn table() -> TableInfo {
        let column = |name: &str, key_position| ColumnInfo {
            name: name.to_owned(),
            type_id: 23,
            type_modifier: -1,
            dimensions: 0,
            not_null: true,
            default: None,
            key_position,
            in_identity_index: false,
        };
        TableInfo {
            id: 1,
            schema: "public".to_owned(),
            name: "a\"b".to_owned(),
            identity: ReplicaIdentity::Default,
            partitioned: false,
            is_partition: false,
            key_deferred: false,
            columns: vec![column("n", None), column("y", Some(1)), column("x", Some(0))],
        }
    }

    #[test]
    fn a_chunk_is_what_lies_between_two_keys() {
        let info = table();
        let key = key_of(&info, &TableProgress::default()).unwrap();
        assert_eq!((key.join(" "), identity_of(&info).join(" ")), ("x y".into(), "x y".into()));
        let looked = Looked {
            info,
            key,
            identity: Vec::new(),
            up_to: Some(vec!["9".to_owned(), "z".to_owned()]),
            rows: 0,
            bytes: 0,
        };
        let of = TableProgress {
            filter: Some("n > 3 -- few".to_owned()),
            after: Some(vec!["1".to_owned(), "it's".to_owned()]),
            ..TableProgress::default()
        };
        let ask = Ask { of, looked, rows_max: 10, recent: Vec::new() };
        assert_eq!(
            copy_sql(&ask),
            "copy (select \"n\", \"y\", \"x\" from only \"public\".\"a\"\"b\" \
             where (\"x\", \"y\") > ('1', 'it''s') and (\"x\", \"y\") <= ('9', 'z') \
             and (n > 3 -- few\n) order by \"x\", \"y\" limit 10) to stdout"
        );
    }

    #[test]
    fn a_table_without_a_key_needs_a_column_to_go_by() {
        let mut info = table();
        info.columns.iter_mut().for_each(|column| column.key_position = None);
        let by = |name: Option<&str>| TableProgress {
            surrogate_key: name.map(str::to_owned),
            ..TableProgress::default()
        };
        assert!(key_of(&info, &by(None)).unwrap_err().contains("surrogate-key"));
        assert!(key_of(&info, &by(Some("z"))).unwrap_err().contains("'z'"));
        assert_eq!(key_of(&info, &by(Some("n"))).unwrap(), ["n"]);
        assert_eq!(identity_of(&info), ["n", "y", "x"]);
    }
}
