//! What the sink is told.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use super::change::{self, Unavailable};
use crate::config::{ConfigProblem, ConnectorConfig, Settings};
use crate::data::{ConnectRecord, SchemaAndValue, Value};
use crate::postgres::wire::target::{Ssl, SslMode, Target};

/// Where a primary key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMode {
    None,
    Kafka,
    RecordKey,
    RecordValue,
}

/// What dots in a topic are in its table's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Part of the name.
    Own,
    /// Between database, schema and name, as Confluent's sink and Aiven's have it.
    Confluent,
    /// Underscores, as Debezium's sink has it.
    Debezium,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    pub connector: String,
    pub target: Target,
    pub upsert: bool,
    /// Whether only rows that are there are changed.
    pub update: bool,
    pub key_mode: KeyMode,
    pub key_fields: Vec<String>,
    pub delete: bool,
    pub truncate: bool,
    pub table_format: String,
    pub naming: Naming,
    pub fields: Vec<String>,
    /// Which fields become columns, as `topic:field`.
    pub included: Option<Vec<Regex>>,
    pub excluded: Vec<Regex>,
    pub create: bool,
    pub evolve: bool,
    pub batch_size: usize,
    /// Schema and name.
    pub offsets: Option<(String, String)>,
    /// Whether rows that are refused are left out.
    pub tolerant: bool,
    pub unavailable: Unavailable,
}

/// The one of two names of a property that is there.
fn either<'a>(settings: &'a Settings, ours: &str, theirs: &str) -> &'a str {
    settings.optional_text(theirs).or(settings.optional_text(ours)).unwrap_or_default()
}

fn key_mode(settings: &Settings) -> KeyMode {
    match either(settings, "pk.mode", "primary.key.mode") {
        "kafka" => KeyMode::Kafka,
        "record_key" => KeyMode::RecordKey,
        "record_value" => KeyMode::RecordValue,
        _ => KeyMode::None,
    }
}

fn key_fields(settings: &Settings) -> &[String] {
    match settings.get("primary.key.fields") {
        Some(_) => settings.list("primary.key.fields"),
        None => settings.list("pk.fields"),
    }
}

/// Finds mistakes that no key has alone.
pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    let mut problem = |key: &str, message: String, help: &str| {
        let (key, help) = (key.to_owned(), Some(help.to_owned()));
        // The value may hold a password.
        problems.push(ConfigProblem { key, value: None, message, help });
    };
    if let Err(reason) = parse_url(settings.text("connection.url")) {
        let help = "for example `jdbc:postgresql://localhost:5432/shop?sslmode=require`";
        problem("connection.url", format!("`connection.url` {reason}"), help);
    }
    for key in ["field.include.list", "field.exclude.list"] {
        if let Err(message) = field_patterns(settings, key) {
            problem(key, message, "for example `orders:secret, .*:password`");
        }
    }
    let mode = key_mode(settings);
    let insert_mode = settings.text("insert.mode");
    if insert_mode != "insert" && mode == KeyMode::None {
        let message =
            format!("`insert.mode = {insert_mode}` needs to know what makes a row the same one");
        problem("pk.mode", message, "set `pk.mode`, for example to `record_key`");
    }
    if settings.flag("delete.enabled") && mode != KeyMode::RecordKey {
        let message = "`delete.enabled` needs the key of the row that is to go";
        problem("pk.mode", message.to_owned(), "set `pk.mode = record_key`");
    }
    if mode == KeyMode::RecordValue && key_fields(settings).is_empty() {
        let message = "`pk.mode = record_value` needs to know which fields make the key";
        problem("pk.fields", message.to_owned(), "for example `pk.fields = id`");
    }
}

impl SinkConfig {
    /// Of properties that [`check`] has found right.
    pub fn new(config: &ConnectorConfig) -> Result<SinkConfig, String> {
        let settings = config.settings();
        let mut target = parse_url(settings.text("connection.url"))?;
        let user = either(settings, "connection.user", "connection.username");
        if !user.is_empty() {
            target.user = user.to_owned();
        }
        if let Some(password) = settings.optional_text("connection.password") {
            target.password = Some(password.to_owned());
        }
        target.connect_timeout =
            Duration::from_millis(settings.integer("connection.timeout.ms") as u64);
        target.application_name = format!("Millstream {}", config.name());
        let basic = settings.optional_text("schema.evolution") == Some("basic");
        let format = either(settings, "table.name.format", "collection.name.format");
        let offsets = settings.text("offsets.table");
        Ok(SinkConfig {
            connector: config.name().to_owned(),
            target,
            upsert: settings.text("insert.mode") == "upsert",
            update: settings.text("insert.mode") == "update",
            key_mode: key_mode(settings),
            key_fields: key_fields(settings).to_vec(),
            delete: settings.flag("delete.enabled"),
            truncate: settings.flag("truncate.enabled"),
            table_format: if format.is_empty() { "${topic}" } else { format }.to_owned(),
            naming: match config.text("connector.class") {
                class if class.starts_with("io.debezium.") => Naming::Debezium,
                class if class.contains("JdbcSinkConnector") => Naming::Confluent,
                _ => Naming::Own,
            },
            fields: settings.list("fields.whitelist").to_vec(),
            included: field_patterns(settings, "field.include.list")?,
            excluded: field_patterns(settings, "field.exclude.list")?.unwrap_or_default(),
            create: settings.flag("auto.create") || basic,
            evolve: settings.flag("auto.evolve") || basic,
            batch_size: settings.integer("batch.size") as usize,
            offsets: (!offsets.is_empty()).then(|| schema_and_name(offsets)),
            tolerant: settings.text("errors.tolerance") == "all",
            unavailable: Unavailable::new(settings.text("unavailable.value.placeholder")),
        })
    }

    /// Schema and name of the table of a record. An error says why it has none.
    pub fn table_of(&self, record: &ConnectRecord) -> Result<(String, String), String> {
        let topic = match self.naming {
            Naming::Debezium => record.topic.replace('.', "_"),
            Naming::Own | Naming::Confluent => record.topic.to_string(),
        };
        let named = |format: &str| -> Result<String, String> {
            Ok(of_source(format, &record.value)?.replace("${topic}", &topic))
        };
        if self.naming == Naming::Confluent {
            return self.qualified(&named(&self.table_format)?);
        }
        // A dot of the topic's own is part of a name.
        match self.table_format.split_once('.').filter(|(schema, _)| !schema.contains("${source")) {
            Some((schema, name)) => Ok((named(schema)?, named(name)?)),
            None => Ok(("public".to_owned(), named(&self.table_format)?)),
        }
    }

    /// Whether it takes a change event to know the table, as `${source.table}` does.
    pub fn names_tables_by_source(&self) -> bool {
        self.table_format.contains(OF_SOURCE)
    }

    /// `table`, `schema.table` or `database.schema.table`.
    fn qualified(&self, name: &str) -> Result<(String, String), String> {
        let parts: Vec<&str> = name.split('.').collect();
        let (schema, name) = match parts[..] {
            [name] => ("public", name),
            [schema, name] => (schema, name),
            [database, schema, name] if database == self.target.database => (schema, name),
            _ => {
                return Err(format!(
                    "'{name}' is no table: dots stand between database, schema and table, and the \
                     database is '{}'; name another by `table.name.format`, or the topic by a \
                     RegexRouter",
                    self.target.database
                ));
            }
        };
        Ok((schema.to_owned(), name.to_owned()))
    }

    /// Whether a field of a topic becomes a column.
    pub fn takes(&self, topic: &str, field: &str) -> bool {
        if self.included.is_none() && self.excluded.is_empty() {
            return true;
        }
        let full = format!("{topic}:{field}");
        let any = |all: &[Regex]| all.iter().any(|one| one.is_match(&full));
        self.included.as_ref().is_none_or(|all| any(all)) && !any(&self.excluded)
    }
}

/// How what a change event says of its source begins in a format.
const OF_SOURCE: &str = "${source.";

/// The format with what a change event says of its source in place of `${source.table}` and alike.
fn of_source(format: &str, value: &SchemaAndValue) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), format);
    while let Some((before, after)) = rest.split_once(OF_SOURCE) {
        let unclosed = || format!("'{format}': `{OF_SOURCE}` without a `}}`");
        let (field, after) = after.split_once('}').ok_or_else(unclosed)?;
        let source = change::part(value, "source");
        let found = source.and_then(|source| change::part(&source, field));
        match found.map(|found| found.value) {
            Some(Value::String(text)) => {
                out.push_str(before);
                out.push_str(&text);
            }
            _ => {
                return Err(format!(
                    "'{format}': a record without a text in `source.{field}` names no table"
                ));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Patterns of `topic:field`.
fn field_patterns(settings: &Settings, key: &'static str) -> Result<Option<Vec<Regex>>, String> {
    let list = settings.optional_text(key);
    let patterns = list.map(|list| crate::postgres::config::patterns(key, list));
    patterns.transpose().map_err(|error| error.to_string())
}

fn schema_and_name(text: &str) -> (String, String) {
    let (schema, name) = text.split_once('.').unwrap_or(("public", text));
    (schema.to_owned(), name.to_owned())
}

/// `jdbc:postgresql://user:password@host:port/database?sslmode=require`, as libpq and its kin have
/// it.
fn parse_url(url: &str) -> Result<Target, String> {
    let url = url.strip_prefix("jdbc:").unwrap_or(url);
    let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"));
    let rest = rest.ok_or("does not begin with `jdbc:postgresql://` or `postgresql://`")?;
    let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (user, address),
        None => ("", authority),
    };
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password)?)),
        None => (user, None),
    };
    let (host, port) = match address.rsplit_once(':') {
        // A colon within brackets is part of an address.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (address, "5432"),
    };
    let host = host.trim_matches(['[', ']']);
    let mut target = Target {
        host: if host.is_empty() { "localhost".to_owned() } else { decoded(host)? },
        port: port.parse().map_err(|_| format!("has '{port}' for a port"))?,
        database: decoded(database)?,
        user: decoded(user)?,
        password,
        ssl: Ssl { mode: SslMode::default(), root_cert: None, cert: None, key: None },
        connect_timeout: Duration::from_secs(30),
        application_name: String::new(),
    };
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = decoded(value)?;
        match name {
            "user" => target.user = value,
            "password" => target.password = Some(value),
            "host" => target.host = value,
            "port" => target.port = value.parse().map_err(|_| format!("has port '{value}'"))?,
            "sslmode" => {
                let mode = SslMode::parse(&value);
                target.ssl.mode = mode.ok_or_else(|| format!("has no sslmode '{value}'"))?;
            }
            "ssl" if value != "false" => target.ssl.mode = SslMode::VerifyFull,
            "sslrootcert" => target.ssl.root_cert = Some(PathBuf::from(value)),
            "sslcert" => target.ssl.cert = Some(PathBuf::from(value)),
            "sslkey" => target.ssl.key = Some(PathBuf::from(value)),
            // What tunes the JDBC driver.
            _ => {}
        }
    }
    if target.database.is_empty() {
        return Err("names no database".to_owned());
    }
    if target.user.is_empty() {
        target.user =
            std::env::var("PGUSER").or_else(|_| std::env::var("USER")).unwrap_or_default();
    }
    Ok(target)
}

/// Without `%20` and the like.
fn decoded(text: &str) -> Result<String, String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
                _ => return Err("has a `%` without two digits behind it".to_owned()),
            },
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| "is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let target =
            parse_url("jdbc:postgresql://db.example:6000/shop?sslmode=require&x=1").unwrap();
        assert_eq!(target.at(), "db.example:6000/shop");
        assert_eq!(target.ssl.mode, SslMode::Require);
        let target = parse_url("postgres://me:p%40ss@[::1]/a?connectTimeout=3").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 5432));
        assert_eq!((target.user.as_str(), target.password.as_deref()), ("me", Some("p@ss")));
        let target = parse_url("postgresql:///a?host=/run/pg&port=7&user=u").unwrap();
        assert_eq!(target.at(), "/run/pg:7/a");
        for (url, reason) in [
            ("mysql://x/y", "does not begin with"),
            ("postgresql://localhost", "names no database"),
            ("postgresql://localhost:x/y", "has 'x' for a port"),
            ("postgresql://localhost/y?sslmode=no", "has no sslmode 'no'"),
            ("postgresql://localhost/%4", "has a `%` without"),
        ] {
            assert!(parse_url(url).unwrap_err().contains(reason), "{url}");
        }
    }

    fn config(class: &str, database: &str, topic: &str, more: &[(&str, &str)]) -> SinkConfig {
        let url = format!("postgresql:///{database}?host=/run/pg&user=u");
        let properties = [("connector.class", class), ("connection.url", &url), ("topics", topic)];
        let properties = properties.iter().chain(more);
        let properties = properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let properties = properties.collect();
        let config = crate::validate("c", &properties, std::path::Path::new(".")).unwrap();
        SinkConfig::new(&config).unwrap()
    }

    fn table(class: &str, database: &str, format: &str, topic: &str) -> String {
        let config = config(class, database, topic, &[("table.name.format", format)]);
        let source = Value::map([(Value::string("table"), Value::string("customers"))].into());
        let value = Value::map([(Value::string("source"), source)].into());
        let value = SchemaAndValue::schemaless(value);
        let record = ConnectRecord::new(&topic.into(), SchemaAndValue::NULL, value);
        match config.table_of(&record) {
            Ok((schema, name)) => format!("{schema}|{name}"),
            Err(reason) => reason,
        }
    }

    /// A tombstone says nothing of its source: it failed the sink, right behind the deletion that
    /// had done all there was to do.
    #[test]
    fn a_tombstone_asks_for_nothing_where_its_source_would_name_the_table() {
        let of = |format: &str| {
            let more = [
                ("table.name.format", format),
                ("delete.enabled", "true"),
                ("pk.mode", "record_key"),
                ("pk.fields", "id"),
            ];
            let config = config("postgres-sink", "d", "t", &more);
            let key = SchemaAndValue::text("k".to_owned());
            let record = ConnectRecord::new(&"t".into(), key, SchemaAndValue::NULL);
            change::of_record(&record, &config).unwrap()
        };
        assert_eq!(of("x_${source.table}"), change::Change::Nothing);
        assert!(matches!(of("${topic}"), change::Change::Delete(_)));
    }

    /// A topic of Debezium's became a table with dots in its name.
    #[test]
    fn tables_are_named_as_the_sink_of_that_class_names_them() {
        let debezium = "io.debezium.connector.jdbc.JdbcSinkConnector";
        let confluent = "io.confluent.connect.jdbc.JdbcSinkConnector";
        let topic = "dbserver1.inventory.customers";
        for (class, database, format, topic, expected) in [
            (debezium, "d", "${topic}", topic, "public|dbserver1_inventory_customers"),
            (debezium, "d", "shop.${topic}", topic, "shop|dbserver1_inventory_customers"),
            (debezium, "d", "${source.table}", topic, "public|customers"),
            (debezium, "d", "${source.table}_${topic}", "a.b", "public|customers_a_b"),
            (debezium, "d", "${source.nothing}", topic, "names no table"),
            (confluent, "d", "${topic}", "customers", "public|customers"),
            (confluent, "d", "${topic}", "inventory.customers", "inventory|customers"),
            (confluent, "dbserver1", "${topic}", topic, "inventory|customers"),
            (confluent, "d", "${topic}", topic, "the database is 'd'"),
            (confluent, "d", "s.${topic}", "customers", "s|customers"),
            ("postgres-sink", "d", "${topic}", topic, "public|dbserver1.inventory.customers"),
            ("postgres-sink", "d", "s.${topic}", "a.b", "s|a.b"),
        ] {
            let named = table(class, database, format, topic);
            assert!(named.contains(expected), "{class} {format} {topic}: {named}");
        }
    }
}
