//! Keys that Kafka Connect knows and that need no declaration here.

/// What becomes of such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Accepted, and named in one warning: it tunes something that does not exist here, or asks
    /// for what is always so.
    NoMeaning,
    /// Refused, since leaving it out would change what the connector does.
    NotYet(&'static str),
}

/// Keys by name; one that ends in `*` stands for all that begin so.
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
    ("oauth2.*", Elsewhere::NotYet("OAuth 2")),
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
    ("snapshot.select.statement.overrides*", Elsewhere::NotYet("statements for a snapshot's rows")),
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
    ("event.processing.failure.*", Elsewhere::NotYet("events that fail and are passed over")),
    ("notification.*", Elsewhere::NotYet("notifications")),
    ("skip.messages.without.change", Elsewhere::NotYet("updates left out that change nothing")),
    ("snapshot.mode.c*", Elsewhere::NotYet("custom modes of snapshots")),
    ("snapshot.query.mode*", Elsewhere::NotYet("custom queries of snapshots")),
    ("snapshot.tables.order.by.row.count", Elsewhere::NotYet("tables in the order of their sizes")),
    ("topic.transaction", Elsewhere::NotYet("another name for the topic of transactions")),
    ("converters", Elsewhere::NotYet("custom converters")),
    ("message.prefix.include.list", Elsewhere::NotYet("a choice of logical messages")),
    ("message.prefix.exclude.list", Elsewhere::NotYet("a choice of logical messages")),
    ("replica.identity.autoset.values", Elsewhere::NotYet("setting the replica identity")),
    ("schema.name.adjustment.mode", Elsewhere::NotYet("adjusted names of schemas")),
    ("field.name.adjustment.mode", Elsewhere::NotYet("adjusted names of fields")),
    ("topic.naming.strategy", Elsewhere::NotYet("naming strategies")),
    ("topic.delimiter", Elsewhere::NotYet("another delimiter in topics")),
];

pub(crate) fn find(name: &str) -> Option<Elsewhere> {
    KEYS.iter()
        .find(|(key, _)| match key.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *key,
        })
        .map(|(_, what)| *what)
}
