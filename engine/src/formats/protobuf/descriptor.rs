//! Descriptor sets, as `protoc --descriptor_set_out` writes them: the messages of .proto files, in
//! Protocol Buffers themselves (google/protobuf/descriptor.proto).

use std::collections::HashMap;
use std::sync::Arc;

use super::wire::{Broken, Fields, Wire};

/// Messages of all files together.
const MESSAGES_MAX: usize = 100_000;

/// All messages and enums of a descriptor set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    pub messages: Vec<Message>,
    enums: Vec<Enum>,
    names: HashMap<String, Named>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Message(usize),
    Enum(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `package.Outer.Inner`.
    pub name: String,
    pub fields: Vec<MessageField>,
    /// The entry of a map: a key and a value.
    pub is_map_entry: bool,
    /// The way to it from its file, as Confluent's framing has it.
    pub indexes: Vec<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageField {
    pub name: String,
    pub number: u32,
    pub kind: FieldKind,
    pub repeated: bool,
    pub packed: bool,
    /// Whether it is known if it was set; else a missing field has its default.
    pub presence: bool,
    pub required: bool,
    /// The fields of one `oneof` have one number.
    pub oneof: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(Arc<Enum>),
    Message(usize),
    Group,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    pub values: Vec<(String, i32)>,
}

impl Enum {
    pub fn name(&self, number: i32) -> Option<&str> {
        self.values.iter().find(|(_, value)| *value == number).map(|(name, _)| name.as_str())
    }

    pub fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }
}

/// A field before the types that it names are known.
struct Pending {
    message: usize,
    field: usize,
    type_name: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Proto2,
    Proto3,
    /// Editions 2023 on: presence unless the field, its message or its file says otherwise.
    Edition {
        presence: bool,
        packed: bool,
    },
}

impl Pool {
    pub fn parse(bytes: &[u8]) -> Result<Pool, String> {
        let mut pool = Pool::default();
        let mut pending = Vec::new();
        let mut set = Fields { rest: bytes };
        while let Some((number, value)) = set.next()? {
            if let (1, Wire::Bytes(file)) = (number, value) {
                pool.file(file, &mut pending)?;
            }
        }
        if pool.messages.is_empty() {
            return Err("there is no message in it".to_owned());
        }
        for Pending { message, field, type_name } in pending {
            let found = pool.names.get(type_name.trim_start_matches('.')).copied();
            let kind = match found {
                Some(Named::Message(index)) => FieldKind::Message(index),
                Some(Named::Enum(index)) => FieldKind::Enum(Arc::new(pool.enums[index].clone())),
                None => {
                    let missing = type_name.trim_start_matches('.');
                    return Err(format!("it has no '{missing}': protoc needs --include_imports"));
                }
            };
            let field = &mut pool.messages[message].fields[field];
            if field.kind != FieldKind::Group {
                field.kind = kind;
            }
        }
        Ok(pool)
    }

    pub fn message(&self, name: &str) -> Option<usize> {
        match self.names.get(name) {
            Some(Named::Message(index)) => Some(*index),
            _ => None,
        }
    }

    fn file(&mut self, bytes: &[u8], pending: &mut Vec<Pending>) -> Result<(), String> {
        let (mut package, mut syntax, mut edition) = (String::new(), String::new(), false);
        let (mut messages, mut enums) = (Vec::new(), Vec::new());
        let mut features = Features::default();
        let mut file = Fields { rest: bytes };
        while let Some((number, value)) = file.next()? {
            match (number, value) {
                (2, Wire::Bytes(name)) => package = text(name)?,
                (4, Wire::Bytes(message)) => messages.push(message),
                (5, Wire::Bytes(of)) => enums.push(of),
                (8, Wire::Bytes(options)) => features.read(options, 50)?,
                (12, Wire::Bytes(name)) => syntax = text(name)?,
                (14, Wire::Varint(_)) => edition = true,
                _ => {}
            }
        }
        let syntax = match syntax.as_str() {
            _ if edition => features.applied(Syntax::Edition { presence: true, packed: true }),
            "proto3" => Syntax::Proto3,
            _ => Syntax::Proto2,
        };
        for of in enums {
            self.enumeration(of, &package)?;
        }
        for (index, message) in messages.into_iter().enumerate() {
            self.add_message(message, &package, vec![index as i32], syntax, pending)?;
        }
        Ok(())
    }

    fn add_message(
        &mut self,
        bytes: &[u8],
        scope: &str,
        indexes: Vec<i32>,
        syntax: Syntax,
        pending: &mut Vec<Pending>,
    ) -> Result<(), String> {
        if self.messages.len() == MESSAGES_MAX || indexes.len() > 32 {
            return Err("it has too many messages".to_owned());
        }
        let (mut name, mut is_map_entry) = (String::new(), false);
        let (mut fields, mut nested, mut enums) = (Vec::new(), Vec::new(), Vec::new());
        let mut features = Features::default();
        let mut message = Fields { rest: bytes };
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (1, Wire::Bytes(own)) => name = text(own)?,
                (2, Wire::Bytes(field)) => fields.push(field),
                (3, Wire::Bytes(inner)) => nested.push(inner),
                (4, Wire::Bytes(inner)) => enums.push(inner),
                (7, Wire::Bytes(options)) => {
                    is_map_entry = varint_of(options, 7)? == Some(1);
                    features.read(options, 12)?;
                }
                _ => {}
            }
        }
        let syntax = features.applied(syntax);
        let name = if scope.is_empty() { name } else { format!("{scope}.{name}") };
        let at = self.messages.len();
        self.names.insert(name.clone(), Named::Message(at));
        let mut own = Vec::with_capacity(fields.len());
        for bytes in fields {
            let (field, type_name) = message_field(bytes, syntax)?;
            if let Some(type_name) = type_name {
                pending.push(Pending { message: at, field: own.len(), type_name });
            }
            own.push(field);
        }
        let of = Message { name: name.clone(), fields: own, is_map_entry, indexes };
        self.messages.push(of);
        for inner in enums {
            self.enumeration(inner, &name)?;
        }
        for (index, inner) in nested.into_iter().enumerate() {
            let mut indexes = self.messages[at].indexes.clone();
            indexes.push(index as i32);
            self.add_message(inner, &name, indexes, syntax, pending)?;
        }
        Ok(())
    }

    fn enumeration(&mut self, bytes: &[u8], scope: &str) -> Result<(), String> {
        let (mut name, mut values) = (String::new(), Vec::new());
        let mut fields = Fields { rest: bytes };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Wire::Bytes(own)) => name = text(own)?,
                (2, Wire::Bytes(value)) => {
                    let (mut name, mut number) = (String::new(), 0);
                    let mut fields = Fields { rest: value };
                    while let Some((field, value)) = fields.next()? {
                        match (field, value) {
                            (1, Wire::Bytes(own)) => name = text(own)?,
                            (2, Wire::Varint(value)) => number = value as i32,
                            _ => {}
                        }
                    }
                    values.push((name, number));
                }
                _ => {}
            }
        }
        let name = if scope.is_empty() { name } else { format!("{scope}.{name}") };
        self.names.insert(name, Named::Enum(self.enums.len()));
        self.enums.push(Enum { values });
        Ok(())
    }
}

/// The features of an edition that change what bytes mean.
#[derive(Default)]
struct Features {
    /// 1 explicit, 2 implicit, 3 required.
    presence: Option<u64>,
    /// 1 packed, 2 expanded.
    repeated: Option<u64>,
}

impl Features {
    /// From the options of a file, message or field, in which the features have this number.
    fn read(&mut self, options: &[u8], number: u32) -> Result<(), String> {
        let mut fields = Fields { rest: options };
        while let Some((field, value)) = fields.next()? {
            if let (true, Wire::Bytes(features)) = (field == number, value) {
                self.presence = varint_of(features, 1)?.or(self.presence);
                self.repeated = varint_of(features, 3)?.or(self.repeated);
            }
        }
        Ok(())
    }

    fn applied(&self, syntax: Syntax) -> Syntax {
        let Syntax::Edition { presence, packed } = syntax else { return syntax };
        Syntax::Edition {
            presence: self.presence.map_or(presence, |presence| presence != 2),
            packed: self.repeated.map_or(packed, |repeated| repeated == 1),
        }
    }
}

fn message_field(bytes: &[u8], syntax: Syntax) -> Result<(MessageField, Option<String>), String> {
    let (mut name, mut number, mut label, mut kind) = (String::new(), 0, 0, 0);
    let (mut type_name, mut oneof, mut packed, mut optional) = (None, None, None, false);
    let mut features = Features::default();
    let mut fields = Fields { rest: bytes };
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Wire::Bytes(own)) => name = text(own)?,
            (3, Wire::Varint(value)) => number = value as u32,
            (4, Wire::Varint(value)) => label = value,
            (5, Wire::Varint(value)) => kind = value,
            (6, Wire::Bytes(of)) => type_name = Some(text(of)?),
            (8, Wire::Bytes(options)) => {
                packed = varint_of(options, 2)?;
                features.read(options, 21)?;
            }
            (9, Wire::Varint(index)) => oneof = Some(index as u32),
            (17, Wire::Varint(value)) => optional = value == 1,
            _ => {}
        }
    }
    let syntax = features.applied(syntax);
    let repeated = label == 3;
    let kind = field_kind(kind)?;
    let is_message = matches!(kind, FieldKind::Message(_) | FieldKind::Group);
    let (presence, packs) = match syntax {
        Syntax::Proto2 => (true, false),
        Syntax::Proto3 => (optional || oneof.is_some(), true),
        Syntax::Edition { presence, packed } => (presence || oneof.is_some(), packed),
    };
    let packable = !matches!(kind, FieldKind::String | FieldKind::Bytes) && !is_message;
    let field = MessageField {
        name,
        number,
        kind,
        repeated,
        packed: packed.map_or(packs, |packed| packed == 1) && packable,
        presence: presence || is_message,
        required: label == 2 || features.presence == Some(3),
        // The `oneof` of an optional field of proto3 is made up, and holds it alone.
        oneof: oneof.filter(|_| !optional),
    };
    Ok((field, type_name))
}

fn field_kind(number: u64) -> Result<FieldKind, String> {
    Ok(match number {
        1 => FieldKind::Double,
        2 => FieldKind::Float,
        3 => FieldKind::Int64,
        4 => FieldKind::Uint64,
        5 => FieldKind::Int32,
        6 => FieldKind::Fixed64,
        7 => FieldKind::Fixed32,
        8 => FieldKind::Bool,
        9 => FieldKind::String,
        10 => FieldKind::Group,
        // Which one is known by its name.
        11 => FieldKind::Message(0),
        12 => FieldKind::Bytes,
        13 => FieldKind::Uint32,
        14 => FieldKind::Enum(Arc::new(Enum { values: Vec::new() })),
        15 => FieldKind::Sfixed32,
        16 => FieldKind::Sfixed64,
        17 => FieldKind::Sint32,
        18 => FieldKind::Sint64,
        other => return Err(format!("there is no type {other}")),
    })
}

fn varint_of(bytes: &[u8], number: u32) -> Result<Option<u64>, Broken> {
    let mut found = None;
    let mut fields = Fields { rest: bytes };
    while let Some((field, value)) = fields.next()? {
        if let (true, Wire::Varint(value)) = (field == number, value) {
            found = Some(value);
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> Result<String, Broken> {
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a name is not UTF-8")
}
