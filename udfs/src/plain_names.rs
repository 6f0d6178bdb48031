//! Exports of languages whose names are plain words.
//!
//! AssemblyScript cannot export `email-domain`, nor `millstream:udf/functions@0.1.0#call`, which is
//! what the canonical ABI calls them. Where a module comes with its WIT, `email_domain` and `call`
//! do as well; so do `cabi_post_email_domain` and `cabi_post_call`.

use std::collections::{HashMap, HashSet};

use wasmparser::{BinaryReader, BinaryReaderError};
use wit_parser::{Resolve, WorldId, WorldItem};

const HEADER_LENGTH: usize = 8;
const EXPORT_SECTION: u8 = 7;
const POST_RETURN: &str = "cabi_post_";

/// The module with the names that the canonical ABI has for the exports of a world.
pub fn to_canonical(
    wasm: &[u8],
    resolve: &Resolve,
    world: WorldId,
) -> Result<Vec<u8>, BinaryReaderError> {
    let names = canonical_by_plain(resolve, world);
    let mut renamed = wasm[..HEADER_LENGTH].to_vec();
    let mut reader = BinaryReader::new(&wasm[HEADER_LENGTH..], HEADER_LENGTH);
    while !reader.eof() {
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()? as usize;
        let at = reader.original_position();
        let section = reader.read_bytes(length)?;
        renamed.push(id);
        match id {
            EXPORT_SECTION => write_bytes(&mut renamed, &exports(section, at, &names)?),
            _ => write_bytes(&mut renamed, section),
        }
    }
    Ok(renamed)
}

/// Canonical names of a world's functions by the words that stand for them.
fn canonical_by_plain(resolve: &Resolve, world: WorldId) -> HashMap<String, String> {
    let mut names = HashMap::new();
    let mut add = |function: &str, canonical: String| {
        let plain = function.replace('-', "_");
        names.insert(format!("{POST_RETURN}{plain}"), format!("{POST_RETURN}{canonical}"));
        names.insert(plain, canonical);
    };
    for (key, item) in &resolve.worlds[world].exports {
        let name = resolve.name_world_key(key);
        match item {
            WorldItem::Function(_) => add(&name, name.clone()),
            WorldItem::Interface { id, .. } => {
                for function in resolve.interfaces[*id].functions.keys() {
                    add(function, format!("{name}#{function}"));
                }
            }
            WorldItem::Type { .. } => {}
        }
    }
    names
}

/// The section of exports, with canonical names for those that have none yet.
fn exports(
    section: &[u8],
    at: usize,
    names: &HashMap<String, String>,
) -> Result<Vec<u8>, BinaryReaderError> {
    let mut reader = BinaryReader::new(section, at);
    let count = reader.read_var_u32()?;
    let mut exports = Vec::new();
    for _ in 0..count {
        let name = reader.read_string()?;
        exports.push((name, reader.read_u8()?, reader.read_var_u32()?));
    }
    let there: HashSet<&str> = exports.iter().map(|(name, ..)| *name).collect();
    let mut renamed = Vec::with_capacity(section.len());
    write_u32(&mut renamed, count);
    for (name, kind, index) in &exports {
        let canonical = names.get(*name).filter(|name| !there.contains(name.as_str()));
        write_bytes(&mut renamed, canonical.map_or(*name, String::as_str).as_bytes());
        renamed.push(*kind);
        write_u32(&mut renamed, *index);
    }
    Ok(renamed)
}

fn write_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    write_u32(to, u32::try_from(bytes.len()).expect("a module is not so long"));
    to.extend_from_slice(bytes);
}

/// LEB128.
fn write_u32(to: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIT: &str = "package a:b@1.0.0;
        interface things { email-domain: func(s: string) -> string; }
        world udf { export things; export email-of: func(s: string) -> string; export f: func(); }";

    #[test]
    fn plain_names_become_canonical_ones_and_the_rest_stays() {
        let module = wat::parse_str(
            r#"(module
                (memory (export "memory") 1)
                (func $a (export "email_domain") (export "cabi_post_email_domain"))
                (func (export "email_of"))
                (func (export "f"))
                (func (export "other_one"))
                (data (i32.const 0) "email_of"))"#,
        )
        .unwrap();
        let mut resolve = Resolve::default();
        let package = resolve.push_str("a.wit", WIT).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        let renamed = to_canonical(&module, &resolve, world).unwrap();
        let text = wasmparser::Parser::new(0).parse_all(&renamed).find_map(|payload| {
            let wasmparser::Payload::ExportSection(exports) = payload.unwrap() else { return None };
            Some(exports.into_iter().map(|export| export.unwrap().name.to_owned()).collect())
        });
        let names: Vec<String> = text.unwrap();
        assert_eq!(
            names,
            [
                "memory",
                "a:b/things@1.0.0#email-domain",
                "cabi_post_a:b/things@1.0.0#email-domain",
                "email-of",
                "f",
                "other_one",
            ]
        );
        wasmparser::validate(&renamed).unwrap();
        // What has them already stays as it was.
        assert_eq!(to_canonical(&renamed, &resolve, world).unwrap(), renamed);
        for length in HEADER_LENGTH..module.len() {
            let _ = to_canonical(&module[..length], &resolve, world);
        }
    }
}
