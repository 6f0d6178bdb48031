//! The row out of a change event: Debezium's transform of that name.
//!
//! ```text
//! {before, after, source, op, …}   create, read, update ─► after
//!                                  delete ─► nothing, a tombstone, or before with __deleted
//!                                  truncate ─► nothing
//! null, behind a delete           ─► nothing, or kept
//! anything else                   ─► as it is
//! ```
//!
//! What its newer setting calls a tombstone has no schema here, as with `delete-to-tombstone`: so
//! it is one whatever the converter, and compaction forgets the key.

use std::sync::Arc;

use super::side::{SchemaCache, Side, set_struct, value_at};
use super::{Mistake, Outcome, REPLACE_NULL, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, DataError, Schema, SchemaAndValue, Struct, Text, Value};

/// Where Debezium's transforms are.
pub(super) const DEBEZIUM_PACKAGE: &str = "io.debezium.transforms";

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: DEBEZIUM_PACKAGE,
    name: "ExtractNewRecordState",
    has_sides: false,
    doc: "Makes the row itself of a change event: the row after the change, or of a deletion what \
          is asked for",
    keys: KEYS,
    make,
};

const DELETES: &str = "delete.tombstone.handling.mode";
const OLD_DELETES: &str = "delete.handling.mode";
const OLD_TOMBSTONES: &str = "drop.tombstones";
const DROP_HEADER: &str = "drop.fields.header.name";

const fn text(name: &'static str, default: &'static str, doc: &'static str) -> ConfigKey {
    let presence = Presence::Default(default);
    ConfigKey { name, key_type: KeyType::AnyText, presence, doc, example: "" }
}

const fn list(name: &'static str, doc: &'static str) -> ConfigKey {
    let (key_type, presence) = (KeyType::AnyList, Presence::Default(""));
    ConfigKey { name, key_type, presence, doc, example: "op,source.ts_ms,table:source_table" }
}

const fn flag(name: &'static str, presence: Presence, doc: &'static str) -> ConfigKey {
    ConfigKey { name, key_type: KeyType::Boolean, presence, doc, example: "false" }
}

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: DELETES,
        key_type: KeyType::OneOf(&[
            "drop",
            "tombstone",
            "rewrite",
            "rewrite-with-tombstone",
            "delete-to-tombstone",
        ]),
        presence: Presence::Optional,
        doc: "What becomes of a deletion and of the tombstone behind it; `tombstone` where nothing \
              is said: one of the two is left, as a tombstone",
        example: "rewrite",
    },
    ConfigKey {
        name: OLD_DELETES,
        key_type: KeyType::OneOf(&["drop", "none", "rewrite"]),
        presence: Presence::Optional,
        doc: "What becomes of a deletion, by the name that this had before: dropped, which is what \
              `drop.tombstones` alone means, a tombstone, or the row before it with `__deleted`",
        example: "rewrite",
    },
    flag(
        OLD_TOMBSTONES,
        Presence::Optional,
        "Whether tombstones are left out, by the name that this had before; true beside \
         `delete.handling.mode`",
    ),
    list("add.fields", "Fields of the event to add to the row, with other names behind a colon"),
    text("add.fields.prefix", "__", "What the names of added fields begin with"),
    list("add.headers", "Fields of the event to add as headers, with other names behind a colon"),
    text("add.headers.prefix", "__", "What the names of added headers begin with"),
    text("route.by.field", "", "The field of the row that names the topic"),
    text(DROP_HEADER, "", "The header that lists fields of the row to leave out"),
    flag(
        "drop.fields.from.key",
        Presence::Default("false"),
        "Whether those fields are left out of the key, too",
    ),
    flag(
        "drop.fields.keep.schema.compatible",
        Presence::Default("true"),
        "Whether only fields that may be missing are left out",
    ),
    REPLACE_NULL,
];

/// What becomes of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletes {
    Drop,
    Tombstone,
    /// The row before, and every row says whether it is deleted.
    Rewrite,
}

fn make(_: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let (deletes, keeps_tombstones) = deletes(settings)?;
    let references = |key: &'static str, prefix: &str| {
        let names = settings.list(key).iter();
        let parsed = names.map(|name| Reference::parse(key, settings.text(prefix), name));
        parsed.collect::<Result<Vec<_>, _>>()
    };
    let some = |key: &str| Some(settings.text(key)).filter(|name| !name.is_empty()).map(Text::from);
    Ok(Box::new(ExtractNewRecordState {
        deletes,
        keeps_tombstones,
        fields: references("add.fields", "add.fields.prefix")?,
        headers: references("add.headers", "add.headers.prefix")?,
        route_by: some("route.by.field"),
        drop_header: some(DROP_HEADER),
        drop_from_key: settings.flag("drop.fields.from.key"),
        drop_required: !settings.flag("drop.fields.keep.schema.compatible"),
        replace_null: settings.flag(REPLACE_NULL.name),
        of_after: SchemaCache::default(),
        of_before: SchemaCache::default(),
    }))
}

/// What becomes of deletions, and whether the tombstones behind them are kept.
fn deletes(settings: &Settings) -> Result<(Deletes, bool), Mistake> {
    let old = settings.optional_text(OLD_DELETES);
    let has_old = old.is_some() || settings.get(OLD_TOMBSTONES).is_some();
    let Some(mode) = settings.optional_text(DELETES) else {
        if !has_old {
            return Ok((Deletes::Tombstone, false));
        }
        let deletes = match old {
            Some("none") => Deletes::Tombstone,
            Some("rewrite") => Deletes::Rewrite,
            _ => Deletes::Drop,
        };
        let keeps = settings.get(OLD_TOMBSTONES).is_some() && !settings.flag(OLD_TOMBSTONES);
        return Ok((deletes, keeps));
    };
    if has_old {
        let message = "it stands for `delete.handling.mode` and `drop.tombstones` together: leave \
                       those out";
        return Err(Mistake::new(DELETES, message));
    }
    Ok(match mode {
        "drop" => (Deletes::Drop, false),
        "rewrite" => (Deletes::Rewrite, false),
        "rewrite-with-tombstone" => (Deletes::Rewrite, true),
        _ => (Deletes::Tombstone, false),
    })
}

/// A field of an event to be told elsewhere.
#[derive(Clone, Debug)]
struct Reference {
    /// The struct that it is in, if it is not the event itself.
    within: Option<Text>,
    field: Text,
    /// Its name there.
    name: Text,
}

impl Reference {
    /// `op`, `source.ts_ms` or `table:source_table`.
    fn parse(key: &'static str, prefix: &str, text: &str) -> Result<Reference, Mistake> {
        let wrong = || {
            let form = "a field is written `op`, `source.ts_ms` or `source.ts_ms:changed_at`";
            Mistake::new(key, format!("{form}, not '{text}'"))
        };
        let (path, alias) = match text.split_once(':') {
            Some((path, alias)) => (path.trim(), Some(alias.trim())),
            None => (text, None),
        };
        let (within, field) = match path.split_once('.') {
            Some((within, field)) => (Some(within), field),
            None => (None, path),
        };
        let parts = [within, Some(field), alias];
        if parts.into_iter().flatten().any(|part| part.is_empty() || part.contains([':', '.'])) {
            return Err(wrong());
        }
        let name = match (alias, within) {
            (Some(alias), _) => format!("{prefix}{alias}"),
            (None, Some(within)) => format!("{prefix}{within}_{field}"),
            (None, None) => format!("{prefix}{field}"),
        };
        let within = within.or(match field {
            "op" | "ts_ms" | "ts_us" | "ts_ns" => None,
            "id" | "total_order" | "data_collection_order" => Some("transaction"),
            _ => Some("source"),
        });
        let (within, field) = (within.map(Text::from), Text::from(field));
        Ok(Reference { within, field, name: name.into() })
    }

    /// The field's schema as one that may be missing; none where events have no such field.
    fn schema(&self, event: &Schema) -> Option<Schema> {
        let within = match &self.within {
            Some(within) => event.field(within).map(|field| &field.schema),
            None => Some(event),
        };
        let field = within.and_then(|schema| schema.field(&self.field));
        let field = field.or_else(|| event.field(&self.field))?;
        Some(field.schema.to_builder().default(Value::Null).optional().build())
    }

    fn value(&self, event: &Struct) -> Value {
        let own = || event.get_without_default(&self.field).cloned().unwrap_or_default();
        let Some(within) = &self.within else { return own() };
        match event.get_without_default(within) {
            Some(Value::Struct(inner)) => match inner.get_without_default(&self.field) {
                Some(value) => value.clone(),
                None => own(),
            },
            // What belongs to a transaction is not told of rows of a snapshot.
            Some(_) => Value::Null,
            None => own(),
        }
    }
}

#[derive(Clone, Debug)]
struct ExtractNewRecordState {
    deletes: Deletes,
    keeps_tombstones: bool,
    fields: Vec<Reference>,
    headers: Vec<Reference>,
    route_by: Option<Text>,
    drop_header: Option<Text>,
    drop_from_key: bool,
    drop_required: bool,
    replace_null: bool,
    /// By the events' schemas.
    of_after: SchemaCache,
    of_before: SchemaCache,
}

/// A change event, told by the name of its schema, as Debezium tells it.
pub(super) fn event(data: &SchemaAndValue) -> Option<&Arc<Struct>> {
    let name = data.schema.as_ref()?.name()?;
    match &data.value {
        Value::Struct(event) if name.ends_with(".Envelope") => Some(event),
        _ => None,
    }
}

pub(super) fn row<'a>(event: &'a Struct, part: &str) -> Option<&'a Arc<Struct>> {
    match event.get_without_default(part) {
        Some(Value::Struct(row)) => Some(row),
        _ => None,
    }
}

impl ExtractNewRecordState {
    fn tombstone(&self, record: &mut ConnectRecord) -> Outcome {
        for reference in self.headers.iter().filter(|one| &*one.field == "op") {
            record.add_header(reference.name.clone(), SchemaAndValue::text("d"));
        }
        if self.keeps_tombstones { Outcome::Keep } else { Outcome::Drop }
    }

    fn add_headers(&self, record: &mut ConnectRecord, event: &Struct) {
        for reference in &self.headers {
            if let Some(schema) = reference.schema(event.schema()) {
                let value = SchemaAndValue::new(&schema, reference.value(event));
                record.add_header(reference.name.clone(), value);
            }
        }
    }

    fn route(&self, record: &mut ConnectRecord, row: &Struct) -> Result<(), DataError> {
        let Some(field) = &self.route_by else { return Ok(()) };
        match row.get(field) {
            Some(Value::String(topic)) if !topic.trim().is_empty() => {
                record.topic = topic.clone();
                Ok(())
            }
            Some(Value::String(_) | Value::Null) => Ok(()),
            Some(other) => Err(DataError(format!(
                "cannot route by field '{field}': it is {}, and topics are named by strings",
                other.kind()
            ))),
            None => Err(super::settings::unknown_field(field, row.schema())),
        }
    }

    /// The schema of a row with what is added to it.
    fn schema_of(&self, event: &Schema, row: &Schema) -> Result<Schema, DataError> {
        let basics = row.struct_basics();
        let mut builder = row
            .fields()
            .iter()
            .fold(basics, |builder, field| builder.field(field.name.clone(), field.schema.clone()));
        if self.deletes == Deletes::Rewrite {
            builder = builder.field(DELETED, Schema::optional_string());
        }
        let mut names: Vec<&str> = row.fields().iter().map(|field| &*field.name).collect();
        for reference in &self.fields {
            let Some(schema) = reference.schema(event) else { continue };
            if names.contains(&&*reference.name) {
                return Err(DataError(format!(
                    "cannot add '{0}': the row has a field '{0}'; choose another \
                     `add.fields.prefix`, or a name behind a colon",
                    reference.name
                )));
            }
            names.push(&reference.name);
            builder = builder.field(reference.name.clone(), schema);
        }
        Ok(builder.build())
    }

    fn extract(
        &mut self,
        data: &mut SchemaAndValue,
        event: &Struct,
        row: &Struct,
        deleted: bool,
    ) -> Result<(), DataError> {
        let cache = if deleted { &mut self.of_before } else { &mut self.of_after };
        let mut cache = std::mem::take(cache);
        let schema = cache.get(event.schema(), || self.schema_of(event.schema(), row.schema()));
        *(if deleted { &mut self.of_before } else { &mut self.of_after }) = cache;
        let schema = schema?;
        let rewrite = self.deletes == Deletes::Rewrite;
        let mut values = super::side::all_values(row, rewrite && self.replace_null);
        values.resize(schema.fields().len(), Value::Null);
        if rewrite {
            let at = schema.field_index(DELETED).expect("it was put there");
            values[at] = Value::String(Text::from_static(if deleted { "true" } else { "false" }));
        }
        for reference in &self.fields {
            if let Some(at) = schema.field_index(&reference.name) {
                values[at] = reference.value(event);
            }
        }
        set_struct(data, schema, values);
        Ok(())
    }

    /// Leaves out what the header names.
    fn drop_fields(&self, record: &mut ConnectRecord) -> Result<(), DataError> {
        let Some(name) = &self.drop_header else { return Ok(()) };
        let listed = match record.header(name).map(|header| &header.value) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Array(items)) => items.clone(),
            Some(other) => {
                let found = other.kind();
                let message = format!("header '{name}' must be a list of fields, and is {found}");
                return Err(DataError(message));
            }
        };
        let named = |name: &str| listed.iter().any(|item| item.as_str() == Some(name));
        if self.drop_from_key {
            self.without(&mut record.key, &named);
        }
        self.without(&mut record.value, &named);
        Ok(())
    }

    fn without(&self, data: &mut SchemaAndValue, named: &dyn Fn(&str) -> bool) {
        let Value::Struct(value) = &data.value else { return };
        let of = value.schema();
        let kept: Vec<usize> = (0..of.fields().len())
            .filter(|at| {
                let field = &of.fields()[*at];
                let goes = named(&field.name) && (self.drop_required || field.schema.is_optional());
                !goes
            })
            .collect();
        if kept.len() == of.fields().len() {
            return;
        }
        let schema = kept.iter().fold(of.struct_basics(), |builder, at| {
            let field = &of.fields()[*at];
            builder.field(field.name.clone(), field.schema.clone())
        });
        let values = kept.iter().map(|at| value_at(value, *at, true)).collect();
        set_struct(data, schema.build(), values);
    }
}

/// The field that says whether a row is deleted.
const DELETED: &str = "__deleted";

impl Transform for ExtractNewRecordState {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        if record.value.value.is_null() {
            return Ok(self.tombstone(record));
        }
        let Some(event) = event(&record.value).cloned() else { return Ok(Outcome::Keep) };
        self.add_headers(record, &event);
        let (before, after) = (row(&event, "before"), row(&event, "after"));
        let (row, deleted) = match (before, after) {
            (_, Some(after)) => (after, false),
            (Some(before), None) => (before, true),
            // All rows are gone, and none of them is named.
            (None, None) => return Ok(Outcome::Drop),
        };
        if deleted && self.deletes == Deletes::Drop {
            return Ok(Outcome::Drop);
        }
        self.route(record, row)?;
        if deleted && self.deletes == Deletes::Tombstone {
            record.value = SchemaAndValue::NULL;
        } else {
            self.extract(&mut record.value, &event, row, deleted)?;
        }
        self.drop_fields(record)?;
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
pub(super) mod tests;
