//! The topics that there are, and those that a group reads, by name and by regular expression.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use uuid::Uuid;

use super::assignment::Assignment;

/// Memory that one compiled expression may take: what a client sends must not exhaust ours.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What a group has to know of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    pub id: Uuid,
    pub partitions: i32,
}

/// All topics of the broker, as they were at one moment.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    /// Grows with each change.
    version: u64,
    by_name: BTreeMap<Arc<str>, TopicFacts>,
    names: HashMap<Uuid, Arc<str>>,
}

impl Topics {
    pub fn new(version: u64, topics: impl IntoIterator<Item = (Arc<str>, TopicFacts)>) -> Topics {
        let by_name: BTreeMap<_, _> = topics.into_iter().collect();
        let names = by_name.iter().map(|(name, facts)| (facts.id, name.clone())).collect();
        Topics { version, by_name, names }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, name: &str) -> Option<TopicFacts> {
        self.by_name.get(name).copied()
    }

    /// `None` for a topic that is gone.
    pub fn name(&self, id: Uuid) -> Option<&Arc<str>> {
        self.names.get(&id)
    }

    /// Partitions by the names of their topics; those of topics that are gone are left out.
    pub fn named(&self, assignment: &Assignment) -> Vec<(Arc<str>, Uuid, Vec<i32>)> {
        let named = assignment.topics().filter_map(|(id, partitions)| {
            Some((self.name(id)?.clone(), id, partitions.iter().copied().collect()))
        });
        named.collect()
    }

    /// The same backwards: what is named so now.
    pub fn places<'a>(&self, named: impl IntoIterator<Item = (&'a str, &'a [i32])>) -> Assignment {
        let of =
            |(name, partitions): (&str, &[i32])| Some((self.get(name)?.id, partitions.to_vec()));
        Assignment::of_topics(named.into_iter().filter_map(of))
    }
}

/// A regular expression (RE2's syntax) that has to match the whole name of a topic.
pub fn compile(expression: &str) -> Result<Regex, regex::Error> {
    // First by itself, so that a stray parenthesis does not pair with ours.
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    build(expression)?;
    build(&format!("^(?:{expression})$"))
}

/// What a member wants to read. An empty expression is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    pub names: BTreeSet<Arc<str>>,
    pub regex: Option<Arc<str>>,
}

/// The topics that a group's members read between them, as far as they exist.
#[derive(Clone, Debug, Default)]
pub struct Subscribed {
    pub topics: BTreeMap<Arc<str>, TopicFacts>,
    /// By expression the topics that it matches.
    matches: BTreeMap<Arc<str>, (Regex, BTreeSet<Arc<str>>)>,
    /// Of the topics that this was made from; `None` after a restart.
    version: Option<u64>,
}

impl Subscribed {
    /// After a restart: looked at anew when a member is next heard of.
    pub fn restore(topics: BTreeMap<Arc<str>, TopicFacts>) -> Subscribed {
        Subscribed { topics, ..Subscribed::default() }
    }

    pub fn is_of(&self, topics: &Topics) -> bool {
        self.version == Some(topics.version)
    }

    /// Looks at what there is now for these members; says whether anything has changed.
    pub fn update<'a>(
        &mut self,
        members: impl Iterator<Item = &'a Subscription>,
        topics: &Topics,
    ) -> bool {
        let is_current = self.is_of(topics);
        let mut before = std::mem::take(&mut self.matches);
        let mut names = BTreeSet::new();
        for member in members {
            names.extend(member.names.iter().cloned());
            let Some(text) = &member.regex else { continue };
            if self.matches.contains_key(text) {
                continue;
            }
            let known = before.remove(text);
            let entry = match known {
                Some(entry) if is_current => entry,
                known => {
                    // Checked when the member brought it.
                    let compiled = known.map(|(regex, _)| regex).or_else(|| compile(text).ok());
                    let Some(regex) = compiled else { continue };
                    let found = topics.by_name.keys().filter(|name| regex.is_match(name));
                    let found = found.cloned().collect();
                    (regex, found)
                }
            };
            self.matches.insert(text.clone(), entry);
        }
        names.extend(self.matches.values().flat_map(|(_, found)| found.iter().cloned()));
        let now = names.into_iter().filter_map(|name| {
            let facts = topics.get(&name)?;
            Some((name, facts))
        });
        let now = now.collect();
        self.version = Some(topics.version);
        let changed = self.topics != now;
        self.topics = now;
        changed
    }

    /// The topics of one member.
    pub fn of<'a>(&'a self, member: &'a Subscription) -> impl Iterator<Item = TopicFacts> + 'a {
        let matched = member.regex.as_ref().and_then(|regex| self.matches.get(regex));
        let matched = matched.into_iter().flat_map(|(_, found)| found.iter());
        let matched = matched.filter(|name| !member.names.contains(*name));
        member.names.iter().chain(matched).filter_map(|name| self.topics.get(name).copied())
    }

    pub fn reads(&self, member: &Subscription, topic: &str) -> bool {
        let matched = member.regex.as_ref().and_then(|regex| self.matches.get(regex));
        member.names.contains(topic) || matched.is_some_and(|(_, found)| found.contains(topic))
    }
}
