//! Which tasks a group has, and who gets which.
//!
//! ```text
//! says    a worker's id, which process it is, the tasks that it runs
//! given   the tasks that it is to run, how far the leader had read the connectors, who that is,
//!         and whether others call themselves the same
//! ```
//!
//! The rule is that of [`broker::client::shares`], with nothing to copy: a task stays where it is
//! while nobody has more than his share, and is stopped before it is given to somebody else. It is
//! what Kafka Connect calls incremental and cooperative (KIP-415).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::client::member::{Given as GivenBytes, Said};
use broker::client::shares::{self, share};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One task of one connector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(String, usize)", into = "(String, usize)")]
pub(super) struct TaskId {
    pub connector: Arc<str>,
    pub number: usize,
}

impl From<(String, usize)> for TaskId {
    fn from((connector, number): (String, usize)) -> TaskId {
        TaskId { connector: connector.into(), number }
    }
}

impl From<TaskId> for (String, usize) {
    fn from(task: TaskId) -> (String, usize) {
        (task.connector.to_string(), task.number)
    }
}

/// What a worker says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Says {
    pub worker: String,
    /// Of this process alone, which a worker's id may not be.
    #[serde(default)]
    pub instance: String,
    pub runs: BTreeSet<TaskId>,
}

/// What a worker is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// The worker that leads.
    pub leader: String,
    /// Whether it is this one.
    #[serde(default)]
    pub leads: bool,
    /// Whether another has the same id.
    #[serde(default)]
    pub has_namesake: bool,
    /// Up to where the leader had read the topic of connectors.
    pub configs: i64,
    pub runs: BTreeSet<TaskId>,
}

/// What each is given who said something that is understood.
pub(super) fn shared_out(
    tasks: &BTreeSet<TaskId>,
    leader: &Says,
    configs: i64,
    said: Said,
) -> GivenBytes {
    let parsed = said.into_iter().filter_map(|(id, says)| {
        let says: Says = serde_json::from_slice(&says).ok()?;
        Some((id, says))
    });
    let parsed: BTreeMap<String, Says> = parsed.collect();
    let runs = parsed.iter().map(|(id, says)| (id.clone(), says.runs.clone()));
    let given = shares_of(tasks, &runs.collect()).into_iter().map(|(id, runs)| {
        let says = &parsed[&id];
        let namesakes = parsed.values().filter(|other| other.worker == says.worker).count();
        let given = Given {
            leader: leader.worker.clone(),
            leads: says.instance == leader.instance,
            has_namesake: namesakes > 1,
            configs,
            runs,
        };
        (id, encoded(&given))
    });
    given.collect()
}

pub(super) fn encoded(what: &impl Serialize) -> Bytes {
    serde_json::to_vec(what).expect("names and numbers are JSON").into()
}

/// By the rule, which knows tasks by their places in order.
fn shares_of(
    tasks: &BTreeSet<TaskId>,
    members: &BTreeMap<String, BTreeSet<TaskId>>,
) -> BTreeMap<String, BTreeSet<TaskId>> {
    let places: BTreeMap<&TaskId, i32> = tasks.iter().zip(0..).collect();
    let says = |runs: &BTreeSet<TaskId>| shares::Says {
        tasks: places.len() as i32,
        // Tasks that there are no more are nobody's.
        runs: runs.iter().filter_map(|task| places.get(task).copied()).collect(),
        ..shares::Says::default()
    };
    let members = members.iter().map(|(id, runs)| (id.clone(), says(runs))).collect();
    let in_order: Vec<&TaskId> = tasks.iter().collect();
    let task = |place: i32| in_order[place as usize].clone();
    let given = share(&members).into_iter();
    given.map(|(id, given)| (id, given.runs.into_iter().map(task).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(connector: &str, number: usize) -> TaskId {
        TaskId { connector: connector.into(), number }
    }

    fn says(worker: &str, instance: &str) -> Says {
        let (worker, instance) = (worker.to_owned(), instance.to_owned());
        Says { worker, instance, runs: BTreeSet::new() }
    }

    /// Two on machines of their own, both as 127.0.0.1:8083: each took itself for the leader, and
    /// the one that was not had the group share out anew without end.
    #[test]
    fn one_leads_and_namesakes_are_told() {
        let all = [says("w", "1"), says("w", "2"), says("v", "3")];
        let said = all.iter().map(|says| (says.instance.clone(), encoded(says)));
        let given = shared_out(&BTreeSet::new(), &all[1], 7, said.collect());
        let told: Vec<(bool, bool)> = given
            .iter()
            .map(|(_, given)| serde_json::from_slice::<Given>(given).unwrap())
            .map(|given| (given.leads, given.has_namesake))
            .collect();
        assert_eq!(told, [(false, true), (true, true), (false, false)]);
    }

    #[test]
    fn tasks_stay_and_are_stopped_before_they_move() {
        let mut tasks: BTreeSet<_> = (0..4).map(|number| task("a", number)).collect();
        let mut members = BTreeMap::from([("one".to_owned(), BTreeSet::new())]);
        members = shares_of(&tasks, &members);
        assert_eq!(members["one"].len(), 4);
        // Another comes: two are taken first, and given then.
        members.insert("two".to_owned(), BTreeSet::new());
        let taken = shares_of(&tasks, &members);
        assert_eq!((taken["one"].len(), taken["two"].len()), (2, 0));
        let given = shares_of(&tasks, &taken);
        assert_eq!((&given["one"], given["two"].len()), (&taken["one"], 2));
        // A connector comes and one goes: what stays is where it was.
        tasks.retain(|task| task.number < 2);
        tasks.extend([task("b", 0), task("b", 1)]);
        let settled = shares_of(&tasks, &given);
        for (id, before) in &given {
            let stays: BTreeSet<_> = before.intersection(&tasks).cloned().collect();
            assert!(settled[id].is_superset(&stays), "{settled:?}");
        }
        assert_eq!(settled.values().map(BTreeSet::len).sum::<usize>(), 4);
    }

    #[test]
    fn who_speaks_otherwise_gets_nothing() {
        let says = says("w", "1");
        let said = vec![
            ("m-1".to_owned(), encoded(&says)),
            ("m-2".to_owned(), Bytes::from_static(b"\0\x01")),
        ];
        let given = shared_out(&BTreeSet::from([task("a", 0)]), &says, 7, said);
        assert_eq!(given.len(), 1);
        let read: Given = serde_json::from_slice(&given[0].1).unwrap();
        assert_eq!((read.leader.as_str(), read.configs, read.runs.len()), ("w", 7, 1));
    }
}
