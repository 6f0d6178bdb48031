//! Who shall read what: the assignors that the coordinator has itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

use super::assignment::{Assignment, Place};

/// How partitions are shared out, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// As many partitions to each member as to any other, moving as few as possible.
    Uniform,
    /// Of each topic neighbouring partitions, the same ones of topics with as many: what belongs
    /// together by key comes to one member.
    Range,
}

impl Assignor {
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    pub fn find(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each shall have: every partition of each topic that anybody reads, once.
    pub fn assign(self, readers: &[Reader<'_>]) -> Vec<Assignment> {
        match self {
            Assignor::Uniform => uniform(readers),
            Assignor::Range => range(readers),
        }
    }
}

impl fmt::Display for Assignor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A member as the assignors see it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    /// Members that come back under the same name go first, and so keep what they had.
    pub order: (bool, &'a str),
    /// Topics with their numbers of partitions.
    pub topics: BTreeMap<Uuid, i32>,
    /// What it was to have before.
    pub before: &'a Assignment,
}

impl Reader<'_> {
    /// Every partition of what it reads, as each member of a share group has it.
    pub fn all(&self) -> Assignment {
        let topics = self.topics.iter();
        topics.flat_map(|(topic, count)| (0..*count).map(|number| (*topic, number))).collect()
    }
}

fn range(readers: &[Reader<'_>]) -> Vec<Assignment> {
    let mut order: Vec<usize> = (0..readers.len()).collect();
    order.sort_by_key(|index| readers[*index].order);
    let mut by_topic: BTreeMap<Uuid, (i32, Vec<usize>)> = BTreeMap::new();
    for index in order {
        for (topic, partitions) in &readers[index].topics {
            by_topic.entry(*topic).or_insert((*partitions, Vec::new())).1.push(index);
        }
    }
    let mut assigned = vec![Assignment::default(); readers.len()];
    for (topic, (partitions, members)) in by_topic {
        let count = members.len() as i32;
        let (each, extra) = (partitions / count, partitions % count);
        let mut next = 0;
        for (at, member) in (0..).zip(members) {
            let end = next + each + i32::from(at < extra);
            assigned[member].extend((next..end).map(|partition| (topic, partition)));
            next = end;
        }
    }
    assigned
}

fn uniform(readers: &[Reader<'_>]) -> Vec<Assignment> {
    let mut places: BTreeSet<Place> = BTreeSet::new();
    for reader in readers {
        places.extend(reader.all().iter());
    }
    let same = readers.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    if same { equally(readers, places) } else { by_subscription(readers, places) }
}

/// All read the same: some get one more than the others, those first that had more.
fn equally(readers: &[Reader<'_>], places: BTreeSet<Place>) -> Vec<Assignment> {
    if readers.is_empty() {
        return Vec::new();
    }
    let (each, mut extra) = (places.len() / readers.len(), places.len() % readers.len());
    let mut left = places;
    let mut assigned = vec![Assignment::default(); readers.len()];
    let had =
        |index: &usize| readers[*index].before.iter().filter(|one| left.contains(one)).count();
    let mut order: Vec<usize> = (0..readers.len()).collect();
    order.sort_by_cached_key(|index| (std::cmp::Reverse(had(index)), readers[*index].order));
    let mut room = vec![each; readers.len()];
    for index in order {
        if extra > 0 {
            (room[index], extra) = (each + 1, extra - 1);
        }
        for place in readers[index].before.iter() {
            if room[index] > 0 && left.remove(&place) {
                assigned[index].insert(place);
                room[index] -= 1;
            }
        }
    }
    let mut hungry = (0..readers.len()).flat_map(|index| std::iter::repeat_n(index, room[index]));
    for place in left {
        let index = hungry.next().expect("there is room for as many as there are partitions");
        assigned[index].insert(place);
    }
    assigned
}

/// Members read different topics: what is free goes to whoever has least of those that read it,
/// then partitions move from those with more to those with at least two less, also by way of
/// others that pass on one of theirs.
fn by_subscription(readers: &[Reader<'_>], places: BTreeSet<Place>) -> Vec<Assignment> {
    let mut sharing = Sharing::new(readers);
    let mut places = places;
    for (index, reader) in readers.iter().enumerate() {
        for place in reader.before.iter() {
            if reader.topics.contains_key(&place.0) && places.remove(&place) {
                sharing.assigned[index].insert(place);
                sharing.loads[index] += 1;
            }
        }
    }
    let mut free: Vec<Place> = places.into_iter().collect();
    // What few can read first.
    free.sort_by_key(|place| (sharing.readers_of(place.0).len(), *place));
    for place in free {
        let least = sharing.least(place.0);
        sharing.assigned[least].insert(place);
        sharing.loads[least] += 1;
    }
    while sharing.improve() {}
    sharing.assigned
}

struct Sharing<'a> {
    readers: &'a [Reader<'a>],
    by_topic: HashMap<Uuid, Vec<usize>>,
    assigned: Vec<Assignment>,
    loads: Vec<usize>,
}

impl<'a> Sharing<'a> {
    fn new(readers: &'a [Reader<'a>]) -> Sharing<'a> {
        let mut by_topic: HashMap<Uuid, Vec<usize>> = HashMap::new();
        for (index, reader) in readers.iter().enumerate() {
            for topic in reader.topics.keys() {
                by_topic.entry(*topic).or_default().push(index);
            }
        }
        let assigned = vec![Assignment::default(); readers.len()];
        Sharing { readers, by_topic, assigned, loads: vec![0; readers.len()] }
    }

    fn readers_of(&self, topic: Uuid) -> &[usize] {
        self.by_topic.get(&topic).map_or(&[], Vec::as_slice)
    }

    /// Who has least of those that read a topic.
    fn least(&self, topic: Uuid) -> usize {
        let readers = self.readers_of(topic).iter().copied();
        let least = readers.min_by_key(|index| (self.loads[*index], self.readers[*index].order));
        least.expect("a partition is of a topic that somebody reads")
    }

    /// Takes one partition from somebody and brings one to somebody with at least two less,
    /// perhaps through others whose loads stay. Each time the sum of the squares of the loads
    /// shrinks, so this ends.
    fn improve(&mut self) -> bool {
        let mut heaviest: Vec<usize> = (0..self.loads.len()).collect();
        heaviest.sort_by_key(|index| std::cmp::Reverse(self.loads[*index]));
        for from in heaviest {
            if let Some(path) = self.path(from) {
                for (giver, taker, place) in path {
                    self.assigned[giver].remove(place);
                    self.assigned[taker].insert(place);
                    self.loads[giver] -= 1;
                    self.loads[taker] += 1;
                }
                return true;
            }
        }
        false
    }

    /// The shortest chain of gifts from a member to one with at least two less.
    fn path(&self, from: usize) -> Option<Vec<(usize, usize, Place)>> {
        let mut came: HashMap<usize, (usize, Place)> = HashMap::new();
        let mut seen = HashSet::from([from]);
        let mut next = std::collections::VecDeque::from([from]);
        while let Some(giver) = next.pop_front() {
            for (topic, partitions) in self.assigned[giver].topics() {
                for taker in self.readers_of(topic) {
                    if !seen.insert(*taker) {
                        continue;
                    }
                    let Some(last) = partitions.last() else { continue };
                    came.insert(*taker, (giver, (topic, *last)));
                    if self.loads[*taker] + 2 <= self.loads[from] {
                        return Some(walked(&came, from, *taker));
                    }
                    next.push_back(*taker);
                }
            }
        }
        None
    }
}

fn walked(
    came: &HashMap<usize, (usize, Place)>,
    from: usize,
    to: usize,
) -> Vec<(usize, usize, Place)> {
    let (mut path, mut at) = (Vec::new(), to);
    while at != from {
        let (giver, place) = came[&at];
        path.push((giver, at, place));
        at = giver;
    }
    path
}

#[cfg(test)]
mod tests;
