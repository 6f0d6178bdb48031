//! Which worker runs which tasks, and which keeps copies of their state: the rule by which members
//! of a group share tasks, those of a query as those of connectors (which keep no state).
//!
//! ```text
//! says     tasks that it runs, copies that it keeps and how far each is behind
//! given    tasks to run, copies to keep, and those of them for which it is to run the task soon
//! ```
//!
//! The rule: a task stays where it is while nobody has more than his share. One that nobody runs
//! goes to whoever has the best copy of its state. One that is to move goes to a worker that has a
//! copy which is nearly as far; if there is none yet, a copy is made first, while the task goes on
//! where it is.
//!
//! Invariants: a task is given to nobody while somebody says that he runs it, beside himself: he is
//! told to stop first, and says so by entering the next generation. What is said leads to the same
//! shares whoever leads.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A copy that is behind by no more records of the changelog is nearly as far as the task.
pub const NEARLY: u64 = 10_000;

/// What a worker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Says {
    /// How many tasks there are; those who count otherwise share nothing with each other.
    pub tasks: i32,
    /// How many copies are to be kept of each task's state.
    pub copies_wanted: usize,
    /// The tasks keep anything at all.
    pub is_stateful: bool,
    pub runs: BTreeSet<i32>,
    /// Copies, and how many records each is behind.
    pub copies: BTreeMap<i32, u64>,
}

/// What a worker is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    pub runs: BTreeSet<i32>,
    pub copies: BTreeSet<i32>,
    /// Those of the copies that make their worker the next to run the task: it says so when they
    /// are nearly as far.
    pub moving: BTreeSet<i32>,
}

/// Members, each with what it says, by their ids.
pub type Members = BTreeMap<String, Says>;

/// What each is given.
pub fn share(members: &Members) -> BTreeMap<String, Given> {
    let counts: BTreeSet<i32> = members.values().map(|says| says.tasks).collect();
    let mut all = BTreeMap::new();
    for tasks in counts {
        let of_count = members.iter().filter(|(_, says)| says.tasks == tasks);
        let sharing = Sharing::new(tasks, of_count.map(|(id, says)| (id.as_str(), says)).collect());
        all.extend(sharing.shares());
    }
    all
}

/// A task that is to run elsewhere.
struct Move<'m> {
    task: i32,
    from: &'m str,
    to: &'m str,
    is_ready: bool,
}

struct Sharing<'m> {
    tasks: i32,
    members: BTreeMap<&'m str, &'m Says>,
    given: BTreeMap<&'m str, Given>,
}

impl<'m> Sharing<'m> {
    fn new(tasks: i32, members: BTreeMap<&'m str, &'m Says>) -> Sharing<'m> {
        let given = members.keys().map(|id| (*id, Given::default())).collect();
        Sharing { tasks, members, given }
    }

    fn shares(mut self) -> BTreeMap<String, Given> {
        self.leave_where_they_are();
        self.give_what_nobody_runs();
        self.even_out();
        (0..self.tasks).for_each(|task| self.copy(task));
        self.given.into_iter().map(|(id, given)| (id.to_owned(), given)).collect()
    }

    fn load(&self, id: &str) -> usize {
        self.given[id].runs.len()
    }

    fn runner(&self, task: i32) -> Option<&'m str> {
        self.given.iter().find(|(_, given)| given.runs.contains(&task)).map(|(id, _)| *id)
    }

    /// How far a member's copy is behind; the worst if it has none.
    fn behind(&self, id: &str, task: i32) -> u64 {
        self.members[id].copies.get(&task).copied().unwrap_or(u64::MAX)
    }

    fn give(&mut self, id: &'m str, task: i32) {
        self.given.entry(id).or_default().runs.insert(task);
    }

    fn leave_where_they_are(&mut self) {
        for task in 0..self.tasks {
            // If two say so, one of them has been fenced and does not know yet.
            let runs = |(_, says): &(&&'m str, &&Says)| says.runs.contains(&task);
            if let Some((id, _)) = self.members.iter().find(runs) {
                let id = *id;
                self.give(id, task);
            }
        }
    }

    fn give_what_nobody_runs(&mut self) {
        let said = |task: &i32| self.members.values().any(|says| says.runs.contains(task));
        let mut left: Vec<i32> = (0..self.tasks).filter(|task| !said(task)).collect();
        // Those of which there are copies first: the others go where there is room then.
        left.sort_by_key(|task| !self.members.values().any(|of| of.copies.contains_key(task)));
        for task in left {
            let best = self.members.keys().min_by_key(|id| {
                let behind = self.behind(id, task);
                // Copies that are nearly as far are as good as each other.
                (if behind <= NEARLY { 0 } else { behind }, self.load(id))
            });
            if let Some(&id) = best {
                self.give(id, task);
            }
        }
    }

    /// Takes tasks from those who have too many, as far as can be by now.
    fn even_out(&mut self) {
        let mut aim: BTreeMap<&'m str, BTreeSet<i32>> = BTreeMap::new();
        for (id, given) in &self.given {
            aim.insert(id, given.runs.clone());
        }
        let mut moves = Vec::new();
        while let Some(next) = self.next_move(&aim) {
            let Move { task, from, to, .. } = next;
            aim.entry(from).or_default().remove(&task);
            aim.entry(to).or_default().insert(task);
            moves.push(next);
        }
        moves.into_iter().for_each(|next| self.begin(next));
    }

    /// From whoever has the most to whoever has the fewest: a task that is ready there, if any is.
    fn next_move(&self, aim: &BTreeMap<&'m str, BTreeSet<i32>>) -> Option<Move<'m>> {
        let fewest = aim.values().map(BTreeSet::len).min()?;
        let (&from, runs) = aim.iter().max_by_key(|(id, runs)| (runs.len(), Reverse(**id)))?;
        if runs.len() <= fewest + 1 {
            return None;
        }
        let others = || aim.iter().filter(|(_, runs)| runs.len() == fewest).map(|(id, _)| *id);
        let pairs = runs.iter().flat_map(|&task| others().map(move |to| (task, to)));
        // One that is being copied already goes on being copied.
        let (task, to) = pairs.min_by_key(|(task, to)| self.behind(to, *task))?;
        Some(Move { task, from, to, is_ready: self.is_ready(to, task) })
    }

    /// Whether a task can run there at once.
    fn is_ready(&self, id: &str, task: i32) -> bool {
        !self.members[id].is_stateful || self.behind(id, task) <= NEARLY
    }

    fn begin(&mut self, next: Move<'m>) {
        let Move { task, from, to, is_ready } = next;
        let runs_already = self.members[from].runs.contains(&task);
        let stays = !is_ready && (runs_already || self.is_ready(from, task));
        if !stays && let Some(given) = self.given.get_mut(from) {
            given.runs.remove(&task);
        }
        let Some(given) = self.given.get_mut(to) else { return };
        if stays {
            given.copies.insert(task);
            given.moving.insert(task);
        } else if runs_already {
            // It is stopped first, and goes to the best copy then: this one.
            given.copies.insert(task);
        } else {
            given.runs.insert(task);
        }
    }

    /// Has copies kept of a task.
    fn copy(&mut self, task: i32) {
        let wanted = self.members.values().map(|says| says.copies_wanted).max().unwrap_or_default();
        if !self.members.values().any(|says| says.is_stateful) {
            self.given.values_mut().for_each(|given| _ = given.copies.remove(&task));
            return;
        }
        let runner = self.runner(task);
        let others = self.members.keys().filter(|id| Some(**id) != runner);
        let mut others: Vec<&'m str> = others.copied().collect();
        others.sort_by_key(|id| {
            let given = &self.given[*id];
            (self.behind(id, task), given.copies.len() + given.runs.len(), *id)
        });
        for id in others.into_iter().take(wanted) {
            self.given.entry(id).or_default().copies.insert(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Workers that do what they are given.
    #[derive(Debug, Default)]
    struct Group {
        members: Members,
        /// Task by task: how often it began somewhere without a copy.
        cold: usize,
    }

    impl Group {
        fn new(workers: usize, tasks: i32, copies_wanted: usize) -> Group {
            let mut group = Group::default();
            (0..workers).for_each(|worker| group.join(worker, tasks, copies_wanted));
            group
        }

        fn join(&mut self, worker: usize, tasks: i32, copies_wanted: usize) {
            let says = Says { tasks, copies_wanted, is_stateful: true, ..Says::default() };
            self.members.insert(format!("worker-{worker}"), says);
        }

        /// One generation. Whether anything has changed.
        fn go_on(&mut self) -> bool {
            let before = self.members.clone();
            let shares = share(&self.members);
            let mut seen = BTreeSet::new();
            for (id, given) in &shares {
                for task in &given.runs {
                    assert!(seen.insert(*task), "task {task} runs twice: {shares:?}");
                    let others = before.iter().filter(|(other, _)| *other != id);
                    let running = others.filter(|(_, says)| says.runs.contains(task)).count();
                    assert_eq!(running, 0, "task {task} is given away while it runs");
                }
            }
            for (id, given) in shares {
                let says = self.members.get_mut(&id).unwrap();
                let begun: Vec<i32> = given.runs.difference(&says.runs).copied().collect();
                self.cold += begun.iter().filter(|task| !says.copies.contains_key(task)).count();
                says.runs = given.runs;
                // All copies are as far as can be by the next generation.
                says.copies = given.copies.iter().map(|task| (*task, 0)).collect();
            }
            self.members != before
        }

        fn settle(&mut self) {
            for _ in 0..100 {
                if !self.go_on() {
                    return;
                }
            }
            panic!("never at rest: {:#?}", self.members);
        }

        fn check(&self, tasks: i32, copies_wanted: usize) {
            let loads: Vec<usize> = self.members.values().map(|says| says.runs.len()).collect();
            assert_eq!(loads.iter().sum::<usize>(), tasks as usize);
            let (most, fewest) = (loads.iter().max().unwrap(), loads.iter().min().unwrap());
            assert!(most - fewest <= 1, "{loads:?}");
            for task in 0..tasks {
                let copies =
                    self.members.values().filter(|says| says.copies.contains_key(&task)).count();
                assert_eq!(copies, copies_wanted.min(self.members.len() - 1), "of task {task}");
            }
        }
    }

    proptest! {
        /// Whoever comes and goes, in the end all tasks run, once each and evenly; those of a
        /// worker that is gone go to copies, and others begin cold only where there are none.
        #[test]
        fn tasks_end_up_evenly_and_never_run_twice(
            workers in 1..4usize,
            tasks in 1..9i32,
            copies in 0..3usize,
            changes in prop::collection::vec((any::<bool>(), 0..9usize), 0..8),
        ) {
            let mut group = Group::new(workers, tasks, copies);
            group.settle();
            group.check(tasks, copies);
            for (comes, which) in changes {
                let known: Vec<String> = group.members.keys().cloned().collect();
                let before = group.cold;
                if comes {
                    group.join(10 + which, tasks, copies);
                } else if known.len() > 1 {
                    group.members.remove(&known[which % known.len()]);
                }
                group.settle();
                group.check(tasks, copies);
                if copies > 0 && known.len() > 1 {
                    prop_assert_eq!(group.cold, before, "{:?}", group.members);
                }
            }
        }
    }

    #[test]
    fn the_tasks_of_a_dead_worker_go_to_their_copies_and_all_others_stay() {
        let mut group = Group::new(3, 6, 1);
        group.settle();
        let before = group.members.clone();
        let gone = group.members.remove("worker-1").unwrap();
        group.go_on();
        for (id, says) in &group.members {
            assert!(says.runs.is_superset(&before[id].runs), "{id} lost some");
            for task in says.runs.difference(&before[id].runs) {
                assert!(gone.runs.contains(task) && before[id].copies.contains_key(task));
            }
        }
    }

    #[test]
    fn a_newcomer_copies_before_it_runs() {
        let mut group = Group::new(1, 2, 0);
        group.settle();
        group.join(7, 2, 0);
        let first = share(&group.members);
        assert_eq!(first["worker-0"].runs.len(), 2, "all goes on");
        assert_eq!(first["worker-7"].moving.len(), 1);
        group.settle();
        group.check(2, 0);
    }
}
