//! Keys that Kafka Connect and its connectors know and that need no declaration here.

use std::collections::BTreeMap;

/// What becomes of such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Accepted, and named in one warning: it tunes something that does not exist here, or asks
    /// for what is always so.
    NoMeaning,
    /// Refused, since leaving it out would change what the connector does.
    NotYet(&'static str),
    /// Accepted with these values, which ask for what is done here, in any case; refused with
    /// others, as [`NotYet`](Elsewhere::NotYet).
    Only(&'static [&'static str], &'static str),
}

impl Elsewhere {
    /// What is asked for with that value and is not there.
    pub(crate) fn lacking(self, value: &str) -> Option<&'static str> {
        let value = value.trim();
        match self {
            Elsewhere::NoMeaning => None,
            // A list of nothing asks for nothing.
            Elsewhere::NotYet(what) => (!value.is_empty()).then_some(what),
            Elsewhere::Only(values, what) => {
                (!values.iter().any(|known| known.eq_ignore_ascii_case(value))).then_some(what)
            }
        }
    }
}

/// Keys by name; one that ends in `*` stands for all that begin so.
#[rustfmt::skip]
const KEYS: &[(&str, Elsewhere)] = &[
    ("admin.override.*", Elsewhere::NoMeaning),
    ("config.action.reload", Elsewhere::NoMeaning),
    ("consumer.override.*", Elsewhere::NoMeaning),
    ("errors.deadletterqueue.*", Elsewhere::NoMeaning),
    ("exactly.once.support", Elsewhere::NoMeaning),
    ("offsets.storage.topic", Elsewhere::NoMeaning),
    ("producer.override.*", Elsewhere::NoMeaning),
    ("tasks.max.enforce", Elsewhere::NoMeaning),
    ("topic.creation.default.*", Elsewhere::NoMeaning),
    ("topic.creation.enable", Elsewhere::NoMeaning),
    ("transaction.boundary*", Elsewhere::NoMeaning),
    // Those of Aiven's HTTP sink.
    ("kafka.retry.backoff.ms", Elsewhere::NoMeaning),
    ("http.proxy.*", Elsewhere::NotYet("HTTP proxies")),
    // Debezium's.
    ("max.batch.size", Elsewhere::NoMeaning),
    ("max.queue.size*", Elsewhere::NoMeaning),
    ("poll.interval.ms", Elsewhere::NoMeaning),
    ("snapshot.fetch.size", Elsewhere::NoMeaning),
    ("snapshot.delay.ms", Elsewhere::NoMeaning),
    ("snapshot.lock.timeout.ms", Elsewhere::NoMeaning),
    ("database.tcpKeepAlive", Elsewhere::NoMeaning),
    ("retriable.restart.connector.wait.ms", Elsewhere::NoMeaning),
    ("slot.max.retries", Elsewhere::NoMeaning),
    ("slot.retry.delay.ms", Elsewhere::NoMeaning),
    ("xmin.fetch.interval.ms", Elsewhere::NoMeaning),
    ("schema.refresh.mode", Elsewhere::NoMeaning),
    ("database.query.timeout.ms", Elsewhere::NoMeaning),
    ("schema.history.internal*", Elsewhere::NoMeaning),
    ("slot.stream.params", Elsewhere::NotYet("parameters of the stream")),
    ("snapshot.include.collection.list", Elsewhere::NotYet("a snapshot of some tables")),
    ("signal.file", Elsewhere::NotYet("signals in a file")),
    ("signal.kafka.*", Elsewhere::NoMeaning),
    ("signal.consumer.*", Elsewhere::NoMeaning),
    ("signal.poll.interval.ms", Elsewhere::NoMeaning),
    ("incremental.snapshot.allow.schema.changes", Elsewhere::NoMeaning),
    ("incremental.snapshot.watermarking.strategy", Elsewhere::NoMeaning),
    ("column.propagate.source.type", Elsewhere::NotYet("source types in schemas")),
    ("datatype.propagate.source.type", Elsewhere::NotYet("source types in schemas")),
    ("advanced.metrics.enable", Elsewhere::NoMeaning),
    ("connection.validation.timeout.ms", Elsewhere::NoMeaning),
    ("custom.metric.tags", Elsewhere::NoMeaning),
    ("executor.shutdown.timeout.ms", Elsewhere::NoMeaning),
    ("guardrail.*", Elsewhere::NoMeaning),
    ("openlineage.*", Elsewhere::NoMeaning),
    ("query.fetch.size", Elsewhere::NoMeaning),
    ("snapshot.isolation.mode", Elsewhere::NoMeaning),
    ("snapshot.locking.mode", Elsewhere::NoMeaning),
    ("streaming.delay.ms", Elsewhere::NoMeaning),
    ("topic.cache.size", Elsewhere::NoMeaning),
    ("database.initial.statements", Elsewhere::NotYet("statements for each connection")),
    ("event.processing.failure.*", Elsewhere::Only(&["fail"], "events that fail and are passed over")),
    ("event.deserialization.failure.*", Elsewhere::Only(&["fail"], "events that fail and are passed over")),
    ("flush.lsn.source", Elsewhere::Only(&["true"], "slots that others move on")),
    ("lsn.flush.mode", Elsewhere::Only(&["connector", "connector_and_driver"], "slots that others move on")),
    ("lsn.flush.timeout.*", Elsewhere::NoMeaning),
    ("slot.failover", Elsewhere::Only(&["false"], "slots that standbys have too")),
    ("include.schema.comments", Elsewhere::NoMeaning),
    ("sourceinfo.struct.maker", Elsewhere::Only(&["io.debezium.connector.postgresql.PostgresSourceInfoStructMaker"], "other forms of `source`")),
    ("extended.headers.enabled", Elsewhere::NoMeaning),
    ("post.processors", Elsewhere::NotYet("post processors")),
    ("offset.mismatch.strategy", Elsewhere::Only(&["no_validation", "trust_offset"], "positions taken from the slot")),
    ("snapshot.max.threads.multiplier", Elsewhere::NoMeaning),
    ("snapshot.locking.mode.*", Elsewhere::NoMeaning),
    ("database.sslpassword", Elsewhere::NotYet("keys under a password")),
    ("database.sslfactory", Elsewhere::NoMeaning),
    ("internal.*", Elsewhere::NoMeaning),
    ("skip.messages.without.change", Elsewhere::Only(&["false"], "updates left out that change nothing")),
    ("snapshot.mode.configuration.based.*", Elsewhere::Only(&["false"], "custom modes of snapshots")),
    ("snapshot.mode.c*", Elsewhere::NotYet("custom modes of snapshots")),
    ("snapshot.query.mode", Elsewhere::Only(&["select_all"], "custom queries of snapshots")),
    ("snapshot.query.mode.*", Elsewhere::NotYet("custom queries of snapshots")),
    ("snapshot.tables.order.by.row.count", Elsewhere::Only(&["disabled"], "tables in the order of their sizes")),
    ("topic.transaction", Elsewhere::Only(&["transaction"], "another name for the topic of transactions")),
    ("converters", Elsewhere::NotYet("custom converters")),
    ("message.prefix.include.list", Elsewhere::NotYet("a choice of logical messages")),
    ("message.prefix.exclude.list", Elsewhere::NotYet("a choice of logical messages")),
    ("replica.identity.autoset.values", Elsewhere::NotYet("setting the replica identity")),
    ("schema.name.adjustment.mode", Elsewhere::Only(&["none"], "adjusted names of schemas")),
    ("field.name.adjustment.mode", Elsewhere::Only(&["none"], "adjusted names of fields")),
    ("topic.naming.strategy", Elsewhere::Only(&["io.debezium.schema.SchemaTopicNamingStrategy"], "naming strategies")),
    ("topic.delimiter", Elsewhere::Only(&["."], "another delimiter in topics")),
];

/// Those of the JDBC sinks.
#[rustfmt::skip]
const JDBC_KEYS: &[(&str, Elsewhere)] = &[
    // Confluent's and Aiven's.
    ("max.retries", Elsewhere::NoMeaning),
    ("retry.backoff.ms", Elsewhere::NoMeaning),
    ("connection.attempts", Elsewhere::NoMeaning),
    ("connection.backoff.ms", Elsewhere::NoMeaning),
    ("connection.ds.pool.size", Elsewhere::NoMeaning),
    ("dialect.name", Elsewhere::Only(&["PostgreSqlDatabaseDialect", ""], "other databases")),
    ("db.timezone", Elsewhere::Only(UTC, "other time zones than UTC")),
    ("date.timezone", Elsewhere::Only(&["DB_TIMEZONE", "UTC"], "other time zones than UTC")),
    ("quote.sql.identifiers", Elsewhere::Only(&["always"], "names without quotes")),
    ("sql.quote.identifiers", Elsewhere::Only(&["true"], "names without quotes")),
    ("table.types", Elsewhere::NoMeaning),
    ("table.name.normalize", Elsewhere::Only(&["false"], "normalized names of tables")),
    ("topics.to.tables.mapping", Elsewhere::NotYet("a table for each of several topics")),
    ("trim.sensitive.log", Elsewhere::NoMeaning),
    ("mssql.*", Elsewhere::NoMeaning),
    // Debezium's.
    ("connection.pool.*", Elsewhere::NoMeaning),
    ("connection.provider", Elsewhere::NoMeaning),
    ("connection.restart.on.errors", Elsewhere::NoMeaning),
    ("use.time.zone", Elsewhere::Only(UTC, "other time zones than UTC")),
    ("database.time_zone", Elsewhere::Only(UTC, "other time zones than UTC")),
    ("use.reduction.buffer", Elsewhere::NoMeaning),
    ("flush.max.retries", Elsewhere::NoMeaning),
    ("flush.retry.delay.ms", Elsewhere::NoMeaning),
    ("quote.identifiers", Elsewhere::NoMeaning),
    ("collection.table.format", Elsewhere::Only(&["${table}"], "another form of tables' names")),
    ("column.naming.strategy", Elsewhere::Only(&["io.debezium.connector.jdbc.naming.DefaultColumnNamingStrategy"], NAMING)),
    ("collection.naming.strategy", Elsewhere::Only(TABLE_NAMING, NAMING)),
    ("table.naming.strategy", Elsewhere::Only(TABLE_NAMING, NAMING)),
    ("hibernate.*", Elsewhere::NoMeaning),
    ("dialect.*", Elsewhere::NoMeaning),
    ("cloud.events.schema.name.pattern", Elsewhere::NoMeaning),
];

const UTC: &[&str] = &["UTC", "Z", "GMT", "Etc/UTC"];
const NAMING: &str = "naming strategies";
const TABLE_NAMING: &[&str] = &[
    "io.debezium.sink.naming.DefaultCollectionNamingStrategy",
    "io.debezium.connector.jdbc.naming.DefaultTableNamingStrategy",
];

/// Lists whose items have keys of their own, which begin with the item's name.
const NAMED: &[&str] = &["converters", "post.processors"];

/// What becomes of a key of a plugin, with those beside it.
pub(crate) fn find(
    plugin: &str,
    name: &str,
    properties: &BTreeMap<String, String>,
) -> Option<Elsewhere> {
    let own = if plugin == crate::postgres::sink::PLUGIN.name { JDBC_KEYS } else { &[] };
    let known = own.iter().chain(KEYS).find(|(key, _)| match key.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *key,
    });
    let of_named = || {
        let lists = NAMED.iter().filter_map(|list| properties.get(*list));
        let mut items = lists.flat_map(|list| list.split(',')).map(str::trim);
        let owns = |item: &str| {
            let rest = name.strip_prefix(item);
            !item.is_empty() && rest.is_some_and(|rest| rest.starts_with('.'))
        };
        // The list itself is refused.
        items.any(owns).then_some(Elsewhere::NoMeaning)
    };
    known.map(|(_, what)| *what).or_else(of_named)
}

/// Words in names of classes, and what of ours does most of what such a connector does.
#[rustfmt::skip]
const CLASSES: &[(&str, &str)] = &[
    ("datagen", "`generator-source` makes records up, by schema or as Nexmark's events"),
    ("jdbcsink", "`postgres-sink` writes to PostgreSQL; of other databases `process-sink` with a program"),
    ("jdbcsource", "`postgres-source` tells a PostgreSQL's changes; of other databases `process-source` with a program"),
    ("mysql", "`process-source` with a program of yours, or Debezium in a Kafka Connect that writes to this broker"),
    ("s3sink", "`file-sink` writes directories of JSON lines, CSV or Parquet, to be copied there"),
    ("gcssink", "`file-sink` writes directories of JSON lines, CSV or Parquet, to be copied there"),
    ("hdfs", "`file-sink` writes directories of JSON lines, CSV or Parquet, to be copied there"),
    ("elasticsearch", "`http-sink` may call its bulk API"),
    ("opensearch", "`http-sink` may call its bulk API"),
    ("mirror", "MirrorMaker itself runs in Kafka Connect, beside this broker as beside any other"),
];

/// What leads on from a class that is not here.
pub(super) fn nearest_class(class: &str) -> Option<String> {
    let class = class.to_ascii_lowercase();
    let found = CLASSES.iter().find(|(word, _)| class.contains(word));
    found.map(|(_, help)| format!("{help}; `millstream connect plugins` shows all"))
}

/// Names of Debezium 1, and what they became.
const DEBEZIUM_1: &[(&str, &str)] = &[
    ("column.blacklist", "column.exclude.list"),
    ("column.whitelist", "column.include.list"),
    ("database.server.name", "topic.prefix"),
    ("schema.blacklist", "schema.exclude.list"),
    ("schema.whitelist", "schema.include.list"),
    ("table.blacklist", "table.exclude.list"),
    ("table.whitelist", "table.include.list"),
    ("toasted.value.placeholder", "unavailable.value.placeholder"),
];

/// What a key of an earlier Debezium is called now.
pub(super) fn name_since(name: &str) -> Option<&'static str> {
    DEBEZIUM_1.iter().find(|(before, _)| *before == name).map(|(_, since)| *since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_ask_for_what_is_done_are_accepted() {
        let lacking = |plugin: &str, text: &str| {
            let (key, value) = text.split_once('=').unwrap();
            find(plugin, key, &BTreeMap::new()).unwrap().lacking(value)
        };
        for text in [
            "topic.delimiter=.",
            "topic.transaction=transaction",
            "schema.name.adjustment.mode=none",
            "field.name.adjustment.mode=None",
            "topic.naming.strategy=io.debezium.schema.SchemaTopicNamingStrategy",
            "snapshot.query.mode=select_all",
            "skip.messages.without.change=false",
            "event.processing.failure.handling.mode=fail",
            "snapshot.mode.configuration.based.start.stream=false",
            "snapshot.tables.order.by.row.count=disabled",
            "converters=",
            "database.initial.statements=",
            "slot.stream.params= ",
            "flush.lsn.source=true",
            "slot.failover=false",
            "internal.log.position.check.enable=false",
        ] {
            assert_eq!(lacking("postgres-source", text), None, "{text}");
        }
        for text in [
            "topic.delimiter=_",
            "converters=isbn",
            "event.processing.failure.handling.mode=warn",
            "flush.lsn.source=false",
            "offset.mismatch.strategy=trust_slot",
            "database.sslpassword=x",
        ] {
            assert!(lacking("postgres-source", text).is_some(), "{text}");
        }
        for text in ["db.timezone=UTC", "dialect.name=PostgreSqlDatabaseDialect", "max.retries=3"] {
            assert_eq!(lacking("postgres-sink", text), None, "{text}");
        }
        for text in ["db.timezone=Europe/Berlin", "quote.sql.identifiers=never"] {
            assert!(lacking("postgres-sink", text).is_some(), "{text}");
        }
        assert_eq!(find("file-sink", "hibernate.c3p0.x", &BTreeMap::new()), None);
    }

    #[test]
    fn keys_of_named_things_belong_to_their_list() {
        let given = BTreeMap::from([("converters".to_owned(), "isbn, geo".to_owned())]);
        let found = |key: &str| find("postgres-source", key, &given);
        assert_eq!(found("geo.type"), Some(Elsewhere::NoMeaning));
        assert_eq!((found("geometry"), found("geo"), found("xisbn.type")), (None, None, None));
    }
}
