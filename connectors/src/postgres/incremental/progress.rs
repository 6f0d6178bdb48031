//! What is left to read again, as it is stored with the offset.
//!
//! ```text
//!  "incremental": {"paused": true, "work": [
//!      {"id": "1", "schema": "public", "table": "t", "filter": "n > 3",
//!       "key": ["id"], "after": ["4711"], "up_to": ["90000"], "rows": 4711},
//!      {"id": "2", "tables": ["public.u.*"], "conditions": [["public.u", "n > 3"]]},
//!      {"id": "3", "tables": ["public.v"], "blocking": {"tables": {"16386": [[0, 4711]]}}}]}
//! ```
//!
//! A request waits as it is until it is its turn; then each of its tables takes its place. Blocking
//! ones come before all others, and stay as they are, with how far their snapshot is.

use std::collections::VecDeque;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::signal::{Condition, Request, Signal};
use crate::postgres::catalog::TableInfo;
use crate::postgres::config::whole_name;
use crate::postgres::offset::SnapshotProgress;

/// Nobody asks for more at a time; what is beyond is left out, by name.
pub const WORK_MAX: usize = 10_000;

/// All that is asked for, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub paused: bool,
    pub work: VecDeque<Work>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Asked(Request),
    Table(TableProgress),
    Blocking(Request, SnapshotProgress),
}

/// How far a table is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableProgress {
    /// Of the request.
    pub id: String,
    pub schema: String,
    pub table: String,
    pub filter: Option<String>,
    pub surrogate_key: Option<String>,
    /// The columns that it is read by, once it is.
    pub key: Vec<String>,
    /// The key of the last row that was read.
    pub after: Option<Vec<String>>,
    /// The last key that there was at the beginning: what comes later comes by the stream.
    pub up_to: Option<Vec<String>>,
    pub rows: u64,
}

impl TableProgress {
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

impl Progress {
    pub fn is_empty(&self) -> bool {
        self.work.is_empty() && !self.paused
    }

    /// Takes a signal in. `false`: it changes nothing.
    pub fn apply(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Execute(request) if self.work.len() < WORK_MAX => {
                if request.blocking {
                    let blocking = |work: &Work| matches!(work, Work::Blocking(..));
                    let behind = self.work.iter().take_while(|work| blocking(work)).count();
                    self.work.insert(behind, Work::Blocking(request, SnapshotProgress::default()));
                } else {
                    self.work.push_back(Work::Asked(request));
                }
                true
            }
            Signal::Execute(_) | Signal::Log(_) => false,
            Signal::Stop(tables) => self.stop(&tables),
            Signal::Pause => !std::mem::replace(&mut self.paused, true),
            Signal::Resume => std::mem::replace(&mut self.paused, false),
        }
    }

    fn stop(&mut self, tables: &[String]) -> bool {
        if tables.is_empty() {
            let any = !self.work.is_empty();
            self.work.clear();
            return any;
        }
        let before = self.work.clone();
        for work in &mut self.work {
            if let Work::Asked(request) | Work::Blocking(request, _) = work {
                request.tables.retain(|table| !tables.contains(table));
            }
        }
        let named = |name: &str| tables.iter().any(|pattern| matches(pattern, name));
        self.work.retain(|work| match work {
            Work::Asked(request) | Work::Blocking(request, _) => !request.tables.is_empty(),
            Work::Table(table) => !named(&table.full_name()),
        });
        self.work != before
    }

    /// The table that is to be read now, if that is known.
    pub fn current(&mut self) -> Option<&mut TableProgress> {
        match self.work.front_mut() {
            Some(Work::Table(table)) => Some(table),
            _ => None,
        }
    }

    /// The request that changes wait for, if there is one, and how far it is.
    pub fn blocking(&mut self) -> Option<(&Request, &mut SnapshotProgress)> {
        match self.work.front_mut() {
            Some(Work::Blocking(request, progress)) => Some((request, progress)),
            _ => None,
        }
    }

    /// What is left of incremental requests, by their ids.
    pub fn incremental(&self) -> Vec<(String, Vec<String>)> {
        let mut requests: Vec<(String, Vec<String>)> = Vec::new();
        for work in &self.work {
            let (id, tables) = match work {
                Work::Asked(request) => (&request.id, request.tables.clone()),
                Work::Table(table) => (&table.id, vec![table.full_name()]),
                Work::Blocking(..) => continue,
            };
            match requests.last_mut().filter(|(last, _)| last == id) {
                Some((_, known)) => known.extend(tables),
                None => requests.push((id.clone(), tables)),
            }
        }
        requests
    }

    /// The tables of a request that are still to be read, the one at hand included.
    pub fn tables_of(&self, id: &str) -> Vec<String> {
        let of_request = self.work.iter().filter_map(|work| match work {
            Work::Table(table) if table.id == id => Some(table.full_name()),
            _ => None,
        });
        of_request.collect()
    }

    /// Puts its tables in the place of the request that is first. Those of its patterns that no
    /// table has are returned, with its id.
    pub fn resolve(&mut self, chosen: &[TableInfo]) -> Option<(String, Vec<String>)> {
        let Some(Work::Asked(_)) = self.work.front() else { return None };
        let Some(Work::Asked(request)) = self.work.pop_front() else { return None };
        let (found, unknown) = request.find(chosen);
        for (table, filter) in found.into_iter().rev() {
            self.work.push_front(Work::Table(TableProgress {
                id: request.id.clone(),
                schema: table.schema.clone(),
                table: table.name.clone(),
                filter: filter.map(str::to_owned),
                surrogate_key: request.surrogate_key.clone(),
                ..TableProgress::default()
            }));
        }
        Some((request.id, unknown))
    }

    pub fn to_json(&self) -> Value {
        let work: Vec<Value> = self.work.iter().map(Work::to_json).collect();
        json!({ "paused": self.paused, "work": work })
    }

    /// Reads what [`to_json`](Progress::to_json) wrote.
    pub fn from_json(value: &Value) -> Option<Progress> {
        let work = value.get("work")?.as_array()?.iter().take(WORK_MAX);
        let paused = value.get("paused").and_then(Value::as_bool).unwrap_or(false);
        Some(Progress { paused, work: work.filter_map(Work::from_json).collect() })
    }
}

impl Request {
    /// The tables that it means, with their filters, and those of its patterns that none has.
    pub fn find<'a>(
        &'a self,
        chosen: &'a [TableInfo],
    ) -> (Vec<(&'a TableInfo, Option<&'a str>)>, Vec<String>) {
        let mut found: Vec<(&TableInfo, Option<&str>)> = Vec::new();
        let mut unknown = Vec::new();
        for pattern in &self.tables {
            let mut any = false;
            for table in chosen.iter().filter(|table| matches(pattern, &table.full_name())) {
                any = true;
                if !found.iter().any(|(known, _)| known.id == table.id) {
                    found.push((table, self.filter(&table.full_name())));
                }
            }
            if !any {
                unknown.push(pattern.clone());
            }
        }
        (found, unknown)
    }

    fn filter(&self, table: &str) -> Option<&str> {
        let of_table =
            |one: &&Condition| one.table.as_ref().is_none_or(|pattern| matches(pattern, table));
        self.conditions.iter().find(of_table).map(|one| one.filter.as_str())
    }
}

/// Whether a pattern, or a name in quotes, means that table.
fn matches(pattern: &str, name: &str) -> bool {
    if pattern == name || pattern.replace('"', "") == name {
        return true;
    }
    whole_name(pattern).is_ok_and(|pattern: Regex| pattern.is_match(name))
}

impl Work {
    fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| {
            let nothing = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !nothing {
                object.insert(name.to_owned(), value);
            }
        };
        match self {
            Work::Asked(request) | Work::Blocking(request, _) => {
                let conditions = request.conditions.iter();
                let conditions = conditions.map(|one| json!([one.table, one.filter]));
                put("id", json!(request.id));
                put("tables", json!(request.tables));
                put("conditions", conditions.collect());
                put("surrogate_key", json!(request.surrogate_key));
                if let Work::Blocking(_, progress) = self {
                    put("blocking", Value::Object(progress.to_json()));
                }
            }
            Work::Table(table) => {
                put("id", json!(table.id));
                put("schema", json!(table.schema));
                put("table", json!(table.table));
                put("filter", json!(table.filter));
                put("surrogate_key", json!(table.surrogate_key));
                put("key", json!(table.key));
                put("after", json!(table.after));
                put("up_to", json!(table.up_to));
                put("rows", json!(table.rows));
            }
        }
        Value::Object(object)
    }

    fn from_json(value: &Value) -> Option<Work> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let optional = |name: &str| value.get(name).and_then(text);
        let texts = |name: &str| -> Option<Vec<String>> {
            Some(value.get(name)?.as_array()?.iter().filter_map(text).collect())
        };
        let id = optional("id").unwrap_or_default();
        let surrogate_key = optional("surrogate_key");
        if let Some(tables) = texts("tables") {
            let conditions = value.get("conditions").and_then(Value::as_array);
            let conditions = conditions.into_iter().flatten().filter_map(|pair| {
                Some(Condition { table: text(&pair[0]), filter: text(&pair[1])? })
            });
            let conditions = conditions.collect();
            let blocking = value.get("blocking").map(SnapshotProgress::from_json);
            let is_blocking = blocking.is_some();
            let request = Request { id, tables, conditions, surrogate_key, blocking: is_blocking };
            return Some(match blocking {
                Some(progress) => Work::Blocking(request, progress),
                None => Work::Asked(request),
            });
        }
        Some(Work::Table(TableProgress {
            id,
            schema: optional("schema")?,
            table: optional("table")?,
            filter: optional("filter"),
            surrogate_key,
            key: texts("key").unwrap_or_default(),
            after: texts("after"),
            up_to: texts("up_to"),
            rows: value.get("rows").and_then(Value::as_u64).unwrap_or(0),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::pgoutput::ReplicaIdentity;

    fn table(id: u32, name: &str) -> TableInfo {
        TableInfo {
            id,
            schema: "public".to_owned(),
            name: name.to_owned(),
            identity: ReplicaIdentity::Default,
            partitioned: false,
            is_partition: false,
            key_deferred: false,
            columns: Vec::new(),
        }
    }

    fn request(tables: &[&str]) -> Signal {
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        let only_b = Condition { table: Some("public.b".to_owned()), filter: "n > 1".to_owned() };
        let conditions = vec![only_b];
        Signal::Execute(Request { tables, conditions, ..Request::default() })
    }

    fn names(progress: &Progress) -> Vec<String> {
        let names = progress.work.iter().map(|work| match work {
            Work::Asked(request) => request.tables.join(" "),
            Work::Table(table) => table.full_name(),
            Work::Blocking(request, _) => format!("!{}", request.tables.join(" ")),
        });
        names.collect()
    }

    fn blocking(tables: &[&str]) -> Signal {
        let Signal::Execute(request) = request(tables) else { unreachable!() };
        Signal::Execute(Request { blocking: true, ..request })
    }

    #[test]
    fn what_blocks_comes_first_and_is_paused_by_nothing() {
        let mut progress = Progress::default();
        progress.apply(request(&["public.a"]));
        progress.resolve(&[table(1, "a")]);
        progress.apply(blocking(&["public.b", "public.c"]));
        progress.apply(blocking(&["public.d"]));
        progress.apply(Signal::Pause);
        assert_eq!(names(&progress), ["!public.b public.c", "!public.d", "public.a"]);
        assert!(progress.current().is_none() && progress.resolve(&[]).is_none());
        assert!(progress.apply(Signal::Stop(vec!["public.b".to_owned()])));
        assert_eq!(progress.blocking().unwrap().0.tables, ["public.c"]);
        assert!(progress.apply(Signal::Stop(vec!["public.c".to_owned()])));
        assert_eq!(names(&progress), ["!public.d", "public.a"]);
        let chosen = [table(4, "d"), table(5, "b")];
        let (request, _) = progress.blocking().unwrap();
        let (found, unknown) = request.find(&chosen);
        assert_eq!((found[0].0.id, found[0].1, found.len(), unknown.len()), (4, None, 1, 0));
    }

    #[test]
    fn requests_become_tables_in_their_turn_and_are_stopped_by_name() {
        let chosen = [table(1, "a"), table(2, "b"), table(3, "c")];
        let mut progress = Progress::default();
        progress.apply(request(&["public.[ab]", "\"public\".\"b\"", "public.x"]));
        progress.apply(request(&["public.c"]));
        let unknown = vec!["public.x".to_owned()];
        assert_eq!(progress.resolve(&chosen), Some((String::new(), unknown)));
        assert_eq!(names(&progress), ["public.a", "public.b", "public.c"]);
        let Work::Table(b) = &progress.work[1] else { panic!() };
        assert_eq!(b.filter.as_deref(), Some("n > 1"));
        assert_eq!(progress.current().unwrap().filter, None);
        assert!(progress.apply(Signal::Stop(vec!["public.(a|c)".to_owned()])));
        assert_eq!(names(&progress), ["public.b", "public.c"]);
        assert!(progress.apply(Signal::Stop(vec!["public.c".to_owned()])));
        assert_eq!(names(&progress), ["public.b"]);
        assert!(progress.apply(Signal::Pause) && !progress.apply(Signal::Pause));
        assert!(progress.apply(Signal::Stop(Vec::new())));
        assert!(!progress.is_empty() && progress.apply(Signal::Resume) && progress.is_empty());
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let mut progress = Progress { paused: true, work: VecDeque::new() };
        progress.apply(request(&["public.a"]));
        progress.work.push_back(Work::Table(TableProgress {
            id: "7".to_owned(),
            schema: "public".to_owned(),
            table: "t".to_owned(),
            filter: Some("x = ''".to_owned()),
            key: vec!["a".to_owned(), "b".to_owned()],
            after: Some(vec!["1".to_owned(), "".to_owned()]),
            up_to: Some(vec!["9".to_owned(), "z".to_owned()]),
            rows: 5,
            ..TableProgress::default()
        }));
        progress.apply(blocking(&["public.b"]));
        let mut read = SnapshotProgress::default();
        read.rows.insert(3, 8);
        read.tables.insert(3, None);
        *progress.blocking().unwrap().1 = read;
        assert_eq!(Progress::from_json(&progress.to_json()), Some(progress));
        assert_eq!(Progress::from_json(&json!({ "work": 1 })), None);
    }
}
