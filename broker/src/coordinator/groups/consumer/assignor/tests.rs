//! The assignors by example, and against what they promise.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::super::assignment::Assignment;
use super::*;

/// Members by name with the topics that they read, and what they were to have.
#[derive(Debug)]
struct Group {
    names: Vec<String>,
    topics: Vec<BTreeMap<Uuid, i32>>,
    before: Vec<Assignment>,
}

impl Group {
    fn assign(&self, assignor: Assignor) -> Vec<Assignment> {
        let readers = self.names.iter().zip(&self.topics).zip(&self.before);
        let readers = readers.map(|((name, topics), before)| Reader {
            order: (true, name),
            topics: topics.clone(),
            before,
        });
        assignor.assign(&readers.collect::<Vec<_>>())
    }
}

fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn of(numbers: &[(u128, &[i32])]) -> Assignment {
    Assignment::of_topics(numbers.iter().map(|(number, all)| (topic(*number), all.to_vec())))
}

fn group(members: &[(&str, &[(u128, i32)], Assignment)]) -> Group {
    Group {
        names: members.iter().map(|(name, ..)| (*name).to_owned()).collect(),
        topics: members
            .iter()
            .map(|(_, topics, _)| topics.iter().map(|(number, n)| (topic(*number), *n)).collect())
            .collect(),
        before: members.iter().map(|(.., before)| before.clone()).collect(),
    }
}

#[test]
fn range_gives_neighbours_and_the_same_of_topics_alike() {
    let none = Assignment::default;
    let both: &[(u128, i32)] = &[(1, 3), (2, 3)];
    let group = group(&[("b", both, none()), ("a", both, none())]);
    let assigned = group.assign(Assignor::Range);
    assert_eq!(assigned, [of(&[(1, &[2]), (2, &[2])]), of(&[(1, &[0, 1]), (2, &[0, 1])])]);
}

#[test]
fn uniform_moves_no_more_than_it_has_to() {
    let six: &[(u128, i32)] = &[(1, 6)];
    let half = |numbers| of(&[(1, numbers)]);
    let group = group(&[
        ("a", six, half(&[0, 2, 4])),
        ("b", six, half(&[1, 3, 5])),
        ("c", six, Assignment::default()),
    ]);
    let assigned = group.assign(Assignor::Uniform);
    assert_eq!(assigned, [half(&[0, 2]), half(&[1, 3]), half(&[4, 5])]);
}

/// The middle one can pass on what only it and the last one read.
#[test]
fn uniform_balances_by_way_of_others() {
    let group = group(&[
        ("a", &[(1, 5)], of(&[(1, &[0, 1, 2, 3, 4])])),
        ("b", &[(1, 5), (2, 4)], of(&[(2, &[0, 1, 2, 3])])),
        ("c", &[(2, 4)], Assignment::default()),
    ]);
    let assigned = group.assign(Assignor::Uniform);
    let mut loads: Vec<usize> = assigned.iter().map(Assignment::len).collect();
    loads.sort_unstable();
    assert_eq!(loads, [3, 3, 3]);
}

fn any_group() -> impl Strategy<Value = Group> {
    let topics = prop::collection::vec(0..7i32, 1..5);
    (topics, 1..6usize).prop_flat_map(|(topics, members)| {
        let of_one = prop::collection::vec(any::<bool>(), topics.len());
        let same = of_one.clone().prop_map(move |one| vec![one; members]);
        let different = prop::collection::vec(of_one, members);
        let owners = prop::collection::vec(prop::collection::vec(0..members * 2, 8), topics.len());
        (prop_oneof![same, different], owners).prop_map(move |(reads, owners)| {
            let counts: Vec<(Uuid, i32)> = (1..).map(topic).zip(topics.iter().copied()).collect();
            let mut before = vec![Assignment::default(); members];
            for ((id, _), owners) in counts.iter().zip(owners) {
                // Also such as there are no longer, and such as nobody had.
                for (partition, owner) in (0..).zip(owners) {
                    if let Some(before) = before.get_mut(owner) {
                        before.insert((*id, partition));
                    }
                }
            }
            let topics = reads.iter().map(|reads| {
                let read = counts.iter().zip(reads).filter(|(_, reads)| **reads);
                read.map(|(topic, _)| *topic).collect()
            });
            let names = (0..members).map(|number| format!("member-{number}")).collect();
            Group { names, topics: topics.collect(), before }
        })
    })
}

/// Every partition that anybody reads has exactly one owner, who reads it.
fn check_whole(group: &Group, assigned: &[Assignment]) {
    assert_eq!(assigned.len(), group.names.len());
    let mut owners: BTreeMap<Place, usize> = BTreeMap::new();
    for (index, assignment) in assigned.iter().enumerate() {
        for (topic, partition) in assignment.iter() {
            let count = group.topics[index].get(&topic).expect("the member reads the topic");
            assert!((0..*count).contains(&partition));
            assert_eq!(owners.insert((topic, partition), index), None);
        }
    }
    let all: BTreeMap<Uuid, i32> = group.topics.iter().flatten().map(|(id, n)| (*id, *n)).collect();
    assert_eq!(owners.len() as i32, all.values().sum::<i32>());
}

proptest! {
    #[test]
    fn every_partition_has_one_owner_who_reads_it(group in any_group()) {
        for assignor in Assignor::ALL {
            check_whole(&group, &group.assign(assignor));
        }
    }

    #[test]
    fn the_same_again_changes_nothing(mut group in any_group()) {
        for assignor in Assignor::ALL {
            group.before = group.assign(assignor);
            prop_assert_eq!(group.assign(assignor), group.before.clone());
        }
    }

    /// Nobody can be brought nearer to the others by one partition.
    #[test]
    fn uniform_is_balanced(group in any_group()) {
        let assigned = group.assign(Assignor::Uniform);
        for (giver, has) in assigned.iter().enumerate() {
            for (taker, other) in assigned.iter().enumerate() {
                let can_move = has.topics().any(|(id, _)| group.topics[taker].contains_key(&id));
                prop_assert!(!can_move || has.len() <= other.len() + 1, "{giver} {taker}");
            }
        }
    }

    /// Where all read the same: of what each had, it keeps as much as its share allows.
    #[test]
    fn uniform_is_sticky(mut group in any_group()) {
        group.topics = vec![group.topics[0].clone(); group.names.len()];
        let assigned = group.assign(Assignor::Uniform);
        let total: usize = assigned.iter().map(Assignment::len).sum();
        let (each, extra) = (total / assigned.len(), total % assigned.len());
        let mut kept = Vec::new();
        let mut had = Vec::new();
        for (before, now) in group.before.iter().zip(&assigned) {
            let still = before.iter().filter(|(id, n)| {
                group.topics[0].get(id).is_some_and(|count| n < count)
            });
            had.push(still.count());
            kept.push(before.and(now).len());
        }
        let mut more_allowed = extra;
        had.sort_unstable_by(|one, other| other.cmp(one));
        let best: usize = had.iter().map(|had| {
            let more = usize::from(*had > each && more_allowed > 0);
            more_allowed -= more;
            (*had).min(each + more)
        }).sum();
        prop_assert_eq!(kept.iter().sum::<usize>(), best);
    }
}
