//! Changes as statements: rows alike together, and those of one key in their order.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::change::Cell;
use super::literal;
use super::table::Table;
use crate::data::Text;

/// Bytes of one statement, about.
const STATEMENT_BYTES: usize = 1 << 20;

/// Statements being gathered.
#[derive(Debug, Default)]
pub struct Batch {
    runs: Vec<Run>,
    /// The latest run of each shape, and of each row.
    of_shape: HashMap<Shape, usize>,
    of_row: HashMap<(String, String), usize>,
    upsert: bool,
    /// Rows that are not there stay so.
    update: bool,
}

/// What becomes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Put,
    /// Some columns stay as they are: no INSERT may name them, nor leave them out.
    Merge,
    Update,
    Delete,
    Truncate,
}

/// What rows of one statement have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    table: String,
    act: Act,
    columns: Vec<Text>,
    key: Vec<Text>,
}

#[derive(Debug)]
struct Run {
    shape: Shape,
    /// By their keys; a row without one has a number.
    rows: IndexMap<String, String>,
}

impl Batch {
    pub fn new(upsert: bool) -> Batch {
        Batch { upsert, ..Batch::default() }
    }

    /// The same, for rows that are there alone.
    pub fn updating(mut self, update: bool) -> Batch {
        self.update = update;
        self
    }

    /// Adds a row that is to be there. An error says why it cannot be written.
    pub fn put(&mut self, table: &Table, cells: &[Cell]) -> Result<(), String> {
        let partial = cells.iter().any(|cell| cell.unavailable);
        match (self.update, partial && self.upsert) {
            (true, _) => self.update(table, cells),
            (false, true) => self.merge(table, cells),
            (false, false) => self.add(table, cells, Act::Put),
        }
    }

    /// Adds what a row is to have, whether it is there or not, but for columns that nothing is
    /// known of. `INSERT … ON CONFLICT` would not do: one that may not be null is looked at before
    /// it is known whether there is a conflict.
    fn merge(&mut self, table: &Table, cells: &[Cell]) -> Result<(), String> {
        let known = known(table, cells);
        let (key, others): (Vec<&Cell>, Vec<&Cell>) = known.iter().partition(|cell| cell.in_key);
        if key.is_empty() || others.is_empty() {
            let cells: Vec<Cell> = known.into_iter().cloned().collect();
            return self.add(table, &cells, Act::Put);
        }
        let found =
            format!("{} WHERE {}", equal(table, &others, ", ")?, equal(table, &key, " AND ")?);
        let id = id_of(table, &key)?;
        let mut values = String::new();
        for (index, cell) in known.iter().enumerate() {
            if index > 0 {
                values.push(',');
            }
            literal::append(cell, &table.types[&cell.column], &mut values)?;
        }
        let columns: Vec<Text> = known.iter().map(|cell| cell.column.clone()).collect();
        let row = format!(
            "WITH found AS (UPDATE {name} SET {found} RETURNING 1) INSERT INTO {name} ({}) \
             SELECT {values} WHERE NOT EXISTS (SELECT FROM found)",
            list(&columns),
            name = table.name
        );
        let shape = Shape {
            table: table.name.clone(),
            act: Act::Merge,
            columns,
            key: key.iter().map(|cell| cell.column.clone()).collect(),
        };
        self.insert(shape, id, row);
        Ok(())
    }

    /// Adds what a row is to have if it is there.
    fn update(&mut self, table: &Table, cells: &[Cell]) -> Result<(), String> {
        let known = known(table, cells);
        let (key, others): (Vec<&Cell>, Vec<&Cell>) =
            known.into_iter().partition(|cell| cell.in_key);
        if key.is_empty() {
            return Err(format!("no field of the key is a column of table {}", table.name));
        }
        let names = |cells: &[&Cell]| cells.iter().map(|cell| cell.column.clone()).collect();
        let shape = Shape {
            table: table.name.clone(),
            act: Act::Update,
            columns: names(&others),
            key: names(&key),
        };
        if others.is_empty() {
            return Ok(());
        }
        let row =
            format!("{} WHERE {}", equal(table, &others, ", ")?, equal(table, &key, " AND ")?);
        let id = id_of(table, &key)?;
        self.insert(shape, id, row);
        Ok(())
    }

    /// Adds a row that is to be gone.
    pub fn delete(&mut self, table: &Table, key: &[Cell]) -> Result<(), String> {
        self.add(table, key, Act::Delete)
    }

    /// Adds that all rows are to be gone; those that come after it stay behind it.
    pub fn truncate(&mut self, table: &Table) {
        let shape = Shape {
            table: table.name.clone(),
            act: Act::Truncate,
            columns: Vec::new(),
            key: Vec::new(),
        };
        self.of_shape.clear();
        self.of_row.clear();
        self.runs.push(Run { shape, rows: IndexMap::new() });
    }

    fn add(&mut self, table: &Table, cells: &[Cell], act: Act) -> Result<(), String> {
        let cells = known(table, cells);
        if cells.is_empty() {
            return Err(format!("no field is a column of table {}", table.name));
        }
        let mut row = String::from("(");
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                row.push(',');
            }
            literal::append(cell, &table.types[&cell.column], &mut row)?;
        }
        row.push(')');
        let names = |cells: &[&Cell]| cells.iter().map(|cell| cell.column.clone()).collect();
        let in_key: Vec<&Cell> = cells.iter().copied().filter(|cell| cell.in_key).collect();
        let shape =
            Shape { table: table.name.clone(), act, columns: names(&cells), key: names(&in_key) };
        let id = id_of(table, &in_key)?;
        self.insert(shape, id, row);
        Ok(())
    }

    fn insert(&mut self, shape: Shape, key: String, row: String) {
        // Where rows are only added, none takes another's place.
        let in_place = self.upsert || matches!(shape.act, Act::Delete | Act::Update | Act::Merge);
        let counts = !key.is_empty() && (in_place || self.has_deletes());
        let id = (shape.table.clone(), key.clone());
        let latest = self.of_row.get(&id).copied().filter(|_| counts);
        let at = match self.of_shape.get(&shape) {
            Some(at) if latest.is_none_or(|latest| latest <= *at) => *at,
            _ => {
                self.runs.push(Run { shape: shape.clone(), rows: IndexMap::new() });
                self.of_shape.insert(shape, self.runs.len() - 1);
                self.runs.len() - 1
            }
        };
        if !key.is_empty() {
            self.of_row.insert(id, at);
        }
        let upsert = self.upsert;
        let Run { shape, rows } = &mut self.runs[at];
        if counts && (upsert || shape.act == Act::Delete) {
            rows.insert(key, row);
        } else {
            let number = format!("#{}", rows.len());
            rows.insert(number, row);
        }
    }

    fn has_deletes(&self) -> bool {
        self.runs.iter().any(|run| run.shape.act == Act::Delete)
    }

    /// All statements, in order.
    pub fn statements(&self) -> Vec<String> {
        let mut statements = Vec::new();
        for Run { shape, rows } in &self.runs {
            let (begin, end) = match shape.act {
                Act::Delete => delete(shape),
                Act::Put => insert(shape, self.upsert),
                Act::Merge => (String::new(), String::new()),
                Act::Update => (format!("UPDATE {} SET ", shape.table), String::new()),
                Act::Truncate => (format!("TRUNCATE TABLE {}", shape.table), String::new()),
            };
            let between = match shape.act {
                Act::Update | Act::Merge => format!("; {begin}"),
                _ => ",".to_owned(),
            };
            let mut statement = begin.clone();
            for row in rows.values() {
                if statement.len() > begin.len() {
                    if statement.len() + row.len() > STATEMENT_BYTES {
                        statement.push_str(&end);
                        statements.push(std::mem::replace(&mut statement, begin.clone()));
                    } else {
                        statement.push_str(&between);
                    }
                }
                statement.push_str(row);
            }
            statement.push_str(&end);
            statements.push(statement);
        }
        statements
    }
}

/// What there is a column for, and something known of: a null without a column says nothing.
fn known<'a>(table: &Table, cells: &'a [Cell]) -> Vec<&'a Cell> {
    let is_known = |cell: &&Cell| table.types.contains_key(&cell.column) && !cell.unavailable;
    cells.iter().filter(is_known).collect()
}

/// What tells rows of a table apart, in whatever order the columns of the key come: a deletion has
/// them as the record's key does, a row as it is.
fn id_of(table: &Table, key: &[&Cell]) -> Result<String, String> {
    let mut key = key.to_vec();
    key.sort_by(|one, other| one.column.cmp(&other.column));
    let mut id = String::new();
    for cell in key {
        literal::append(cell, &table.types[&cell.column], &mut id)?;
        id.push(',');
    }
    Ok(id)
}

/// `"a" = '1'`, each.
fn equal(table: &Table, cells: &[&Cell], between: &str) -> Result<String, String> {
    let pairs = cells.iter().map(|cell| {
        let mut pair = format!("{} = ", literal::quoted_name(&cell.column));
        literal::append(cell, &table.types[&cell.column], &mut pair).map(|()| pair)
    });
    Ok(pairs.collect::<Result<Vec<_>, _>>()?.join(between))
}

fn list(names: &[Text]) -> String {
    names.iter().map(|name| literal::quoted_name(name)).collect::<Vec<_>>().join(", ")
}

fn insert(shape: &Shape, upsert: bool) -> (String, String) {
    let begin = format!("INSERT INTO {} ({}) VALUES ", shape.table, list(&shape.columns));
    if !upsert || shape.key.is_empty() {
        return (begin, String::new());
    }
    let others = shape.columns.iter().filter(|column| !shape.key.contains(column));
    let set = others.map(|column| {
        let column = literal::quoted_name(column);
        format!("{column} = EXCLUDED.{column}")
    });
    let set = set.collect::<Vec<_>>().join(", ");
    let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
    (begin, format!(" ON CONFLICT ({}) DO {action}", list(&shape.key)))
}

fn delete(shape: &Shape) -> (String, String) {
    let begin = format!("DELETE FROM {} WHERE ({}) IN (", shape.table, list(&shape.columns));
    (begin, ")".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Value;
    use expect_test::expect;

    fn cells(columns: &[(&str, i64)]) -> Vec<Cell> {
        let cell = |(index, (name, value)): (usize, &(&str, i64))| Cell {
            column: Text::from(*name),
            value: Value::Int64(*value),
            schema: None,
            in_key: index == 0,
            unavailable: *value == UNKNOWN,
        };
        columns.iter().enumerate().map(cell).collect()
    }

    /// What is not known, in [`cells`].
    const UNKNOWN: i64 = -1;

    /// Texts of rows that had not been changed were overwritten by what stands for them.
    #[test]
    fn what_is_not_known_stays_as_it_is() {
        let mut batch = Batch::new(true);
        let table = table();
        batch.put(&table, &cells(&[("id", 1), ("a", 1), ("b", 2)])).unwrap();
        batch.put(&table, &cells(&[("id", 1), ("a", 3), ("b", UNKNOWN)])).unwrap();
        batch.put(&table, &cells(&[("id", 2), ("a", 4), ("b", UNKNOWN)])).unwrap();
        batch.put(&table, &cells(&[("id", 1), ("a", 5), ("b", UNKNOWN)])).unwrap();
        batch.put(&table, &cells(&[("id", 1), ("a", 6), ("b", 7)])).unwrap();
        batch.put(&table, &cells(&[("id", 3), ("b", UNKNOWN)])).unwrap();
        expect![[r#"
            INSERT INTO "t" ("id", "a", "b") VALUES ('1','1','2') ON CONFLICT ("id") DO UPDATE SET "a" = EXCLUDED."a", "b" = EXCLUDED."b"
            WITH found AS (UPDATE "t" SET "a" = '5' WHERE "id" = '1' RETURNING 1) INSERT INTO "t" ("id", "a") SELECT '1','5' WHERE NOT EXISTS (SELECT FROM found); WITH found AS (UPDATE "t" SET "a" = '4' WHERE "id" = '2' RETURNING 1) INSERT INTO "t" ("id", "a") SELECT '2','4' WHERE NOT EXISTS (SELECT FROM found)
            INSERT INTO "t" ("id", "a", "b") VALUES ('1','6','7') ON CONFLICT ("id") DO UPDATE SET "a" = EXCLUDED."a", "b" = EXCLUDED."b"
            INSERT INTO "t" ("id") VALUES ('3') ON CONFLICT ("id") DO NOTHING
        "#]]
        .assert_eq(&(batch.statements().join("\n") + "\n"));
        let mut batch = Batch::new(false).updating(true);
        batch.put(&table, &cells(&[("id", 1), ("a", 3), ("b", UNKNOWN)])).unwrap();
        expect![[r#"
            UPDATE "t" SET "a" = '3' WHERE "id" = '1'
        "#]]
        .assert_eq(&(batch.statements().join("\n") + "\n"));
    }

    fn table() -> Table {
        let types = ["id", "a", "b"].map(|name| (Text::from(name), "bigint".to_owned()));
        Table { name: "\"t\"".to_owned(), types: types.into() }
    }

    #[test]
    fn rows_alike_go_together_and_those_of_a_key_keep_their_order() {
        let mut batch = Batch::new(true);
        let table = table();
        batch.put(&table, &cells(&[("id", 1), ("a", 1)])).unwrap();
        batch.put(&table, &cells(&[("id", 2), ("b", 1)])).unwrap();
        batch.put(&table, &cells(&[("id", 1), ("a", 2)])).unwrap();
        batch.put(&table, &cells(&[("id", 3), ("a", 3), ("none", 3)])).unwrap();
        batch.delete(&table, &cells(&[("id", 1)])).unwrap();
        batch.delete(&table, &cells(&[("id", 4)])).unwrap();
        batch.put(&table, &cells(&[("id", 1), ("a", 4)])).unwrap();
        batch.put(&table, &cells(&[("id", 9)])).unwrap();
        expect![[r#"
            INSERT INTO "t" ("id", "a") VALUES ('1','2'),('3','3') ON CONFLICT ("id") DO UPDATE SET "a" = EXCLUDED."a"
            INSERT INTO "t" ("id", "b") VALUES ('2','1') ON CONFLICT ("id") DO UPDATE SET "b" = EXCLUDED."b"
            DELETE FROM "t" WHERE ("id") IN (('1'),('4'))
            INSERT INTO "t" ("id", "a") VALUES ('1','4') ON CONFLICT ("id") DO UPDATE SET "a" = EXCLUDED."a"
            INSERT INTO "t" ("id") VALUES ('9') ON CONFLICT ("id") DO NOTHING"#]]
        .assert_eq(&batch.statements().join("\n"));
    }

    /// A row that was put and deleted in one batch stayed, and one that came again was gone, where
    /// the record's key had its columns in another order than the row.
    #[test]
    fn a_row_is_known_whatever_the_order_of_its_keys_columns() {
        let table = table();
        let keyed = |columns: &[(&str, i64)]| {
            let of_key = |cell: Cell| Cell { in_key: *cell.column != *"b", ..cell };
            cells(columns).into_iter().map(of_key).collect::<Vec<_>>()
        };
        let mut batch = Batch::new(true);
        batch.put(&table, &keyed(&[("id", 1), ("a", 2), ("b", 3)])).unwrap();
        batch.put(&table, &keyed(&[("a", 1), ("b", 4), ("id", 2)])).unwrap();
        batch.delete(&table, &keyed(&[("a", 2), ("id", 1)])).unwrap();
        batch.put(&table, &keyed(&[("id", 1), ("a", 2), ("b", 5)])).unwrap();
        batch.put(&table, &keyed(&[("a", 1), ("id", 2), ("b", UNKNOWN)])).unwrap();
        expect![[r#"
            INSERT INTO "t" ("id", "a", "b") VALUES ('1','2','3') ON CONFLICT ("id", "a") DO UPDATE SET "b" = EXCLUDED."b"
            INSERT INTO "t" ("a", "b", "id") VALUES ('1','4','2') ON CONFLICT ("a", "id") DO UPDATE SET "b" = EXCLUDED."b"
            DELETE FROM "t" WHERE ("a", "id") IN (('2','1'))
            INSERT INTO "t" ("id", "a", "b") VALUES ('1','2','5') ON CONFLICT ("id", "a") DO UPDATE SET "b" = EXCLUDED."b"
            INSERT INTO "t" ("a", "id") VALUES ('1','2') ON CONFLICT ("a", "id") DO NOTHING"#]]
        .assert_eq(&batch.statements().join("\n"));
    }

    #[test]
    fn rows_stay_before_or_behind_the_moment_when_all_go() {
        let mut batch = Batch::new(true);
        let table = table();
        batch.put(&table, &cells(&[("id", 1), ("a", 1)])).unwrap();
        batch.truncate(&table);
        batch.put(&table, &cells(&[("id", 1), ("a", 2)])).unwrap();
        batch.put(&table, &cells(&[("id", 2), ("a", 2)])).unwrap();
        expect![[r#"
            INSERT INTO "t" ("id", "a") VALUES ('1','1') ON CONFLICT ("id") DO UPDATE SET "a" = EXCLUDED."a"
            TRUNCATE TABLE "t"
            INSERT INTO "t" ("id", "a") VALUES ('1','2'),('2','2') ON CONFLICT ("id") DO UPDATE SET "a" = EXCLUDED."a"
        "#]]
        .assert_eq(&(batch.statements().join("\n") + "\n"));
    }

    #[test]
    fn rows_that_are_only_updated_keep_their_order() {
        let mut batch = Batch::new(false).updating(true);
        let table = table();
        batch.put(&table, &cells(&[("id", 1), ("a", 1), ("b", 2)])).unwrap();
        batch.put(&table, &cells(&[("id", 2), ("a", 3), ("b", 4)])).unwrap();
        batch.put(&table, &cells(&[("id", 1), ("b", 5)])).unwrap();
        batch.put(&table, &cells(&[("id", 1), ("a", 6), ("b", 7)])).unwrap();
        batch.put(&table, &cells(&[("id", 3)])).unwrap();
        batch.delete(&table, &cells(&[("id", 2)])).unwrap();
        batch.put(&table, &cells(&[("id", 2), ("b", 8)])).unwrap();
        expect![[r#"
            UPDATE "t" SET "a" = '1', "b" = '2' WHERE "id" = '1'; UPDATE "t" SET "a" = '3', "b" = '4' WHERE "id" = '2'
            UPDATE "t" SET "b" = '5' WHERE "id" = '1'
            UPDATE "t" SET "a" = '6', "b" = '7' WHERE "id" = '1'
            DELETE FROM "t" WHERE ("id") IN (('2'))
            UPDATE "t" SET "b" = '8' WHERE "id" = '2'
        "#]]
        .assert_eq(&(batch.statements().join("\n") + "\n"));
        let error = batch.put(&table, &cells(&[("x", 1), ("a", 1)])).unwrap_err();
        assert_eq!(error, "no field of the key is a column of table \"t\"");
    }

    #[test]
    fn rows_that_are_only_added_are_all_added() {
        let mut batch = Batch::new(false);
        let table = table();
        for _ in 0..2 {
            batch.put(&table, &cells(&[("id", 1), ("a", 1)])).unwrap();
        }
        expect![[r#"INSERT INTO "t" ("id", "a") VALUES ('1','1'),('1','1')"#]]
            .assert_eq(&batch.statements().join("\n"));
        let error = batch.put(&table, &cells(&[("x", 1)])).unwrap_err();
        assert_eq!(error, "no field is a column of table \"t\"");
    }
}
