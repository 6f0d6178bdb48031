//! Which types a database has: its `pg_type`.

use std::collections::HashMap;

use crate::data::Text;
use crate::postgres::wire::{PgError, Rows, Session};

/// A type of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgType {
    pub name: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Base,
    Enum {
        labels: Vec<String>,
    },
    Domain {
        base: u32,
        modifier: i32,
        dimensions: i32,
    },
    Array {
        element: u32,
        delimiter: u8,
    },
    /// Composite types, ranges and pseudo-types: text is all that is said of them, save that some
    /// ranges have a mapping by name.
    Other,
}

/// All types by their number.
#[derive(Clone, Debug, Default)]
pub struct TypeCatalog(HashMap<u32, PgType>);

/// A domain over a domain over …: as deep as anybody looks.
const DOMAIN_DEPTH_MAX: usize = 32;

impl TypeCatalog {
    /// Reads them from the database.
    pub async fn load(session: &mut Session) -> Result<TypeCatalog, PgError> {
        // An array is what its element names as its array type: `oidvector` and the like have an
        // element too and are none.
        let rows = session
            .query(
                "select t.oid, t.typname, t.typtype, t.typbasetype, t.typtypmod, t.typndims, \
                 case when e.typarray = t.oid then t.typelem end as element, e.typdelim, \
                 (select json_agg(l.enumlabel order by l.enumsortorder) \
                 from pg_catalog.pg_enum l where l.enumtypid = t.oid) as labels \
                 from pg_catalog.pg_type t \
                 left join pg_catalog.pg_type e on e.oid = t.typelem and t.typelem <> 0",
            )
            .await?;
        Ok(TypeCatalog::from_rows(&rows))
    }

    fn from_rows(rows: &Rows) -> TypeCatalog {
        let mut types = HashMap::new();
        for row in 0..rows.rows.len() {
            let text = |column| rows.get(row, column);
            let number = |column| text(column).and_then(|text| text.parse::<i64>().ok());
            let Some(id) = number("oid") else { continue };
            let kind = match (text("typtype"), number("element")) {
                (_, Some(element)) => Kind::Array {
                    element: element as u32,
                    delimiter: text("typdelim").and_then(|d| d.bytes().next()).unwrap_or(b','),
                },
                (Some("e"), _) => Kind::Enum {
                    labels: text("labels")
                        .and_then(|labels| serde_json::from_str(labels).ok())
                        .unwrap_or_default(),
                },
                (Some("d"), _) => Kind::Domain {
                    base: number("typbasetype").unwrap_or(0) as u32,
                    modifier: number("typtypmod").unwrap_or(-1) as i32,
                    dimensions: number("typndims").unwrap_or(0) as i32,
                },
                (Some("b"), _) => Kind::Base,
                _ => Kind::Other,
            };
            let name = text("typname").unwrap_or_default().to_owned();
            types.insert(id as u32, PgType { name, kind });
        }
        TypeCatalog(types)
    }

    pub fn get(&self, id: u32) -> Option<&PgType> {
        self.0.get(&id)
    }

    /// Whether all types are known; one may have been created since.
    pub fn knows_all(&self, mut ids: impl Iterator<Item = u32>) -> bool {
        ids.all(|id| self.0.contains_key(&id))
    }

    /// The type beneath all domains, with the modifier and dimensions that count.
    pub fn beneath(&self, id: u32, modifier: i32, dimensions: i32) -> (u32, i32, i32) {
        let mut at = (id, modifier, dimensions);
        for _ in 0..DOMAIN_DEPTH_MAX {
            match self.get(at.0).map(|found| &found.kind) {
                Some(Kind::Domain { base, modifier, dimensions }) => {
                    let modifier = if at.1 == -1 { *modifier } else { at.1 };
                    at = (*base, modifier, at.2.max(*dimensions));
                }
                _ => break,
            }
        }
        at
    }

    /// The words of an enumeration as Debezium's schema has them.
    pub fn allowed(labels: &[String]) -> Text {
        Text::from(labels.join(","))
    }

    #[cfg(test)]
    pub fn of(types: impl IntoIterator<Item = (u32, &'static str, Kind)>) -> TypeCatalog {
        let named = types.into_iter();
        TypeCatalog(
            named.map(|(id, name, kind)| (id, PgType { name: name.into(), kind })).collect(),
        )
    }
}
