//! What a database says about its tables.

use std::collections::BTreeMap;

use super::config::PostgresConfig;
use super::pgoutput::ReplicaIdentity;
use super::wire::{PgError, Rows, Session};

/// A table, as the catalog has it at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its number (`pg_class.oid`).
    pub id: u32,
    pub schema: String,
    pub name: String,
    pub identity: ReplicaIdentity,
    /// Divided into partitions, with no rows of its own.
    pub partitioned: bool,
    /// A partition of another table.
    pub is_partition: bool,
    /// Whether its primary key is checked at the end of a transaction: it identifies no rows.
    pub key_deferred: bool,
    pub columns: Vec<ColumnInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnInfo {
    pub name: String,
    pub type_id: u32,
    pub type_modifier: i32,
    pub dimensions: i32,
    pub not_null: bool,
    /// The expression of its default, as PostgreSQL writes it.
    pub default: Option<String>,
    /// Where it is in the primary key, counted from 0.
    pub key_position: Option<usize>,
    /// Whether the replica identity's index has it.
    pub in_identity_index: bool,
}

impl TableInfo {
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// As SQL has it.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }

    pub fn has_key(&self) -> bool {
        self.columns.iter().any(|column| column.key_position.is_some())
    }

    /// Whether PostgreSQL can tell, in its log, which row was changed or deleted. Where it cannot,
    /// it refuses such statements once the table is published.
    pub fn identifies_rows(&self) -> bool {
        match self.identity {
            ReplicaIdentity::Nothing => false,
            ReplicaIdentity::Default => self.has_key() && !self.key_deferred,
            ReplicaIdentity::Full => true,
            ReplicaIdentity::Index => self.columns.iter().any(|column| column.in_identity_index),
        }
    }

    /// The columns of the primary key, in its order.
    pub fn key(&self) -> Vec<&str> {
        let of_key = |column: &ColumnInfo| column.key_position.is_some();
        let mut columns: Vec<&ColumnInfo> = self.columns.iter().filter(|one| of_key(one)).collect();
        columns.sort_by_key(|column| column.key_position);
        columns.into_iter().map(|column| column.name.as_str()).collect()
    }
}

/// `"name"`, whatever is in it.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, whatever is in it.
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Columns that are computed from others are not in the stream, so they are left out here too.
const TABLES: &str = "select c.oid, n.nspname, c.relname, c.relreplident, c.relkind, \
    c.relispartition, a.attname, a.atttypid, a.atttypmod, a.attndims, a.attnotnull, \
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) as default_expression, \
    pg_catalog.array_position(p.indkey::pg_catalog.int2[], a.attnum) as key_position, \
    not p.indimmediate as key_deferred, \
    a.attnum = any(r.indkey::pg_catalog.int2[]) as in_identity \
    from pg_catalog.pg_class c \
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 \
    and not a.attisdropped and a.attgenerated = '' \
    left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum \
    left join pg_catalog.pg_index p on p.indrelid = c.oid and p.indisprimary \
    left join pg_catalog.pg_index r on r.indrelid = c.oid and r.indisreplident ";

/// Reads the tables that the patterns take, partitioned ones and partitions among them, in the
/// order of their names, and the one that signals come by.
pub async fn chosen_tables(
    session: &mut Session,
    config: &PostgresConfig,
) -> Result<Vec<TableInfo>, PgError> {
    let all = "where c.relkind in ('r', 'p') and c.relpersistence = 'p' \
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' \
        order by n.nspname, c.relname, a.attnum";
    let rows = session.query(&format!("{TABLES}{all}")).await?;
    let mut tables = tables(&rows);
    tables.retain(|table| {
        config.tables.takes(&table.schema, &table.name)
            || config.signals.is_table(&table.schema, &table.name)
    });
    Ok(tables)
}

/// Reads one table, if it is still there.
pub async fn table(session: &mut Session, id: u32) -> Result<Option<TableInfo>, PgError> {
    let rows = session.query(&format!("{TABLES}where c.oid = {id} order by a.attnum")).await?;
    Ok(tables(&rows).pop())
}

fn tables(rows: &Rows) -> Vec<TableInfo> {
    let mut order = Vec::new();
    let mut found: BTreeMap<u32, TableInfo> = BTreeMap::new();
    for row in 0..rows.rows.len() {
        let text = |column| rows.get(row, column).unwrap_or_default().to_owned();
        let number = |column| rows.get(row, column).and_then(|text| text.parse::<i64>().ok());
        let flag = |column| rows.get(row, column) == Some("t");
        let Some(id) = number("oid").and_then(|id| u32::try_from(id).ok()) else { continue };
        let table = found.entry(id).or_insert_with(|| {
            order.push(id);
            TableInfo {
                id,
                schema: text("nspname"),
                name: text("relname"),
                identity: match rows.get(row, "relreplident") {
                    Some("n") => ReplicaIdentity::Nothing,
                    Some("f") => ReplicaIdentity::Full,
                    Some("i") => ReplicaIdentity::Index,
                    _ => ReplicaIdentity::Default,
                },
                partitioned: rows.get(row, "relkind") == Some("p"),
                is_partition: flag("relispartition"),
                key_deferred: flag("key_deferred"),
                columns: Vec::new(),
            }
        });
        // A table without columns has a row all the same.
        if rows.get(row, "attname").is_none() {
            continue;
        }
        table.columns.push(ColumnInfo {
            name: text("attname"),
            type_id: number("atttypid").unwrap_or(0) as u32,
            type_modifier: number("atttypmod").unwrap_or(-1) as i32,
            dimensions: number("attndims").unwrap_or(0) as i32,
            not_null: flag("attnotnull"),
            default: rows.get(row, "default_expression").map(str::to_owned),
            key_position: number("key_position").and_then(|at| usize::try_from(at).ok()),
            in_identity_index: flag("in_identity"),
        });
    }
    order.into_iter().filter_map(|id| found.remove(&id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
    }
}
