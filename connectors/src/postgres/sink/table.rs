//! What the server says of a table, and how one is made or widened.

use std::collections::HashMap;

use super::change::Cell;
use super::config::SinkConfig;
use super::literal::{column_type, quoted, quoted_name};
use super::writer::WriteError;
use crate::data::Text;
use crate::postgres::wire::Session;

/// Columns with their types.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// `"schema"."name"`
    pub name: String,
    pub types: HashMap<Text, String>,
}

/// Tables, as they were when they were needed first.
#[derive(Debug, Default)]
pub struct Tables(HashMap<(String, String), Table>);

impl Tables {
    /// The table for these cells, made or widened where that is wanted. An error in words says why
    /// there is none for this row.
    pub async fn for_cells(
        &mut self,
        session: &mut Session,
        config: &SinkConfig,
        (schema, name): (String, String),
        cells: &[Cell],
    ) -> Result<Result<&Table, String>, WriteError> {
        let id = (schema, name);
        if !self.0.contains_key(&id) {
            let mut known = look_up(session, &id).await?;
            if known.is_none() && config.create {
                session.query(&create(&id, cells)).await?;
                known = look_up(session, &id).await?;
            }
            let Some(table) = known else { return Ok(Err(missing(&id))) };
            self.0.insert(id.clone(), table);
        }
        let table = self.0.get_mut(&id).expect("it was just put there");
        let is_new =
            |cell: &&Cell| !cell.value.is_null() && !table.types.contains_key(&cell.column);
        let new: Vec<&Cell> = cells.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(Ok(table));
        }
        // Somebody may have added them meanwhile.
        let mut now = look_up(session, &id).await?.unwrap_or_default();
        let missing = |table: &Table| {
            let names = new.iter().filter(|cell| !table.types.contains_key(&cell.column));
            names.map(|cell| (*cell).clone()).collect::<Vec<_>>()
        };
        let lacking = missing(&now);
        if !lacking.is_empty() && config.evolve {
            session.query(&widen(&now, &lacking)).await?;
            now = look_up(session, &id).await?.unwrap_or_default();
        }
        *table = now;
        Ok(match missing(table).first() {
            None => Ok(table),
            Some(cell) => Err(format!(
                "table {} has no column '{}'; add it, or set auto.evolve=true",
                table.name, cell.column
            )),
        })
    }

    /// The table of that schema and name, if there is one.
    pub async fn known(
        &mut self,
        session: &mut Session,
        id: (String, String),
    ) -> Result<Option<&Table>, WriteError> {
        if !self.0.contains_key(&id)
            && let Some(table) = look_up(session, &id).await?
        {
            self.0.insert(id.clone(), table);
        }
        Ok(self.0.get(&id))
    }

    /// What is known may be out of date.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

fn qualified((schema, name): &(String, String)) -> String {
    format!("{}.{}", quoted_name(schema), quoted_name(name))
}

fn missing(id: &(String, String)) -> String {
    format!("there is no table {}; create it, or set auto.create=true", qualified(id))
}

async fn look_up(
    session: &mut Session,
    id: &(String, String),
) -> Result<Option<Table>, WriteError> {
    let name = qualified(id);
    let sql = format!(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, NULL) \
         FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = pg_catalog.to_regclass({}) AND a.attnum > 0 AND NOT a.attisdropped",
        quoted(&name)
    );
    let answer = session.query(&sql).await?;
    let types: HashMap<Text, String> = answer
        .rows
        .into_iter()
        .filter_map(|row| match <[Option<String>; 2]>::try_from(row) {
            Ok([Some(column), Some(of)]) => Some((Text::from(column), of)),
            _ => None,
        })
        .collect();
    Ok((!types.is_empty()).then_some(Table { name, types }))
}

fn create(id: &(String, String), cells: &[Cell]) -> String {
    let columns = cells.iter().filter_map(|cell| {
        let required = match (&cell.schema, cell.in_key) {
            (_, true) => " NOT NULL",
            (Some(schema), _) if !schema.is_optional() => " NOT NULL",
            _ => "",
        };
        Some(format!("{} {}{required}", quoted_name(&cell.column), column_type(cell)?))
    });
    let mut parts: Vec<String> = columns.collect();
    let key: Vec<String> =
        cells.iter().filter(|cell| cell.in_key).map(|cell| quoted_name(&cell.column)).collect();
    if !key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    let name = qualified(id);
    format!("CREATE TABLE IF NOT EXISTS {name} ({})", parts.join(", "))
}

/// What is added to rows that are there is null in them, whatever the record's schema says.
fn widen(table: &Table, cells: &[Cell]) -> String {
    let columns = cells.iter().filter_map(|cell| {
        let column = quoted_name(&cell.column);
        Some(format!("ADD COLUMN IF NOT EXISTS {column} {}", column_type(cell)?))
    });
    format!("ALTER TABLE {} {}", table.name, columns.collect::<Vec<_>>().join(", "))
}
