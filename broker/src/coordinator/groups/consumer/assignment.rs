//! Partitions by topic.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// A partition by its topic's id: a topic that is deleted and created anew is another.
pub type Place = (Uuid, i32);

/// A set of partitions. No topic in it is without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment(BTreeMap<Uuid, BTreeSet<i32>>);

impl Assignment {
    pub fn insert(&mut self, (topic, partition): Place) -> bool {
        self.0.entry(topic).or_default().insert(partition)
    }

    pub fn remove(&mut self, (topic, partition): Place) -> bool {
        let Entry::Occupied(mut partitions) = self.0.entry(topic) else { return false };
        let removed = partitions.get_mut().remove(&partition);
        if partitions.get().is_empty() {
            partitions.remove();
        }
        removed
    }

    pub fn contains(&self, (topic, partition): Place) -> bool {
        self.0.get(&topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Place> {
        self.0.iter().flat_map(|(topic, all)| all.iter().map(|partition| (*topic, *partition)))
    }

    pub fn topics(&self) -> impl Iterator<Item = (Uuid, &BTreeSet<i32>)> {
        self.0.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    pub fn is_subset(&self, of: &Assignment) -> bool {
        self.iter().all(|place| of.contains(place))
    }

    pub fn intersects(&self, other: &Assignment) -> bool {
        self.iter().any(|place| other.contains(place))
    }

    pub fn and(&self, other: &Assignment) -> Assignment {
        self.iter().filter(|place| other.contains(*place)).collect()
    }

    pub fn without(&self, other: &Assignment) -> Assignment {
        self.iter().filter(|place| !other.contains(*place)).collect()
    }

    /// From the wire: a topic, and numbers of its partitions.
    pub fn of_topics(topics: impl IntoIterator<Item = (Uuid, Vec<i32>)>) -> Assignment {
        let places = topics.into_iter().flat_map(|(topic, partitions)| {
            partitions.into_iter().map(move |partition| (topic, partition))
        });
        places.collect()
    }
}

impl FromIterator<Place> for Assignment {
    fn from_iter<I: IntoIterator<Item = Place>>(places: I) -> Assignment {
        let mut assignment = Assignment::default();
        assignment.extend(places);
        assignment
    }
}

impl Extend<Place> for Assignment {
    fn extend<I: IntoIterator<Item = Place>>(&mut self, places: I) {
        for place in places {
            self.insert(place);
        }
    }
}
