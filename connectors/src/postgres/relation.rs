//! A table as the stream says it was, with what the catalog, which may be ahead, adds to that.
//!
//! ```text
//!  replica identity   the key of events
//!  default            the columns that the stream flags: the primary key as it was
//!  full, index,       the catalog's primary key, where the stream has all of its columns; else
//!  nothing            the key that was last known of the table, or the columns renamed since
//! ```
//!
//! Those of full flag every column, and those of an index its own, so there the stream says
//! nothing of the primary key.

use tracing::warn;

use super::catalog::{ColumnInfo, TableInfo};
use super::pgoutput::{Relation, RelationColumn, ReplicaIdentity};

/// The table of a relation. `last` is what was known of it before, by its number.
pub fn table_info(
    relation: &Relation,
    catalog: Option<&TableInfo>,
    last: Option<&TableInfo>,
) -> TableInfo {
    let key = key(relation, catalog, last);
    let columns = relation.columns.iter().map(|column| {
        let known = catalog
            .and_then(|table| table.columns.iter().find(|known| known.name == column.name))
            .filter(|known| known.type_id == column.type_id);
        ColumnInfo {
            name: column.name.clone(),
            type_id: column.type_id,
            type_modifier: column.type_modifier,
            dimensions: known.map_or(0, |known| known.dimensions),
            not_null: known.is_some_and(|known| known.not_null),
            default: known.and_then(|known| known.default.clone()),
            key_position: key.iter().position(|name| *name == column.name),
            in_identity_index: relation.identity == ReplicaIdentity::Index && column.identity,
        }
    });
    TableInfo {
        id: relation.id,
        schema: relation.namespace.clone(),
        name: relation.name.clone(),
        identity: relation.identity,
        partitioned: catalog.is_some_and(|known| known.partitioned),
        is_partition: catalog.is_some_and(|known| known.is_partition),
        key_deferred: catalog.is_some_and(|known| known.key_deferred),
        columns: columns.collect(),
    }
}

/// The columns of the primary key, in its order.
fn key<'a>(
    relation: &'a Relation,
    catalog: Option<&'a TableInfo>,
    last: Option<&'a TableInfo>,
) -> Vec<&'a str> {
    let there = |names: &[&str]| {
        names.iter().all(|name| relation.columns.iter().any(|column| column.name == *name))
    };
    let of_catalog = catalog.map(TableInfo::key).unwrap_or_default();
    let of_last = last.map(TableInfo::key).unwrap_or_default();
    // Rows are not identified by a key that is checked at the transaction's end.
    let deferred = catalog.is_some_and(|table| table.key_deferred);
    let flagged: Vec<&str> = relation.columns.iter().filter(|one| one.identity).map(name).collect();
    if relation.identity == ReplicaIdentity::Default && !(flagged.is_empty() && deferred) {
        // Of their order the stream says nothing.
        let in_order = [of_catalog, of_last].into_iter().find(|known| same(known, &flagged));
        return in_order.unwrap_or(flagged);
    }
    if catalog.is_some() && there(&of_catalog) {
        return of_catalog;
    }
    let table = format!("{}.{}", relation.namespace, relation.name);
    if !of_last.is_empty() && there(&of_last) {
        warn!(
            "table {table}: its primary key has changed since, and its replica identity does not \
             tell what it was: events have the key that was known last, {}",
            of_last.join(", ")
        );
        return of_last;
    }
    let renamed = catalog.and_then(|table| renamed(relation, table, &of_catalog));
    match (&renamed, catalog) {
        (Some(names), _) => warn!(
            "table {table}: columns of its primary key were renamed since: events have the key {}",
            names.join(", ")
        ),
        (None, None) if relation.identity == ReplicaIdentity::Full => warn!(
            "table {table} is gone, and its replica identity, full, does not tell what its primary \
             key was: events of it have no key unless `message.key.columns` names one"
        ),
        (None, Some(_)) => warn!(
            "table {table}: its primary key has changed since, and its replica identity does not \
             tell what it was: events until then have no key unless `message.key.columns` names one"
        ),
        (None, None) => {}
    }
    renamed.unwrap_or_default()
}

fn name(column: &RelationColumn) -> &str {
    &column.name
}

fn same(names: &[&str], others: &[&str]) -> bool {
    names.len() == others.len() && names.iter().all(|name| others.contains(name))
}

/// The key by the names that its columns had: of those that are gone there is one of the type.
fn renamed<'a>(relation: &'a Relation, now: &TableInfo, key: &[&'a str]) -> Option<Vec<&'a str>> {
    let before = |wanted: &&'a str| {
        if relation.columns.iter().any(|column| column.name == *wanted) {
            return Some(*wanted);
        }
        let wanted = now.columns.iter().find(|column| column.name == *wanted)?;
        let mut gone = relation.columns.iter().filter(|column| {
            column.type_id == wanted.type_id
                && !now.columns.iter().any(|known| known.name == column.name)
        });
        let only = gone.next()?;
        gone.next().is_none().then_some(only.name.as_str())
    };
    let names: Vec<&str> = key.iter().map(before).collect::<Option<_>>()?;
    // Two columns of the key cannot have been the same one.
    let apart = names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
    (apart && !names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a! b c` : flagged columns have a mark; those that begin with `t` are of another type.
    fn relation(identity: ReplicaIdentity, columns: &str) -> Relation {
        let column = |text: &str| RelationColumn {
            name: text.trim_end_matches('!').to_owned(),
            type_id: type_of(text),
            type_modifier: -1,
            identity: text.ends_with('!'),
        };
        Relation {
            id: 7,
            namespace: "public".into(),
            name: "t".into(),
            identity,
            columns: columns.split(' ').map(column).collect(),
        }
    }

    fn type_of(name: &str) -> u32 {
        if name.starts_with('t') { 25 } else { 23 }
    }

    fn table(columns: &str, key: &str) -> TableInfo {
        let column = |name: &str| ColumnInfo {
            name: name.into(),
            type_id: type_of(name),
            type_modifier: -1,
            dimensions: 0,
            not_null: false,
            default: None,
            key_position: key.split(' ').position(|one| one == name),
            in_identity_index: false,
        };
        TableInfo {
            id: 7,
            schema: "public".into(),
            name: "t".into(),
            identity: ReplicaIdentity::Default,
            partitioned: false,
            is_partition: false,
            key_deferred: false,
            columns: columns.split(' ').map(column).collect(),
        }
    }

    /// The catalog was ahead: deletions came under the key that the table got after them, with a
    /// made-up value in it, or under none.
    #[test]
    fn the_key_is_the_one_of_then() {
        use ReplicaIdentity::{Default, Full, Index, Nothing};
        let now = |columns, key| Some(table(columns, key));
        for (identity, columns, catalog, last, expected) in [
            // Another key since, a renamed one, one that is gone with its table, a new one.
            (Default, "a! b", now("a b", "b"), None, "a"),
            (Default, "id! b", now("key b", "key"), None, "id"),
            (Default, "a! b", None, None, "a"),
            (Default, "a b", now("a b", "b"), None, ""),
            // The order is the key's own.
            (Default, "a! b! c", now("a b c", "b a"), None, "b a"),
            (Default, "a! b! c", now("a b c", "c"), now("a b c", "b a"), "b a"),
            (Default, "a! b! c", now("a b c", "c"), None, "a b"),
            // What flags say nothing of.
            (Full, "a! b!", now("a b", "b"), None, "b"),
            (Full, "a! b!", now("a b c", "c"), now("a b", "a"), "a"),
            (Full, "id! tb!", now("key tb", "key"), None, "id"),
            (Full, "id! a!", now("key b", "key"), None, ""),
            (Full, "id! tb! c!", now("key tb c", "c key"), None, "c id"),
            (Full, "a! b!", None, now("a b", "b a"), "b a"),
            (Full, "a! b!", None, None, ""),
            (Full, "a! b!", now("a b", ""), now("a b", "a"), ""),
            (Index, "a b!", now("a b", "a"), None, "a"),
            (Nothing, "a b", now("a b", "a"), None, "a"),
        ] {
            let relation = relation(identity, columns);
            let info = table_info(&relation, catalog.as_ref(), last.as_ref());
            assert_eq!(info.key().join(" "), expected, "{relation:?} {catalog:?} {last:?}");
        }
        let indexed = table_info(&relation(Index, "a! b!"), None, None);
        assert!(indexed.columns.iter().all(|column| column.in_identity_index));
    }

    #[test]
    fn a_deferred_key_is_one_that_no_row_is_identified_by() {
        let mut now = table("a b", "b");
        now.key_deferred = true;
        let relation = relation(ReplicaIdentity::Default, "a b");
        assert_eq!(table_info(&relation, Some(&now), None).key(), ["b"]);
    }
}
