//! Where a reader is in each of its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{Offset, TopicPartition};

/// The partitions being read.
#[derive(Debug, Default)]
pub struct Places {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Place>>,
}

/// Where a reader is in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The offset to go on from; not known before a group's first record.
    pub next: Option<Offset>,
    /// The end that the caller was told last.
    pub end: Option<Offset>,
}

impl Place {
    /// Goes on to `next`, as the caller is told now.
    pub fn advance(&mut self, next: Offset, end: Offset) {
        *self = Place { next: Some(next), end: Some(end) };
    }

    /// The caller knows already that the end is at `offset`, and that it got there.
    pub fn is_told_end(&self, offset: Offset) -> bool {
        self.next == Some(offset) && self.end == Some(offset)
    }
}

impl Places {
    pub fn insert(&mut self, partition: &TopicPartition, place: Place) {
        let topic = self.topics.entry(Arc::clone(&partition.topic)).or_default();
        topic.insert(partition.partition, place);
    }

    pub fn remove(&mut self, partition: &TopicPartition) {
        if let Some(topic) = self.topics.get_mut(&partition.topic) {
            topic.remove(&partition.partition);
            if topic.is_empty() {
                self.topics.remove(&partition.topic);
            }
        }
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&Place> {
        self.topics.get(topic)?.get(&partition)
    }

    /// A partition and its place, found without allocating.
    pub fn find(&mut self, topic: &str, partition: i32) -> Option<(TopicPartition, &mut Place)> {
        let name = Arc::clone(self.topics.get_key_value(topic)?.0);
        let place = self.topics.get_mut(topic)?.get_mut(&partition)?;
        Some((TopicPartition::new(name, partition), place))
    }

    pub fn iter(&self) -> impl Iterator<Item = (TopicPartition, &Place)> {
        self.topics.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, place)| {
                (TopicPartition::new(Arc::clone(topic), *partition), place)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_and_go() {
        let (first, second) = (TopicPartition::new("a", 0), TopicPartition::new("a", 7));
        let mut places = Places::default();
        places.insert(&first, Place { next: Some(Offset(5)), end: None });
        places.insert(&second, Place::default());
        let (found, place) = places.find("a", 0).unwrap();
        assert_eq!(found, first);
        place.advance(Offset(9), Offset(9));
        assert!(places.get("a", 0).unwrap().is_told_end(Offset(9)));
        assert!(!places.get("a", 7).unwrap().is_told_end(Offset(0)));
        places.remove(&first);
        assert_eq!(places.iter().map(|(at, _)| at).collect::<Vec<_>>(), vec![second]);
        assert_eq!(places.get("a", 0), None);
    }
}
