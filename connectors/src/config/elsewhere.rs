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

const TOPICS_REGEX: Elsewhere = Elsewhere::NotYet("sinks that choose topics by a pattern");

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
    ("topic.creation.groups", Elsewhere::NotYet("groups of topics to create")),
    ("topics.regex", TOPICS_REGEX),
    ("transaction.boundary*", Elsewhere::NoMeaning),
];

pub(crate) fn find(name: &str) -> Option<Elsewhere> {
    KEYS.iter()
        .find(|(key, _)| match key.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *key,
        })
        .map(|(_, what)| *what)
}
