//! What the connector is told: Debezium's properties, by Debezium's names.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::keys;
use super::notifications::NotificationConfig;
use super::snapshot::is_select;
use super::types::mask::{ALGORITHMS, Hash};
use super::types::{
    Binary, Decimals, Hstore, Intervals, Mask, TimePrecision, TypeOptions, Unknown,
};
use super::wire::target::{Ssl, SslMode, Target};
use crate::config::{ConfigProblem, ConnectorConfig, Settings, Value};
use crate::data::Text;
use crate::plugin;

/// A property that only turns out wrong when it is looked at closely.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("`{key}`: '{pattern}' is no regular expression: {error}")]
    Pattern { key: &'static str, pattern: String, error: regex::Error },
    #[error("`{key}`: '{text}' must be `pattern:column,column`, several of them separated by `;`")]
    KeyColumns { key: &'static str, text: String },
    #[error("`{key}`: {problem}")]
    Mask { key: String, problem: String },
    #[error("`{key}`: {problem}")]
    Select { key: String, problem: &'static str },
    #[error("`slot.name`: '{0}' may have lower-case letters, digits and `_` only, at most 63")]
    SlotName(String),
    #[error("`signal.enabled.channels`: signals come by `source` and `kafka`, not by '{0}'")]
    Channel(String),
    #[error("`notification.enabled.channels`: notifications go to `log` and `sink`, not to '{0}'")]
    NotificationChannel(String),
    #[error(
        "`notification.sink.topic.name` is missing: `notification.enabled.channels` has `sink`, and \
         needs a topic to write to"
    )]
    NotificationTopic,
    #[error("`skipped.operations`: '{0}' is none of c, u, d and t, or none for all")]
    Operation(String),
    #[error("`signal.data.collection`: '{0}' must be schema.table")]
    SignalTable(String),
}

/// All of it, checked.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    pub target: Target,
    /// What the connector is called.
    pub connector: Text,
    /// What topics and schemas are named after.
    pub prefix: Text,
    pub slot: SlotConfig,
    pub publication: PublicationConfig,
    pub snapshot: SnapshotConfig,
    pub tables: Selection,
    pub columns: Selection,
    pub key_columns: Vec<(Regex, Vec<String>)>,
    /// By patterns of columns; the first that matches counts.
    pub masks: Vec<(Vec<Regex>, Mask)>,
    pub types: TypeOptions,
    pub events: EventConfig,
    pub heartbeat: Heartbeat,
    /// How often at least the server is told how far we are.
    pub status_interval: Duration,
    pub retry: Retry,
    pub accept_new_timeline: bool,
    pub signals: SignalConfig,
    pub notifications: NotificationConfig,
    /// Debezium's defaults where ours differ.
    pub debezium: bool,
    pub partitions: i32,
}

#[derive(Clone, Debug)]
pub struct SlotConfig {
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct PublicationConfig {
    pub name: String,
    pub autocreate: Autocreate,
    /// Changes of partitions show as changes of the partitioned table.
    pub via_root: bool,
}

/// `publication.autocreate.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autocreate {
    Filtered,
    AllTables,
    Disabled,
    NoTables,
}

#[derive(Clone, Debug)]
pub struct SnapshotConfig {
    pub mode: SnapshotMode,
    pub threads: usize,
    /// By `schema.table`, the SELECT whose rows are read in place of the table's.
    pub selects: BTreeMap<String, String>,
}

/// `snapshot.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    Initial,
    InitialOnly,
    NoData,
    WhenNeeded,
    Always,
}

/// What is in events besides the row.
#[derive(Clone, Debug)]
pub struct EventConfig {
    pub tombstones: bool,
    /// The codes of the operations left out.
    pub skipped: String,
    pub placeholder: Text,
    pub transactions: bool,
    pub schema_changes: bool,
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub interval: Option<Duration>,
    pub topic_prefix: String,
    pub query: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Retry {
    pub delay_min: Duration,
    pub delay_max: Duration,
    /// Below zero: without end.
    pub attempts_max: i64,
}

/// What may be asked for while the connector runs, and how.
#[derive(Clone, Debug)]
pub struct SignalConfig {
    /// The table that signals are inserted into, by schema and name.
    pub table: Option<(String, String)>,
    pub topic: Option<String>,
    /// Rows of a chunk.
    pub chunk_rows: usize,
    /// Whether nothing may be written to the database.
    pub read_only: bool,
}

impl SignalConfig {
    pub fn is_table(&self, schema: &str, name: &str) -> bool {
        self.table.as_ref().is_some_and(|(of, known)| of == schema && known == name)
    }
}

/// Which names are taken: by patterns for all that are, or for all that are not.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    schemas: Filter,
    names: Filter,
}

#[derive(Clone, Debug, Default)]
struct Filter {
    include: Option<Vec<Regex>>,
    exclude: Vec<Regex>,
}

impl Filter {
    fn takes(&self, name: &str) -> bool {
        let any = |all: &[Regex]| all.iter().any(|one| one.is_match(name));
        self.include.as_ref().is_none_or(|all| any(all)) && !any(&self.exclude)
    }
}

impl Selection {
    /// Whether the table, or the column with its table before it, is taken.
    pub fn takes(&self, schema: &str, rest: &str) -> bool {
        self.schemas.takes(schema) && self.names.takes(&format!("{schema}.{rest}"))
    }
}

/// Longest name of a slot that PostgreSQL has.
const SLOT_NAME_LEN_MAX: usize = 63;

impl PostgresConfig {
    pub fn new(config: &ConnectorConfig) -> Result<PostgresConfig, ConfigError> {
        let text = |key: &str| config.text(key).to_owned();
        let millis = |key: &str| Duration::from_millis(config.integer(key).max(0) as u64);
        let flag = |key: &str| config.text(key) == "true";
        Ok(PostgresConfig {
            target: target(config),
            connector: Text::from(config.name()),
            prefix: Text::from(config.text("topic.prefix")),
            slot: SlotConfig { name: slot_name(config.settings())? },
            publication: PublicationConfig {
                name: text("publication.name"),
                autocreate: match config.text("publication.autocreate.mode") {
                    "all_tables" => Autocreate::AllTables,
                    "disabled" => Autocreate::Disabled,
                    "no_tables" => Autocreate::NoTables,
                    _ => Autocreate::Filtered,
                },
                via_root: flag("publish.via.partition.root"),
            },
            snapshot: snapshot(config)?,
            tables: Selection {
                schemas: filter(config.settings(), "schema.include.list", "schema.exclude.list")?,
                names: filter(config.settings(), "table.include.list", "table.exclude.list")?,
            },
            columns: Selection {
                schemas: Filter::default(),
                names: filter(config.settings(), "column.include.list", "column.exclude.list")?,
            },
            key_columns: key_columns(config.settings())?,
            masks: masks(config.settings())?,
            types: type_options(config),
            events: EventConfig {
                tombstones: flag("tombstones.on.delete"),
                skipped: skipped(config.settings())?,
                placeholder: Text::from(config.text("unavailable.value.placeholder")),
                transactions: flag("provide.transaction.metadata"),
                schema_changes: flag("include.schema.changes"),
            },
            heartbeat: Heartbeat {
                interval: Some(millis("heartbeat.interval.ms")).filter(|every| !every.is_zero()),
                topic_prefix: text("topic.heartbeat.prefix"),
                query: optional(config, "heartbeat.action.query"),
            },
            status_interval: millis("status.update.interval.ms"),
            retry: Retry {
                delay_min: millis("errors.retry.delay.initial.ms"),
                delay_max: millis("errors.retry.delay.max.ms"),
                attempts_max: config.integer("errors.max.retries"),
            },
            debezium: debezium(config),
            signals: signals(config.settings())?,
            notifications: notifications(config.settings())?,
            accept_new_timeline: config.text("timeline.change") == "accept",
            partitions: config.integer("topic.creation.default.partitions") as i32,
        })
    }
}

fn optional(config: &ConnectorConfig, key: &str) -> Option<String> {
    match config.get(key) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn target(config: &ConnectorConfig) -> Target {
    let file = |key: &str| config.get(key).map(|_| config.path(key));
    Target {
        host: config.text("database.hostname").to_owned(),
        port: config.integer("database.port") as u16,
        database: config.text("database.dbname").to_owned(),
        user: config.text("database.user").to_owned(),
        password: optional(config, "database.password"),
        ssl: Ssl {
            mode: SslMode::parse(config.text("database.sslmode")).unwrap_or_default(),
            root_cert: file("database.sslrootcert"),
            cert: file("database.sslcert"),
            key: file("database.sslkey"),
        },
        connect_timeout: Duration::from_millis(config.integer("connection.timeout.ms") as u64),
        application_name: format!("Millstream {}", config.name()),
    }
}

fn snapshot(config: &ConnectorConfig) -> Result<SnapshotConfig, ConfigError> {
    Ok(SnapshotConfig {
        mode: match config.text("snapshot.mode") {
            "initial_only" => SnapshotMode::InitialOnly,
            "no_data" | "never" | "schema_only" => SnapshotMode::NoData,
            "when_needed" => SnapshotMode::WhenNeeded,
            "always" => SnapshotMode::Always,
            _ => SnapshotMode::Initial,
        },
        threads: config.integer("snapshot.max.threads") as usize,
        selects: selects(config.settings())?,
    })
}

/// What a snapshot reads in place of whole tables.
fn selects(settings: &Settings) -> Result<BTreeMap<String, String>, ConfigError> {
    let wrong = |table: &str, problem| {
        let key = keys::SELECT.replace('*', table);
        Err(ConfigError::Select { key, problem })
    };
    let mut selects = BTreeMap::new();
    for (table, value) in settings.each(keys::SELECT) {
        let Value::Text(text) = value else { continue };
        let select = text.trim_end_matches(|end: char| end == ';' || end.is_whitespace());
        if !settings.list(keys::SELECT_TABLES).iter().any(|named| named == table) {
            return wrong(table, "`snapshot.select.statement.overrides` does not name this table");
        }
        if !is_select(select) {
            return wrong(table, "it must be a SELECT, such as select * from public.t where …");
        }
        selects.insert(table.replace('"', ""), select.to_owned());
    }
    let missing = |table: &&String| !selects.contains_key(&table.replace('"', ""));
    match settings.list(keys::SELECT_TABLES).iter().find(missing) {
        Some(table) => wrong(table, "the SELECT of this table is missing"),
        None => Ok(selects),
    }
}

/// Where signals may come from.
const CHANNELS: [&str; 2] = ["source", "kafka"];

fn signals(settings: &Settings) -> Result<SignalConfig, ConfigError> {
    let channels = settings.text("signal.enabled.channels").split(',').map(str::trim);
    let channels: Vec<&str> = channels.filter(|name| !name.is_empty()).collect();
    if let Some(other) = channels.iter().find(|name| !CHANNELS.contains(name)) {
        return Err(ConfigError::Channel((*other).to_owned()));
    }
    let table = settings.optional_text("signal.data.collection").map(|name| {
        let plain = name.replace('"', "");
        let parts = plain.split_once('.').filter(|(_, name)| !name.contains('.'));
        let parts = parts.map(|(schema, name)| (schema.to_owned(), name.to_owned()));
        parts.ok_or(ConfigError::SignalTable(name.to_owned()))
    });
    Ok(SignalConfig {
        table: table.transpose()?.filter(|_| channels.contains(&"source")),
        topic: channels.contains(&"kafka").then(|| topic_of(settings)),
        chunk_rows: settings.integer("incremental.snapshot.chunk.size") as usize,
        read_only: settings.text("read.only") == "true",
    })
}

fn notifications(settings: &Settings) -> Result<NotificationConfig, ConfigError> {
    let text = settings.text("notification.enabled.channels");
    let mut config = NotificationConfig::default();
    for channel in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match channel {
            "log" => config.log = true,
            "sink" => {
                let topic = settings.optional_text("notification.sink.topic.name");
                config.topic = Some(topic.ok_or(ConfigError::NotificationTopic)?.to_owned());
            }
            other => return Err(ConfigError::NotificationChannel(other.to_owned())),
        }
    }
    Ok(config)
}

/// The topic that signals come by.
pub fn signal_topic(config: &ConnectorConfig) -> String {
    topic_of(config.settings())
}

fn topic_of(settings: &Settings) -> String {
    let of_prefix = || format!("{}-signal", settings.text("topic.prefix"));
    settings.optional_text("signal.kafka.topic").map_or_else(of_prefix, str::to_owned)
}

/// The codes of the operations left out.
fn skipped(settings: &Settings) -> Result<String, ConfigError> {
    let mut codes = String::new();
    for word in settings.text("skipped.operations").split(',').map(str::trim) {
        match word.to_ascii_lowercase().as_str() {
            code @ ("c" | "u" | "d" | "t") => codes.push_str(code),
            "none" | "" => {}
            _ => return Err(ConfigError::Operation(word.to_owned())),
        }
    }
    Ok(codes)
}

fn slot_name(settings: &Settings) -> Result<String, ConfigError> {
    let slot = settings.text("slot.name");
    let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    match slot.len() <= SLOT_NAME_LEN_MAX && slot.bytes().all(letters) {
        true => Ok(slot.to_owned()),
        false => Err(ConfigError::SlotName(slot.to_owned())),
    }
}

fn debezium(config: &ConnectorConfig) -> bool {
    match optional(config, "profile") {
        Some(profile) => profile == "debezium",
        None => config.text("connector.class").starts_with("io.debezium"),
    }
}

fn type_options(config: &ConnectorConfig) -> TypeOptions {
    let debezium = debezium(config);
    TypeOptions {
        decimals: match optional(config, "decimal.handling.mode").as_deref() {
            Some("precise") => Decimals::Precise,
            Some("double") => Decimals::Double,
            Some("string") => Decimals::String,
            _ if debezium => Decimals::Precise,
            _ => Decimals::String,
        },
        time: match config.text("time.precision.mode") {
            "adaptive_time_microseconds" => TimePrecision::AdaptiveTimeMicroseconds,
            "connect" => TimePrecision::Connect,
            "microseconds" => TimePrecision::Microseconds,
            "nanoseconds" => TimePrecision::Nanoseconds,
            _ => TimePrecision::Adaptive,
        },
        intervals: match config.text("interval.handling.mode") {
            "string" => Intervals::String,
            _ => Intervals::Numeric,
        },
        hstore: match config.text("hstore.handling.mode") {
            "map" => Hstore::Map,
            _ => Hstore::Json,
        },
        binary: match config.text("binary.handling.mode") {
            "base64" => Binary::Base64,
            "base64-url-safe" => Binary::Base64UrlSafe,
            "hex" => Binary::Hex,
            _ => Binary::Bytes,
        },
        unknown: match optional(config, "include.unknown.datatypes").as_deref() {
            Some("true") => Unknown::Bytes,
            Some("false") => Unknown::LeftOut,
            _ => Unknown::Text,
        },
        money_fraction_digits: config.integer("money.fraction.digits") as i32,
    }
}

fn filter(
    settings: &Settings,
    include: &'static str,
    exclude: &'static str,
) -> Result<Filter, ConfigError> {
    let list = |key| settings.optional_text(key).map(|text| patterns(key, text)).transpose();
    Ok(Filter { include: list(include)?, exclude: list(exclude)?.unwrap_or_default() })
}

/// Patterns separated by commas; `\,` is a comma in one. They match whole names, in any case.
pub(super) fn patterns(key: &'static str, list: &str) -> Result<Vec<Regex>, ConfigError> {
    let mut found = Vec::new();
    let mut pattern = String::new();
    let mut chars = list.chars().peekable();
    loop {
        match chars.next() {
            Some('\\') if chars.peek() == Some(&',') => pattern.extend(chars.next()),
            Some(',') | None => {
                if !pattern.trim().is_empty() {
                    found.push(whole(key, pattern.trim())?);
                }
                pattern.clear();
                if chars.peek().is_none() {
                    return Ok(found);
                }
            }
            Some(other) => pattern.push(other),
        }
    }
}

/// A pattern that matches whole names, in any case.
pub fn whole_name(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?:{pattern})$")).case_insensitive(true).build()
}

fn whole(key: &'static str, pattern: &str) -> Result<Regex, ConfigError> {
    whole_name(pattern).map_err(|error| ConfigError::Pattern {
        key,
        pattern: pattern.to_owned(),
        error,
    })
}

/// The longest mask, and the longest text that is cut.
const MASK_LEN_MAX: usize = 1 << 20;

/// Which columns are masked or cut, what hides most first.
fn masks(settings: &Settings) -> Result<Vec<(Vec<Regex>, Mask)>, ConfigError> {
    let mut masks = Vec::new();
    for (key, least) in [(keys::MASK_LENGTH, 0), (keys::MASK_HASH, 0), (keys::TRUNCATE, 1)] {
        for (part, value) in settings.each(key) {
            // A salt is a secret, so that key is not said in full.
            let full = if key == keys::MASK_HASH { key.to_owned() } else { key.replace('*', part) };
            let length = part.parse().ok().filter(|length| (least..=MASK_LEN_MAX).contains(length));
            let mask = match key {
                keys::MASK_LENGTH => length.map(Mask::Stars),
                keys::TRUNCATE => length.map(Mask::Truncate),
                _ => Hash::parse(part).map(Mask::Hash),
            };
            let Some(mask) = mask else {
                let problem = match key {
                    keys::MASK_HASH => format!(
                        "a hash is called `column.mask.hash.v2.SHA-256.with.salt.SALT`, or the same \
                         without `v2.`; known are {}",
                        ALGORITHMS.map(|(name, _)| name).join(", ")
                    ),
                    _ => format!("'{part}' is no number from {least} to {MASK_LEN_MAX}"),
                };
                return Err(ConfigError::Mask { key: full, problem });
            };
            let Value::Text(list) = value else { continue };
            masks.push((patterns(key, list)?, mask));
        }
    }
    Ok(masks)
}

/// Finds lists of what is wanted beside lists of what is not, as Debezium does.
fn check_lists(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    for what in ["schema", "table", "column"] {
        let [include, exclude] = ["include", "exclude"].map(|word| format!("{what}.{word}.list"));
        let excluded = settings.optional_text(&exclude);
        if let (Some(_), Some(excluded)) = (settings.optional_text(&include), excluded) {
            problems.push(ConfigProblem {
                value: Some(excluded.to_owned()),
                message: format!("`{include}` and `{exclude}` are both there"),
                help: Some("take one of them".to_owned()),
                key: exclude,
            });
        }
    }
}

/// Finds mistakes that no key has by itself.
pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    check_lists(settings, problems);
    let filters = |of: &str| match of {
        "schema" => filter(settings, "schema.include.list", "schema.exclude.list"),
        "table" => filter(settings, "table.include.list", "table.exclude.list"),
        _ => filter(settings, "column.include.list", "column.exclude.list"),
    };
    let checked = [
        masks(settings).map(drop),
        selects(settings).map(drop),
        signals(settings).map(drop),
        notifications(settings).map(drop),
        skipped(settings).map(drop),
        slot_name(settings).map(drop),
        key_columns(settings).map(drop),
        filters("schema").map(drop),
        filters("table").map(drop),
        filters("column").map(drop),
    ];
    for error in checked.into_iter().filter_map(Result::err) {
        let (key, message) = (error.key(), error.to_string());
        problems.push(ConfigProblem { key, value: None, message, help: None });
    }
}

impl ConfigError {
    fn key(&self) -> String {
        match self {
            ConfigError::Pattern { key, .. } | ConfigError::KeyColumns { key, .. } => key,
            ConfigError::Mask { key, .. } | ConfigError::Select { key, .. } => key.as_str(),
            ConfigError::SlotName(_) => "slot.name",
            ConfigError::Channel(_) => "signal.enabled.channels",
            ConfigError::NotificationChannel(_) => "notification.enabled.channels",
            ConfigError::NotificationTopic => "notification.sink.topic.name",
            ConfigError::Operation(_) => "skipped.operations",
            ConfigError::SignalTable(_) => "signal.data.collection",
        }
        .to_owned()
    }
}

/// What stands for what is not said: Debezium's slot and publication where its class is used, so
/// that a file goes on with those that it has.
pub fn defaults(properties: &BTreeMap<String, String>) -> plugin::Properties {
    let text = |key: &str| properties.get(key).map_or("", |text| text.trim());
    let debezium = match text("profile") {
        "" => text(plugin::CLASS_KEY).starts_with("io.debezium"),
        profile => profile == "debezium",
    };
    match debezium {
        true => &[("slot.name", "debezium"), ("publication.name", "dbz_publication")],
        false => &[],
    }
}

/// `pattern:column,column;pattern:column`
fn key_columns(settings: &Settings) -> Result<Vec<(Regex, Vec<String>)>, ConfigError> {
    let key = "message.key.columns";
    let Some(text) = settings.optional_text(key) else { return Ok(Vec::new()) };
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let parsed = parts.map(|part| {
        let wrong = || ConfigError::KeyColumns { key, text: part.to_owned() };
        let (pattern, columns) = part.rsplit_once(':').ok_or_else(wrong)?;
        let columns: Vec<String> = columns.split(',').map(|name| name.trim().to_owned()).collect();
        if columns.iter().any(String::is_empty) {
            return Err(wrong());
        }
        Ok((whole(key, pattern.trim())?, columns))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_in_any_case() {
        let all = patterns("k", r"public\.(a|b), inv.*,x{1\,2}").unwrap();
        let takes = |name: &str| all.iter().any(|one| one.is_match(name));
        assert!(takes("public.A") && takes("inventory.t") && takes("xx"));
        assert!(!takes("public.ab") && !takes("xpublic.a") && !takes("xxx"));
        assert!(patterns("k", "(").is_err());
        assert!(patterns("k", " , ").unwrap().is_empty());
    }

    fn validated(more: &str) -> Result<PostgresConfig, String> {
        let given = format!(
            "database.hostname=h\ndatabase.dbname=d\ndatabase.user=u\ntopic.prefix=p\n{more}"
        );
        let lines = given.lines().filter_map(|line| line.split_once('='));
        let properties =
            lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect();
        let config = crate::validate("c", &properties, std::path::Path::new("."));
        let config = config.map_err(|problems| {
            problems.iter().map(ConfigProblem::in_words).collect::<Vec<_>>().join("\n")
        })?;
        PostgresConfig::new(&config).map_err(|error| error.to_string())
    }

    /// A file of Debezium's that names neither came with a slot of another name, and read all
    /// tables anew.
    #[test]
    fn a_file_of_debeziums_goes_on_with_the_slot_that_it_has() {
        let class = "connector.class=io.debezium.connector.postgresql.PostgresConnector";
        let names = |more: &str| {
            let config = validated(more).unwrap();
            (config.slot.name, config.publication.name)
        };
        let of = |slot: &str, publication: &str| (slot.to_owned(), publication.to_owned());
        assert_eq!(names(class), of("debezium", "dbz_publication"));
        assert_eq!(names(&format!("{class}\nslot.name=s")), of("s", "dbz_publication"));
        let ours = of("millstream", "millstream_publication");
        assert_eq!(names("connector.class=postgres-source"), ours);
        assert_eq!(names(&format!("{class}\nprofile=millstream")), ours);
    }

    #[test]
    fn what_is_wrong_in_a_value_is_said_before_anything_starts() {
        let wrong = |line: &str| {
            validated(&format!("connector.class=postgres-source\n{line}")).unwrap_err()
        };
        for (line, reason) in [
            ("skipped.operations=x", "`skipped.operations`: 'x' is none of c, u, d and t"),
            ("skipped.operations=c,dt", "'dt' is none of"),
            ("signal.enabled.channels=source,jmx", "not by 'jmx'"),
            ("signal.data.collection=signals", "must be schema.table"),
            ("notification.enabled.channels=jmx", "go to `log` and `sink`, not to 'jmx'"),
            ("notification.enabled.channels=log,sink", "`notification.sink.topic.name` is missing"),
            ("slot.name=My-Slot", "lower-case letters"),
            ("table.include.list=public.(", "is no regular expression"),
            ("message.key.columns=t", "must be `pattern:column,column`"),
        ] {
            let said = wrong(line);
            assert!(said.contains(reason), "{line}: {said}");
        }
        let skipped = |text: &str| {
            let line = format!("connector.class=postgres-source\nskipped.operations={text}");
            validated(&line).unwrap().events.skipped
        };
        assert_eq!((skipped("none"), skipped("c, T")), (String::new(), "ct".to_owned()));
    }
}
