use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};

use crate::pipeline::{ColumnFrom, Format, Pipeline, load_text};

const USER: &str = r#"{"type":"record","name":"User","fields":[
    {"name":"id","type":"long"},{"name":"name","type":["null","string"]}]}"#;

/// A directory with schemas, as pipeline files name them.
fn schemas() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("user.avsc"), USER).unwrap();
    fs::write(path.join("broken.avsc"), "{").unwrap();
    fs::create_dir(path.join("registry")).unwrap();
    fs::write(path.join("registry/7.avsc"), USER).unwrap();
    fs::write(path.join("registry.json"), r#"{"8": "user.avsc"}"#).unwrap();
    let shop = include_bytes!("../../formats/protobuf/fixture/shop.desc");
    fs::write(path.join("shop.desc"), shop).unwrap();
    directory
}

fn load(directory: &Path, name: &str, text: &str) -> Result<Pipeline, String> {
    let loaded = load_text(directory.join(name), text.to_owned());
    loaded.map(|(pipeline, _)| pipeline).map_err(|diagnostics| {
        let lines: Vec<String> = diagnostics
            .0
            .iter()
            .map(|diagnostic| {
                let (line, column) =
                    diagnostic.span.as_ref().map_or((0, 0), |span| span.line_column());
                let help = diagnostic.help.iter().map(|help| format!(" | help: {help}"));
                let help: String = help.collect();
                let message = &diagnostic.message;
                format!("{line}:{column} {message}{help}")
            })
            .collect();
        lines.join("\n").replace(&directory.display().to_string(), "DIR")
    })
}

fn check_mistakes(name: &str, text: &str, expected: Expect) {
    let directory = schemas();
    expected.assert_eq(&load(directory.path(), name, text).unwrap_err());
}

#[test]
fn sql_declares_keys_values_and_metadata() {
    let directory = schemas();
    let text = "
        CREATE TABLE users (trace TEXT METADATA FROM 'header:trace',
                            hs MAP<TEXT, BYTEA> METADATA FROM 'headers',
                            tags ARRAY<ROW<name TEXT, sizes MAP<TEXT, ARRAY<INT>>>>)
          WITH (format = 'json');
        CREATE TABLE accounts (id BIGINT, name TEXT, off BIGINT METADATA FROM 'offset' VIRTUAL)
          WITH ('key.format' = 'json', 'key.fields' = 'id', 'value.format' = 'avro',
                'value.avro.schema_file' = 'user.avsc');
        CREATE TABLE out (id BIGINT METADATA FROM 'key', name TEXT,
                          trace TEXT METADATA FROM 'header:trace-id')
          WITH ('format' = 'avro-confluent', 'avro.registry' = 'registry', 'avro.schema_id' = '7',
                'key.format' = 'json', 'value.without_key' = 'false');
        INSERT INTO out SELECT id, name, 'x' FROM accounts;";
    let pipeline = load(directory.path(), "p.sql", text).unwrap();
    let accounts = pipeline.sources.iter().find(|source| source.name == "accounts").unwrap();
    assert_eq!(accounts.key_format, Format::Json);
    assert!(matches!(accounts.format, Format::Avro(_)));
    let from: Vec<_> = accounts.columns.iter().map(|column| column.from.clone()).collect();
    assert_eq!(from, [ColumnFrom::Key, ColumnFrom::Value, ColumnFrom::Offset]);
    let users = pipeline.sources.iter().find(|source| source.name == "users").unwrap();
    let types: Vec<String> =
        users.schema.fields().iter().map(|field| field.data_type().to_string()).collect();
    expect![[r#"
        Utf8
        Map("entries": non-null Struct("key": non-null Utf8, "value": Binary), unsorted)
        List(Struct("name": Utf8, "sizes": Map("entries": non-null Struct("key": non-null Utf8, "value": List(Int32)), unsorted)))"#]].assert_eq(&types.join("\n"));
    let sink = &pipeline.queries[0].sink;
    assert_eq!((&sink.key[..], &sink.headers[..]), (&[0][..], &[("trace-id".to_owned(), 2)][..]));
    assert_eq!(sink.key_format, Format::Json);
}

#[test]
fn toml_takes_columns_from_schemas() {
    let directory = schemas();
    let text = r#"
        [sources.users]
        format = { type = "avro", registry = "registry.json" }
        columns = { part = { type = "int", from = "partition" } }
        [sources.orders]
        format = { type = "protobuf", descriptor_file = "shop.desc", message = "shop.Order" }
        key_format = { type = "avro", schema_file = "user.avsc" }
        [[queries]]
        from = "users"
        steps = [{ map = { id = "id", name = "name" } }]
        sink = { topic = "out", key = "id", headers = ["name"], value_without_key = false }
    "#;
    let pipeline = load(directory.path(), "p.toml", text).unwrap();
    let columns = |name: &str| {
        let source = pipeline.sources.iter().find(|source| source.name == name).unwrap();
        source.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(columns("users"), ["part", "id", "name"]);
    assert_eq!(columns("orders").len(), 26);
    assert_eq!(pipeline.queries[0].sink.headers, [("name".to_owned(), 1)]);
}

#[test]
fn mistakes_of_formats_have_their_place() {
    check_mistakes(
        "p.toml",
        r#"
[sources.a]
format = { type = "avro", schema_file = "nowhere.avsc", registrY = "x" }
[sources.b]
format = "avro"
[sources.c]
format = { type = "avro", schema_file = "broken.avsc" }
[sources.d]
format = { type = "avro", schema_file = "user.avsc" }
columns = { id = "bigint", nam = "text" }
[sources.e]
format = { type = "avro", schema_file = "user.avsc", framing = "confluence", schema_id = -1 }
[sources.f]
format = { type = "protobuf", descriptor_file = "shop.desc", message = "shop.Ordr" }
[sources.g]
format = { type = "protobuf", message = "shop.Order" }
[sources.h]
format = { type = "protobuf", descriptor_file = "user.avsc", message = "shop.Order" }
[sources.i]
format = { type = "avro", registry = "registry", schema_id = 9 }
[sources.j]
format = "delimited"
[sources.k]
key_format = "csv"
columns = { id = { type = "int", from = "key" } }
[sources.l]
format = { type = "csv", delimiter = "||", escape = "\\" }
columns = { id = "array<int>" }
"#,
        expect![[r#"
            3:41 cannot read the Avro schema DIR/nowhere.avsc: there is no such file | help: paths are relative to the pipeline file
            3:57 unknown key 'registrY' in format 'avro' | help: did you mean 'registry'?
            5:10 format 'avro' needs a schema | help: 'schema' is the schema itself, 'schema_file' a file with it, 'registry' a directory of schemas by their ids, such as 7.avsc
            7:41 not an Avro schema: the schema: EOF while parsing an object at line 1 column 1
            10:28 source 'd': the Avro schema has no field 'nam' | help: did you mean 'name'?
            12:64 unknown framing 'confluence' | help: did you mean 'confluent'?
            12:90 'schema_id' of 'format' of source 'e' must be from 0 to 2147483647, not -1
            14:72 the descriptor set has no message 'shop.Ordr' | help: did you mean 'shop.Order'?
            16:19 format 'protobuf' needs 'descriptor_file' | help: protoc --include_imports --descriptor_set_out=FILE makes one from .proto files
            18:49 not a descriptor set: it ends in the middle of a field
            20:38 the registry has no schema 9; it has 7
            22:10 unknown format 'delimited' | help: it is called 'csv' here
            23:10 source 'k': a key is raw, json, avro or protobuf
            27:38 the delimiter must be one ASCII character
            28:13 source 'l': column 'id': CSV cannot carry values of type int[]"#]],
    );
    check_mistakes(
        "p.sql",
        "CREATE TABLE a (id BIGINT, x MAP<TEXT>) WITH ('value.format' = 'avro', format = 'json',
           'key.fields' = 'idd', 'avro.schema' = '7');
         CREATE TABLE b (id BIGINT) WITH (format = 'protobuf', 'protobuf.descriptor' = 'shop.desc');
         CREATE TABLE o WITH (format = 'avro', 'avro.schema_file' = 'user.avsc');
         CREATE TABLE s (id BIGINT, nam TEXT);
         INSERT INTO o SELECT * FROM s;",
        expect![[r#"
            1:30 expected a comma between columns, found 'MAP'
            1:38 expected ,, found '>'
            1:64 the format is given twice, by format and value.format
            2:27 table 'a' has no column 'idd' | help: did you mean 'id'?
            2:34 unknown option 'avro.schema' of table 'a' | help: there is 'dead_letter.topic', 'format', 'key.fields', 'key.format', 'late.topic', 'on_error', 'start', 'topic', 'value.format', 'value.without_key', 'watermark.delay', 'watermark.future_bound', 'watermark.idle_timeout', 'watermark.late' and 'watermark.lateness'
            3:52 format 'protobuf' needs 'descriptor_file' | help: protoc --include_imports --descriptor_set_out=FILE makes one from .proto files
            3:64 unknown option 'protobuf.descriptor' of table 'b' | help: did you mean 'protobuf.descriptor_file'?
            4:23 topic 'o': the Avro schema has no field 'nam' | help: did you mean 'name'?"#]],
    );
}
